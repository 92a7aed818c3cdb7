"""`hsl queue`: look at the queue of a gateway, or change it. Speaks to the running gateway's control socket.

With the gateway down the looking commands read the queue from disk, and say so; the changing ones refuse.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from hsl.errors import HslError
from hsl.runtime.queue import QueueError
from hsl.smtpd.configfile import queue_places
from hsl.smtpd.control import FILTERS, MAX_PAGE, Answer, ControlClient, ControlError, Request, look
from hsl.smtpd.shards import ReadonlyShards

F = TypeVar("F", bound=Callable[..., Any])
COLUMNS = ("ID", "STATE", "AGE", "SIZE", "TRY", "NEXT", "SENDER", "RECIPIENT", "LAST ERROR")
RULE_COLUMNS = ("ID", "KIND", "ENDS IN", "COUNTED BY", "MATCH", "LIMITS", "TAG")
MAX_COLUMN = 60  # characters of the last column


@dataclass(frozen=True, slots=True)
class Places:
    """Where the control socket is, and the queue (None when only the socket was named)."""

    socket: Path
    queue: Path | None


def place_options(function: F) -> F:
    """Which gateway: `-c` or `--socket`, before or behind the sub-command."""
    path = click.Path(path_type=Path)
    function = click.option("--socket", "path", type=path, help="The control socket, instead of a config.")(function)
    return click.option("-c", "--config", type=path, help="The gateway's configuration; smtpd.yaml by default.")(
        function
    )


@click.group("queue", context_settings={"help_option_names": ["-h", "--help"]})
@place_options
@click.pass_context
def command(context: click.Context, config: Path | None, path: Path | None) -> None:
    """Look at a gateway's queue and change it."""
    context.obj = (config, path)


def placed(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a sub-command the Places that its options, or those of the group, name."""

    @place_options
    @click.pass_obj
    @wraps(function)
    def run(outer: tuple[Path | None, Path | None], /, config: Path | None, path: Path | None, **given: Any) -> None:
        if config is None and path is None:
            config, path = outer
        function(find_places(config or Path("smtpd.yaml"), path), **given)

    return run


def find_places(config: Path, path: Path | None) -> Places:
    if path is not None:
        return Places(path, None)
    try:
        queue, control = queue_places(config)
    except HslError as error:
        raise click.ClickException(str(error)) from None
    return Places(control, queue)


# asking


@contextmanager
def gateway(places: Places, reading: bool) -> Iterator[Callable[[Request], Answer]]:
    """A way to ask: the gateway, or for reading the files of one that is down. Errors become the command's."""
    try:
        with connect(places, reading) as ask:
            yield ask
    except (ControlError, QueueError) as error:
        raise click.ClickException(str(error)) from None


@contextmanager
def connect(places: Places, reading: bool) -> Iterator[Callable[[Request], Answer]]:
    try:
        client = ControlClient(places.socket)
    except PermissionError:
        raise ControlError(f"no permission for {places.socket}: run this as the gateway's user") from None
    except OSError:
        if not reading or places.queue is None:
            raise ControlError(f"no gateway answers at {places.socket}") from None
    else:
        try:
            yield client.ask
        finally:
            client.close()
        return
    queue = ReadonlyShards(places.queue)
    try:
        click.echo(f"no gateway is running: read from {places.queue}", err=True)
        yield lambda request: look(queue, request)
    finally:
        queue.close()


def filter_options(function: F) -> F:
    """The filters of every command; each may be given several times, any of its values matches."""
    for name in reversed(FILTERS):
        function = click.option(f"--{name}", multiple=True, metavar="VALUE")(function)
    return function


def read_filters(given: Mapping[str, Any], ids: tuple[int, ...] = ()) -> dict[str, list[str]]:
    filters = {name: list(given[name]) for name in FILTERS if given[name]}
    if ids:
        filters.setdefault("id", []).extend(map(str, ids))
    return filters


as_json = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")


def print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))


# looking


@command.command("list")
@filter_options
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Entries to list.")
@as_json
@placed
def list_command(places: Places, /, limit: int, as_json: bool, **given: tuple[str, ...]) -> None:
    """List entries, in the order of their ids."""
    entries: list[Answer] = []
    more, after = True, 0
    with gateway(places, reading=True) as ask:
        while more and len(entries) < limit:
            page = min(MAX_PAGE, limit - len(entries))
            answer = ask({"command": "list", "filters": read_filters(given), "limit": page, "after": after})
            entries += answer["entries"]
            more, after = answer["more"], answer["after"]
    if as_json:
        print_json(entries)
        return
    print_table([row_of(entry, time.time()) for entry in entries])
    if more:
        click.echo(f"… and more: see --limit (now {limit})", err=True)


@command.command("show")
@click.argument("entry", type=click.IntRange(min=1))
@click.option("--headers", is_flag=True, help="With the message's headers.")
@click.option("--body", is_flag=True, help="With the whole message (its first MiB).")
@as_json
@placed
def show_command(places: Places, /, entry: int, headers: bool, body: bool, as_json: bool) -> None:
    """Show one entry: its metadata, its last error, and its message if asked for."""
    with gateway(places, reading=True) as ask:
        answer = ask({"command": "show", "id": entry, "headers": headers, "body": body})
    if as_json:
        print_json(answer)
        return
    print_entry(answer["entry"])
    if "message" in answer:
        click.echo()
        sys.stdout.flush()
        message = base64.b64decode(answer["message"])
        if sys.stdout.isatty():
            click.echo("\n".join(printable(line) for line in message.decode("utf-8", "replace").split("\r\n")))
        else:
            sys.stdout.buffer.write(message)
        if answer["truncated"]:
            click.echo("… the message goes on", err=True)


