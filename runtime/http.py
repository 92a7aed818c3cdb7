"""HTTP for scripts, on aiohttp: an HTTPRequest goes out, the last HTTPResponse comes back (hsl/library/network.py).

The policy is asked three times: for an address in the URL, for those that a name has, and for each address as its
socket is made. So neither a name that changes between two questions nor a redirect leads elsewhere.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import OrderedDict
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from hsl.library.http import clean_url
from hsl.library.network import DNS, HTTPRequest, HTTPResponse, NetworkError, NotPermitted
from hsl.runtime.dns import is_literal
from hsl.runtime.httpqueue import Background

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hsl.runtime.log import Log

MAX_REDIRECTS = 50
MAX_SESSIONS = 16  # one for each source address
MAX_CONNECTIONS = 200  # of one session
KEPT = 15.0  # seconds that a connection stays open for the next request
REDIRECTS = (301, 302, 303, 307, 308)
SECRETS = ("authorization", "cookie", "host", "proxy-authorization")  # not for another origin

AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]


class Names(AbstractResolver):
    """aiohttp's question for the addresses of a host: those that the policy permits."""

    def __init__(self, dns: DNS, permit: Callable[[str], None]) -> None:
        self.dns = dns
        self.permit = permit

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises NotPermitted when all are denied, OSError when there are none."""
        found = [address for address in await self.dns.addresses(host) if is_family(address, family)]
        permitted = [address for address in found if self.permits(address)]
        if not permitted:
            if found:
                self.permit(found[0])
            raise OSError(f"{host} has no address")
        return [answer(host, address, port) for address in permitted]

    def permits(self, address: str) -> bool:
        try:
            self.permit(address)
        except NotPermitted:
            return False
        return True

    async def close(self) -> None:
        """Nothing is open."""


def is_family(address: str, family: int) -> bool:
    return family in (socket.AF_UNSPEC, socket.AF_INET6 if ":" in address else socket.AF_INET)


def answer(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)


@dataclass
class Session:
    """aiohttp's session of one source address, and how many requests are under way in it."""

    client: aiohttp.ClientSession
    users: int = 0


class HTTPClient:
    """The Protocol HTTP. Sessions are made when they are needed, inside the event loop that they belong to."""

    def __init__(self, permit: Callable[[str], None], dns: DNS, log: Log | None = None) -> None:
        self.permit = permit
        self.names = Names(dns, permit)
        self.sessions: OrderedDict[str | None, Session] = OrderedDict()
        self.retired: list[Session] = []
        self.contexts: dict[tuple[bool, bool], ssl.SSLContext] = {}
        self.background = Background(self.request, log)

    async def request(self, request: HTTPRequest) -> HTTPResponse:
        try:
            async with asyncio.timeout(request.total):
                return await self.follow(request)
        except TimeoutError:
            raise NetworkError("timeout", f"{shown(request.url)}: no response in time") from None

    def enqueue(self, request: HTTPRequest, *, queue: int = 0, retries: int = 0, delay: float = 0.0) -> bool:
        return self.background.put(request, queue, retries, delay)

    async def close(self, grace: float = 5.0) -> None:
        await self.background.close(grace)
        self.retire()
        while self.retired:
            await self.retired.pop().client.close()

    def retire(self) -> None:
        """Use no connection again that is open now: the policy has changed."""
        self.retired += self.sessions.values()
        self.sessions.clear()

    async def follow(self, request: HTTPRequest) -> HTTPResponse:
        """The response behind as many redirects as the request allows."""
        left = MAX_REDIRECTS if request.redirects < 0 else min(request.redirects, MAX_REDIRECTS)
        while True:
            response = await self.exchange(request)
            target = None if request.redirects == 0 else location(request, response)
            if target is None:
                return response
            if left == 0:
                raise NetworkError("redirects", f"{shown(request.url)}: too many redirects")
            left -= 1
            request = redirected(request, response.status, target)

    async def exchange(self, request: HTTPRequest) -> HTTPResponse:
        """One request and its response. Raises NetworkError, NotPermitted."""
        proxy = proxy_of(request)
        for url in filter(None, (request.url, proxy)):
            host = urlsplit(url).hostname or ""
            if is_literal(host):
                self.permit(host)
        try:
            async with self.opened(request, proxy) as response:
                content = await read_limited(response, request.max_size)
                version = response.version or aiohttp.HttpVersion11
                return HTTPResponse(
                    f"{version.major}.{version.minor}",
                    response.status,
                    response.reason or "",
                    tuple(response.raw_headers),
                    content,
                )
        except TimeoutError:
            raise NetworkError("timeout", f"{shown(request.url)}: no response in time") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = getattr(error, "os_error", error)
            raise NetworkError(kind_of(error), f"{shown(request.url)}: {reason}") from error

    @asynccontextmanager
    async def opened(self, request: HTTPRequest, proxy: str | None) -> AsyncIterator[aiohttp.ClientResponse]:
        session = await self.session(request.sourceip)
        try:
            async with self.started(session.client, request, proxy) as response:
                yield response
        finally:
            session.users -= 1

    @asynccontextmanager
    async def started(
        self, client: aiohttp.ClientSession, request: HTTPRequest, proxy: str | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        async with (
            asyncio.timeout(None) as limit,
            client.request(
                request.method,
                URL(request.url, encoded=True),
                headers=request.headers,
                data=request.body,
                allow_redirects=False,
                ssl=self.context(request.tls_verify_peer, request.tls_verify_host),
                proxy=None if proxy is None else URL(proxy),
                timeout=aiohttp.ClientTimeout(total=None, connect=request.connect_timeout, sock_read=request.timeout),
                skip_auto_headers=("Accept-Encoding", "Content-Type"),
                trace_request_ctx=(limit, request.timeout),
            ) as response,
        ):
            yield response

    async def session(self, source: str | None) -> Session:
        """The session of a source address; the one that was used longest ago makes place for a new one."""
        session = self.sessions.get(source)
        if session is None:
            session = self.sessions[source] = Session(self.open_session(source))
            if len(self.sessions) > MAX_SESSIONS:
                self.retired.append(self.sessions.popitem(last=False)[1])
        self.sessions.move_to_end(source)
        session.users += 1
        idle = [item for item in self.retired if not item.users]
        self.retired = [item for item in self.retired if item.users]
        for item in idle:
            await item.client.close()
        return session

    def open_session(self, source: str | None) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            resolver=self.names,
            use_dns_cache=False,
            limit=MAX_CONNECTIONS,
            keepalive_timeout=KEPT,
            local_addr=None if source is None else (source, 0),
            socket_factory=self.open_socket,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            headers={"User-Agent": "hslmta", "Accept": "*/*"},
            trace_configs=[connected_trace()],
        )

    def open_socket(self, info: AddressInfo) -> socket.socket:
        """A socket for an address that is about to be connected to. Raises OSError where that is not permitted."""
        family, kind, proto, _, address = info
        try:
            self.permit(str(address[0]))
        except NotPermitted as error:
            raise PermissionError(str(error)) from error
        return socket.socket(family, kind, proto)

    def context(self, verify_peer: bool, verify_host: bool) -> ssl.SSLContext:
        """TLS settings, with the system's certificate authorities."""
        found = self.contexts.get((verify_peer, verify_host))
        if found is None:
            found = ssl.create_default_context()
            found.check_hostname = verify_peer and verify_host
            found.verify_mode = ssl.CERT_REQUIRED if verify_peer else ssl.CERT_NONE
            self.contexts[verify_peer, verify_host] = found
        return found


