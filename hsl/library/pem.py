"""PEM (RFC 7468): text with blocks comes in, their labels and DER go out. Whatever is no block is passed over."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Final

BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----([A-Za-z0-9+/=\s]*+)-----END \1-----")
BEGIN: Final = b"-----BEGIN "
LINE: Final = 64  # characters
MAX_PEM: Final = 4 * 1024 * 1024  # bytes of a text with certificates: several times what a system trusts


def is_pem(data: bytes) -> bool:
    """Whether a block begins in it."""
    return data.find(BEGIN, 0, MAX_PEM) >= 0


def blocks(text: bytes) -> Iterator[tuple[str, bytes]]:
    """The label and the DER of each block; none of a text over MAX_PEM.

    Blocks with header lines (encrypted keys) and broken Base64 are left out.
    """
    for match in BLOCK.finditer(text if len(text) <= MAX_PEM else b""):
        try:
            yield match[1].decode("ascii"), b64decode(b"".join(match[2].split()), validate=True)
        except ValueError:
            continue


def pem(label: str, der: bytes) -> bytes:
    """DER as one block with its line end."""
    text = b64encode(der)
    lines = [text[start : start + LINE] for start in range(0, len(text), LINE)]
    return b"\n".join([f"-----BEGIN {label}-----".encode(), *lines, f"-----END {label}-----".encode(), b""])
