"""crypt(): the test vectors of the schemes and openssl as an oracle; salts that ask for too much, or are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pki import openssl

from hsl.errors import ScriptError

Call = Callable[..., Any]

HASHES = [
    ("rasmuslerdorf", "rl.3StKT.4T8M"),  # DES
    ("rasmuslerdorf", "$1$rasmusle$rISCgZzpwk3UhDidwXvin0"),
    ("Hello world!", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"),
    ("Hello world!", "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA"),
    (
        "Hello world!",
        "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
    ),
    ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
    ("U*U", "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
    ("rasmuslerdorf", "$2y$07$usesomesillystringfore2uDLvp1Ii2e./U9C8sBjqp8I90dH6hi"),
]


@pytest.mark.parametrize(("password", "hash"), HASHES)
def test_hashes(call: Call, password: str, hash: str) -> None:
    assert call("crypt", password, hash) == hash.encode()
    assert call("crypt", "x" + password, hash) != hash.encode()


@pytest.mark.parametrize("scheme", ["-1", "-5", "-6"])
@pytest.mark.parametrize("password", [b"secret", "pässword".encode(), b"\xff\x80", b"x" * 200])
def test_openssl_agrees(call: Call, scheme: str, password: bytes) -> None:
    wanted = openssl("passwd", scheme, "-salt", "saltsalt", "-stdin", data=password + b"\n").strip()
    assert call("crypt", password, f"${scheme[1]}$saltsalt$") == wanted


def test_yescrypt(call: Call) -> None:
    salt = b"$y$j9T$F5Jx5fExrKuPp53xLKQ..1$"
    hash = call("crypt", "secret", salt)
    assert hash == salt + b"GmcwIgvdUC9qLWcKCi6gklUa1dM3ziD43YxYNURLKy0"
    assert call("crypt", "secret", hash) == hash
    assert call("crypt", "Secret", hash) != hash


@pytest.mark.parametrize(
    "salt", ["", "*", "*0", "*1", "!", "!!", "x", "a:", ":a", "\x00\x00", "ab\x00", "$6$rounds=x$ab"]
)
def test_what_is_no_salt(call: Call, salt: str) -> None:
    assert call("crypt", "secret", salt) == (b"*1" if salt.startswith("*0") else b"*0")


@pytest.mark.parametrize(
    "salt", ["$6$rounds=99999999999$ab", "$6$rounds=-1$ab", "$5$rounds= 9$ab", "$2b$1$x", "$2b$ab$x", "$y$", "$y$j9T"]
)
def test_malformed_salts_of_known_schemes(call: Call, salt: str) -> None:
    assert call("crypt", "secret", salt) == b"*0"


@pytest.mark.parametrize("password", [b"a\x00b", b"\x00", b"x" * 512, b"x" * 10_000_000])
def test_passwords_that_have_no_hash(call: Call, password: bytes) -> None:
    assert call("crypt", password, "$6$salt$") == b"*0"
    assert call("crypt", password, b"*0") == b"*1"


def test_long_salts(call: Call) -> None:
    assert call("crypt", "secret", "$6$" + "x" * 10_000_000) == b"*0"
    assert call("crypt", "x" * 511, "$6$salt$").startswith(b"$6$salt$")


EXPENSIVE = [
    ("$6$rounds=1000001$salt$", "wanted at most 1000000 rounds, got 1000001"),
    ("$5$rounds=999999999$salt$", "wanted at most 1000000 rounds"),
    ("$2b$14$CCCCCCCCCCCCCCCCCCCCC.", "wanted at most 13 as its cost, got 14"),
    ("$2y$31$CCCCCCCCCCCCCCCCCCCCC.", "wanted at most 13 as its cost"),
    ("$y$jFT$F5Jx5fExrKuPp53xLKQ..1$", "costs 1 to 9 of yescrypt"),
    ("$y$jzzzzz$F5Jx5fExrKuPp53xLKQ..1$", "costs 1 to 9 of yescrypt"),
    ("$7$CU..../....salt$", "there are the schemes"),
    ("$3$$", "there are the schemes"),
    ("$argon2id$v=19$m=65536$", "there are the schemes"),
    ("_J9..rasm", "there are the schemes"),
    ("$", "there are the schemes"),
]


@pytest.mark.parametrize(("salt", "message"), EXPENSIVE)
def test_salts_that_are_an_error(call: Call, salt: str, message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        call("crypt", "secret", salt)


def test_most_rounds(call: Call) -> None:
    hash = call("crypt", "secret", "$6$rounds=1000000$salt$")
    assert hash.startswith(b"$6$rounds=1000000$salt$.XH6jfcGBHtPLXVa")
