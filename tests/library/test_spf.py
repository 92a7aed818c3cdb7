"""SPF against the test suite of openspf.org for RFC 7208 (tests/data/spf), and beyond it."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import yaml

from hsl.library.network import DNSAnswer
from hsl.library.spf import TemporaryError, check_sender

SUITE = Path(__file__).parent.parent / "data" / "spf" / "rfc7208-tests.yml"


class Zone:
    """The zone data of one scenario, by its own rules: a TIMEOUT answers all that stands behind it; a name without TXT
    has its SPF records as TXT; `error.` does not answer."""

    def __init__(self, data: dict[str, list[Any]]) -> None:
        self.names = {name.lower(): entries for name, entries in data.items()}
        self.asked: list[tuple[str, str]] = []

    def ask(self, name: str, kind: str) -> DNSAnswer:
        self.asked.append((name, kind))
        for _ in range(9):
            entries = self.names.get(name.lower())
            if entries is None:
                return DNSAnswer("TIMEOUT" if name.startswith("error.") else "NXDOMAIN")
            records, late = self.records(entries, kind)
            if records or late:
                return DNSAnswer("TIMEOUT" if late and not records else "NOERROR", tuple(records))
            target = next((entry["CNAME"] for entry in entries if isinstance(entry, dict) and "CNAME" in entry), None)
            if target is None:
                return DNSAnswer("NOERROR")
            name = target
        return DNSAnswer("SERVFAIL")

    def records(self, entries: list[Any], kind: str) -> tuple[list[bytes], bool]:
        own = any(isinstance(entry, dict) and "TXT" in entry for entry in entries)
        wanted = "SPF" if kind == "TXT" and not own else kind
        records: list[bytes] = []
        for entry in entries:
            if entry == "TIMEOUT" or entry.get(wanted) == "TIMEOUT":
                return records, True
            if wanted in entry and entry[wanted] != "NONE":
                records.append(record(entry[wanted]))
        return records, False


def record(value: Any) -> bytes:
    if isinstance(value, list):
        joint = " " if value and isinstance(value[0], int) else ""  # MX; else the strings of a TXT
        return joint.join(map(str, value)).encode()
    return str(value).encode()


def cases() -> list[Any]:
    found = []
    with SUITE.open(encoding="utf-8") as file:
        for scenario in yaml.safe_load_all(file):
            for name, case in scenario["tests"].items():
                found.append(pytest.param(scenario["zonedata"], case, id=f"{scenario['description']}: {name}"))
    return found


CASES = cases()


def test_the_suite_is_whole() -> None:
    assert len(CASES) == 203


@pytest.mark.parametrize(("zone", "case"), CASES)
def test_suite(zone: dict[str, list[Any]], case: dict[str, Any]) -> None:
    result = check_sender(Zone(zone).ask, case["host"], str(case["helo"]), str(case["mailfrom"] or ""))
    wanted = case["result"]
    assert result in (wanted if isinstance(wanted, list) else [wanted])


EDGES = [  # (records of example.com, result for 192.0.2.1)
    ("v=spf1 -all", "fail"),
    ("v=spf1 exists:%{d0}.com -all", "permerror"),
    ("v=spf1 exists:%{d00000000000000000001}.%{d} -all", "pass"),
    ("v=spf1 exists:%{d" + "9" * 5000 + "} -all", "pass"),
    ("v=spf1 a:" + "a." * 200 + "example.com -all", "fail"),
    ("v=spf1 a:" + "%{l}" * 5000 + ".example.com -all", "fail"),
    ("v=spf1 include:example.com -all", "permerror"),
    ("v=spf1 redirect=example.com", "permerror"),
    ("v=spf1 a:no\u00ebl.example -all", "permerror"),
    ("v=spf1 ip4:192.0.2.0/24\x00 -all", "permerror"),
    ("v=spf1 ip4:%eth0 ip6:fe80::1%eth0 ?all", "permerror"),
]


@pytest.mark.parametrize(("text", "wanted"), EDGES)
def test_edges(text: str, wanted: str) -> None:
    zone = Zone({"example.com": [{"TXT": text}, {"A": "192.0.2.99"}], "com.example.com": [{"A": "192.0.2.1"}]})
    assert check_sender(zone.ask, "192.0.2.1", "mail.example", "user@example.com") == wanted


@pytest.mark.parametrize(
    "text", ["exists:%%" + ".a" * 30_000 + ".com", "%{" * 30_000, "a:" + "a" * 60_000, "a" * 60_000]
)
def test_a_hostile_record_of_the_largest_size_is_read_at_once(text: str) -> None:
    zone = Zone({"example.com": [{"TXT": f"v=spf1 {text} -all"}]})
    assert check_sender(zone.ask, "192.0.2.1", "mail.example", "example.com") in ("permerror", "fail")


@pytest.mark.parametrize("macro", ["%{l}", "%{h}"])
def test_long_names_do_not_multiply_in_a_record(macro: str) -> None:
    record = DNSAnswer("NOERROR", (f"v=spf1 exists:{macro * 5_000}.com -all".encode(),))

    def ask(name: str, kind: str) -> DNSAnswer:
        return record if kind == "TXT" else DNSAnswer("NXDOMAIN")

    tracemalloc.start()
    result = check_sender(ask, "192.0.2.1", "b." * 50_000 + "example", "a." * 50_000 + "a@example.com")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (result, most < 50_000_000) == ("fail", True)


def test_the_client_is_no_address() -> None:
    assert check_sender(Zone({}).ask, "192.0.2.256", "mail.example", "example.com") == "invalid"


def test_a_mapped_address_is_ipv4() -> None:
    zone = Zone({"example.com": [{"TXT": "v=spf1 ip4:192.0.2.1 -all"}]})
    assert check_sender(zone.ask, "::ffff:192.0.2.1", "mail.example", "example.com") == "pass"


def test_the_dns_does_not_answer() -> None:
    def ask(name: str, kind: str) -> DNSAnswer:
        raise TemporaryError

    assert check_sender(ask, "192.0.2.1", "mail.example", "example.com") == "temperror"


def test_an_address_block_of_names_asks_a_bounded_number_of_questions() -> None:
    hosts = [{"MX": [10, f"mx{number}.example.com"]} for number in range(10)]
    data: dict[str, list[Any]] = {"example.com": [{"TXT": "v=spf1 " + "mx " * 20 + "-all"}, *hosts]}
    data |= {f"mx{number}.example.com": [{"A": "192.0.2.99"}] for number in range(10)}
    zone = Zone(data)
    assert check_sender(zone.ask, "192.0.2.1", "mail.example", "example.com") == "permerror"
    assert len(zone.asked) == 1 + 10 * 11
