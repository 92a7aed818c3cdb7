"""FFI against the C library of this machine: the switch, every type, memory and who owns it, callbacks, mistakes."""

from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path

import pytest
from loopback import await_script, run_script
from snippets import load

from hsl.errors import BudgetError, ScriptError
from hsl.library.ffi import FFIType, FFIValue, Memory
from hsl.run import Budget, Run
from hsl.runtime.plainhost import PlainHost

TYPES = """
$pointer = FFI::type("pointer"); $sint32 = FFI::type("sint32"); $uint8 = FFI::type("uint8");
$uint64 = FFI::type("uint64"); $void = FFI::type("void"); $double = FFI::type("double");
$libc = FFI("libc.so.6");
"""


class Host(PlainHost):
    def __init__(self, rootpath: Path | None = None) -> None:
        super().__init__(rootpath, ffi=True)


def run(text: str, seconds: float = 20.0) -> list[str]:
    """What a script prints where FFI is switched on."""
    return run_script(TYPES + text, Host(), seconds)


@pytest.mark.parametrize(
    "text",
    ['FFI("libc.so.6");', 'FFI::type("pointer");', "FFI::nullptr();", "FFI::allocate(1);", 'FFI::cstring("x");',
     "FFI::callback([], $t, function () {});", 'FFI::string($v);', 'FFI::number($v);', 'FFI::number64($v);',
     'FFI::cnumber($t, 1);', 'FFI::memcpy($v, "");', 'FFI::byref($v);', 'FFI::deref($v);', 'FFI::offset($v, 1);',
     'FFI::attach($v);', 'FFI::detach($v);', 'File::String("")->toFFIValue();',
     'Socket("AF_INET", "SOCK_STREAM")->toFFIValue();'],
)  # fmt: skip
@pytest.mark.parametrize("ffi", [None, False])
def test_ffi_is_switched_off(text: str, ffi: bool | None) -> None:
    host = PlainHost()
    if ffi is None:
        del host.ffi
    with pytest.raises(ScriptError, match=r"FFI is switched off; the setting scripting\.ffi: true switches it on"):
        run_script(text, host, t=FFIType("pointer"), v=FFIValue.pointer(0))


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ('$f = $libc->func("abs", [$sint32], $sint32); echo FFI::number($f(-5));', "5"),
        ('$f = $libc->func("abs", [$sint32], $sint32); echo FFI::number($f(FFI::cnumber($sint32, -5)));', "5"),
        ('$f = $libc->func("abs", [$sint32], $sint32); echo FFI::number($f(FFI::cnumber($uint8, 7)));', "7"),
        ('$f = $libc->func("strlen", [$pointer], $uint64); echo FFI::number($f("Hello"));', "5"),
        ('$f = $libc->func("strlen", [$pointer], $uint64); echo FFI::number($f("a\\x00b"));', "1"),
        ('$f = $libc->func("strlen", [$pointer], $uint64); echo FFI::number($f(FFI::cstring("abc")));', "3"),
        ('$f = $libc->func("time", [$pointer], $uint64); echo FFI::number($f(none)) > 1000000000;', "true"),
        ('$f = $libc->func("strtod", [$pointer, $pointer], $double); echo FFI::number($f("2.5e1", none));', "25"),
        ('$f = $libc->func("strchr", [$pointer, $sint32], $pointer); $s = FFI::cstring("k=v");'
         'echo FFI::string($f($s, 61));',
         "=v"),
        ('$f = $libc->func("strchr", [$pointer, $sint32], $pointer); echo $f("key", 61);', "none"),
        ('$f = $libc->func("free", [$pointer], $void); echo $f(none);', "none"),
        ('echo $libc->func("no_such_function", [], $void);', "none"),
        ('echo $libc->func("\\xff", [], $void);', "none"),
        ('echo $libc->symbol("no_such_symbol");', "none"),
        ('echo is_string(FFI::string(FFI::deref(FFI::deref($libc->symbol("environ")))));', "true"),
        ('echo FFI::string(FFI::offset(FFI::cstring("Hello"), 3));', "lo"),
        ('echo FFI::string(FFI::cstring("Hello"), 2);', "He"),
        ('echo FFI::string(FFI::cstring("Hello"), 6) == "Hello\\x00";', "true"),
        ('echo FFI::string(FFI::cstring("")) === "";', "true"),
        ('echo FFI::string(FFI::memcpy(FFI::allocate(4), "\\x00\\xff"), 4) == "\\x00\\xff\\x00\\x00";', "true"),
        ('echo FFI::string(FFI::allocate(FFI::cnumber($uint8, 3)), 3) == "\\x00\\x00\\x00";', "true"),
        ('echo FFI::number(FFI::deref(FFI::memcpy(FFI::allocate(2), "\\x01\\x02"), FFI::type("uint16")));', "513"),
        ('echo FFI::deref(FFI::allocate(8));', "none"),
        ('$n = FFI::cnumber($sint32, 5); echo FFI::number(FFI::deref(FFI::byref($n), $sint32));', "5"),
        ('$p = FFI::cstring("x"); echo FFI::string(FFI::deref(FFI::byref($p)));', "x"),
        ('$n = FFI::cnumber($sint32, 1); FFI::memcpy(FFI::byref($n), "\\x07\\x00"); echo FFI::number($n);', "7"),
        ("echo FFI::number(FFI::nullptr());", "0"),
        ("echo FFI::number(FFI::detach(FFI::nullptr()));", "0"),
        ('echo FFI::number64(FFI::cnumber($uint64, 4294967298));', "[0=>1,1=>2]"),
        ('echo FFI::number64(FFI::cnumber(FFI::type("sint64"), -1));', "[0=>4294967295,1=>4294967295]"),
        ('echo FFI::number64(FFI::nullptr());', "[0=>0,1=>0]"),
    ],
)  # fmt: skip
def test_calls_and_memory(text: str, printed: str) -> None:
    assert run(text) == [printed]


