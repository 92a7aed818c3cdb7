"""Chapter "File and HTTP", its second half: http(). A script's arguments become an HTTPRequest, which the run's network
makes; its response becomes a string or an array."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hsl.arithmetic import check_string
from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError
from hsl.library.network import HTTPRequest, HTTPResponse, Network, NetworkError, network_of, seconds_left
from hsl.values import MAX_STRING, Array, Function, Value, to_string, type_name

if TYPE_CHECKING:
    from hsl.run import Run

chapter = Chapter("File and HTTP")
MAX_URL = 64 * 1024  # bytes, filled in
MAX_HEADERS = 100
MAX_HEADER = 64 * 1024  # bytes of one
MAX_SECONDS = 3600.0  # of a request in the background
BACKGROUND = 60.0  # seconds of one without a timeout
PIECE = 65536.0  # bytes that a post function is asked for
# Patterns: compiled when they are first used (re keeps them).
METHOD = rb"[A-Za-z][A-Za-z0-9!#$%&'*+.^_`|~-]{0,31}\Z"
NAME = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z"  # RFC 9110 5.6.2
CONTROL = r"[\x00-\x08\x0a-\x1f\x7f]"
PLACE = rb"\$([1-9][0-9]{0,3})"
URL = (
    r"(?P<scheme>(?i:https?))://(?:(?P<user>[^/?#@\\\[\]]*)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^/?#@:\\\[\]%]+)"
    r"(?P<port>:[0-9]{0,5})?(?P<rest>[/?][^#]*)?(?:#.*)?\Z"
)
UNSAFE = r"""[^\x21-\x7e]|["<>\\^`{|}]"""
FORM = "application/x-www-form-urlencoded"
OURS = ("content-length", "transfer-encoding", "connection", "upgrade")  # what the client says of its own


class HTTPOptions(Options):
    """The options of http()."""

    connect_timeout: float = option(10.0, "How long connecting may take.", unit="seconds")
    timeout: float | None = option(
        None, "How long the rest may take, once connected; by default what the script has left.", unit="seconds"
    )
    method: bytes | None = option(None, "The method; GET by default, with data to post POST.")
    headers: Array | None = option(None, "More headers: strings like `Accept: text/plain`, or the name as the key.")
    response_headers: bool = option(False, "Put the status line and the headers before the content, any status.")
    extended_result: bool = option(False, "Return an array with `status` and `content`, any status.")
    max_file_size: float | None = option(None, "The longest content to accept; 64 MiB is the limit.", unit="bytes")
    redirects: int = option(0, "How many redirects to follow; -1: up to 50.")
    sourceip: bytes | None = option(None, "The address to connect from, or `netaddr:ID`.")
    sourceipid: bytes | None = option(None, "The id of a configured address to connect from.")
    proxy: bytes | None = option(
        None, "The URL of an HTTP proxy, empty for none; by default http_proxy … of the environment."
    )
    tls_verify_peer: bool = option(True, "Verify the server's certificate.")
    tls_verify_host: bool = option(True, "Verify that the certificate names the host.")
    tls_default_ca: bool = option(False, "The system's authorities are always trusted: without effect.")
    tls_client_cert: bytes | None = option(None, "Not supported: there are no configured certificates.")
    ssl_verify_peer: bool | None = option(None, "The older name of tls_verify_peer.")
    ssl_verify_host: bool | None = option(None, "The older name of tls_verify_host.")
    ssl_default_ca: bool = option(False, "The older name of tls_default_ca.")
    ssl_default_cs: bool = option(False, "The oldest name of tls_default_ca.")
    background: bool = option(False, "Return true at once and make the request later; none when too many wait.")
    background_hash: float = option(0.0, "Which queue of the background takes the request (modulo their number).")
    background_retry_count: int = option(0, "How often to try again in the background after a failure.")
    background_retry_delay: float = option(0.0, "How long to wait before each retry.", unit="seconds")


@chapter.function("http")
async def http(
    run: Run,
    url: bytes,
    options: HTTPOptions | None = None,
    get: Array | None = None,
    post: Array | bytes | Function | None = None,
) -> bytes | Array | bool | None:
    """Return the content that a URL gives; none if the status is not 2xx or there was no valid response.

    `$1`, `$2` … in the URL stand for the values of `get`, percent-encoded. The URL is bytes: what it must not hold as
    it is (other than ASCII, quotes …) is percent-encoded too, and a host of other than ASCII labels encoded by IDNA.
    It must not hold spaces or control characters. Only http and https are possible.

    `post` as a string is sent as it is; as an array of names and values as a form (application/x-www-form-urlencoded),
    or as multipart/form-data when a value is itself an array, of `data` and if wanted `filename` and `type`; as a
    function it is called for piece after piece, until it returns an empty string or none (its parameter, if it has one,
    is the size that is wanted). In all 64 MiB at most. Without a Content-Type of its own a string counts as a form.

    Content is bytes as the server sent them: nothing is decompressed, and Accept-Encoding is not sent. With
    `extended_result` the result is an array, `status` and `content`, whatever the status; none still means that there
    was no valid response: no connection, a certificate that is not right, a timeout, content above max_file_size.
    Content above 64 MiB without that option raises an error, as do wrong options, headers with line breaks (and
    Content-Length and the like, which the client sets), and addresses that the configuration denies
    (scripting.network), also when a name or a redirect leads there. Authorization, Cookie and Host headers do not
    follow a redirect to another host.

    In the background there are 8 queues in memory, for at most 10,000 requests of 64 MiB in all. Requests of one
    queue are made in their order; failures are logged; what waits when the process ends is lost.

    Example:
        $found = http("https://api.example.com/users?name=$1", ["timeout" => 5], ["Ann & Bob"]);
        if ($found !== none) echo $found;
    """
    options = options or HTTPOptions()
    network = network_of(run, "http")
    request = build_request(run, network, url, options, get, post)
    if options.background:
        return enqueue(network, request, options) or None
    try:
        response = await network.http.request(request)
    except NetworkError as error:
        if error.kind == "too-large" and options.max_file_size is None:
            check_string(MAX_STRING + 1)
        return None
    return result_of(response, options)


def build_request(
    run: Run, network: Network, url: bytes, options: HTTPOptions, get: Array | None, post: Value
) -> HTTPRequest:
    """The request that the arguments describe. Raises ScriptError for wrong values."""
    filled = fill_in(url, get)
    try:
        address = clean_url(filled)
    except ValueError as error:
        raise ScriptError(f"http(): parameter 1 (url): {error}") from None
    headers = read_headers(options.headers)
    content = read_post(run, post)
    body = None
    if content is not None:
        kind, body = content
        if not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("Content-Type", kind))
    if options.tls_client_cert:
        raise ScriptError(
            "http(): option tls_client_cert: there are no configured certificates here;"
            " let a local proxy present the certificate, and name it by the option proxy"
        )
    return HTTPRequest(
        address,
        method=read_method(options.method, body),
        headers=tuple(headers),
        body=body,
        connect_timeout=seconds("connect_timeout", options.connect_timeout),
        timeout=None if options.timeout is None else seconds("timeout", options.timeout),
        total=total_seconds(run, options),
        max_size=read_size(options.max_file_size),
        redirects=max(options.redirects, -1),
        sourceip=read_source(network, options),
        proxy=read_proxy(options.proxy),
        tls_verify_peer=options.tls_verify_peer and options.ssl_verify_peer is not False,
        tls_verify_host=options.tls_verify_host and options.ssl_verify_host is not False,
    )


