"""The fixed limits of docs/operating.md: the page says what the code holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsl.mime.fields import MAX_FIELDS, MAX_HEADERS
from hsl.runtime import dns, metrics, outgoing, policies, rates
from hsl.runtime.data import MAX_ACTS
from hsl.runtime.functions.arguments import MAX_METADATA
from hsl.smtpd import scheduler, yamlfile
from hsl.smtpd.client import MAX_ADDRESSES
from hsl.smtpd.received import MAX_RECEIVED
from hsl.smtpd.wire import BUFFER, MAX_COMMAND, MAX_COMMANDS

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
KIB, MIB, DAY = 1024, 1024 * 1024, 86400
FIRST_CELLS = [
    f"{MAX_COMMAND} octets a command line, MAIL {MAX_COMMANDS['MAIL']:,}, RCPT {MAX_COMMANDS['RCPT']:,}, "
    f"AUTH {MAX_COMMANDS['AUTH']:,} (RFC 5321, 3461, 4954)",
    f"{BUFFER // KIB} KiB read ahead of a client",
    f"{MAX_RECEIVED} Received headers",
    f"{MAX_HEADERS // MIB} MiB of header, {MAX_FIELDS:,} fields",
    f"{MAX_ACTS} actions for a recipient, {outgoing.MAX_MAILS:,} messages queued by one script run",
    f"{MAX_METADATA // KIB} KiB of metadata",
    f"{rates.MAX_COUNT:,} hits in a rate's window, {rates.MAX_INTERVAL // DAY} days",
    f"{metrics.MAX_SERIES:,} metrics series, {policies.MAX_RULES:,} suspensions and policies",
    f"{MAX_ADDRESSES} addresses tried in an attempt, {dns.MAX_HOSTS} mail hosts of a domain",
    f"{scheduler.LANE_LIMIT:,} waiting messages of a destination in memory, {scheduler.WAITING_LIMIT:,} in all",
    f"{yamlfile.MAX_BYTES // MIB} MiB, {yamlfile.MAX_DEPTH} levels of a configuration file",
]


@pytest.mark.parametrize("cell", FIRST_CELLS)
def test_a_limit(cell: str) -> None:
    assert f"\n| {cell} | " in PAGE.read_text()


def test_no_other_limit_stands_there() -> None:
    table = PAGE.read_text().split("These are fixed:\n")[1].strip().split("\n\n")[0]
    assert len(table.splitlines()) == 2 + len(FIRST_CELLS)
