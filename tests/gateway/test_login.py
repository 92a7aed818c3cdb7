"""STARTTLS, AUTH and relaying: Python's own client against the real gateway, the auth script behind it."""

from __future__ import annotations

import re
import smtplib
import ssl
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from gateway import Gateway, submit, write_gateway

AUTH = """\
if ($saslusername == "broken")
	md5([$saslpassword]);
if ($saslusername == "joe" and $saslpassword == "secret")
	Accept();
"""
REFUSED = (550, "5.7.1 Relaying is not permitted")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def gateway(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """It relays for nobody by address, and takes mail for home.example from everybody."""
    folder = tmp_path_factory.mktemp("login")
    config = write_gateway(
        folder,
        {"auth": AUTH, "predelivery": "Reschedule(600);"},
        server={"tls": certificate(authority, folder), "relay": {"domains": ["home.example"]}},
    )
    with Gateway(config) as running:
        yield running


def certificate(authority: trustme.CA, folder: Path) -> dict[str, str]:
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    return {"certificate": "cert.pem", "privatekey": "key.pem"}


@pytest.fixture
def client(authority: trustme.CA, gateway: Gateway) -> Iterator[smtplib.SMTP]:
    """A client that has started TLS and checked the certificate."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with gateway.client() as client:
        assert client.starttls(context=context)[0] == 220
        client.ehlo()
        yield client


def test_no_auth_before_tls(gateway: Gateway) -> None:
    with gateway.client() as client:
        assert client.has_extn("starttls")
        assert not client.has_extn("auth")
        assert client.docmd("AUTH", "PLAIN AGpvZQBzZWNyZXQ=")[0] == 538
        assert submit(client, "joe@one.example", "bob@example.org") == REFUSED


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_a_login_may_relay(gateway: Gateway, client: smtplib.SMTP, mechanism: str) -> None:
    assert not client.has_extn("starttls")
    assert client.esmtp_features["auth"].split() == ["PLAIN", "LOGIN"]
    client.user, client.password = "joe", "secret"
    authenticate = client.auth_plain if mechanism == "PLAIN" else client.auth_login
    assert client.auth(mechanism, authenticate)[0] == 235
    sender = f"{mechanism}@one.example"
    assert submit(client, sender, "bob@example.org")[0] == 250
    [entry] = gateway.entries(sender=sender.lower())
    assert entry["saslusername"] == "joe"
    message = b64decode(gateway.ask("show", id=entry["id"], headers=True)["message"])
    assert re.search(rb" with ESMTPSA\s", message)


def test_without_a_login_only_home_is_served(gateway: Gateway, client: smtplib.SMTP) -> None:
    assert submit(client, "joe@one.example", "bob@example.org") == REFUSED
    client.rset()
    assert submit(client, "joe@one.example", "bob@home.example")[0] == 250


def test_a_wrong_password(gateway: Gateway, client: smtplib.SMTP) -> None:
    with pytest.raises(smtplib.SMTPAuthenticationError) as refusal:
        client.login("joe", "wrong-secret")
    assert (refusal.value.smtp_code, refusal.value.smtp_error) == (535, b"5.7.8 Authentication credentials invalid")
    assert submit(client, "joe@one.example", "bob@example.org") == REFUSED
    assert "wrong-secret" not in gateway.output()


def test_an_error_in_the_auth_script(gateway: Gateway, client: smtplib.SMTP) -> None:
    with pytest.raises(smtplib.SMTPAuthenticationError) as refusal:
        client.login("broken", "other-secret")
    assert (refusal.value.smtp_code, refusal.value.smtp_error) == (454, b"4.7.0 Temporary authentication failure")
    gateway.wait_for(r" error script-error stage=auth .*at=auth\.hsl:2:")
    assert submit(client, "joe@one.example", "bob@example.org") == REFUSED
    assert "other-secret" not in gateway.output()