@pytest.mark.parametrize(
    ("name", "given", "read"),
    [
        ("uint8", "257", "1"), ("sint8", "-1", "-1"), ("sint8", "200", "-56"), ("uint16", "-1", "65535"),
        ("sint16", "-32768", "-32768"), ("uint32", "-1", "4294967295"), ("sint32", "1.9", "1"),
        ("uint64", "9007199254740991", "9007199254740991"), ("sint64", "-9007199254740991", "-9007199254740991"),
        ("float", "0.5", "0.5"), ("double", "0.1", "0.1"), ("double", "-1", "-1"),
    ],
)  # fmt: skip
def test_numbers_of_every_type(name: str, given: str, read: str) -> None:
    assert run(f'echo FFI::number(FFI::cnumber(FFI::type("{name}"), {given}));') == [read]


def test_variable_arguments() -> None:
    text = '$f = $libc->func("snprintf", [$pointer, $uint64, $pointer, FFI::type("...")], $sint32);'
    text += '$b = FFI::allocate(100); echo FFI::number($f($b, 100, "%s %d %.2f %.1f", FFI::cstring("a"), '
    text += 'FFI::cnumber($sint32, -3), FFI::cnumber($double, 1.5), FFI::cnumber(FFI::type("float"), 2.5)));'
    assert run(text + "echo FFI::string($b);") == ["13", "a -3 1.50 2.5"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('FFI("no-such-library.so");', r"FFI\(\): no-such-library\.so: cannot open"),
        ('FFI("");', "wanted the name of a library"),
        ('FFI::type("int");', "wanted void, uint8, .* got 'int'"),
        ('$libc->func("abs", [$void], $sint32);', "void cannot be there"),
        ('$libc->func("abs", [FFI::type("..."), $sint32], $sint32);', r"\.\.\. cannot be there"),
        ('$libc->func("abs", ["sint32"], $sint32);', "wanted an FFIType, got string"),
        ('$libc->func("abs", [], FFI::type("..."));', r"\.\.\. cannot be returned"),
        ('$libc->func("abs", [], FFI::nullptr());', "wanted an FFIType, got FFIValue"),
        ('$f = $libc->func("abs", [$sint32], $sint32); $f();', r"abs\(\) wants 1 arguments, got 0"),
        ('$f = $libc->func("abs", [$sint32], $sint32); $f(1, 2);', r"abs\(\) wants 1 arguments, got 2"),
        ('$f = $libc->func("abs", [$sint32], $sint32); $f("1");', r"abs\(\): parameter 1: wanted sint32, got string"),
        ('$f = $libc->func("abs", [$sint32], $sint32); $f(FFI::nullptr());', "wanted sint32, got pointer"),
        ('$f = $libc->func("abs", [$sint32], $sint32); $f(sqrt(-1));', "sint32, got number"),
        ('$f = $libc->func("strlen", [$pointer], $uint64); $f(1);', "wanted pointer, got number"),
        ('$f = $libc->func("strlen", [$pointer], $uint64); $f(FFI::cnumber($uint64, 1));', "got uint64"),
        ('$f = $libc->func("printf", [$pointer, FFI::type("...")], $sint32); $f("x", "y");', "wanted an FFIValue"),
        ('$f = $libc->func("printf", [$pointer, FFI::type("...")], $sint32); $f();', "at least 1 arguments, got 0"),
        ("FFI::allocate(10000000000);", "string"),
        ("FFI::allocate(-1);", "wanted a number of bytes"),
        ('FFI::allocate("x");', "wanted a number of bytes, got string"),
        ('FFI::memcpy(FFI::allocate(2), "abc");', "there are 2 bytes, not 3"),
        ('FFI::memcpy(FFI::offset(FFI::allocate(2), 1), "ab");', "there are 1 bytes, not 2"),
        ('FFI::memcpy(FFI::nullptr(), "abc");', "it is NULL"),
        ('FFI::memcpy(FFI::cnumber($uint64, 1), "abc");', "wanted a pointer, got uint64"),
        ("FFI::string(FFI::allocate(2), 3);", "there are 2 bytes, not 3"),
        ("FFI::string(FFI::allocate(2), -3);", "wanted 0 or more, got -3"),
        ("FFI::string(FFI::allocate(2), 10000000000);", "string"),
        ("FFI::string(FFI::nullptr());", "it is NULL"),
        ("FFI::string($void);", "wanted an FFIValue, got FFIType"),
        ("FFI::deref(FFI::allocate(2));", "there are 2 bytes, not 8"),
        ("FFI::deref(FFI::allocate(2), $void);", "there are no values of type void"),
        ("FFI::deref(FFI::nullptr());", "it is NULL"),
        ("FFI::number64(FFI::cnumber($uint8, 1));", "wanted uint64, sint64, pointer, got uint8"),
        ("FFI::cnumber($pointer, 1);", "wanted a type of number, got pointer"),
        ("FFI::cnumber($uint8, sqrt(-1));", "nan is no uint8"),
        ("FFI::attach(FFI::nullptr());", "it is NULL"),
        ("FFI::attach(FFI::allocate(1), function ($p) {});", "wanted an FFIFunction of one pointer"),
        ('FFI::attach(FFI::allocate(1), $libc->func("abs", [$sint32], $sint32));', "FFIFunction of one pointer"),
        ("FFIFunction(1);", "called by the value that FFI->func"),
    ],
)  # fmt: skip
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        run(text)


