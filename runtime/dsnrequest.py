"""What a sender asks about notifications (RFC 3461): parameters of MAIL and RCPT in; checked values, and answers, out.

Values stay as they were said, encoded as xtext: they are passed on unchanged (RFC 3461 5.2.1).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

SENDER_PARAMS = frozenset({"RET", "ENVID"})
RECIPIENT_PARAMS = frozenset({"NOTIFY", "ORCPT"})
PARAMS = SENDER_PARAMS | RECIPIENT_PARAMS
NEVER, SUCCESS, FAILURE, DELAY = "NEVER", "SUCCESS", "FAILURE", "DELAY"
EVENTS = (SUCCESS, FAILURE, DELAY)
BY_DEFAULT = (FAILURE, DELAY)  # RFC 3461 4.1: delays are ours to decide
MAX_ENVID = 100  # characters, decoded (RFC 3461 4.4)
MAX_ORCPT = 500  # octets, encoded (RFC 3461 4.2)

XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*\Z")  # RFC 3461 4
HEX = re.compile(r"\+([0-9A-F]{2})")
ADDRESS_TYPE = re.compile(r"[A-Za-z0-9!#$%&'*/=?^_`{|}~.-]{1,60};")
UNITEXT = re.compile(r"(?:[!-*,-<>-\[\]-~]|\\x\{[0-9A-F]{2,6}\}|[^\x00-\xa0])+\Z")  # RFC 6533 3, both its forms
EMBEDDED = re.compile(r"\\x\{([0-9A-F]{2,6})\}")
PRINTABLE = re.compile(r"[ -~]*\Z")


@dataclass(frozen=True, slots=True)
class DSNRequest:
    """What was asked for one recipient; empty: nothing."""

    ret: str = ""  # FULL or HDRS
    envid: str = ""  # xtext
    notify: tuple[str, ...] = ()  # NEVER alone, or some of EVENTS in that order
    orcpt: str = ""  # address type, `;`, xtext

    @property
    def sender_params(self) -> dict[str, str]:
        """The parameters of MAIL."""
        return {name: value for name, value in (("RET", self.ret), ("ENVID", self.envid)) if value}

    @property
    def recipient_params(self) -> dict[str, str]:
        """The parameters of RCPT, in ASCII."""
        given = (("NOTIFY", ",".join(self.notify)), ("ORCPT", escaped(self.orcpt)))
        return {name: value for name, value in given if value}

    def for_copy(self) -> DSNRequest:
        """The same for a copy to somebody else, whom the sender did not name: no word of its arrival."""
        left = tuple(word for word in self.notify if word != SUCCESS)
        return replace(self, notify=left if left or not self.notify else (NEVER,), orcpt="")


def wants(request: DSNRequest | None, event: str) -> bool:
    """Whether the sender is to be told of SUCCESS, FAILURE or DELAY."""
    return event in ((request.notify if request else ()) or BY_DEFAULT)


def read_request(sender: Mapping[str, str], recipient: Mapping[str, str]) -> DSNRequest | None:
    """What the parameters of MAIL and RCPT ask; None for nothing. Raises ValueError, naming the parameter."""
    if not (sender.keys() & SENDER_PARAMS or recipient.keys() & RECIPIENT_PARAMS):
        return None
    return DSNRequest(
        ret=read_ret(sender["RET"]) if "RET" in sender else "",
        envid=read_envid(sender["ENVID"]) if "ENVID" in sender else "",
        notify=read_notify(recipient["NOTIFY"]) if "NOTIFY" in recipient else (),
        orcpt=read_orcpt(recipient["ORCPT"]) if "ORCPT" in recipient else "",
    )


def read_ret(value: str) -> str:
    """RFC 3461 4.3."""
    if value.upper() not in ("FULL", "HDRS"):
        raise ValueError("RET: wanted FULL or HDRS")
    return value.upper()


def read_envid(value: str) -> str:
    """RFC 3461 4.4: xtext of printable ASCII."""
    if not value or not XTEXT.match(value) or len(plain := decoded(value)) > MAX_ENVID or not PRINTABLE.match(plain):
        raise ValueError(f"ENVID: wanted at most {MAX_ENVID} printable characters in xtext")
    return value


def read_notify(value: str) -> tuple[str, ...]:
    """RFC 3461 4.1."""
    words = value.upper().split(",")
    if words == [NEVER]:
        return (NEVER,)
    if not all(word in EVENTS for word in words):
        raise ValueError("NOTIFY: wanted NEVER, or some of SUCCESS, FAILURE, DELAY")
    return tuple(word for word in EVENTS if word in words)


def read_orcpt(value: str) -> str:
    """RFC 3461 4.2; of the type utf-8 RFC 6533 3."""
    match = ADDRESS_TYPE.match(value)
    rest = value[match.end() :] if match else ""
    form = UNITEXT if match and match[0].lower() == "utf-8;" else XTEXT
    good = match and rest and len(value.encode()) <= MAX_ORCPT and form.match(rest)
    if not good or not (form is UNITEXT or PRINTABLE.match(decoded(rest))):
        raise ValueError(f"ORCPT: wanted a type and an address in xtext, of at most {MAX_ORCPT} octets")
    return value


def decoded(xtext: str) -> str:
    """What xtext says; each octet is one character."""
    return HEX.sub(lambda match: chr(int(match[1], 16)), xtext)


def original_recipient(request: DSNRequest) -> str:
    """`rfc822; a@b` for a report; an address of the type utf-8 stays in its 7-bit form (RFC 6533 3)."""
    kind, _, rest = request.orcpt.partition(";")
    if kind.lower() != "utf-8":
        return f"{kind}; {decoded(rest)}"
    return f"{kind}; {escaped(rest)}"


def escaped(text: str) -> str:
    """The 7-bit form of a utf-8 address (RFC 6533 3)."""
    return text if text.isascii() else "".join(c if c.isascii() else f"\\x{{{ord(c):02X}}}" for c in text)


def pack(request: DSNRequest | None) -> str:
    """For the queue: empty without a request."""
    if request is None:
        return ""
    return json.dumps([request.ret, request.envid, list(request.notify), request.orcpt])


def unpack(text: str) -> DSNRequest | None:
    if not text:
        return None
    ret, envid, notify, orcpt = json.loads(text)
    return DSNRequest(ret, envid, tuple(notify), orcpt)
