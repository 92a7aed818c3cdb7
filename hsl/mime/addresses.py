"""Mail addresses as they are written: envelope addresses (RFC 5321 4.1.2, RFC 6531) and display names (RFC 5322 3.4).

Bytes in, bytes out; all in linear time.
"""

from __future__ import annotations

import re
from typing import Final

from hsl.arithmetic import check_string
from hsl.mime import words

MAX_ADDRESS: Final = 254  # RFC 5321 4.5.3.1.3: a path of 256 octets, with its angle brackets
MAX_DOMAIN: Final = 255
MAX_LABEL: Final = 63

ATEXT: Final = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\xff-]++"
DOT_STRING: Final = re.compile(rb"%s(?:\.%s)*+\Z" % (ATEXT, ATEXT))
QUOTED: Final = rb'"(?:[ !#-\[\]-~\x80-\xff]|\\[ -~])*+"'
QUOTED_STRING: Final = re.compile(QUOTED + rb"\Z")
LABEL: Final = rb"[A-Za-z0-9_\x80-\xff](?:[A-Za-z0-9_\x80-\xff-]*[A-Za-z0-9_\x80-\xff])?"  # _: out of the RFC, in use
LABELS: Final = rb"%s(?:\.%s)*" % (LABEL, LABEL)
DOMAIN: Final = re.compile(LABELS + rb"\Z")
DTEXT: Final = re.compile(rb"\[[!-Z^-~]{1,80}\]\Z")
ESCAPED: Final = re.compile(rb"(?:\\.)++", re.DOTALL)
CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]")
PHRASE: Final = re.compile(rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*+\Z")


def split_address(address: bytes) -> tuple[bytes, bytes] | None:
    """Local part (unquoted) and domain of an envelope address; None if it is none."""
    if len(address) > MAX_ADDRESS or not is_utf8(address):
        return None
    local, _, domain = address.rpartition(b"@")
    if not is_local(local) or not is_host(domain):
        return None
    return unquoted(local) if local.startswith(b'"') else local, domain


def is_local(local: bytes) -> bool:
    """Whether it is a local part as it is written: quoted, or words with dots between them."""
    return bool(DOT_STRING.match(local) or QUOTED_STRING.match(local))


def is_host(domain: bytes) -> bool:
    """Whether it may stand behind the @: a domain or a literal."""
    return is_domain(domain) or is_literal(domain)


def is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_domain(domain: bytes) -> bool:
    fits = len(domain) <= MAX_DOMAIN and DOMAIN.match(domain) is not None
    return fits and all(len(label) <= MAX_LABEL for label in domain.split(b"."))


def is_literal(domain: bytes) -> bool:
    """`[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 4.1.3)."""
    import ipaddress

    if not DTEXT.match(domain) or b"%" in domain:
        return False
    inner = domain[1:-1].decode()
    try:
        if inner[:5].upper() == "IPV6:":
            ipaddress.IPv6Address(inner[5:])
        else:
            ipaddress.IPv4Address(inner)
    except ValueError:
        return False
    return True


def escape_local(local: bytes) -> bytes:
    return local if DOT_STRING.match(local) else quoted(local)


def unquoted(text: bytes) -> bytes:
    """What a quoted string says."""
    return ESCAPED.sub(lambda run: run[0][1::2], text[1:-1])


def quoted(text: bytes) -> bytes:
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def written_name(name: bytes) -> bytes:
    """A display name: as it is, quoted, or as encoded words. Nothing in it can end the line or the name."""
    check_string(4 * len(name))
    if PHRASE.match(name) and b"=?" not in name:
        return name
    if name.isascii() and not CONTROL.search(name) and b"=?" not in name:
        return quoted(name)
    return words.encode_run(name)
