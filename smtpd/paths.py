"""The arguments of MAIL and RCPT (RFC 5321 4.1.2): text in, an Address and its parameters (or a refusal) out.

Text is the command's argument decoded as latin-1, so that every octet is one character and nothing is lost.
"""

from __future__ import annotations

import re

from hsl.mime.addresses import LABELS, MAX_ADDRESS, QUOTED, is_host, is_local
from hsl.runtime.model import NULL_SENDER, Address
from hsl.runtime.reply import Reply, reply

MAX_PARAMETERS = 20

ROUTE = "@LABELS(?:,@LABELS)*:".replace("LABELS", LABELS.decode())  # RFC 5321 4.1.1.3: accepted and ignored
PATH = re.compile(rf' *<(?:{ROUTE})?((?:{QUOTED.decode()}|[^"<>\x00-\x1f\x7f ])*)>(?: +(.*))?\Z')
PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~]+))?\Z")
HELO_NAME = re.compile(r"[A-Za-z0-9_.:\[\]-]{1,255}\Z")
XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*\Z")  # RFC 3461 4

NON_ASCII = reply(553, "The address needs SMTPUTF8, which is not offered here", (5, 6, 7))
BAD_PARAMETERS = reply(501, "Syntax error in parameters", (5, 5, 4))
UNKNOWN_PARAMETER = reply(555, "Parameter not recognised or not implemented", (5, 5, 4))
BAD_SENDER = reply(501, "Bad sender address syntax", (5, 1, 7))
BAD_RECIPIENT = reply(501, "Bad recipient address syntax", (5, 1, 3))
MAIL_SYNTAX = reply(501, "Syntax: MAIL FROM:<address> [parameters]", (5, 5, 4))
RCPT_SYNTAX = reply(501, "Syntax: RCPT TO:<address> [parameters]", (5, 5, 4))


class Refused(Exception):
    """Carries the reply to a command that is not taken."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


def parse_mail(argument: str) -> tuple[Address, dict[str, str]]:
    """`FROM:<path> parameters`. Raises Refused."""
    path, parameters = split_path(argument, "FROM:", MAIL_SYNTAX, BAD_SENDER)
    if not path:
        return NULL_SENDER, parameters
    address = parse_mailbox(path, BAD_SENDER)
    if not address.domain:
        raise Refused(BAD_SENDER)
    return address, parameters


def parse_rcpt(argument: str) -> tuple[Address, dict[str, str]]:
    """`TO:<path> parameters`; only `<postmaster>` may lack its domain (RFC 5321 4.5.1). Raises Refused."""
    path, parameters = split_path(argument, "TO:", RCPT_SYNTAX, BAD_RECIPIENT)
    address = parse_mailbox(path, BAD_RECIPIENT)
    if not address.domain and address.text != b"postmaster":
        raise Refused(BAD_RECIPIENT)
    return address, parameters


def split_path(argument: str, keyword: str, syntax: Reply, bad: Reply) -> tuple[str, dict[str, str]]:
    """What stands between the angle brackets (source route removed), and the parameters."""
    if argument[: len(keyword)].upper() != keyword:
        raise Refused(syntax)
    rest = argument[len(keyword) :]
    match = PATH.match(rest)
    if match is None:
        raise Refused(bad if rest.lstrip().startswith("<") else syntax)
    return match[1], parse_parameters(match[2] or "")


def parse_mailbox(text: str, bad: Reply) -> Address:
    """local-part [@ domain]. Raises Refused with `bad`, or 553 5.6.7 for other than ASCII."""
    path = text.encode("latin-1")
    address = Address.of(path)
    complete = is_host(address.domain) or address.localpart == path
    if len(path) > MAX_ADDRESS or not complete or not is_local(address.localpart):
        raise Refused(bad)
    if not path.isascii():
        raise Refused(NON_ASCII)
    return address


def parse_parameters(text: str) -> dict[str, str]:
    """`KEYWORD[=value] …`; keywords in upper case, values as they came. Raises Refused; none may come twice."""
    found: dict[str, str] = {}
    for word in text.split():
        match = PARAMETER.match(word)
        if match is None or match[1].upper() in found or len(found) == MAX_PARAMETERS:
            raise Refused(BAD_PARAMETERS)
        found[match[1].upper()] = match[2] or ""
    return found


def check_mail_parameters(parameters: dict[str, str], *, extended: bool, auth: bool, size_limit: int) -> int:
    """The message's announced size in octets (0: not announced). Raises Refused for what was not offered.

    SIZE (RFC 1870), BODY (RFC 6152), AUTH only when it is offered (RFC 4954 5).
    """
    if not parameters:
        return 0
    known = {"SIZE", "BODY", "AUTH"} if auth else {"SIZE", "BODY"}
    if not extended or not parameters.keys() <= known:
        raise Refused(UNKNOWN_PARAMETER)
    if parameters.get("BODY", "7BIT").upper() not in ("7BIT", "8BITMIME"):
        raise Refused(BAD_PARAMETERS)
    if "AUTH" in parameters and not (parameters["AUTH"] and XTEXT.match(parameters["AUTH"])):
        raise Refused(BAD_PARAMETERS)
    size = parameters.get("SIZE")
    if size is None:
        return 0
    if not (size.isdigit() and len(size) <= 20):
        raise Refused(BAD_PARAMETERS)
    if size_limit and int(size) > size_limit:
        raise Refused(reply(552, f"Message size exceeds the limit of {size_limit} bytes", (5, 3, 4)))
    return int(size)