# ------------------------------------------------------------ the URL


def fill_in(url: bytes, get: Array | None) -> bytes:
    """A URL with the values for $1, $2 … in their places; a place without a value stays as it is."""
    if get is None:
        return url
    from urllib.parse import quote

    values = [quote(to_string(value), safe="").encode() for value in get.values()]

    def value_of(match: re.Match[bytes]) -> bytes:
        index = int(match[1]) - 1
        return values[index] if index < len(values) else match[0]

    if len(url) > MAX_URL:
        raise ScriptError(f"http(): parameter 1 (url): longer than {MAX_URL} bytes")
    longest = max(map(len, values), default=0)
    check_string(len(url) + longest * url.count(b"$"))
    return re.sub(PLACE, value_of, url)


def clean_url(url: bytes) -> str:
    """A URL as it goes over the wire, without its fragment. Raises ValueError, naming what is wrong."""
    if len(url) > MAX_URL:
        raise ValueError(f"longer than {MAX_URL} bytes")
    if re.search(rb"[\x00-\x20\x7f]", url):
        raise ValueError("a space, line break or control character in a URL")
    found = re.match(URL, url.decode("utf-8", "surrogateescape"), re.DOTALL)
    if found is None:
        raise ValueError("wanted http://host… or https://host…")
    port = (found["port"] or ":")[1:]
    if port and not 0 < int(port) < 65536:
        raise ValueError(f"there is no port {port}")
    user = "" if found["user"] is None else quote_unsafe(found["user"]) + "@"
    rest = quote_unsafe(found["rest"] or "/")
    slash = "" if rest.startswith("/") else "/"
    return f"{found['scheme'].lower()}://{user}{clean_host(found['host'])}{':' + port if port else ''}{slash}{rest}"


