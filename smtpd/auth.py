"""SASL on the wire (RFC 4954, 4422): PLAIN (RFC 4616) and LOGIN whole; of other mechanisms the lines and the limits.

Base64 responses in; user name and password, or a decoded response, out, or the reply that refuses. Nothing here is ever
logged or sent back.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterable

from hsl.runtime.reply import reply
from hsl.smtpd.paths import Refused

BUILT_IN = ("PLAIN", "LOGIN")
MAX_RESPONSE = 12_288  # octets of a line within the exchange (RFC 4954 4)
MAX_ROUNDS = 20  # challenges of one exchange
USERNAME_PROMPT = b"Username:"
PASSWORD_PROMPT = b"Password:"

CANCELLED = reply(501, "Authentication cancelled", (5, 7, 0))
BAD_BASE64 = reply(501, "Cannot decode the response", (5, 5, 2))
BAD_MECHANISM = reply(504, "Unrecognised authentication mechanism", (5, 5, 4))
BAD_CREDENTIALS = reply(535, "Authentication credentials invalid", (5, 7, 8))
TOO_LONG = reply(500, "Authentication exchange line is too long", (5, 5, 6))

Ask = Callable[[bytes], Awaitable[bytes]]  # sends 334 and this challenge in base64, gives the client's line


def announced(extensions: Iterable[str]) -> tuple[str, ...]:
    """The mechanisms that these lines of an answer to EHLO announce."""
    lines = (line.upper().split() for line in extensions)
    return tuple(name for first, *names in filter(None, lines) if first == "AUTH" for name in names)


async def credentials(mechanism: str, initial: bytes, ask: Ask) -> tuple[bytes, bytes]:
    """The exchange of a built-in mechanism. `initial`: the initial response, b"" for none. Raises Refused."""
    if mechanism == "PLAIN":
        return split_plain(decode(initial or await ask(b"")))
    username = decode(initial or await ask(USERNAME_PROMPT))
    return username, decode(await ask(PASSWORD_PROMPT))


def decode(response: bytes) -> bytes:
    """One response; `=` alone is an empty one (RFC 4954 4), `*` cancels. Raises Refused."""
    if len(response) > MAX_RESPONSE:
        raise Refused(TOO_LONG)
    if response == b"*":
        raise Refused(CANCELLED)
    if response == b"=":
        return b""
    try:
        return b64decode(response, validate=True)
    except binascii.Error:
        raise Refused(BAD_BASE64) from None


def split_plain(message: bytes) -> tuple[bytes, bytes]:
    """[authzid] NUL authcid NUL password. Acting for somebody else is not supported. Raises Refused."""
    parts = message.split(b"\0")
    if len(parts) != 3 or not parts[1]:
        raise Refused(BAD_BASE64)
    if parts[0] not in (b"", parts[1]):
        raise Refused(BAD_CREDENTIALS)
    return parts[1], parts[2]
