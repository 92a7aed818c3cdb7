"""The options that `hsl run` and `hsl repl` share: which stage, and what the script is told."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from hsl.cli.workbench import Scene

F = TypeVar("F", bound=Callable[..., Any])

OPTIONS = (
    click.option("--stage", metavar="STAGE", help="Run on a stage: connect, helo, auth, mailfrom, rcptto, data …"),
    click.option("--message", type=click.Path(path_type=Path), metavar="FILE", help="The message (data)."),
    click.option("--sender", metavar="ADDRESS", help="The envelope sender; '' for the null sender."),
    click.option("--recipient", multiple=True, metavar="ADDRESS", help="An envelope recipient; may be repeated."),
    click.option("--ip", metavar="IP", help="The client's address."),
    click.option("--helo", metavar="NAME", help="The client's HELO name."),
    click.option("--user", metavar="NAME", help="The client is logged in (at auth: logs in) as this user."),
    click.option("--password", metavar="TEXT", help="The password that the auth stage is given."),
    click.option("--transport", metavar="ID", help="The transport's id."),
    click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="Metadata of the queued message."),
    click.option("--reply", metavar="TEXT", help="The remote's reply that postdelivery sees, like '550 5.1.1 No'."),
    click.option("--set", "settings", multiple=True, metavar="NAME=VALUE",
                 help="A backend: rate=redis://host:port/db, spam=spamd://host:port."),
    click.option("--root", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
                 help="Where includes are read from; by default the script's folder."),
)  # fmt: skip


def stage_options(command: F) -> F:
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def pairs(given: tuple[str, ...], option: str) -> dict[str, str]:
    """`NAME=VALUE` options as a mapping."""
    result = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"wanted NAME=VALUE, got {item!r}", param_hint=option)
        result[name] = value
    return result


def make_scene(stage: str, options: dict[str, Any]) -> Scene:
    """The scene that the options describe."""
    from hsl.cli.workbench import Scene, read_message

    given: dict[str, Any] = {"stage": stage}
    for name in ("sender", "helo", "user", "password"):
        if options[name] is not None:
            given[name] = os.fsencode(options[name])
    for name in ("ip", "transport", "reply"):
        if options[name] is not None:
            given[name] = options[name]
    if options["recipient"]:
        given["recipients"] = tuple(os.fsencode(item) for item in options["recipient"])
    if options["metadata"]:
        metadata = pairs(options["metadata"], "--metadata")
        given["metadata"] = {os.fsencode(key): os.fsencode(value) for key, value in metadata.items()}
    if options["message"] is not None:
        given["message"] = read_message(options["message"])
    return Scene(**given)
