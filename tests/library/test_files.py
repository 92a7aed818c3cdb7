"""Files below the root path: File and the older functions, what is refused, and that nothing stays open."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from snippets import load

from hsl.errors import BudgetError, ScriptError
from hsl.library.files import MAX_OPEN, File, FileResource
from hsl.run import Budget, Run
from hsl.values import MAX_STRING, Value

NAMES = ("words.txt", "lib/hosts.csv", "empty", "bytes")


class Host:
    """A host with nothing but files."""

    def __init__(self, rootpath: Path | None) -> None:
        self.rootpath = rootpath


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root path with files, beside one that scripts must not see."""
    root = tmp_path / "root"
    (root / "lib").mkdir(parents=True)
    (root / "words.txt").write_bytes(b"one\ntwo\r\n\nfour")
    (root / "lib/hosts.csv").write_bytes(b'ip,comment\n192.168.1.25,webserver\n192.168.1.26,"mail, server"\n10.0.0.1\n')
    (root / "empty").write_bytes(b"")
    (root / "bytes").write_bytes(b"\x00\xff\xc3\n\xc3\x28")
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "up").symlink_to(tmp_path)
    (root / "inner").symlink_to(root / "words.txt")
    (root / "loop").symlink_to(root / "loop")
    (root / "zero").symlink_to("/dev/zero")
    os.mkfifo(root / "fifo")
    return root


Script = Callable[..., list[str]]


@pytest.fixture
def script(root: Path) -> Script:
    """Run a script on the root path: the lines that it prints."""

    def run(text: str, variables: Callable[[str], Value] | None = None, **budget: Any) -> list[str]:
        lines: list[bytes] = []
        Run(load(text), host=Host(root), output=lines.append, variables=variables, budget=Budget(**budget)).execute()
        return [line.decode("utf-8", "backslashreplace").removesuffix("\n") for line in lines]

    return run


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ('echo File("words.txt")->read();', "one\ntwo\r\n\nfour"),
        ('echo File("file:words.txt")->read(3);', "one"),
        ('echo File("file://lib/hosts.csv")->read(2);', "ip"),
        ('echo File("inner")->read(3);', "one"),
        ('echo File("./lib/../words.txt")->read(0) === "";', "true"),
        ('echo File("empty")->read() === "";', "true"),
        ('echo File("empty")->readline();', "false"),
        ('$f = File("words.txt"); echo [$f->read(2), $f->tell(), $f->readline()];', '[0=>"on",1=>2,2=>"e"]'),
        ('$f = File("words.txt"); echo [$f->seek(4), $f->readline()];', '[0=>4,1=>"two"]'),
        ('$f = File("words.txt"); echo [$f->seek(-4, "SEEK_END"), $f->readline()];', '[0=>10,1=>"four"]'),
        ('$f = File("words.txt"); $f->read(4); echo [$f->seek(1, "SEEK_CUR"), $f->read(2)];', '[0=>5,1=>"wo"]'),
        ('$f = File("words.txt"); echo [$f->seek(-1), $f->seek(-99, "SEEK_CUR"), $f->tell()];',
         "[0=>none,1=>none,2=>0]"),
        ('$f = File("words.txt"); echo [$f->seek(1000), $f->read() === "", $f->readline()];',
         "[0=>1000,1=>true,2=>false]"),
        ('$f = File("empty"); $f->close(); echo [$f->read(), $f->readline(), $f->tell(), $f->seek(0), $f->getPath()];',
         "[0=>none,1=>none,2=>none,3=>none,4=>none]"),
        ('$f = File("words.txt"); $f->close(); echo $f->close();', "none"),
        ('$f = File::String("a\\nb"); echo [$f->readline(), $f->readline(), $f->readline(), $f->readline()];',
         '[0=>"a",1=>"b",2=>false,3=>none]'),
        ('$f = File::String("a"); $f->readline(); $f->readline(); $f->seek(0); echo [$f->readline(), $f->readline()];',
         '[0=>"a",1=>false]'),
        ('$f = File::String("a"); echo [$f->seek(-2), $f->getPath()];', "[0=>none,1=>none]"),
        ('echo File::read("words.txt");', "one\ntwo\r\n\nfour"),
        ('echo File::read("missing");', "none"),
        ('echo File::read("missing/words.txt");', "none"),
        ('echo file("words.txt");', '[0=>"one",1=>"two",2=>"",3=>"four"]'),
        ('echo file("empty");', "[]"),
        ('echo file_get_contents("file://words.txt");', "one\ntwo\r\n\nfour"),
    ],
)  # fmt: skip
def test_what_is_read(script: Script, text: str, printed: str) -> None:
    assert script(text) == [printed]


