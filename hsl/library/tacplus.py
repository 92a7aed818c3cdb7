"""TACACS+ (RFC 8907), one question and its answer: names, passwords and attributes come in, packets go out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from struct import pack, unpack
from typing import Final

HEADER: Final = 12  # bytes
MAX_BODY: Final = 64 * 1024
MAX_VALUE: Final = 255
AUTHEN, AUTHOR = 1, 2
VERSION: Final = {AUTHEN: 0xC1, AUTHOR: 0xC0}  # PAP is of minor version 1 (section 5.4.1)
LOGIN, PAP, LOGIN_SERVICE, METHOD_NOT_SET = 1, 2, 1, 0
UNENCRYPTED: Final = 0x01
AUTHEN_PASS, AUTHEN_FAIL = 1, 2
AUTHOR_PASS_ADD, AUTHOR_PASS_REPLACE, AUTHOR_FAIL = 1, 2, 0x10
PORT: Final = b"smtp"


class Malformed(ValueError):
    """An answer that is not TACACS+, or not to this question."""


def authen_start(username: bytes, password: bytes, address: bytes) -> bytes:
    """The body of a START by PAP (section 5.1)."""
    address = address[:MAX_VALUE]
    sizes = (len(username), len(PORT), len(address), len(password))
    return bytes((LOGIN, 0, PAP, LOGIN_SERVICE, *sizes)) + username + PORT + address + password


def author_request(username: bytes, address: bytes, pairs: Sequence[bytes]) -> bytes:
    """The body of a REQUEST (section 6.1)."""
    address = address[:MAX_VALUE]
    sizes = (len(username), len(PORT), len(address), len(pairs), *map(len, pairs))
    return bytes((METHOD_NOT_SET, 0, PAP, LOGIN_SERVICE, *sizes)) + username + PORT + address + b"".join(pairs)


def read_author(body: bytes) -> list[bytes] | None:
    """The attributes of a RESPONSE that grants (section 6.2); None for any other."""
    if len(body) < 6 or body[0] not in (AUTHOR_PASS_ADD, AUTHOR_PASS_REPLACE):
        return None
    count = body[1]
    message, data = unpack(">HH", body[2:6])
    sizes = body[6 : 6 + count]
    place = 6 + count + message + data
    if len(sizes) != count or place + sum(sizes) > len(body):
        return None
    pairs = []
    for size in sizes:
        pairs.append(body[place : place + size])
        place += size
    return pairs


class Exchange:
    """One session: packets and what answers have to look like."""

    def __init__(self, kind: int, secret: bytes) -> None:
        self.kind = kind
        self.secret = secret
        self.session = os.urandom(4)

    def packet(self, body: bytes) -> bytes:
        head = bytes((VERSION[self.kind], self.kind, 1, 0)) + self.session + pack(">I", len(body))
        return head + self.obfuscate(body, VERSION[self.kind], 1)

    def expect(self, head: bytes) -> int:
        """The length of the body that follows a header. Raises Malformed."""
        version, kind, number, flags = head[:4]
        if version >> 4 != 0xC or kind != self.kind or number != 2 or head[4:8] != self.session:
            raise Malformed("this is not the answer")
        if flags & UNENCRYPTED:
            raise Malformed("the answer is not obfuscated: anybody could have sent it")
        length: int = unpack(">I", head[8:12])[0]
        if length > MAX_BODY:
            raise Malformed("the answer is too long")
        self.version = version
        return length

    version = 0

    def open(self, body: bytes) -> bytes:
        return self.obfuscate(body, self.version, 2)

    def obfuscate(self, body: bytes, version: int, number: int) -> bytes:
        """The body under its pad (section 4.5); the same again takes it off."""
        from hashlib import new

        seed = self.session + self.secret + bytes((version, number))
        pad = block = b""
        while len(pad) < len(body):
            block = new("md5", seed + block, usedforsecurity=False).digest()
            pad += block
        return bytes(a ^ b for a, b in zip(body, pad, strict=False))
