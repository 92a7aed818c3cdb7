"""The options that `hsl run` and `hsl repl` share: which stage, and what the script is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import click

if TYPE_CHECKING:
    from hsl.cli.workbench import Scene

F = TypeVar("F", bound=Callable[..., Any])


class StageOptions(TypedDict):
    """What the options below say; None and empty: not given."""

    message: Path | None
    sender: str | None
    recipient: tuple[str, ...]
    ip: str | None
    helo: str | None
    user: str | None
    password: str | None
    mechanism: str | None
    initial: str | None
    response: tuple[str, ...]
    transport: str | None
    metadata: tuple[str, ...]
    reply: str | None
    settings: tuple[str, ...]


def check_ip(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    try:
        return str(ip_address(value))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not an IP address") from None


OPTIONS = (
    click.option("--stage", metavar="STAGE", help="Run on a stage: connect, helo, auth, mailfrom, rcptto, data, eod …"),
    click.option("--message", type=click.Path(path_type=Path), metavar="FILE", help="The message (data, eod)."),
    click.option("--sender", metavar="ADDRESS", help="The envelope sender; '' for the null sender."),
    click.option("--recipient", multiple=True, metavar="ADDRESS", help="An envelope recipient; may be repeated."),
    click.option("--ip", metavar="IP", callback=check_ip, help="The client's address."),
    click.option("--helo", metavar="NAME", help="The client's HELO name."),
    click.option("--user", metavar="NAME", help="The client is logged in (at auth: logs in) as this user."),
    click.option("--password", metavar="TEXT", help="The password that the auth stage is given."),
    click.option("--mechanism", metavar="NAME", help="The SASL mechanism that the auth stage carries out itself."),
    click.option("--initial", metavar="TEXT", help="Its initial response, as text."),
    click.option("--response", multiple=True, metavar="TEXT", help="The answers to its challenges, in order."),
    click.option("--transport", metavar="ID", help="The transport's id."),
    click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="Metadata of the queued message."),
    click.option("--reply", metavar="TEXT", help="The remote's reply that postdelivery sees, like '550 5.1.1 No'."),
    click.option("--set", "settings", multiple=True, metavar="NAME=VALUE",
                 help="A backend: rate=redis://host:port/db, spam=spamd://host:port."),
    click.option("--root", type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="FOLDER",
                 help="Where includes and files are read from; by default the script's folder."),
)  # fmt: skip

ffi_option = click.option("--ffi", is_flag=True, help="Allow C functions (class FFI), as scripting.ffi does.")


def stage_options(command: F) -> F:
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def given(options: StageOptions) -> list[str]:
    """The options that were given, as they are written."""
    written = {"settings": "--set"}
    return [written.get(name, f"--{name}") for name, value in options.items() if value not in (None, ())]


def pairs(items: Iterable[str], option: str) -> dict[str, str]:
    """`NAME=VALUE` options as a mapping. Raises click.BadParameter."""
    result = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"wanted NAME=VALUE, got {item!r}", param_hint=option)
        result[name] = value
    return result


def make_scene(stage: str, options: StageOptions) -> Scene:
    """The scene that the options describe. Raises click.BadParameter, UsageError."""
    from hsl.cli.workbench import Scene, read_message

    metadata = pairs(options["metadata"], "--metadata")
    message = options["message"]
    return Scene(
        stage,
        sender=encoded(options["sender"], Scene.sender),
        recipients=tuple(map(os.fsencode, options["recipient"])) or Scene.recipients,
        ip=options["ip"] or Scene.ip,
        helo=encoded(options["helo"], Scene.helo),
        user=encoded(options["user"], Scene.user),
        password=encoded(options["password"], Scene.password),
        message=Scene.message if message is None else read_message(message),
        mechanism=check_mechanism(options),
        initial=None if options["initial"] is None else os.fsencode(options["initial"]),
        responses=tuple(map(os.fsencode, options["response"])),
        transport=options["transport"] or Scene.transport,
        metadata={os.fsencode(key): os.fsencode(value) for key, value in metadata.items()},
        reply=Scene.reply if options["reply"] is None else options["reply"],
    )


def check_mechanism(options: StageOptions) -> str:
    """The mechanism whose exchange is played; the built-in ones have none. Raises click.UsageError."""
    name = (options["mechanism"] or "").upper()
    if name in ("PLAIN", "LOGIN"):
        raise click.UsageError(f"{name} is built in: give --user and --password")
    if not name and (options["initial"] is not None or options["response"]):
        raise click.UsageError("--initial and --response belong to a mechanism: name it by --mechanism")
    return name


def encoded(text: str | None, default: bytes) -> bytes:
    return default if text is None else os.fsencode(text)