def test_memory_is_freed_once_by_its_owner() -> None:
    freed: list[int] = []
    value = FFIValue.owned(1234, freed.append)
    part = FFIValue.pointer(1235, value.memory, keeps=value)
    del value
    assert freed == []
    del part
    assert freed == [1234]


def test_what_was_given_away_is_not_freed() -> None:
    freed: list[int] = []
    memory = Memory(1234, freed.append)
    memory.free = None
    del memory
    assert freed == []


def test_attach_and_detach(tmp_path: Path) -> None:
    """fclose, the destructor, writes what the stream had buffered."""
    text = '$fopen = $libc->func("fopen", [$pointer, $pointer], $pointer);'
    text += '$fputs = $libc->func("fputs", [$pointer, $pointer], $sint32);'
    text += '$fclose = $libc->func("fclose", [$pointer], $sint32);'
    text += f'$f = FFI::attach($fopen("{tmp_path}/out", "w"), $fclose); $fputs("written", $f); unset($f);'
    before = len(os.listdir("/proc/self/fd"))
    assert run(text) == []
    assert (tmp_path / "out").read_text() == "written"
    assert len(os.listdir("/proc/self/fd")) == before
    text = '$free = $libc->func("free", [$pointer], $void); $p = FFI::detach(FFI::cstring("x")); $free($p);'
    text += '$p = FFI::attach(FFI::detach(FFI::cstring("y"))); echo FFI::string(FFI::attach($p));'
    assert run(text) == ["y"]


