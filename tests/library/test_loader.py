"""Where a script's files come from: paths below the root, modules by name and by scheme, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hsl.environment import Loader, LoadError
from hsl.loader import MAX_DATA, SHIPPED, FileLoader
from hsl.parser import MAX_SOURCE
from hsl.source import Source


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A script root with files, beside files that scripts must not see."""
    root = tmp_path / "root"
    (root / "lib").mkdir(parents=True)
    for name in ("main.hsl", "plain", "both", "both.hsl", "lib/tools.hsl", "dotted.name.hsl"):
        (root / name).write_text(f'"{name}";')
    (root / "folder").mkdir()
    (root / "folder.hsl").write_text('"folder.hsl";')
    (tmp_path / "secret.hsl").write_text('"secret";')
    (root / "link.hsl").symlink_to(tmp_path / "secret.hsl")
    (root / "up").symlink_to(tmp_path)
    (root / "inner.hsl").symlink_to(root / "lib/tools.hsl")
    (root / "loop.hsl").symlink_to(root / "loop.hsl")
    os.mkfifo(root / "fifo.hsl")
    return root


@pytest.fixture
def loader(root: Path) -> FileLoader:
    return FileLoader(root)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("main.hsl", "main.hsl"),
        ("file:main.hsl", "main.hsl"),
        ("file://main.hsl", "main.hsl"),
        ("./lib/../main.hsl", "main.hsl"),
        ("lib/tools.hsl", "lib/tools.hsl"),
        ("file:lib/tools.hsl", "lib/tools.hsl"),
        ("inner.hsl", "lib/tools.hsl"),
        ("plain", "plain"),
        ("both", "both"),
    ],
)
def test_scripts_and_modules_as_written(loader: FileLoader, path: str, name: str) -> None:
    for source in (loader.load(path), loader.load_module(path)):
        assert source.name == name
        assert source.text == f'"{name}";'


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("main", "main.hsl"),
        ("file:lib/tools", "lib/tools.hsl"),
        ("file://lib/tools", "lib/tools.hsl"),
        ("inner", "lib/tools.hsl"),
        ("folder", "folder.hsl"),
    ],
)
def test_modules_without_their_extension(loader: FileLoader, path: str, name: str) -> None:
    assert loader.load_module(path).name == name
    with pytest.raises(LoadError, match="cannot read"):
        loader.load(path)


REFUSED = [
    ("", "'' is not a file name"),
    ("file:", "'file:' is not a file name"),
    ("file://", "'file://' is not a file name"),
    ("a\0b", r"'a\x00b' is not a file name"),
    ("\ud800", r"'\ud800' is not a file name"),
    ("../secret.hsl", "../secret.hsl is outside the script root"),
    ("lib/../../secret.hsl", "lib/../../secret.hsl is outside the script root"),
    ("/etc/passwd", "/etc/passwd is outside the script root"),
    ("file:///etc/passwd", "/etc/passwd is outside the script root"),
    ("link.hsl", "link.hsl is outside the script root"),
    ("up/secret.hsl", "up/secret.hsl is outside the script root"),
    ("loop.hsl", "cannot read loop.hsl"),
    ("fifo.hsl", "cannot read fifo.hsl: it is not a file"),
    ("lib", "cannot read lib: it is not a file"),
    ("main.hs", "cannot read main.hs: No such file or directory; did you mean main.hsl?"),
    ("lib/tols.hsl", "cannot read lib/tols.hsl: No such file or directory; did you mean lib/tools.hsl?"),
    ("lib/tols", "cannot read lib/tols: No such file or directory; did you mean lib/tools.hsl?"),
    ("dotted.name", "cannot read dotted.name: No such file or directory; did you mean dotted.name.hsl?"),
    ("none/x.hsl", "cannot read none/x.hsl: No such file or directory"),
    ("x" * 300, "cannot read xxx"),
]


@pytest.mark.parametrize(("path", "message"), REFUSED)
def test_refused(loader: FileLoader, path: str, message: str) -> None:
    for load in (loader.load, loader.load_module, loader.load_data):
        with pytest.raises(LoadError) as caught:
            load(path)
        assert str(caught.value).startswith(message)


def test_data(loader: FileLoader, root: Path) -> None:
    (root / "data.txt").write_bytes(b"\xef\xbb\xbf\xff\0")
    assert loader.load_data("file:lib/../data.txt") == ("data.txt", b"\xef\xbb\xbf\xff\0")
    with pytest.raises(LoadError, match=r"did you mean main\.hsl"):
        loader.load_data("main")


@pytest.mark.parametrize(
    ("method", "limit"), [("load", MAX_SOURCE), ("load_module", MAX_SOURCE), ("load_data", MAX_DATA)]
)
def test_sizes(loader: FileLoader, root: Path, method: str, limit: int) -> None:
    load = getattr(loader, method)
    (root / "large.hsl").write_bytes(b"\n" * limit)
    load("large.hsl")
    (root / "large.hsl").write_bytes(b"\n" * (limit + 1))
    with pytest.raises(LoadError, match=f"is larger than {limit} bytes"):
        load("large.hsl")


def test_names_as_the_host_shows_them(root: Path) -> None:
    loader: Loader = FileLoader(root, named=lambda name: f"scripts/{name}")
    assert loader.load("file:main.hsl").name == "scripts/main.hsl"
    assert loader.load_module("main").name == "scripts/main.hsl"
    assert loader.load_data("plain")[0] == "scripts/plain"
    assert loader.load_module("extras://ulid").name == "extras://ulid"


# ---------------------------------------------------------------- schemes


@pytest.mark.parametrize("path", ["extras://rate", "extras://rate.hsl"])
def test_shipped_modules(loader: FileLoader, path: str) -> None:
    source = loader.load_module(path)
    assert source.name == "extras://rate"
    assert "function rate(" in source.text


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("extras://rates", "there is no module extras://rates; did you mean rate?"),
        ("extras://", "there is no module extras://; there are "),
        ("extras://../extras/rate", "there is no module extras://../extras/rate; "),
        ("extras:///etc/passwd", "there is no module extras:///etc/passwd; "),
        ("extra://rate", "there is no scheme extra://; did you mean extras://?"),
        ("fil://main.hsl", "there is no scheme fil://; did you mean file://?"),
        ("https://example.com/x", "there is no scheme https://; there are file, extras"),
    ],
)
def test_unknown_modules_and_schemes(loader: FileLoader, path: str, message: str) -> None:
    with pytest.raises(LoadError) as caught:
        loader.load_module(path)
    assert str(caught.value).startswith(message)


def test_scripts_and_data_have_no_schemes(loader: FileLoader) -> None:
    for load in (loader.load, loader.load_data):
        with pytest.raises(LoadError, match="extras://rate is no file: only modules are imported by scheme"):
            load("extras://rate")


def test_a_host_brings_its_own_scheme(root: Path) -> None:
    asked: list[str] = []

    def company(name: str) -> Source:
        asked.append(name)
        if name == "missing":
            raise LoadError("company has no such module")
        return Source(f"company://{name}", "$x = 1;")

    loader = FileLoader(root, {**SHIPPED, "company": company})
    assert loader.load_module("company://sub/tools?v=1").name == "company://sub/tools?v=1"
    assert asked == ["sub/tools?v=1"]
    assert loader.load_module("extras://rate").name == "extras://rate"
    with pytest.raises(LoadError, match="company has no such module"):
        loader.load_module("company://missing")
    with pytest.raises(LoadError, match="did you mean company://"):
        loader.load_module("compny://x")
