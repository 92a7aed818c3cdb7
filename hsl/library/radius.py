"""RADIUS by PAP (RFC 2865, 2869): a name and a password come in, a packet goes out; answers are checked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from struct import pack, unpack_from
from typing import Final

REQUEST, ACCEPT, REJECT = 1, 2, 3
USER_NAME, USER_PASSWORD, SERVICE_TYPE, VENDOR, CALLING_STATION, NAS_IDENTIFIER = 1, 2, 6, 26, 31, 32
MESSAGE_AUTHENTICATOR: Final = 80
HEADER: Final = 20  # bytes
MAX_PACKET: Final = 4096
MAX_VALUE: Final = 253
MAX_PASSWORD: Final = 128
MAX_VENDOR: Final = 247
MAX_EXTRA: Final = 3000  # bytes of a packet that are left for vendors
VENDOR_ID: Final = 33234  # of the strings (reference 2015)
AUTHENTICATE_ONLY: Final = 8


def md5(data: bytes) -> bytes:
    from hashlib import new

    return new("md5", data, usedforsecurity=False).digest()


def hmac_md5(key: bytes, data: bytes) -> bytes:
    from hmac import digest

    return digest(key, data, "md5")


def same(left: bytes, right: bytes) -> bool:
    from hmac import compare_digest

    return compare_digest(left, right)


def attribute(kind: int, value: bytes) -> bytes:
    return bytes((kind, len(value) + 2)) + value


def hide(password: bytes, secret: bytes, authenticator: bytes) -> bytes:
    """A password as it is sent (RFC 2865 section 5.2)."""
    padded = password + bytes(-len(password) % 16 or (0 if password else 16))
    hidden = b""
    last = authenticator
    for start in range(0, len(padded), 16):
        last = bytes(a ^ b for a, b in zip(padded[start : start + 16], md5(secret + last), strict=True))
        hidden += last
    return hidden


class Question:
    """An Access-Request, and what its answers have to be."""

    def __init__(
        self,
        secret: bytes,
        username: bytes,
        password: bytes,
        client: bytes,
        vendor: Sequence[tuple[int, bytes]] = (),
    ) -> None:
        self.secret = secret
        self.authenticator = os.urandom(16)
        self.number = self.authenticator[0]
        attributes = [
            attribute(USER_NAME, username),
            attribute(USER_PASSWORD, hide(password, secret, self.authenticator)),
            attribute(SERVICE_TYPE, pack(">I", AUTHENTICATE_ONLY)),
            attribute(NAS_IDENTIFIER, b"hsl"),
        ]
        attributes += [attribute(CALLING_STATION, client[:MAX_VALUE])] if client else []
        attributes += [attribute(VENDOR, pack(">I", VENDOR_ID) + attribute(kind, text)) for kind, text in vendor]
        self.packet = self.signed(b"".join(attributes))

    def signed(self, attributes: bytes) -> bytes:
        """The packet with its Message-Authenticator in front (RFC 2869 section 5.14)."""
        length = HEADER + 18 + len(attributes)
        head = pack(">BBH", REQUEST, self.number, length) + self.authenticator
        unsigned = head + attribute(MESSAGE_AUTHENTICATOR, bytes(16)) + attributes
        digest = hmac_md5(self.secret, unsigned)
        return head + attribute(MESSAGE_AUTHENTICATOR, digest) + attributes

    def answer(self, packet: bytes) -> int | None:
        """The code of an answer; None for what is not the server's answer to this question."""
        if len(packet) < HEADER:
            return None
        code, number, length = unpack_from(">BBH", packet)
        if number != self.number or not HEADER <= length <= len(packet):
            return None
        attributes = packet[HEADER:length]
        wanted = md5(packet[:4] + self.authenticator + attributes + self.secret)
        if not same(wanted, packet[4:HEADER]):
            return None
        return int(code) if self.well_signed(packet[:4], attributes) else None

    def well_signed(self, head: bytes, attributes: bytes) -> bool:
        """Whether the attributes are well formed, and the Message-Authenticator among them, if there is one, right."""
        place = 0
        while place < len(attributes):
            size = attributes[place + 1] if place + 1 < len(attributes) else 0
            if size < 2 or place + size > len(attributes):
                return False
            if attributes[place] == MESSAGE_AUTHENTICATOR:
                given = attributes[place + 2 : place + size]
                zeroed = attributes[: place + 2] + bytes(16) + attributes[place + size :]
                signed = head + self.authenticator + zeroed
                return same(given, hmac_md5(self.secret, signed))
            place += size
        return True