def clean_host(host: str) -> str:
    """A host as it is asked for. Raises ValueError."""
    if host.startswith("["):
        from ipaddress import IPv6Address

        return f"[{IPv6Address(host[1:-1])}]"
    if not host.isascii():
        from hsl.library.dns import idna_encode

        encoded = idna_encode(host.encode("utf-8", "surrogateescape"))
        if encoded is None:
            raise ValueError("the host is no domain name")
        host = encoded.decode("ascii")
    if re.search(r"""[^\x21-\x7e]|[]"<>^`{|}$&'()*+,;=!:/?#@%\\[]""", host):
        raise ValueError("the host is no domain name")
    return host.lower()


def quote_unsafe(text: str) -> str:
    """Percent-encode what a URL must not hold (RFC 3986 2); what is encoded stays."""
    from urllib.parse import quote_from_bytes

    return re.sub(UNSAFE, lambda match: quote_from_bytes(match[0].encode("utf-8", "surrogateescape"), ""), text)


# ------------------------------------------------------------ headers and options


def read_headers(given: Array | None) -> list[tuple[str, str]]:
    """Headers as names and values. Raises ScriptError for what is none, line breaks above all."""
    pairs = [] if given is None else list(given.pairs())
    if len(pairs) > MAX_HEADERS:
        raise ScriptError(f"http(): option headers: more than {MAX_HEADERS}")
    return [read_header(key, value) for key, value in pairs]


def read_header(key: Value, value: Value) -> tuple[str, str]:
    if not isinstance(value, bytes):
        raise ScriptError(f"http(): option headers: wanted strings, got {type_name(value)}")
    if len(value) > MAX_HEADER:
        raise ScriptError(f"http(): option headers: one is longer than {MAX_HEADER} bytes")
    line = key + b":" + value if isinstance(key, bytes) else value
    try:
        name, colon, content = line.decode("utf-8").partition(":")
    except UnicodeDecodeError:
        raise ScriptError("http(): option headers: one is not UTF-8") from None
    content = content.strip(" \t")
    if not colon or not re.match(NAME, name) or re.search(CONTROL, content):
        raise ScriptError(f"http(): option headers: wanted `Name: value` without line breaks, got {line[:100]!r}")
    if name.lower() in OURS:
        raise ScriptError(f"http(): option headers: {name} is set by the client")
    return name, content


def read_method(given: bytes | None, body: bytes | None) -> str:
    if given is None:
        return "GET" if body is None else "POST"
    if not re.match(METHOD, given) or given.upper() == b"CONNECT":
        raise ScriptError(f"http(): option method: there is no method {given[:40]!r}")
    return given.decode("ascii")


def seconds(name: str, value: float) -> float:
    if not value > 0:
        raise ScriptError(f"http(): option {name}: wanted seconds, got {value:g}")
    return min(value, MAX_SECONDS)


def total_seconds(run: Run, options: HTTPOptions) -> float:
    """The seconds that a request has in all."""
    if not options.background:
        return seconds_left(run)
    return BACKGROUND if options.timeout is None else min(options.timeout + options.connect_timeout, MAX_SECONDS)


def read_size(given: float | None) -> int:
    if given is None:
        return MAX_STRING
    if not given >= 0:
        raise ScriptError(f"http(): option max_file_size: wanted bytes, got {given:g}")
    return int(min(given, MAX_STRING)) or MAX_STRING


def read_source(network: Network, options: HTTPOptions) -> str | None:
    """The source address that the options name. Raises ScriptError."""
    given = options.sourceip
    if options.sourceipid is not None:
        given = b"netaddr:" + options.sourceipid.removeprefix(b"netaddr:")
    if not given:
        return None
    text = given.decode("utf-8", "replace")
    if text.startswith("netaddr:"):
        found = network.source(text.removeprefix("netaddr:"))
        if found is None:
            raise ScriptError(f"http(): there is no address {text[:100]!r} in the configuration")
        return found
    from ipaddress import ip_address

    try:
        return str(ip_address(text))
    except ValueError:
        raise ScriptError(f"http(): option sourceip: wanted an IP address, got {text[:100]!r}") from None


