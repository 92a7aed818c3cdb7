"""What the configuration lets scripts reach: files below the root path, directories by their profile, C functions."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme
from directory import BASE, slapd
from gateway import Gateway, write_gateway

WORDS = 'Reject(in_file($sender, "file://lists/senders.txt") ? "listed" : "not listed");'


def rcpt(config: Path) -> bytes:
    """What the gateway answers to a recipient."""
    with Gateway(config) as gateway, gateway.client() as client:
        client.mail("joe@one.example")
        return client.rcpt("bob@example.org")[1]


def test_files_below_the_root_path(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/senders.txt").write_text("ann@one.example\njoe@one.example\n")
    assert b"listed" in rcpt(write_gateway(tmp_path, {"rcptto": WORDS}))


def test_directories_by_their_profile(tmp_path: Path) -> None:
    (tmp_path / "slapd").mkdir()
    with slapd(tmp_path / "slapd", trustme.CA()) as server:
        profile = {"id": "staff", "host": f"ldap://127.0.0.1:{server.port}", "base": BASE, "query": "(mail=%s)"}
        script = 'Reject(ldap_search("staff", "tesla@example.com")[0]["sn"][0]);'
        config = write_gateway(tmp_path, {"rcptto": script}, scripting={"ldap": [profile]})
        assert b"Tesla" in rcpt(config)


@pytest.mark.parametrize("ffi", [True, False])
def test_c_functions(tmp_path: Path, ffi: bool) -> None:
    script = 'Reject("value " . FFI::number(FFI::cnumber(FFI::type("uint8"), 7)));'
    answer = rcpt(write_gateway(tmp_path, {"rcptto": script}, scripting={"ffi": ffi}))
    assert (b"value 7" in answer) is ffi
