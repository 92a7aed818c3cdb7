"""The network under scripts: which addresses they may reach, and the clients that keep to it.

Configured networks come in; a Network (hsl/library/network.py) goes out, which belongs to one event loop.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Mapping
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple

from hsl.library.network import NotPermitted
from hsl.runtime.sockets import SocketWaits

if TYPE_CHECKING:
    from hsl.runtime.dns import TableResolver
    from hsl.runtime.http import HTTPClient
    from hsl.runtime.log import Log
    from hsl.runtime.names import ScriptDNS

EVERYTHING = ("0.0.0.0/0", "::/0")
DENIED = (
    "169.254.0.0/16",  # link-local, with the metadata services of most clouds
    "fe80::/10",
    "224.0.0.0/24",  # link-local multicast
    "ff02::/16",
    "fd00:ec2::/32",  # metadata: Amazon (254 and others)
    "fd20:ce::254/128",  # Google
    "100.100.100.200/32",  # Alibaba
    "168.63.129.16/32",  # Azure
    "192.0.0.192/32",  # Oracle
)
MAPPED = IPv6Network("::ffff:0:0/96")  # IPv4 in IPv6
EMBEDDING = tuple(
    IPv6Network(text)
    for text in (
        "64:ff9b::/96",  # NAT64 (RFC 6052)
        "64:ff9b:1::/48",  # NAT64 of one's own, as long as the address is at the end (RFC 8215)
        "::ffff:0:0:0/96",  # SIIT (RFC 2765)
        "::/96",  # IPv4-compatible (RFC 4291 2.5.5.1)
    )
)


class Rule(NamedTuple):
    """The rule with the largest (length, rank) of those that hold an address decides."""

    network: IPv4Network | IPv6Network
    rank: int  # 0: denied by default, 1: allowed, 2: denied

    @property
    def weight(self) -> tuple[int, int]:
        return self.network.prefixlen, self.rank


class NetworkPolicy:
    """Which addresses scripts may reach.

    allow   networks and addresses; none: everything
    deny    those that are denied besides link-local and cloud metadata addresses. The longest network that holds an
            address decides, so an `allow` of the same length or longer opens what is denied by default; of an `allow`
            and a `deny` of equal length the `deny` wins
    unix    absolute paths of UNIX sockets; no others may be connected to

    Raises ValueError for what is no network.
    """

    def __init__(self, allow: Iterable[str] = (), deny: Iterable[str] = (), unix: Iterable[str] = ()) -> None:
        allowed = tuple(allow) or EVERYTHING
        ranked = [(0, DENIED), (1, allowed), (2, tuple(deny))]
        self.rules = [Rule(read_network(text), rank) for rank, texts in ranked for text in texts]
        self.unix = frozenset(map(os.path.normpath, unix))

    def permit(self, address: str) -> None:
        """Let an IP address, or the absolute path of a UNIX socket, pass. Raises NotPermitted."""
        if not self.permits(address):
            raise NotPermitted(f"connections to {address[:200]!r} are not permitted (scripting.network)")

    def permits(self, address: str) -> bool:
        if address.startswith("/"):
            return os.path.normpath(address) in self.unix
        try:
            ip = ip_address(address)
        except ValueError:
            return False
        if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return self.rank(ip) == 1 and all(self.rank(other) in (None, 1) for other in stand_ins(ip))

    def rank(self, ip: IPv4Address | IPv6Address) -> int | None:
        """The rank of the rule that decides; None where no rule holds the address."""
        found = [rule.weight for rule in self.rules if ip in rule.network]
        return max(found)[1] if found else None


def read_network(text: str) -> IPv4Network | IPv6Network:
    """A network; one of IPv4 in IPv6 as that of IPv4. Raises ValueError."""
    network = ip_network(text, strict=False)
    if isinstance(network, IPv6Network) and network.subnet_of(MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - MAPPED.prefixlen))
    return network


def stand_ins(ip: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """Other addresses that this one reaches: this host for 0.0.0.0 and ::, what a translator's address embeds."""
    if ip.is_unspecified:
        return [IPv4Address("127.0.0.1"), IPv6Address("::1")]
    if isinstance(ip, IPv4Address):
        return []
    found: list[IPv4Address | IPv6Address] = []
    if not ip.is_loopback and any(ip in network for network in EMBEDDING):
        found.append(IPv4Address(int(ip) & 0xFFFFFFFF))
    if ip.sixtofour is not None:
        found.append(ip.sixtofour)
    if ip.teredo is not None:
        found += ip.teredo
    return found


class ScriptNetwork:
    """What the contexts of all stages show as `network`. `configure` exchanges policy and sources while it is in use.

    servers, port   of the DNS; none: the system's
    table           names that are answered without asking
    sources         addresses by their configured id
    log             where requests in the background report; None: nowhere
    """

    def __init__(
        self,
        policy: NetworkPolicy | None = None,
        *,
        servers: Iterable[str] = (),
        port: int = 53,
        table: TableResolver | None = None,
        sources: Mapping[str, str] | None = None,
        log: Log | None = None,
    ) -> None:
        self.policy = policy or NetworkPolicy()
        self.servers = tuple(servers)
        self.port = port
        self.table = table
        self.sources = dict(sources or {})
        self.log = log
        self.sockets = SocketWaits()

    def configure(self, policy: NetworkPolicy, sources: Mapping[str, str]) -> None:
        self.policy = policy
        self.sources = dict(sources)
        client: HTTPClient | None = self.__dict__.get("http")
        if client is not None:
            client.retire()

    def permit(self, address: str) -> None:
        """What the policy of this moment says. Raises NotPermitted."""
        self.policy.permit(address)

    def source(self, address_id: str) -> str | None:
        return self.sources.get(address_id)

    @cached_property
    def dns(self) -> ScriptDNS:
        from hsl.runtime.names import ScriptDNS

        return ScriptDNS(self.permit, self.servers, self.port, self.table)

    @cached_property
    def http(self) -> HTTPClient:
        from hsl.runtime.http import HTTPClient

        return HTTPClient(self.permit, self.dns, self.log)

    async def close(self, grace: float = 5.0) -> None:
        """End its clients. What waits in the background has `grace` seconds."""
        client: HTTPClient | None = self.__dict__.get("http")
        if client is not None:
            await client.close(grace)
