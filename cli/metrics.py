"""`hsl metrics`: what a running gateway has counted, in Prometheus' text form."""

from __future__ import annotations

from pathlib import Path

import click

from hsl.cli.queue import find_places, gateway, printable


@click.command("metrics", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-c", "--config", type=click.Path(path_type=Path), default=Path("smtpd.yaml"), show_default=True)
@click.option("--socket", "path", type=click.Path(path_type=Path), help="The control socket, instead of a config.")
def command(config: Path, path: Path | None) -> None:
    """Print the metrics of a running gateway: its own, and what scripts count by metrics_*() and stat()."""
    with gateway(find_places(config, path), reading=False) as ask:
        text = ask({"command": "metrics"})["text"]
        click.echo("\n".join(printable(line) for line in text.split("\n")), nl=False)
