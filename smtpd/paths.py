"""The arguments of MAIL, RCPT and BDAT (RFC 5321 4.1.2, 3030): text in, values (or a refusal) out.

Text is the command's argument decoded as latin-1, so that every octet is one character and nothing is lost.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from hsl.mime.addresses import LABELS, MAX_ADDRESS, QUOTED, is_host, is_local, is_utf8
from hsl.runtime.dsnrequest import RECIPIENT_PARAMS, SENDER_PARAMS, XTEXT, read_request
from hsl.runtime.model import NULL_SENDER, Address
from hsl.runtime.reply import Reply, reply

MAX_PARAMETERS = 20

ROUTE = "@LABELS(?:,@LABELS)*:".replace("LABELS", LABELS.decode())  # RFC 5321 4.1.1.3: accepted and ignored
PATH = re.compile(rf' *<(?:{ROUTE})?((?:{QUOTED.decode()}|[^"<>\x00-\x1f\x7f ])*)>(?: +(.*))?\Z')
PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\x80-\xff]+))?\Z")  # RFC 6531 3.3: UTF-8 too
HELO_NAME = re.compile(r"[A-Za-z0-9_.:\[\]-]{1,255}\Z")
BLANKS = re.compile(r"[ \t]+")
CHUNK = re.compile(r"(\d{1,20})(?: +(LAST))?\Z", re.IGNORECASE | re.ASCII)
# The keyword that EHLO announces each parameter by.
MAIL_PARAMETERS = {"SIZE": "SIZE", "BODY": "8BITMIME", "AUTH": "AUTH", "SMTPUTF8": "SMTPUTF8"} | dict.fromkeys(
    SENDER_PARAMS, "DSN"
)
RCPT_PARAMETERS = dict.fromkeys(RECIPIENT_PARAMS, "DSN")

NON_ASCII = reply(553, "The address needs the parameter SMTPUTF8 of MAIL", (5, 6, 7))
BAD_PARAMETERS = reply(501, "Syntax error in parameters", (5, 5, 4))
UNKNOWN_PARAMETER = reply(555, "Parameter not recognised or not implemented", (5, 5, 4))
BAD_SENDER = reply(501, "Bad sender address syntax", (5, 1, 7))
BAD_RECIPIENT = reply(501, "Bad recipient address syntax", (5, 1, 3))
MAIL_SYNTAX = reply(501, "Syntax: MAIL FROM:<address> [parameters]", (5, 5, 4))
RCPT_SYNTAX = reply(501, "Syntax: RCPT TO:<address> [parameters]", (5, 5, 4))
BDAT_SYNTAX = reply(501, "Syntax: BDAT octets [LAST]", (5, 5, 4))


class Refused(Exception):
    """Carries the reply to a command that is not taken."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


def parse_mail(argument: str) -> tuple[Address, dict[str, str]]:
    """`FROM:<path> parameters`; other than ASCII only with the parameter SMTPUTF8. Raises Refused."""
    path, parameters = split_path(argument, "FROM:", MAIL_SYNTAX, BAD_SENDER)
    if not path:
        return NULL_SENDER, parameters
    address = parse_mailbox(path, BAD_SENDER, utf8="SMTPUTF8" in parameters)
    if not address.domain:
        raise Refused(BAD_SENDER)
    return address, parameters


def parse_rcpt(argument: str, *, utf8: bool = False) -> tuple[Address, dict[str, str]]:
    """`TO:<path> parameters`; only `<postmaster>` may lack its domain (RFC 5321 4.5.1). Raises Refused.

    `utf8`: whether MAIL had the parameter SMTPUTF8.
    """
    path, parameters = split_path(argument, "TO:", RCPT_SYNTAX, BAD_RECIPIENT)
    address = parse_mailbox(path, BAD_RECIPIENT, utf8=utf8)
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


