"""Policies, groupings and lists of a configuration: what they become, and what is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsl.runtime.clock import SettableClock
from hsl.runtime.model import Address, QueueEntry
from hsl.runtime.policies import Blocked, Permit, QueuePolicies
from hsl.smtpd.configfile import ConfigError, read_config
from hsl.smtpd.policyconfig import configure_policies

BASE = """\
environment: {hostname: gw.example}
servers: [{id: in, listeners: [{port: 0}], transport: out}]
transportgroups: [{id: group, transports: [{id: out}]}]
queues:
  path: spool
"""
GOOD = """\
  lists:
    big: ["*.big.example", one.example]
  grouping:
    default: remotemx
    groupings:
      - {id: big, remotemx: ["*.big.example"], remoteip: [198.51.100.0/24]}
  policies:
    - fields: [recipientdomain]
      conditions:
        - {if: {recipientdomain: "@big"}, then: {concurrency: 2, tag: large, properties: {retry: 1, name: x}}}
      default: {concurrency: 1}
    - fields: [localip, grouping]
      conditions:
        - {if: {grouping: "&big"}, then: {rate: 2/60}}
"""


def policies_of(folder: Path, text: str) -> QueuePolicies:
    path = folder / "smtpd.yaml"
    path.write_text(BASE + text)
    policies = QueuePolicies(SettableClock(now=1e6, monotonic=50.0))
    configure_policies(policies, read_config(path).queues)
    return policies


def entry(domain: bytes) -> QueueEntry:
    return QueueEntry("t", Address(b"a", b"a.example"), Address(b"b", domain), "out")


def admitted(policies: QueuePolicies, domain: bytes, host: str, *, late: bool) -> bool:
    facts = policies.facts(entry(domain), "127.0.0.1", "192.0.2.1", host)
    return isinstance(policies.admit(facts, late=late), Permit)


def test_what_a_configuration_says(tmp_path: Path) -> None:
    policies = policies_of(tmp_path, GOOD)
    assert [admitted(policies, b"one.example", "", late=False) for _ in range(3)] == [True, True, False]
    assert [admitted(policies, b"mx.big.example", "", late=False) for _ in range(3)] == [True, True, False]
    assert [admitted(policies, b"two.example", "", late=False) for _ in range(2)] == [True, False]
    assert [admitted(policies, b"x.example", "mx1.big.example", late=True) for _ in range(3)] == [True, True, False]
    assert admitted(policies, b"y.example", "mx2.small.example", late=True)


def test_the_rules_carry_their_tag_properties_and_place(tmp_path: Path) -> None:
    policies = policies_of(tmp_path, GOOD)
    permit = policies.admit(policies.facts(entry(b"one.example"), "", "", ""))
    assert not isinstance(permit, Blocked)
    [rule] = permit.rules
    assert rule.limits is not None
    assert (rule.id, rule.tag) == ("queues.policies[0].conditions[0]", "large")
    assert rule.limits.properties == (("retry", 1.0), ("name", b"x"))


BAD = [
    ("  policies: [{fields: [remotmx]}]", "6:24", "queues.policies[0].fields[0]: 'remotmx', wanted", "'remotemx'"),
    ("  policies: [{feilds: [remotemx]}]", "6:15", "unknown key 'feilds'", "did you mean 'fields'?"),
    (
        "  policies: [{fields: [jobid]}, {fields: [jobid]}]",
        "6:33",
        "two policies with the same fields",
        "first on line",
    ),
    (
        "  policies: [{fields: [jobid], conditions: [{if: {remotemx: a}, then: {concurrency: 1}}]}]",
        "6:51",
        "'remotemx' is not among the policy's fields",
        "",
    ),
    (
        "  policies: [{fields: [jobid], conditions: [{iff: {jobid: a}, then: {concurrency: 1}}]}]",
        "6:46",
        "unknown key 'iff'",
        "did you mean 'if'?",
    ),
    (
        "  policies: [{fields: [remoteip], conditions: [{if: {remoteip: a}, then: {concurrency: 1}}]}]",
        "6:64",
        "wanted an IP address or network",
        "",
    ),
    (
        '  lists: {big: [a]}\n  policies: [{fields: [remotemx], conditions: [{if: {remotemx: "@bgi"}, then: {}}]}]',
        "7:64",
        "there is no list 'bgi'",
        "did you mean",
    ),
    (
        '  policies: [{fields: [remotemx], conditions: [{if: {remotemx: "/(/"}, then: {stop: true}}]}]',
        "6:64",
        "invalid regular expression",
        "",
    ),
    ("  policies: [{default: {rate: 10/0}}]", "6:31", "wanted messages/seconds, like 10/60", ""),
    ("  policies: [{default: {concurrency: 0}}]", "6:38", "wanted at least 1", ""),
    ("  policies: [{default: {tag: x}}]", "6:24", "wanted concurrency, rate, connectinterval or stop", ""),
    ("  grouping: {groupings: [{id: a, remoteip: [mx]}]}", "6:45", "wanted an IP address or network", ""),
    ("  grouping: {default: mx}", "6:23", "wanted 'recipientdomain', 'remotemx' or ''", ""),
]


@pytest.mark.parametrize(("text", "place", "message", "hint"), BAD, ids=range(len(BAD)))
def test_what_is_refused(tmp_path: Path, text: str, place: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policies_of(tmp_path, text)
    found = str(caught.value)
    assert f"smtpd.yaml:{place}:" in found
    assert message in found
    assert hint in found