SORT = """
$qsort = $libc->func("qsort", [$pointer, $uint64, $uint64, $pointer], $void);
$bytes = FFI::cstring("hello");
"""


def test_callbacks() -> None:
    text = (
        SORT
        + """
    function byte($p) { return FFI::number(FFI::deref($p, FFI::type("uint8"))); }
    $compare = FFI::callback([$pointer, $pointer], $sint32, function ($a, $b) { return byte($a) - byte($b); });
    $qsort($bytes, 5, 1, $compare);
    echo FFI::string($bytes);
    """
    )
    assert run(text) == ["ehllo"]


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ('throw Exception("mine");', ScriptError, "mine"),
        ('return "x";', ScriptError, "the function returned string, wanted sint32"),
        ("return none;", ScriptError, "the function returned none, wanted sint32"),
        ("sleep(1);", ScriptError, "this function waits"),
        ("while (true) {}", BudgetError, "budget"),
    ],
)
def test_errors_pass_through_c_code(body: str, error: type[ScriptError], message: str) -> None:
    text = SORT + f"$c = FFI::callback([$pointer, $pointer], $sint32, function ($a, $b) {{ {body} }});"
    with pytest.raises(error, match=message):
        run(text + "$qsort($bytes, 5, 1, $c);", seconds=0.5)


def test_an_error_of_a_callback_can_be_caught_and_forgotten() -> None:
    text = SORT + '$c = FFI::callback([$pointer, $pointer], $sint32, function ($a, $b) { throw Exception("mine"); });'
    text += 'try { $qsort($bytes, 5, 1, $c); } catch ($e) { echo $e->message(); } $abs = $libc->func("abs", [$sint32],'
    assert run(text + "$sint32); echo FFI::number($abs(-1));") == ["mine", "1"]


def test_a_callback_without_a_loop() -> None:
    lines: list[bytes] = []
    text = TYPES + SORT + "$c = FFI::callback([$pointer, $pointer], $sint32, function ($a, $b) { return -1; });"
    program = load(text + '$qsort($bytes, 5, 1, $c); echo "done";')
    Run(program, host=Host(), output=lines.append, budget=Budget(seconds=20)).execute()
    assert lines == [b"done\n"]


def test_files_in_c(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    text = TYPES + '$fgetc = $libc->func("fgetc", [$pointer], $sint32); $f = File("f"); $f->read(3);'
    text += "$c = $f->toFFIValue(); echo chr(FFI::number($fgetc($c))); echo $f->read(2);"
    text += "echo chr(FFI::number($fgetc($c)));"
    text += '$m = File::String("abc"); $m->read(1); echo chr(FFI::number($fgetc($m->toFFIValue())));'
    text += "$f->close(); echo $f->toFFIValue();"
    before = len(os.listdir("/proc/self/fd"))
    assert run_script(text, Host(tmp_path)) == ["3", "34", "4", "b", "none"]
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_sockets_in_c() -> None:
    text = '$s = Socket("AF_INET", "SOCK_STREAM"); $close = $libc->func("fcntl", [$sint32, $sint32], $sint32);'
    text += "echo FFI::number($close($s->toFFIValue(), 1)); $s->close(); echo $s->toFFIValue();"
    assert run(text) == ["1", "none"]  # F_GETFD: FD_CLOEXEC


def test_other_scripts_go_on_afterwards() -> None:
    """A callback's greenlet is gone when the C function returns: waiting works again."""
    text = SORT + "$c = FFI::callback([$pointer, $pointer], $sint32, function ($a, $b) { return 0; });"
    text += '$qsort($bytes, 5, 1, $c); sleep(0.01); echo "slept";'

    async def both() -> list[list[str]]:
        return await asyncio.gather(await_script(TYPES + text, Host()), await_script(TYPES + text, Host()))

    assert asyncio.run(both()) == [["slept"], ["slept"]]
