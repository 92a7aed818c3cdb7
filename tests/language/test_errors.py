"""Errors as people see them: place, source line, caret, hint, call stack; and what the parser makes of broken text."""

from __future__ import annotations

from pathlib import Path

import pytest
from snippets import load, mistakes, output_of

from hsl.compiler import Environment, compile_script
from hsl.errors import CompileError, ScriptError
from hsl.library import core_registry
from hsl.loader import FileLoader
from hsl.run import Run
from hsl.source import MAX_EXCERPT, Source


def rendered(text: str | bytes) -> str:
    """The rendered static errors, or the rendered run-time error."""
    with pytest.raises((CompileError, ScriptError)) as caught:
        output_of(text)
    error = caught.value
    return error.render() if isinstance(error, ScriptError) else str(error)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "echo 1;\necho 5 - (1 . 2);",
            """
test.hsl:2:6: error: unsupported operands: number - string
    echo 5 - (1 . 2);
         ^^^^^^^^^^
""",
        ),
        (
            "if (true) {\n\tx =\t\t1 2;\n}",
            """
test.hsl:2:9: error: unexpected `2`, expected `;`
    \tx =\t\t1 2;
    \t   \t\t  ^
""",
        ),
        (
            'echo "åäö" - 1;',
            """
test.hsl:1:6: error: unsupported operands: string - number
    echo "åäö" - 1;
         ^^^^^^^^^
""",
        ),
        (
            'echo "åäö" . lenght(1);',
            """
test.hsl:1:14: error: there is no function lenght()
    echo "åäö" . lenght(1);
                 ^^^^^^
    hint: did you mean length()?
""",
        ),
        (
            "$a = 1 +\n  count([1]) -\n  [7];",
            """
test.hsl:1:6: error: unsupported operands: number - array
    $a = 1 +
         ^^^
""",
        ),
        (
            b'echo "\xff\xfe" - 1;',
            """
test.hsl:1:6: error: unsupported operands: string - number
    echo "\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}" - 1;
         ^^^^^^^^
""",
        ),
        (
            b"echo \xff;",
            """
test.hsl:1:6: error: unexpected character `\N{REPLACEMENT CHARACTER}`
    echo \N{REPLACEMENT CHARACTER};
         ^
""",
        ),
        (
            "echo \x1b[31m;",
            """
test.hsl:1:6: error: unexpected character `\\x1b`
    echo \N{REPLACEMENT CHARACTER}[31m;
         ^
""",
        ),
        (
            "echo 1 2;\r\necho 3;\r\n",
            """
test.hsl:1:8: error: unexpected `2`, expected `;`
    echo 1 2;
           ^
""",
        ),
        (
            "function f() {\n  if (1) {\n    echo 1;\n}",
            """
test.hsl:4:1: error: unexpected end of file, expected a statement or `}`
    }
    ^
    hint: the `{` of line 1 is never closed
""",
        ),
        (
            "$total = 1;\nfunction inner($x) { return $x - 'a'; }".replace("'a'", '"a"')
            + "\nfunction outer($y) {\n\treturn inner($y) + 1;\n}\nouter($total);",
            """
test.hsl:2:29: error: unsupported operands: number - string
    function inner($x) { return $x - "a"; }
                                ^^^^^^^^
    in inner() called at test.hsl:4:9
    in outer() called at test.hsl:6:1
""",
        ),
        (
            "$r = array_map(function ($x) { return $nothing; }, [1]); if (false) $nothing = 1;",
            """
test.hsl:1:39: error: undeclared variable $nothing
    $r = array_map(function ($x) { return $nothing; }, [1]); if (false) $nothing = 1;
                                          ^^^^^^^^
    in function() called at None
""",
        ),
    ],
)
def test_rendering(text: str | bytes, wanted: str) -> None:
    assert rendered(text) == wanted.strip("\n")


def test_long_lines_are_shown_in_part() -> None:
    lines = rendered("$a = 1;" * 1000 + "echo 1 - [];" + "$b = 1;" * 1000).split("\n")
    assert lines[0] == "test.hsl:1:7006: error: unsupported operands: number - array"
    assert len(lines[1]) <= MAX_EXCERPT + 4
    column = lines[2].index("^")
    assert lines[1][column:].startswith("1 - [];")
    assert lines[2].strip() == "^^^^^"