def test_bytes_come_as_they_are(script: Script) -> None:
    text = 'foreach ([File("bytes")->read(), File::read("bytes"), file_get_contents("bytes")] as $s) echo sha1($s);'
    assert len(set(script(text))) == 1
    assert script('echo base64_encode(File::read("bytes"));') == ["AP/DCsMo"]
    assert script('foreach (file("bytes") as $line) echo length($line);') == ["3", "2"]


def test_the_path_of_a_file(script: Script, root: Path) -> None:
    assert script('echo File("lib/../inner")->getPath();') == [str(root / "words.txt")]


@pytest.mark.parametrize(
    "open_it", ['File("{}")', 'File::read("{}")', 'file("{}")', 'file_get_contents("{}")', 'in_file("a", "{}")']
)
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../secret", "outside the script root"),
        ("/etc/passwd", "outside the script root"),
        ("file:///etc/passwd", "outside the script root"),
        ("link", "outside the script root"),
        ("up/secret", "outside the script root"),
        ("zero", "outside the script root"),
        ("loop", "cannot read loop"),
        ("fifo", "it is not a file"),
        ("lib", "it is not a file"),
        ("", "not a file name"),
        ("words.txt\\x00", "not a file name"),
        ("extras://words", "is no file"),
    ],
)  # fmt: skip
def test_what_is_refused(script: Script, open_it: str, name: str, message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        script(f"{open_it.format(name)};")


@pytest.mark.parametrize("open_it", ["File", "file", "file_get_contents"])
def test_a_missing_file_is_an_error(script: Script, open_it: str) -> None:
    with pytest.raises(ScriptError, match=rf"{open_it}\(\): cannot read missing: No such file or directory"):
        script(f'{open_it}("missing");')
    assert script(f'try {{ {open_it}("missing"); }} catch ($e) {{ echo "caught"; }}') == ["caught"]


@pytest.mark.parametrize("host", [None, Host(None)])
def test_a_host_without_files_says_so(host: object) -> None:
    with pytest.raises(ScriptError, match="there are no files here"):
        Run(load('File("words.txt");'), host=host).execute()
    Run(load('File::String("x")->read();'), host=host, output=list).execute()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('File("words.txt")->read(10000000000);', "bytes"),
        ('File::String("x")->read(-1);', r"parameter 1 \(length\): wanted 0 or more, got -1"),
        ('File::String("x")->seek(0, "SEEK_BACK");', r"parameter 2 \(whence\): wanted SEEK_SET, .* got 'SEEK_BACK'"),
        ('File("big")->read();', "string"),
        ('File("big")->readline();', "string"),
        ('File::read("big");', "string"),
        ('file_get_contents("big");', "string"),
        ('file("big");', "string"),
        ('in_file("x", "words.txt", ["type" => "text/html"]);', "option type: wanted text/plain or text/csv"),
        ('in_file("x", "words.txt", ["delimiter" => ""]);', "option delimiter: wanted at least one character"),
        ('in_file("x", "words.txt", ["type" => "text/csv", "delimiter" => ";;"]);', "option delimiter: wanted one"),
        ('in_file("x", "words.txt", ["index" => -1]);', "option index: wanted 0 or more, got -1"),
        ('in_file("x", "quote", ["type" => "text/csv"]);', "the file is not CSV"),
    ],
)  # fmt: skip
def test_wrong_values_and_sizes(script: Script, root: Path, text: str, message: str) -> None:
    with (root / "big").open("wb") as big:
        big.truncate(MAX_STRING + 1)  # a hole: no disk is used
    (root / "quote").write_bytes(b'a,"b\n')
    with pytest.raises(ScriptError, match=message):
        script(text)


