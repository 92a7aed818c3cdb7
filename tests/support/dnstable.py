"""A run's host whose DNS is a table, with a settable clock: `{("example.com", "TXT"): [b"v=spf1 -all"], …}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hsl.library.network import DNSAnswer


class TableDNS:
    """Answers by name and type; a name with another type has no data, others do not exist. A string is a status."""

    def __init__(self, table: Mapping[tuple[str, str], Sequence[bytes] | str]) -> None:
        self.table = {(name.lower(), kind): records for (name, kind), records in table.items()}
        self.asked: list[tuple[str, str]] = []
        self.waits: list[tuple[float, tuple[str, ...]]] = []  # timeout and servers of each question

    async def query(
        self, name: str, kind: str = "A", *, timeout: float = 5.0, servers: Sequence[str] = ()
    ) -> DNSAnswer:
        name = name.lower()
        self.asked.append((name, kind))
        self.waits.append((timeout, tuple(servers)))
        found = self.table.get((name, kind))
        if isinstance(found, str):
            return DNSAnswer(found)
        if found is not None:
            return DNSAnswer("NOERROR", tuple(found), ttl=60.0)
        known = any(other == name or other.endswith(f".{name}") for other, _ in self.table)
        return DNSAnswer("NOERROR" if known else "NXDOMAIN")


class TableNetwork:
    def __init__(self, dns: TableDNS) -> None:
        self.dns = dns


class TableHost:
    """What functions of the library see of a host."""

    def __init__(self, table: Mapping[tuple[str, str], Sequence[bytes] | str], now: float = 1_700_000_000.0) -> None:
        self.dns = TableDNS(table)
        self.network = TableNetwork(self.dns)
        self.now = now

    def time(self) -> float:
        return self.now