def test_warnings_render_too() -> None:
    program = load("$customer = 1;\necho $custmer ?? 1;\nif (false) echo $custmer;")
    assert [item.render() for item in program.warnings] == [
        "test.hsl:3:17: warning: $custmer is never set\n"
        "    if (false) echo $custmer;\n"
        "                    ^^^^^^^^\n"
        "    hint: did you mean $customer?"
    ]


def test_errors_of_included_files(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "math.hsl").write_text("function half($x) {\n\treturn $x / 2 - [$x];\n}\n")
    text = 'include "lib/math.hsl";\nfunction use() { return half(4); }\nuse();\n'
    program = compile_script(Source("main.hsl", text), Environment(core_registry(), loader=FileLoader(tmp_path)))
    with pytest.raises(ScriptError) as caught:
        Run(program).execute()
    assert caught.value.render() == (
        "lib/math.hsl:2:9: error: unsupported operands: number - array\n"
        "    \treturn $x / 2 - [$x];\n"
        "    \t       ^^^^^^^^^^^^\n"
        "    in half() called at main.hsl:2:25\n"
        "    in use() called at main.hsl:3:1"
    )


def test_static_errors_of_all_files_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.hsl").write_text("echo 1 2;\nnowhere();\n")
    (tmp_path / "b.hsl").write_text('include "c.hsl";\nbreak;\n')
    text = 'include "a.hsl";\ninclude "b.hsl";\necho 3 4;\n'
    with pytest.raises(CompileError) as caught:
        compile_script(Source("main.hsl", text), Environment(core_registry(), loader=FileLoader(tmp_path)))
    assert [(str(item.span), item.message.split(" (")[0][:40]) for item in caught.value.errors] == [
        ("a.hsl:1:8", "unexpected `2`, expected `;`"),
        ("a.hsl:2:1", "there is no function nowhere()"),
        ("b.hsl:1:1", "cannot read c.hsl: No such file or direc"),
        ("b.hsl:2:1", "break outside a loop or switch"),
        ("main.hsl:3:8", "unexpected `4`, expected `;`"),
    ]


def test_includes_without_files() -> None:
    assert mistakes('include "x.hsl";') == ["1:1: this script has no files to include from"]


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "link/secret", "", "a\\x00b", "\\xff", "sub", "x" * 5000])
def test_files_that_cannot_be_included(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "secret").write_text("echo 1;")
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(CompileError) as caught:
        compile_script(Source("m", f'include "{name}";'), Environment(core_registry(), loader=FileLoader(root)))
    assert [item.code for item in caught.value.errors] == ["include"]
    str(caught.value).encode()  # printable, whatever the name


def test_nested_includes_are_their_own(tmp_path: Path) -> None:
    """Statements of included files are found by their include, also when the tree that held it is gone."""
    names = [f"part{number}" for number in range(60)]
    for name in names:
        (tmp_path / f"{name}.hsl").write_text(f'include "{name}_inner.hsl";\n')
        (tmp_path / f"{name}_inner.hsl").write_text(f'echo "{name}";\n')
    text = "".join(f'include "{name}.hsl";\n' for name in names)
    program = compile_script(Source("main.hsl", text), Environment(core_registry(), loader=FileLoader(tmp_path)))
    lines: list[bytes] = []
    Run(program, output=lines.append).execute()
    assert b"".join(lines).decode().split() == names


def test_includes_are_limited(tmp_path: Path) -> None:
    """A file that includes two, each of which includes two …"""
    for number in range(12):
        (tmp_path / f"f{number}.hsl").write_text(f'include "f{number + 1}.hsl";\ninclude "f{number + 1}.hsl";\n')
    (tmp_path / "f12.hsl").write_text("")
    with pytest.raises(CompileError, match="more than 1000 files"):
        compile_script(Source("m", 'include "f0.hsl";'), Environment(core_registry(), loader=FileLoader(tmp_path)))


