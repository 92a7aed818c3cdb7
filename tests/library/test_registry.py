"""The registry: functions by today's name and older ones, chapters of a host by stage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from contents import contents_module

import hsl.library
from hsl.builtins import Chapter
from hsl.library import chapters, core_registry


def test_older_names_lead_to_todays() -> None:
    registry = core_registry()
    assert registry.current["strlen"] == "length"
    assert registry.get("strlen") is registry.get("length")
    for older, name in registry.current.items():
        assert name not in registry.current, older
        assert older in registry.entries[name].aliases


def test_chapters_have_titles() -> None:
    titles = [chapter.title for chapter in chapters()]
    assert titles[0] == "Array"
    assert all(title[0].isupper() for title in titles)


def test_a_hosts_chapters_join_by_stage() -> None:
    chapter = Chapter("Mail")

    @chapter.function("OnlyData", stages=("data",))
    def only_data() -> None:
        """Do nothing."""

    assert core_registry([chapter], "data").get("OnlyData") is not None
    assert core_registry([chapter], "helo").get("OnlyData") is None


def test_a_name_declared_twice_is_refused() -> None:
    chapter = Chapter("Mail")

    @chapter.function("strlen")
    def strlen() -> None:
        """Do nothing."""

    with pytest.raises(ValueError, match="strlen is declared twice"):
        core_registry([chapter])


def test_the_contents_are_current() -> None:
    assert Path(hsl.library.contents.__file__).read_text() == contents_module(), "run tools/contents"


def test_a_chapter_is_loaded_when_it_is_named() -> None:
    script = "import sys, hsl.library; known = hsl.library.core_registry(); known.names(); {}; print(*sys.modules)"

    def modules(use: str) -> list[str]:
        command = [sys.executable, "-c", script.format(use)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    uses = {use: modules(use) for use in ("0", "known.get('md5')", "known.classes['Map']")}
    assert [use for use, loaded in uses.items() if "hsl.library.cryptographic" in loaded] == ["known.get('md5')"]
    assert [use for use, loaded in uses.items() if "hsl.library.containers" in loaded] == ["known.classes['Map']"]