def parse_chunk(argument: str) -> tuple[int, bool]:
    """`octets [LAST]` of BDAT (RFC 3030 2): the chunk's size, and whether it is the last. Raises Refused."""
    match = CHUNK.match(argument)
    if match is None:
        raise Refused(BDAT_SYNTAX)
    return int(match[1]), match[2] is not None


def parse_mailbox(text: str, bad: Reply, *, utf8: bool) -> Address:
    """local-part [@ domain]. Raises Refused with `bad`, or 553 5.6.7 for other than ASCII without `utf8`."""
    path = text.encode("latin-1")
    address = Address.of(path)
    complete = is_host(address.domain) or address.localpart == path
    if len(path) > MAX_ADDRESS or not complete or not is_local(address.localpart):
        raise Refused(bad)
    if not path.isascii() and not utf8:
        raise Refused(NON_ASCII)
    if not is_utf8(path):
        raise Refused(bad)
    return address


def parse_parameters(text: str) -> dict[str, str]:
    """`KEYWORD[=value] …`; keywords in upper case, values as they came. Raises Refused; none may come twice.

    A value has other than ASCII only where the grammar says so: in ORCPT (RFC 6533 3).
    """
    found: dict[str, str] = {}
    for word in BLANKS.split(text) if text else ():
        match = PARAMETER.match(word)
        if match is None or match[1].upper() in found or len(found) == MAX_PARAMETERS:
            raise Refused(BAD_PARAMETERS)
        found[match[1].upper()] = read_value(match[2] or "")
    return found


def read_value(text: str) -> str:
    """A parameter's octets as text. Raises Refused for what is not UTF-8."""
    try:
        return text if text.isascii() else text.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise Refused(BAD_PARAMETERS) from None


def check_announced(parameters: Collection[str], known: dict[str, str], announced: Collection[str]) -> None:
    """Only what EHLO announced may be used (RFC 5321 4.1.1.11). Raises Refused."""
    if not all(known.get(name) in announced for name in parameters):
        raise Refused(UNKNOWN_PARAMETER)


def check_mail_parameters(parameters: dict[str, str], *, announced: Collection[str], size_limit: int) -> int:
    """The message's announced size in octets (0: not announced). Raises Refused.

    SIZE (RFC 1870), BODY (RFC 6152), AUTH (RFC 4954 5), SMTPUTF8 (RFC 6531), RET and ENVID (RFC 3461).
    """
    if not parameters:
        return 0
    check_announced(parameters, MAIL_PARAMETERS, announced)
    if parameters.get("BODY", "7BIT").upper() not in ("7BIT", "8BITMIME") or parameters.get("SMTPUTF8"):
        raise Refused(BAD_PARAMETERS)
    if "AUTH" in parameters and not (parameters["AUTH"] and XTEXT.match(parameters["AUTH"])):
        raise Refused(BAD_PARAMETERS)
    check_request(parameters, {})
    size = parameters.get("SIZE")
    if size is None:
        return 0
    if not (size.isdigit() and size.isascii() and len(size) <= 20):
        raise Refused(BAD_PARAMETERS)
    if size_limit and int(size) > size_limit:
        raise Refused(reply(552, f"Message size exceeds the limit of {size_limit} bytes", (5, 3, 4)))
    return int(size)


def check_rcpt_parameters(parameters: dict[str, str], *, announced: Collection[str], utf8: bool) -> None:
    """NOTIFY and ORCPT (RFC 3461). Raises Refused."""
    check_announced(parameters, RCPT_PARAMETERS, announced)
    check_request({}, parameters)
    if not utf8 and not parameters.get("ORCPT", "").isascii():
        raise Refused(BAD_PARAMETERS)


def check_request(sender: dict[str, str], recipient: dict[str, str]) -> None:
    """What RFC 3461 says about values. Raises Refused."""
    try:
        read_request(sender, recipient)
    except ValueError as error:
        raise Refused(reply(501, f"Bad parameter: {error}", (5, 5, 4))) from None
