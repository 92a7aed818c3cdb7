"""Chapter "Mail", addresses: envelope addresses (RFC 5321, 6531), address lists of headers (RFC 5322, 6532), and the
xtext of SMTP parameters (RFC 3461). Bytes come in, bytes and arrays go out; all in linear time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from hsl.arithmetic import check_items, check_string
from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError
from hsl.library.urls import escape, unescape
from hsl.mime.addresses import (
    CONTROL,
    DTEXT,
    MAX_ADDRESS,
    escape_local,
    is_domain,
    is_utf8,
    split_address,
    unquoted,
    written_name,
)
from hsl.values import Array, Value, literal, to_text

chapter = Chapter("Mail")

MAX_TOKENS: Final = 500_000  # of one header: read in about a second

FIELD_NAME: Final = re.compile(rb"[!-9;-~]++[ \t]*+:")
XCHARS: Final = bytes(byte for byte in range(33, 127) if byte not in b"+=")
NOT_XCHARS: Final = re.compile(rb"[^!-*,-<>-~]++")
HEXCHARS: Final = re.compile(rb"(?:\+[0-9A-Fa-f]{2})++")


# ------------------------------------------------------------ the envelope


@chapter.function("envelope_address_parse", constant=True)
def envelope_address_parse(address: bytes) -> Array | None:
    """Return the `localpart` and the `domain` of an envelope address, or none if it is none.

    The address is RFC 5321's, without angle brackets; with RFC 6531 both parts may be UTF-8. A quoted local part comes
    out without its quotes, as envelope_localpart_escape() takes it. The domain may be a literal (`[192.0.2.1]`). None
    too: the empty address, one without a domain, one over 254 bytes.

    Example:
        echo envelope_address_parse("user@example.com");  // expect: ["localpart"=>"user","domain"=>"example.com"]
        echo envelope_address_parse("\\"a b\\"@example.com")["localpart"];  // expect: a b
        echo envelope_address_parse("user@");  // expect: none
    """
    found = split_address(address)
    if found is None:
        return None
    return Array.record({b"localpart": found[0], b"domain": found[1]})


@chapter.function("envelope_localpart_escape", constant=True)
def envelope_localpart_escape(localpart: bytes) -> bytes:
    """Return a local part as it stands in an address: quoted where it has to be (RFC 5321 4.1.2).

    Control characters are an error: no envelope address can have them.

    Example:
        echo envelope_localpart_escape("email address") . "@example.org";  // expect: "email address"@example.org
        echo envelope_localpart_escape("user+detail");  // expect: user+detail
    """
    if CONTROL.search(localpart):
        raise ScriptError(
            "envelope_localpart_escape(): parameter 1 (localpart): a local part has no control characters"
        )
    check_string(2 * len(localpart) + 2)
    return escape_local(localpart)


# ------------------------------------------------------------ headers, read


class ExtractOptions(Options):
    field: bool = option(False, "The value is a whole header field: name, colon, value.")


class NoAddressList(ValueError):
    """A header value that is no list of addresses."""


@chapter.function("header_addresslist_extract", aliases=("GetAddressList",), constant=True)
def header_addresslist_extract(value: bytes, options: ExtractOptions) -> Array | None:
    """Return the addresses in a header value (From, To, Cc …), or none if it is no list of addresses (RFC 5322 3.4).

    An address comes as `localpart@domain`: without name, comments, blanks and quotes that it does not need. Groups are
    opened, `<>` is passed over. What mail in the wild does is taken: `;` as a separator, commas, dots and @ in a name
    without quotes before `<…>`, a group without an end, dots beside each other in a local part, source routes. A name
    without an address, two addresses in one place, a domain that is none and text that is not UTF-8 in an address make
    the whole value none; so do more than 500,000 words and marks.

    Example:
        echo header_addresslist_extract("Charlie <charlie@example.org>; james@example.com (James)");
        // expect: [0=>"charlie@example.org",1=>"james@example.com"]
        echo header_addresslist_extract("To: undisclosed-recipients:;", ["field" => true]);  // expect: []
        echo header_addresslist_extract("Charlie");  // expect: none
    """
    if options.field:
        name = FIELD_NAME.match(value)
        if name is None:
            return None
        value = value[name.end() :]
    try:
        found = read_list(value)
    except NoAddressList:
        return None
    check_items(len(found))
    return Array.of(found)


Token = tuple[bytes, bytes]  # kind and text
ATOM: Final = b"atom"
QUOTED: Final = b"quoted"  # its text is what was quoted
LITERAL: Final = b"literal"
JUNK: Final = b"junk"
MARKS: Final = b"<>@,;:."

TOKEN: Final = re.compile(
    rb"""(?P<space>[ \t\r\n]++)
    |(?P<atom>[^\x00-\x20()<>@,;:\\".\[\]\x7f]++)
    |(?P<mark>[<>@,;:.])
    |(?P<quoted>"(?:[^"\\]++|\\.)*+"?)
    |(?P<literal>\[[^\[\]\\]*+\]?)
    |(?P<comment>\()
    |(?P<junk>.)""",
    re.DOTALL | re.VERBOSE,
)
COMMENT: Final = re.compile(rb"[^()\\]++|\\.|[()]", re.DOTALL)


def read_tokens(value: bytes) -> Iterator[Token]:
    """The words and marks of a header value; blanks and comments are left out. Raises NoAddressList."""
    place = count = 0
    while place < len(value):
        count += 1
        match = TOKEN.match(value, place)
        if match is None or count > MAX_TOKENS:
            raise NoAddressList
        kind, text, place = match.lastgroup, match[0], match.end()
        if kind == "comment":
            place = end_of_comment(value, place)
        elif kind == "mark":
            yield text, text
        elif kind == "quoted":
            if len(text) == 1 or not text.endswith(b'"'):
                raise NoAddressList
            yield QUOTED, unquoted(text)
        elif kind == "literal":
            yield LITERAL, b"".join(text.split())
        elif kind != "space":
            yield (ATOM if kind == "atom" else JUNK), text


def end_of_comment(value: bytes, place: int) -> int:
    """Where a comment ends that has begun; comments nest. Raises NoAddressList where it has no end."""
    depth = 1
    for count, piece in enumerate(COMMENT.finditer(value, place)):
        depth += 1 if piece[0] == b"(" else -1 if piece[0] == b")" else 0
        if depth == 0:
            return piece.end()
        if count > MAX_TOKENS:
            break
    raise NoAddressList


def read_list(value: bytes) -> list[bytes]:
    """The addresses of a list. Raises NoAddressList."""
    reader = ListReader()
    for token in read_tokens(value):
        reader.take(token)
    reader.end_item(last=True)
    return reader.found


class ListReader:
    """Takes the tokens of a list one by one."""

    def __init__(self) -> None:
        self.found: list[bytes] = []
        self.item: list[Token] = []  # since the last separator
        self.angle = -1  # where in the item `<` is
        self.in_angle = False
        self.in_group = False
        self.named = False  # words ended in a comma: the begin of a name that goes on

    def take(self, token: Token) -> None:
        kind = token[0]
        if kind == b"<":
            if self.angle >= 0:
                raise NoAddressList
            self.angle = len(self.item)
            self.in_angle = True
        elif kind == b">":
            if not self.in_angle:
                raise NoAddressList
            self.in_angle = False
        elif not self.in_angle and kind in b",;:":
            if kind == b":":
                self.begin_group()
            else:
                self.end_item(last=kind == b";")
                self.in_group = self.in_group and kind != b";"
            return
        elif self.angle >= 0 and not self.in_angle:
            raise NoAddressList  # behind the `>`
        self.item.append(token)

    def begin_group(self) -> None:
        if self.in_group or self.named or not self.item or self.angle >= 0:
            raise NoAddressList
        self.item = []
        self.in_group = True

    def end_item(self, last: bool) -> None:
        """Read what stands between two separators; the `last` one before `;` or the end cannot go on."""
        item, angle = self.item, self.angle
        if self.in_angle:
            raise NoAddressList
        if angle >= 0:
            inner = item[angle + 1 : -1]
            if inner:
                self.found.append(read_address(without_route(inner)))
            self.named = False
        elif any(kind == b"@" for kind, _ in item):
            if self.named:
                raise NoAddressList
            self.found.append(read_address(item))
        elif item:
            self.named = True
        if last and self.named:
            raise NoAddressList
        self.item = []
        self.angle = -1


def without_route(tokens: list[Token]) -> list[Token]:
    """An address without its source route: `@one,@two:local@domain` (RFC 5322 4.4)."""
    if tokens[0][0] == b"@":
        for place, (kind, _) in enumerate(tokens):
            if kind == b":":
                return tokens[place + 1 :]
    return tokens


def read_address(tokens: list[Token]) -> bytes:
    """`localpart@domain` of its tokens. Raises NoAddressList."""
    at = next((place for place, (kind, _) in enumerate(tokens) if kind == b"@"), 0)
    local, domain = tokens[:at], tokens[at + 1 :]
    if not any(kind in (ATOM, QUOTED) for kind, _ in local):
        raise NoAddressList
    address = escape_local(joined(local)) + b"@" + read_domain(domain)
    if CONTROL.search(address) or not is_utf8(address):
        raise NoAddressList
    return address


def joined(words: list[Token]) -> bytes:
    """Words with dots between them. Raises NoAddressList."""
    after_word = False
    for kind, _ in words:
        if kind not in (b".", ATOM, QUOTED) or (after_word and kind != b"."):
            raise NoAddressList
        after_word = kind != b"."
    return b"".join(text for _, text in words)


def read_domain(tokens: list[Token]) -> bytes:
    if len(tokens) == 1 and tokens[0][0] == LITERAL:
        domain = tokens[0][1]
        if DTEXT.match(domain):
            return domain
    elif all(kind in (ATOM, b".") for kind, _ in tokens):
        domain = joined(tokens)
        if is_domain(domain):
            return domain
    raise NoAddressList


# ------------------------------------------------------------ headers, written


@chapter.function("header_addresslist_compile", constant=True)
def header_addresslist_compile(addresses: Array) -> bytes:
    """Return a header value (From, To, Cc …) that lists addresses (RFC 5322 3.4), on one line.

    An address is a string `localpart@domain`; or an array of `address` (or of `localpart`, as
    envelope_address_parse() gives it, and `domain`) and of `name`, UTF-8, which is quoted or encoded (RFC 2047) where
    it has to be. Anything else is an error.

    Example:
        $james = ["name" => "Smith, James", "address" => "james@example.com"];
        echo header_addresslist_compile(["charlie@example.org", $james]);
        // expect: charlie@example.org, "Smith, James" <james@example.com>
    """
    parts: list[bytes] = []
    size = 0
    for item in addresses.values():
        part = written(item)
        if part is None:
            got = to_text(literal(item))[:MAX_ADDRESS]
            raise ScriptError(
                f"header_addresslist_compile(): parameter 1 (addresses): wanted email addresses, got {got}"
            )
        size += len(part) + 2
        check_string(size)
        parts.append(part)
    return b", ".join(parts)


def written(item: Value) -> bytes | None:
    """One address of a list as it is written; None if it is none."""
    if isinstance(item, bytes):
        return normal_address(item)
    if not isinstance(item, Array):
        return None
    local, domain, address = item.get(b"localpart"), item.get(b"domain"), item.get(b"address")
    if isinstance(local, bytes) and isinstance(domain, bytes):
        address = escape_local(local) + b"@" + domain
    name = item.get(b"name")
    mailbox = normal_address(address) if isinstance(address, bytes) else None
    if mailbox is None or not isinstance(name, bytes | None):
        return None
    return written_name(name) + b" <" + mailbox + b">" if name else mailbox


def normal_address(address: bytes) -> bytes | None:
    """The address, quoted only where it has to be; None if it is none."""
    found = split_address(address)
    return None if found is None else escape_local(found[0]) + b"@" + found[1]


# ------------------------------------------------------------ parameters of SMTP commands


@chapter.function("xtext_encode", constant=True)
def xtext_encode(text: bytes) -> bytes:
    """Return a string as the xtext of SMTP parameters (RFC 3461 4): visible US-ASCII as it is, other bytes as +XX.

    Example:
        echo xtext_encode("1+1=2");  // expect: 1+2B1+3D2
    """
    check_string(len(text) + 2 * len(text.translate(None, XCHARS)))
    return escape(text, NOT_XCHARS, "+")


@chapter.function("xtext_decode", constant=True)
def xtext_decode(text: bytes) -> bytes:
    """Return the string of its xtext (RFC 3461 4). A + without two hexadecimal digits stays as it is.

    Example:
        echo xtext_decode("1+2B1+3D2");  // expect: 1+1=2
    """
    return unescape(text, HEXCHARS, b"+")