def read_proxy(given: bytes | None) -> str | None:
    if not given:
        return None if given is None else ""
    try:
        return clean_url(given if b"://" in given else b"http://" + given)
    except ValueError as error:
        raise ScriptError(f"http(): option proxy: {error}") from None


# ------------------------------------------------------------ what is sent


def read_post(run: Run, post: Value) -> tuple[str, bytes] | None:
    """What is posted: its Content-Type and its bytes."""
    if post is None or isinstance(post, bytes):
        return None if post is None else (FORM, post)
    if isinstance(post, Function):
        return "application/octet-stream", collect(run, post)
    assert isinstance(post, Array)
    pairs = [(to_string(key), value) for key, value in post.pairs()]
    if any(isinstance(value, Array) for _, value in pairs):
        return multipart(pairs)
    from urllib.parse import urlencode

    fields = [(name, to_string(value)) for name, value in pairs]
    check_string(sum(len(name) + 3 * len(value) for name, value in fields))
    return FORM, urlencode(fields).encode("ascii")


def collect(run: Run, piece: Function) -> bytes:
    """All that a script's function gives, up to its first empty piece."""
    declaration = getattr(piece, "declaration", None)
    takes_none = declaration is not None and declaration.most == 0 and not declaration.variadic
    found = bytearray()
    while data := piece.call(run, [] if takes_none else [PIECE]):
        if not isinstance(data, bytes):
            raise ScriptError(f"http(): the post function returned {type_name(data)}, wanted string or none")
        check_string(len(found) + len(data))
        found += data
    return bytes(found)


def multipart(pairs: Iterable[tuple[bytes, Value]]) -> tuple[str, bytes]:
    """A form with files (RFC 7578): values are strings, or arrays of data, filename and type."""
    from secrets import token_hex

    boundary = token_hex(24).encode()
    parts: list[bytes] = []
    for name, value in pairs:
        fields = dict(value.pairs()) if isinstance(value, Array) else {b"data": value}
        filename, kind = fields.get(b"filename"), fields.get(b"type")
        if b"data" not in fields or isinstance(fields[b"data"], Array):
            raise ScriptError(f"http(): post: {name[:100]!r}: wanted a string, or an array with data")
        parts.append(b'--%s\r\nContent-Disposition: form-data; name="%s"' % (boundary, escape_name(name)))
        if filename is not None:
            parts.append(b'; filename="%s"' % escape_name(to_string(filename)))
        if kind is not None:
            parts.append(b"\r\nContent-Type: %s" % re.sub(rb"[\x00-\x1f\x7f]", b"", to_string(kind)))
        parts += [b"\r\n\r\n", to_string(fields[b"data"]), b"\r\n"]
    parts.append(b"--%s--\r\n" % boundary)
    check_string(sum(map(len, parts)))
    return f"multipart/form-data; boundary={boundary.decode()}", b"".join(parts)


def escape_name(name: bytes) -> bytes:
    """A quoted name of a form's field, as browsers write it."""
    return name.replace(b'"', b"%22").replace(b"\r", b"%0D").replace(b"\n", b"%0A").replace(b"\x00", b"%00")


def enqueue(network: Network, request: HTTPRequest, options: HTTPOptions) -> bool:
    queue = options.background_hash
    return network.http.enqueue(
        request,
        queue=int(abs(queue)) if queue - queue == 0 else 0,
        retries=max(options.background_retry_count, 0),
        delay=options.background_retry_delay if options.background_retry_delay > 0 else 0.0,
    )


# ------------------------------------------------------------ what comes back


def result_of(response: HTTPResponse, options: HTTPOptions) -> bytes | Array | None:
    content = response.content
    if options.response_headers:
        lines = [f"HTTP/{response.version} {response.status} {response.reason}".rstrip().encode("utf-8", "replace")]
        lines += [name + b": " + value for name, value in response.headers]
        content = b"\r\n".join([*lines, b"", content])
        check_string(len(content))
    if options.extended_result:
        return Array.from_pairs([(b"status", float(response.status)), (b"content", content)])
    return content if options.response_headers or 200 <= response.status < 300 else None
