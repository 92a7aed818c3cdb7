"""What all sessions of a server share: connections, bytes in intake, failures. Each answers: one more?"""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from functools import lru_cache

from hsl.runtime.protocols import Clock

WINDOW = 3600.0  # seconds that a failure counts
MAX_PEERS = 10_000  # peers whose failures are remembered; the longest unseen is forgotten first


@lru_cache(4096)
def parse_ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Raises ValueError."""
    return ipaddress.ip_address(text)


@lru_cache(4096)
def plain_ip(text: str) -> str:
    """An IPv4 address that came in as IPv6 (::ffff:192.0.2.1) in its own form; without a scope."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def peer_key(ip: str) -> str:
    """What counts as one peer: an IPv4 address, or an IPv6 network of 64 bits."""
    if ":" not in ip:
        return ip
    return str(ipaddress.ip_network((ip, 64), strict=False))


class Connections:
    """Sessions in all and per peer."""

    def __init__(self, total: int, per_ip: int) -> None:
        self.total = total
        self.per_ip = per_ip
        self.peers: Counter[str] = Counter()
        self.count = 0

    def enter(self, ip: str) -> bool:
        """Count one in, or say no."""
        peer = peer_key(ip)
        if self.count >= self.total or self.peers[peer] >= self.per_ip:
            if not self.peers[peer]:
                del self.peers[peer]
            return False
        self.count += 1
        self.peers[peer] += 1
        return True

    def leave(self, ip: str) -> None:
        peer = peer_key(ip)
        self.count -= 1
        self.peers[peer] -= 1
        if not self.peers[peer]:
            del self.peers[peer]


class ByteBudget:
    """Message bytes that sessions hold, in all and per peer: nobody can hold so many that none are left for others."""

    def __init__(self, limit: int, per_ip: int) -> None:
        self.limit = limit
        self.per_ip = per_ip
        self.used = 0
        self.peers: Counter[str] = Counter()

    def has_room(self, ip: str, count: int) -> bool:
        return self.used + count <= self.limit and self.peers[peer_key(ip)] + count <= self.per_ip

    def take(self, ip: str, count: int) -> bool:
        if not self.has_room(ip, count):
            return False
        self.used += count
        self.peers[peer_key(ip)] += count
        return True

    def give(self, ip: str, count: int) -> None:
        peer = peer_key(ip)
        self.used -= count
        self.peers[peer] -= count
        if not self.peers[peer]:
            del self.peers[peer]


class Failures:
    """Failed logins, or handshakes, per peer within the last hour."""

    def __init__(self, limit: int, clock: Clock) -> None:
        self.limit = limit
        self.clock = clock
        self.peers: OrderedDict[str, deque[float]] = OrderedDict()
        self.on_add: Callable[[str], None] = lambda ip: None  # tells other workers

    def exhausted(self, ip: str) -> bool:
        """Whether this peer may not try again for now."""
        times = self.peers.get(peer_key(ip))
        if times is None:
            return False
        while times and times[0] <= self.clock.monotonic() - WINDOW:
            times.popleft()
        return len(times) >= self.limit

    def add(self, ip: str) -> None:
        self.hear(ip)
        self.on_add(ip)

    def hear(self, ip: str) -> None:
        """Count one, of this worker or another."""
        peer = peer_key(ip)
        times = self.peers.setdefault(peer, deque(maxlen=self.limit))
        times.append(self.clock.monotonic())
        self.peers.move_to_end(peer)
        if len(self.peers) > MAX_PEERS:
            self.peers.popitem(last=False)