@command.command("metric")
@filter_options
@click.option("--metric", type=click.Choice(["count", "bytes"]), default="count", show_default=True)
@as_json
@placed
def metric_command(places: Places, /, metric: str, as_json: bool, **given: tuple[str, ...]) -> None:
    """Print how many entries match, or their bytes."""
    with gateway(places, reading=True) as ask:
        value = ask({"command": "metric", "metric": metric, "filters": read_filters(given)})["value"]
    if as_json:
        print_json({metric: value})
    else:
        click.echo(value)


# changing


def changing(name: str, doc: str) -> None:
    """Declare one of the changing commands."""

    @command.command(name, help=doc)
    @click.argument("ids", type=click.IntRange(min=1), nargs=-1)
    @filter_options
    @click.option("--all", "everything", is_flag=True, help="The whole queue.")
    @as_json
    @placed
    def changing_command(
        places: Places, /, ids: tuple[int, ...], everything: bool, as_json: bool, **given: tuple[str, ...]
    ) -> None:
        filters = read_filters(given, ids)
        if bool(filters) == everything:
            raise click.UsageError("name ids or filters, or give --all")
        with gateway(places, reading=False) as ask:
            answer = ask({"command": name, "filters": filters, "all": everything})
        if as_json:
            print_json(answer)
        else:
            click.echo(f"{name}: {answer['changed']} changed")


changing("hold", "Keep entries from being tried until they are released.")
changing("release", "Let held entries go; they are tried at once.")
changing("retry", "Try waiting entries at once.")
changing("delete", "Remove entries, without a bounce.")


# suspensions and policies


@command.command("policies")
@as_json
@placed
def policies_command(places: Places, /, as_json: bool) -> None:
    """List the suspensions and policies that scripts made (queue_suspend, queue_policy)."""
    with gateway(places, reading=False) as ask:
        rules = ask({"command": "policies"})["rules"]
    if as_json:
        print_json(rules)
    elif not rules:
        click.echo("there are no suspensions and policies", err=True)
    else:
        print_columns([RULE_COLUMNS, *map(rule_row, rules)])


@command.command("lift")
@click.argument("rule")
@placed
def lift_command(places: Places, /, rule: str) -> None:
    """End a suspension or a policy, by its id."""
    with gateway(places, reading=False) as ask:
        ask({"command": "lift", "id": rule})
    click.echo(f"lifted {rule}")


def rule_row(rule: Answer) -> tuple[str, ...]:
    rate = rule["rate"]
    limits = {
        "concurrency": rule["concurrency"],
        "rate": rate and f"{rate[0]}/{rate[1]:g}s",
        "connectinterval": rule["connectinterval"],
    }
    shown = " ".join(f"{name}={value}" for name, value in limits.items() if value is not None)
    match = " ".join(f"{name}={printable(value)}" for name, value in rule["match"].items())
    counted = ",".join(rule["fields"]) or "-"
    return rule["id"], rule["kind"], duration(rule["ttl"]), counted, match or "-", shown or "-", printable(rule["tag"])


# printing


def printable(text: str) -> str:
    """Text from peers for a terminal: control characters as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape", "replace").decode() for char in text)


def duration(seconds: float) -> str:
    """`42s`, `5m`, `3h`, `2d`"""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"


def size_text(size: int) -> str:
    """`900`, `12K`, `3.4M`"""
    if size < 10_000:
        return str(size)
    return f"{size / 1024:.0f}K" if size < 1024 * 1024 else f"{size / 1024 / 1024:.1f}M"


def next_text(entry: Mapping[str, Any], now: float) -> str:
    """When the entry is tried next."""
    if entry["claimed"]:
        return "now"
    if entry["state"] == "hold":
        return "-"
    return duration(entry["due"] - now) if entry["due"] > now else "due"


def row_of(entry: Mapping[str, Any], now: float) -> tuple[str, ...]:
    return (
        str(entry["id"]),
        entry["state"],
        duration(now - entry["ts"]),
        size_text(entry["size"]),
        str(entry["retry"]),
        next_text(entry, now),
        f"<{printable(entry['sender'])}>",
        f"<{printable(entry['recipient'])}>",
        printable(entry["error"])[:MAX_COLUMN],
    )


def print_table(rows: list[tuple[str, ...]]) -> None:
    if not rows:
        click.echo("no entries match", err=True)
        return
    print_columns([COLUMNS, *rows])


def print_columns(table: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_entry(entry: Mapping[str, Any]) -> None:
    shown = {key: value for key, value in entry.items() if key != "metadata" and value not in ("", None, False, {})}
    if "dsn" in shown:
        shown["dsn"] = " ".join(f"{name}={value}" for name, value in entry["dsn"].items())
    for key in ("ts", "due"):
        if shown.get(key):
            shown[key] = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(entry[key]))
    width = max(map(len, shown)) + 1
    for key, value in shown.items():
        click.echo(f"{key + ':':{width}} {printable(str(value))}")
    for key, value in entry["metadata"].items():
        click.echo(f"{'metadata:':{width}} {printable(key)}={printable(value)}")
