"""URLs (RFC 3986): url_encode() and url_decode() of chapter "Encodings and JSON", url_parse() of "File and HTTP"."""

from __future__ import annotations

import re
from typing import Final

from hsl.arithmetic import check_string
from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError
from hsl.values import Array, Value, literal, to_text

chapter = Chapter("Encodings and JSON")
parsing = Chapter("File and HTTP")

PLAIN: Final = bytes(byte for byte in range(128) if chr(byte).isalnum() or byte in b"-._~")
NOT_PLAIN: Final = re.compile(rb"[^A-Za-z0-9._~-]++")
ESCAPED: Final = re.compile(rb"(?:%[0-9A-Fa-f]{2})++")
FORBIDDEN: Final = re.compile(rb"[\x00-\x20\x7f\\]")
OWN_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*+:(?![0-9]{1,5}(?:[/?#]|\Z))")  # not `host:port`
SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*\Z")
URL: Final = re.compile(
    rb"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*+):)?+(?://(?P<authority>[^/?#]*+))?+"
    rb"(?P<path>[^?#]*+)(?:\?(?P<query>[^#]*+))?+(?:#(?P<fragment>.*+))?+",
    re.DOTALL,
)
HOST: Final = re.compile(rb"(?P<host>\[[0-9A-Fa-f:.]++\]|[^\[\]:@]*+)(?::(?P<port>[0-9]{0,5}+))?\Z")
MAX_PORT: Final = 65535


@chapter.function("url_encode", constant=True)
def url_encode(string: bytes) -> bytes:
    """Return a string as it stands in a part of a URL, every byte but letters, digits and `-._~` as %XX (RFC 3986 2.1).

    Example:
        echo url_encode("a b/ü");  // expect: a%20b%2F%C3%BC
    """
    check_string(len(string) + 2 * len(string.translate(None, PLAIN)))
    return escape(string, NOT_PLAIN, "%")


@chapter.function("url_decode", constant=True)
def url_decode(string: bytes) -> bytes:
    """Return the string of its url_encode() form. A % without two hexadecimal digits stays as it is, so does a +.

    Example:
        echo url_decode("a%20b%2f100%");  // expect: a b/100%
    """
    return unescape(string, ESCAPED, b"%")


def escape(text: bytes, escaped: re.Pattern[bytes], mark: str) -> bytes:
    """The text with each byte that the pattern finds (in runs: they cost one step) as mark and two digits."""
    return escaped.sub(lambda run: f"{mark}{run[0].hex(mark).upper()}".encode(), text)


def unescape(text: bytes, escaped: re.Pattern[bytes], mark: bytes) -> bytes:
    """The text with the runs that the pattern finds, of marks and two digits each, as bytes."""
    return escaped.sub(lambda run: bytes.fromhex(run[0].translate(None, mark).decode()), text)


class ParseOptions(Options):
    default_scheme: bytes | None = option(None, "The scheme of a URL that has none: `example.com/path` is taken too.")


@parsing.function("url_parse", constant=True)
def url_parse(url: bytes, options: ParseOptions) -> Array | None:
    """Return the parts of a URL (RFC 3986): `scheme`, `user`, `password`, `host`, `port`, `path`, `query`, `fragment`.

    Parts that are not in the URL are not in the array; the path always is. Scheme and host are in lower case, the port
    is a number, everything else is as it came: url_decode() reads it. The host of an IPv6 address keeps its brackets.
    None for what is no URL: without a scheme, with blanks, control characters or backslashes, with a port over
    65535, without a host behind the `//` (but for `file:`).

    Example:
        echo url_parse("https://www.example.com:8080/a%20b?c=d#e")["port"];  // expect: 8080
        echo url_parse("mailto:user@example.com");  // expect: ["scheme"=>"mailto","path"=>"user@example.com"]
        echo url_parse("example.com/a", ["default_scheme" => "https"])["host"];  // expect: example.com
        echo url_parse("/a");  // expect: none
    """
    if options.default_scheme is not None:
        url = with_scheme(url, options.default_scheme)
    found = None if FORBIDDEN.search(url) else URL.match(url)
    if found is None or found["scheme"] is None:
        return None
    parts: dict[Value, Value] = {b"scheme": found["scheme"].lower()}
    if found["authority"] is not None:
        authority = read_authority(found["authority"])
        if authority is None or not (authority[b"host"] or parts[b"scheme"] == b"file"):
            return None
        parts |= authority
    for name in ("path", "query", "fragment"):
        if found[name] is not None:
            parts[name.encode()] = found[name]
    return Array.record(parts)


def with_scheme(url: bytes, scheme: bytes) -> bytes:
    """The URL with a scheme: its own one if it has one."""
    if not SCHEME.match(scheme):
        got = to_text(literal(scheme[:40]))
        raise ScriptError(f"url_parse(): option default_scheme: wanted a scheme, got {got}")
    check_string(len(url) + len(scheme) + 3)
    if url.startswith(b"//"):
        return scheme + b":" + url
    return url if OWN_SCHEME.match(url) else scheme + b"://" + url


def read_authority(authority: bytes) -> dict[Value, Value] | None:
    """User, password, host and port of `user:password@host:port`; None if it is none."""
    parts: dict[Value, Value] = {}
    userinfo, at, rest = authority.rpartition(b"@")
    found = HOST.match(rest)
    if found is None or b"@" in userinfo:
        return None
    if at:
        parts[b"user"], colon, password = userinfo.partition(b":")
        if colon:
            parts[b"password"] = password
    parts[b"host"] = found["host"].lower()
    if found["port"]:
        port = float(found["port"])
        if port > MAX_PORT:
            return None
        parts[b"port"] = port
    return parts
