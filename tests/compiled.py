"""Only for the package that tools/compiled-venv installs: its core is compiled, and what the build adds is there."""

from __future__ import annotations

import ast
from importlib import import_module, resources
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
from click.testing import CliRunner

from hsl.cli.main import main

SETUP = Path(__file__).parents[1] / "setup.py"


def compiled_modules() -> list[str]:
    """The names in setup.py's COMPILED."""
    for node in ast.parse(SETUP.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "COMPILED":
            return list(ast.literal_eval(node.value))
    raise AssertionError("setup.py has no COMPILED")


@pytest.mark.parametrize("name", compiled_modules())
def test_the_module_is_compiled(name: str) -> None:
    assert str(import_module(f"hsl.{name}").__file__).endswith(tuple(EXTENSION_SUFFIXES))


def test_the_package_is_the_installed_one() -> None:
    assert "site-packages" in str(import_module("hsl").__file__)


def test_the_version_says_compiled() -> None:
    assert CliRunner().invoke(main, ["--version"]).output.endswith("(compiled)\n")


def test_the_tables_of_the_grammar_are_installed() -> None:
    assert [item for item in resources.files("hsl.grammar").iterdir() if item.name.endswith(".tables")]
