"""The command `hsl` itself: what it lists, and what it does not import."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from hsl.cli.main import COMMANDS, main

HEAVY = ("asyncio", "lark", "pydantic", "yaml", "redis", "aiosmtpd", "hsl.runtime", "hsl.smtpd")


def test_help_lists_every_command_without_importing_one() -> None:
    program = (
        "import sys; from hsl.cli.main import main\ntry: main(['--help'])\nfinally: print('MODULES', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    listed, _, modules = done.stdout.partition("MODULES")
    for name, item in COMMANDS.items():
        assert f"  {name} " in listed
        assert item.help in listed
    assert "hsl.cli.main" in modules.split()
    assert not set(HEAVY) & set(modules.split())


def test_version() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert result.exit_code == 0
    assert re.fullmatch(r"hsl \d+\.\d+\.\d+ \((pure|compiled)\)\n", result.output)


@pytest.mark.parametrize("arguments", [["nothing"], ["--nothing"], ["queue", "nothing"], ["serve", "--nothing"]])
def test_usage_errors_exit_with_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "Usage: " in result.output