def test_a_file_of_the_longest_string_is_read(script: Script, root: Path) -> None:
    with (root / "big").open("wb") as big:
        big.truncate(MAX_STRING)
    assert script('echo length(File::read("big"));') == [str(MAX_STRING)]


def test_reading_counts_as_work(script: Script, root: Path) -> None:
    (root / "lines").write_bytes(b"x\n" * 100_000)
    with pytest.raises(BudgetError, match="500 steps"):
        script('in_file("y", "lines");', steps=500)


def test_no_run_holds_more_than_so_many_files(script: Script) -> None:
    before = open_files()
    with pytest.raises(ScriptError, match=rf"File\(\): {MAX_OPEN} files are open already"):
        script('$f = []; for ($i = 0; $i < 200; $i += 1) $f[] = File("words.txt");')
    assert open_files() == before


def test_dropped_and_closed_files_do_not_count(script: Script) -> None:
    assert script('for ($i = 0; $i < 300; $i += 1) $f = File("words.txt"); echo $i;') == ["300"]
    text = '$f = []; for ($i = 0; $i < 300; $i += 1) { $f[$i] = File("words.txt"); $f[$i]->close(); } echo $i;'
    with pytest.raises(ScriptError, match="close"):
        script(text.replace("$f[$i]->close();", ""))
    assert script(text) == ["300"]


def test_the_end_of_a_run_closes_its_files(root: Path) -> None:
    before = open_files()
    run = Run(load('$f = File("words.txt"); throw $f;'), host=Host(root))
    with pytest.raises(ScriptError):
        run.execute()
    assert isinstance(run.variable("f"), File)
    assert open_files() == before


def test_a_resource_of_the_host_is_a_file(root: Path) -> None:
    lines: list[bytes] = []
    program = load("echo File($r)->read(3); echo File($r)->readline();")
    run = Run(program, host=Host(None), output=lines.append)
    run.set_variable("r", FileResource(root / "words.txt"))
    run.execute()
    assert lines == [b"one\n", b"one\n"]


def test_a_file_for_python() -> None:
    file = File.of(b"one\ntwo")
    assert file.read_line() == b"one"
    assert file.get_path() is None


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ('"two", "words.txt"', '[0=>"two"]'),
        ('"tw", "words.txt"', "[]"),
        ('"b", "table", ["index" => 1]', '[0=>"a",1=>"b",2=>"c"]'),
        ('"c", "table", ["index" => 9]', "[]"),
        ('7, "table"', '[0=>"7",1=>"8"]'),
        ('"x y", "colons", ["delimiter" => ":"]', '[0=>"x y",1=>"",2=>"z"]'),
        ('function ($w) { return length($w) == 2; }, "table"', '[0=>"7",1=>"8"]'),
        ('"192.168.1.26", "lib/hosts.csv", ["type" => "text/csv"]', '["ip"=>"192.168.1.26","comment"=>"mail, server"]'),
        ('"webserver", "lib/hosts.csv", ["type" => "text/csv", "index" => 1]',
         '["ip"=>"192.168.1.25","comment"=>"webserver"]'),
        ('"10.0.0.1", "lib/hosts.csv", ["type" => "text/csv"]', '["ip"=>"10.0.0.1"]'),
        ('"ip", "lib/hosts.csv", ["type" => "text/csv"]', "[]"),
        ('"ip", "lib/hosts.csv", ["type" => "text/csv", "assoc" => false]', '[0=>"ip",1=>"comment"]'),
        ('"x y", "colons", ["type" => "text/csv", "assoc" => false, "delimiter" => ":"]', '[0=>"x y",1=>"",2=>"z"]'),
        ('function ($v) { return $v["ip"] == "192.168.1.25"; }, "lib/hosts.csv", ["type" => "text/csv"]',
         '["ip"=>"192.168.1.25","comment"=>"webserver"]'),
        ('"x", "empty", ["type" => "text/csv"]', "[]"),
    ],
)  # fmt: skip
def test_in_file(script: Script, root: Path, arguments: str, printed: str) -> None:
    (root / "table").write_bytes(b"a b\tc\r\n  7   8  \n")
    (root / "colons").write_bytes(b"x y::z\n")
    assert script(f"echo in_file({arguments});") == [printed]
