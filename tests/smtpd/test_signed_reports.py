"""Reports that are signed by DKIM: by the configuration, by a script; checked by opendkim."""

import asyncio
import email
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from opendkim import opendkim_says
from smtp_peer import Peer

from hsl.runtime.log import Log
from hsl.runtime.message import BytesBody
from hsl.runtime.model import Address, Mail, QueueEntry
from hsl.smtpd.configfile import load_config, read_config
from hsl.smtpd.gateway import Gateway
from hsl.smtpd.yamlfile import ConfigError

RSA, ED25519 = generate_private_key(65537, 2048), Ed25519PrivateKey.generate()
PEM = {
    name: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for name, key in (("rsa", RSA), ("ed25519", ED25519))
}
DER, RAW = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo), (Encoding.Raw, PublicFormat.Raw)
RECORDS = {
    "rsa": "v=DKIM1; k=rsa; p=" + b64encode(RSA.public_key().public_bytes(*DER)).decode(),
    "ed25519": "v=DKIM1; k=ed25519; p=" + b64encode(ED25519.public_key().public_bytes(*RAW)).decode(),
}


def write(folder: Path, port: int, dkim: dict[str, str] | None, predelivery: str = "") -> Path:
    """A gateway's configuration; its keys stand beside it."""
    for name, pem in PEM.items():
        (folder / f"{name}.pem").write_bytes(pem)
    (folder / "predelivery.hsl").write_text(predelivery)
    config: dict[str, Any] = {
        "environment": {"hostname": "mail.example.com", "controlsocket": "c.sock"},
        "servers": [{"id": "in", "transport": "out", "listeners": [{"port": 0}]}],
        "transportgroups": [
            {
                "id": "group",
                "retry": {"count": 3, "intervals": [{"interval": 60, "notify": True}]},
                "dsn": {"dkim": dkim} if dkim else {},
                "transports": [{"id": "out", "session": {"host": "127.0.0.1", "port": port, "tls": "disabled"}}],
            }
        ],
        "queues": {"path": "spool", "predelivery": {"hook": "predelivery.hsl"}},
        "resolver": {"ptr": False, "hosts": {"localhost": ["127.0.0.1"]}},
    }
    (folder / "smtpd.yaml").write_text(json.dumps(config))
    return folder / "smtpd.yaml"


@asynccontextmanager
async def running(config: Path) -> AsyncIterator[Gateway]:
    made = Gateway(read_config(config), Log("critical"))
    await made.start()
    try:
        yield made
    finally:
        await made.stop(2)


async def report(folder: Path, reply: str, dkim: dict[str, str] | None, predelivery: str = "") -> bytes:
    """The report about a mail that the next hop answers so."""
    peer = Peer(replies={"RCPT": [reply, "250 ok"]})
    async with peer.serve(), running(write(folder, peer.port, dkim, predelivery)) as made:
        entry = QueueEntry("t", Address.of(b"s@from.example"), Address.of(b"gone@to.example"), "out")
        await made.queue.apply(store=[Mail(BytesBody(b"Subject: x\r\n\r\nx\r\n"), (entry,))])
        async with asyncio.timeout(30):
            while not peer.messages:
                await asyncio.sleep(0.01)
    assert peer.messages[0].mail.startswith(b"MAIL FROM:<>")
    return peer.messages[0].data.removeprefix(b"\r\n")


@pytest.mark.asyncio
@pytest.mark.parametrize("reply", ["550 5.1.1 gone", "450 4.2.0 later"])
@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
async def test_by_the_configuration(tmp_path: Path, kind: str, reply: str) -> None:
    dkim = {"selector": kind, "domain": "example.com", "privatekey": f"{kind}.pem"}
    signed = await report(tmp_path, reply, dkim)
    said = opendkim_says(tmp_path, signed, **RECORDS)
    assert "succeeded" in said, said
    assert email.message_from_bytes(signed)["Subject"] in (
        "Undelivered mail returned to sender",
        "Delayed mail, still being tried",
    )
    changed = signed.replace(b"gone@to.example", b"here@to.example")
    assert "succeeded" not in opendkim_says(tmp_path, changed, **RECORDS)


SCRIPT = """
$key = "%s";
SetDSN(["from" => "post@example.com", "dkim" => ["selector" => "rsa", "domain" => "example.com", "key" => $key,
    "canonicalization_header" => "simple", "identity" => "post@example.com"]]);
"""


@pytest.mark.asyncio
async def test_by_a_script_in_the_place_of_the_configuration(tmp_path: Path) -> None:
    dkim = {"selector": "ed25519", "domain": "example.com", "privatekey": "ed25519.pem"}
    signed = await report(tmp_path, "550 5.1.1 gone", dkim, SCRIPT % PEM["rsa"].decode())
    said = opendkim_says(tmp_path, signed, **RECORDS)
    assert "succeeded" in said, said
    [field] = email.message_from_bytes(signed).get_all("DKIM-Signature", [])
    assert "s=rsa;" in field
    assert "i=post@example.com" in field
    assert "c=simple/relaxed" in field


@pytest.mark.asyncio
async def test_not_without_being_asked(tmp_path: Path) -> None:
    assert b"DKIM-Signature" not in await report(tmp_path, "550 5.1.1 gone", None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"privatekey": "none.pem"}, "cannot read"),
        ({"privatekey": "smtpd.yaml"}, "smtpd.yaml: wanted an RSA private key"),
        ({"domain": "a b"}, "domain: wanted a domain name"),
        ({"selector": "a b"}, "selector: wanted a domain name"),
        ({"selectr": "a"}, "selectr"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, change: dict[str, str], message: str) -> None:
    config = write(tmp_path, 25, {"selector": "s", "domain": "example.com", "privatekey": "rsa.pem"} | change)
    with pytest.raises(ConfigError, match=message):
        load_config(config)


@pytest.mark.asyncio
async def test_a_reload_takes_the_new_key(tmp_path: Path) -> None:
    dkim = {"selector": "rsa", "domain": "example.com", "privatekey": "rsa.pem"}
    async with running(write(tmp_path, 25, dkim)) as made:
        config = write(tmp_path, 25, dkim | {"selector": "ed25519", "privatekey": "ed25519.pem"})
        assert await made.reload(config)
        route = made.scheduler.transports.route("out")
        assert route is not None
        assert route.signer is not None
        assert (route.signer.selector, route.signer.key) == (b"ed25519", PEM["ed25519"])