def connected_trace() -> aiohttp.TraceConfig:
    """Starts a request's `timeout` when its connection stands."""

    async def start(session: aiohttp.ClientSession, context: SimpleNamespace, params: object) -> None:
        limit, seconds = context.trace_request_ctx
        if seconds is not None:
            limit.reschedule(asyncio.get_running_loop().time() + seconds)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(start)
    trace.on_connection_reuseconn.append(start)
    return trace


async def read_limited(response: aiohttp.ClientResponse, most: int) -> bytes:
    """The content. Raises NetworkError when it is longer, as soon as that is known."""
    if (response.content_length or 0) > most and response.method != "HEAD":
        response.close()
        raise too_large(response, most)
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > most:
            response.close()
            raise too_large(response, most)
        parts.append(part)
    return b"".join(parts)


def too_large(response: aiohttp.ClientResponse, most: int) -> NetworkError:
    return NetworkError("too-large", f"{shown(str(response.url))}: the content is longer than {most} bytes")


def location(request: HTTPRequest, response: HTTPResponse) -> str | None:
    """Where a response sends to; None when it does not. Raises NetworkError for what is no web address."""
    if response.status not in REDIRECTS:
        return None
    given = next((value for name, value in response.headers if name.lower() == b"location"), None)
    if given is None:
        return None
    try:
        joined = urljoin(request.url, given.decode("utf-8", "surrogateescape"))
        return clean_url(joined.encode("utf-8", "surrogateescape"))
    except ValueError as error:
        raise NetworkError("redirects", f"{shown(request.url)}: no redirect to follow: {error}") from None


def redirected(request: HTTPRequest, status: int, target: str) -> HTTPRequest:
    """The request for a redirect's target (RFC 9110 15.4): its method, and no secrets for another origin."""
    headers = request.headers
    if origin(target) != origin(request.url):
        headers = tuple(item for item in headers if item[0].lower() not in SECRETS)
    turns = (status == 303 and request.method != "HEAD") or (status in (301, 302) and request.method == "POST")
    if not turns:
        return request._replace(url=target, headers=headers)
    kept = tuple(item for item in headers if not item[0].lower().startswith("content-"))
    return request._replace(url=target, headers=kept, method="GET", body=None)


def origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def proxy_of(request: HTTPRequest) -> str | None:
    """The proxy for a request: its own, or the environment's (http_proxy, https_proxy, no_proxy)."""
    if request.proxy is not None:
        return request.proxy or None
    parts = urlsplit(request.url)
    proxies = getproxies_environment()
    found = proxies.get(parts.scheme) or proxies.get("all")
    if found is None or proxy_bypass(parts.netloc.rpartition("@")[2], proxies):
        return None
    return found if "://" in found else f"http://{found}"


def kind_of(error: Exception) -> str:
    """NetworkError's word for an error of aiohttp."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "resolve"
        case aiohttp.ClientSSLError():
            return "tls"
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionRefusedError):
            return "refused"
        case aiohttp.ClientConnectorError():
            return "unreachable"
    return "protocol"


def shown(url: str) -> str:
    """A URL for logs: without what it asks, and without a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