def test_errors_are_limited() -> None:
    assert len(mistakes("nothing();\n" * 5000)) == 100
    assert len(mistakes("echo 1 2;\n" * 5000)) == 20


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        # one mistake gives one error, and the rest of the script is still looked at
        ("echo 1\necho 2;\necho 3;", ["1:6: expected `;` after this"]),
        ("if (1) { echo 1; echo 2; ", ["1:24: unexpected end of file, expected a statement or `}`"]),
        ("if ($a == 1 { echo 1; } else { echo 2; }", ["1:13: unexpected `{`, expected `)`"]),
        ("while ($a { echo 1; }", ["1:11: unexpected `{`, expected `)`"]),
        ("foreach ($a as { echo 1; }", ["1:16: unexpected `{`, expected a variable"]),
        ("for ($i = 0; $i < 3) { echo 1; }", ["1:20: unexpected `)`, expected `;`"]),
        ("switch ($a) { case 1: echo 1; case 2 echo 2; break; default echo 3; }", 2),
        ("$a = [1, 2;\necho 1;", ["1:11: unexpected `;`, expected `]`"]),
        ("$a = (1 + 2;\necho 1;", ["1:12: unexpected `;`, expected `)`"]),
        ("f(1, ;\necho 1;", ["1:6: unexpected `;`, expected an expression"]),
        ("function f($a $b) { return 1; }\nf(1, 2);", ["1:15: unexpected `$b`, expected `)`"]),
        ("function f() { return 1 }\necho f();", ["1:25: unexpected `}`, expected `;`"]),
        ("function () { return 1; };", []),
        ("$f = function () { return 1 + ; };\necho 1;", ["1:31: unexpected `;`, expected an expression"]),
        ("echo $x +* 2;", ["1:10: unexpected `*`, expected an expression"]),
        ("echo 'a';", ["1:6: this raw string has no end"]),
        ('$a = "b;\n$c = 1;\necho 1 2;', ["1:6: this string has no end", "3:8: unexpected `2`, expected `;`"]),
        ("echo 1; /* echo 2;", ["1:9: this comment has no end"]),
        ("echo #/open;", ["1:6: this regular expression has no end"]),
        ("echo #/open\n/;", ["1:6: this regular expression has no end"]),
        ("$1 = 2;", ["1:1: a variable's name is missing after `$`"]),
        ("class A { function b() { echo 1; } }\necho 2 3;", ["2:8: unexpected `3`, expected `;`"]),
        ("class A { function b() { echo 1 2; } $c = 3; }\n$o = A();\nf();", 2),
        ("class A { $b = ; }\n$o = A();", ["1:16: unexpected `;`, expected an expression"]),
        ("class A { constructor() { $this->x = 1; } private static $y = 2; }\nA::b();\nf();", 2),
        ("try { f(1 2); } catch ($e) { echo 1; }\nnowhere();", 2),
        ('import $x from "x.json" with [ "a" => 1 ];\necho $x;', 1),
        ('echo match (1) { 1, 2 => "a" default => "b" };\nf();', 2),
        ("$f = function ($a) closure ($b { $b = $a; };\n$f(1);", ["1:32: unexpected `{`, expected `)`"]),
        ("function f() { yield 1 2; yield 3; }\nforeach (f() as $x) echo $x;", 1),
        ("throw 1 2;\nf();", 2),
        ("[$a, [$b] = f();\nfunction f() { return 1; }", 1),
        ("}", ["1:1: unexpected `}`, expected a statement"]),
        ("{", ["1:1: unexpected end of file, expected a statement or `}`"]),
        (")", ["1:1: unexpected `)`, expected a statement"]),
        ("", []),
        (";;;", []),
        ("else if", 1),
        ("?>", 1),
        ("<?php echo 1;", 1),
        ("$a = 1;;\n\n$b == ;", 1),
    ],
)
def test_recovery(text: str, wanted: list[str] | int) -> None:
    found = mistakes(text)
    if isinstance(wanted, int):
        assert len(found) == wanted, found
    else:
        assert found == wanted


def test_a_byte_order_mark_is_no_part_of_a_file() -> None:
    assert rendered(b"\xef\xbb\xbfecho 1 2;").startswith("test.hsl:1:8: error: unexpected `2`")
    assert output_of(b"\xef\xbb\xbfecho 1;") == ["1"]
