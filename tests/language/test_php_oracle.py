"""PHP 8 as an oracle for what the two languages share: each snippet is run by both and must print the same.

The translation is small: our `echo x;` ends with a newline, so PHP gets a newline after it; `and`, `or`, `not` become
`&&`, `||`, `!`. Where the languages differ (truth of "0", a variable read beside its assignment) there is no snippet.
"""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from snippets import output_of

INSTALL = "this test needs PHP: apt-get install --no-install-recommends php-cli"

SNIPPETS = [
    # precedence and associativity
    "echo 1 + 2 * 3 - 4 / 2;",
    "echo 2 * 3 + 4 * 5;",
    "echo 20 - 5 - 3;",
    "echo 100 / 10 / 5;",
    "echo 100 / 8 * 2;",
    "echo 17 % 5 * 2;",
    "echo 2 * 17 % 5;",
    "echo 2 ** 3 ** 2;",
    "echo 2 ** 2 * 3;",
    "echo 3 * 2 ** 2;",
    "echo 2 ** -2;",
    "echo -(2 ** 2);",
    "echo (-2) ** 3;",
    "echo 7 % 3 + -7 % 3;",
    "echo -7 % 3;",
    "echo 7 % -3;",
    "echo 1 + 2 . 3 + 4;",
    'echo "a" . 1 + 2 . "b";',
    'echo "x" . 2 * 3;',
    "echo 10 - 4 . 5;",
    "echo 1 << 3 + 1;",
    "echo 256 >> 2 >> 1;",
    "echo 6 & 3 | 8;",
    "echo 5 ^ 3 & 6;",
    "echo 12 | 3 ^ 5;",
    "echo ~5 & 15;",
    "echo 1 < 2 ? 10 : 20;",
    "echo 1 > 2 ? 10 : (3 > 2 ? 20 : 30);",
    "echo 5 - -3;",
    "echo - - 5;",
    "echo !(1 > 2) ? 1 : 2;",
    "echo 0 ?: 7;",
    "echo 3 ?: 7;",
    "echo null_value() ?? 5; function null_value() { return NONE; }",
    "echo NONE ?? NONE ?? 8;",
    "echo (1 and 0 or 1) ? 1 : 2;",
    "echo (0 or 1 and 0) ? 1 : 2;",
    "echo (not 0 and 0) ? 1 : 2;",
    "echo (1 == 1 and 2 < 3) ? 1 : 2;",
    # numbers
    "echo 0.1 + 0.2;",
    "echo 1 / 3;",
    "echo 10 / 4;",
    "echo 10 / 5;",
    "echo 1.5 * 2;",
    "echo 1.0;",
    "echo 100000 * 100000;",
    "echo 0.5 + 0.25;",
    "echo 3.0 - 0.5;",
    "echo 123456789 * 1000;",
    "echo 0x1F + 0b101 + 0o17;",
    "echo 1_000 + 1;",
    # strings
    '$a = "b"; echo "a$a c${a}d";',
    '$a = 5; echo "$a + 1";',
    'echo "a\\tb\\x41\\\\\\"\\$x";',
    '$s = "abc"; echo $s[0] . $s[2] . $s[-1];',
    '$s = ""; for ($i = 0; $i < 5; $i++) $s .= $i; echo $s;',
    '$s = "x"; $s .= $s . "y"; echo $s;',
    'echo "abc" < "abd" ? 1 : 2;',
    'echo "b" > "abc" ? 1 : 2;',
    'echo "abc" == "abc" ? 1 : 2;',
    'echo 1 . "";',
    'echo 1.5 . "x" . 2;',
    'echo "10" == 10 ? 1 : 2;',
    'echo "line\\nbreak";',
    # assignment
    "$a = $b = 4; echo $a + $b;",
    "$a = 5; echo $a++ + ++$a;",
    "$a = 5; echo $a-- - --$a;",
    "$a = 3; $a *= 2 + 1; echo $a;",
    "$a = 10; $a %= 4; echo $a;",
    "$a = 2; $a **= 3; echo $a;",
    "$a = 6; $a |= 1; $a &= 5; $a ^= 2; $a <<= 2; $a >>= 1; echo $a;",
    "if (($x = 3) > 2) echo $x;",
    "echo !($x = 0) ? 1 : 2;",
    "$x = 1; echo 2 + $x = 5; echo $x;",
    # arrays
    "$a = [1, 2, 3]; echo join_all($a);",
    '$a = [3 => "a", "b", "x" => "c", "d"]; echo pairs($a);',
    '$a = ["b" => 1, "a" => 2, "b" => 3]; echo pairs($a);',
    "$a = []; $a[] = 1; $a[] = 2; $a[10] = 3; $a[] = 4; echo pairs($a);",
    '$a = ["5" => 1, "05" => 2, 5.7 => 3, TRUE => 4]; echo pairs($a);',
    "$a = [1, 2, 3]; unset($a[1]); $a[] = 9; echo pairs($a);",
    "$a = [1, 2]; unset($a[1]); $a[] = 9; echo pairs($a);",
    "$a = [1, [2, 3]]; $b = $a; $b[1][0] = 9; echo $a[1][0] . $b[1][0];",
    '$a["x"]["y"][] = 1; $a["x"]["y"][] = 2; echo count($a["x"]["y"]);',
    "$a = [1, 2]; $b = [0, ...$a, 3]; echo join_all($b);",
    'echo isset_of(["k" => 1]); function isset_of($a) { return isset($a["k"]) ? 1 : 0; }',
    'echo ["a", "b"][1];',
    "echo [[1, 2], [3, 4]][1][0];",
    "echo [1, 2] == [1, 2] ? 1 : 2;",
    "echo [1, 2] === [2, 1] ? 1 : 2;",
    '$a = ["x" => ["y" => 5]]; $a["x"]["y"] += 2; $a["x"]["z"] = 1; echo pairs($a["x"]);',
    "$a = [5]; $a[0]++; ++$a[0]; echo $a[0]--; echo $a[0];",
    # loops
    "for ($i = 0; $i < 3; $i++) echo $i;",
    "for ($i = 0; FALSE;) ; echo 1;",
    "for (;;) { break; } echo 1;",
    "$i = 0; while ($i < 5) { $i++; if ($i == 2) continue; if ($i == 4) break; echo $i; }",
    '$a = ["b" => 1, "a" => 2, 5 => 3]; foreach ($a as $k => $v) echo "$k=$v";',
    "$a = [1, 2, 3]; foreach ($a as $v) { $a[] = $v; } echo count($a);",
    "$a = [1, 2, 3]; foreach ($a as $k => $v) { $a[$k] = $v * 2; echo $v; } echo join_all($a);",
    "foreach ([1, 2] as $x) foreach ([3, 4] as $y) { if ($y == 4) break; echo $x . $y; }",
    "$a = [[1], [2]]; foreach ($a as $r) { $r[] = 0; } echo count($a[0]);",
    "foreach ([1, 2, 3] as $x) ; echo $x;",
    # switch
    "switch (2) { case 1: echo 1; case 2: echo 2; case 3: echo 3; break; case 4: echo 4; }",
    "switch (9) { case 1: echo 1; break; default: echo 5; case 2: echo 2; }",
    'switch ("b") { case "a": echo 1; break; case "b": echo 2; break; }',
    "foreach ([1, 2, 3] as $x) { switch ($x) { case 2: break; default: echo $x; } }",
    "switch (TRUE) { case 1 > 2: echo 1; break; case 2 > 1: echo 2; break; }",
    # if
    "if (1) if (0) echo 1; else echo 2;",
    "if (0) echo 1; else if (1) echo 2; else echo 3;",
    "if ([]) echo 1; else echo 2;",
    "if ([0]) echo 1; else echo 2;",
    'if ("") echo 1; else echo 2;',
    "if (0.0) echo 1; else echo 2;",
    # functions
    "echo f(3); function f($x) { return $x * $x; }",
    "echo f(3) . f(3, 4); function f($x, $y = 10) { return $x + $y; }",
    "echo f(1, 2, 3); function f($x, ...$y) { return $x . count($y) . $y[1]; }",
    "$a = [1, 2, 3]; echo f(...$a); function f($x, $y, $z) { return $x . $y . $z; }",
    "$n = 1; f(); f(); echo $n; function f() { global $n; $n++; }",
    "$a = [1]; f($a); echo count($a); function f($a) { $a[] = 2; }",
    "$f = function ($x) { return $x + 1; }; echo $f($f(1));",
    "echo f() ?? 3; function f() { return; }",
    "echo f(2) . f(9); function f($x) { if ($x > 5) return 1; foreach ([1, 2] as $y) if ($y == $x) return 2; }",
]

SHARED = """
function join_all($a) { $s = ""; foreach ($a as $v) $s .= $v . ","; return $s; }
function pairs($a) { $s = ""; foreach ($a as $k => $v) $s .= $k . "=" . $v . ";"; return $s; }
"""
WORDS = {"and": "&&", "or": "||", "not": "!"}
ECHO = re.compile(r"\becho ((?:[^;\"]|\"(?:[^\"\\]|\\.)*\")*);")


def for_us(snippet: str) -> str:
    return snippet.replace("NONE", "none").replace("TRUE", "true").replace("FALSE", "false") + SHARED


def for_php(snippet: str) -> str:
    text = re.sub(r"\b(and|or|not)\b", lambda match: WORDS[match[0]], snippet.replace("NONE", "null"))
    return ECHO.sub(r'{ echo \1; echo "\\n"; }', text) + SHARED


# Our format beside PHP's: ours aligns strings left, writes `<` for `-`, and wants an alignment behind a fill.
FORMATS = [
    ("%s", "%s"),
    ("%>6s", "%6s"),
    ("%6s", "%-6s"),
    ("%<6s", "%-6s"),
    ("%'*>6s", "%'*6s"),
    ("%'*<6s", "%'*-6s"),
    ("%.2s", "%.2s"),
    ("%>6.1s", "%6.1s"),
    ("%f", "%f"),
    ("%.2f", "%.2f"),
    ("%.0f", "%.0f"),
    ("%12.4f", "%12.4f"),
    ("%<12.4f", "%-12.4f"),
    ("%'0=12.4f", "%012.4f"),
    ("%'x>12f", "%'x12f"),
    ("%b", "%b"),
    ("%'0>40b", "%040b"),
    ("%x", "%x"),
    ("%8x", "%8x"),
    ("%<8x|", "%-8x|"),
    ("%[1]s-%[0]s", "%2$s-%1$s"),
    ("%[1]f %[1]x", "%2$f %2$x"),
    ("%%%s%%", "%%%s%%"),
]
FORMATTED = ["[0, 5]", "[255, 1]", '["17", "30"]', "[1.25, 6.0]", "[-7.75, 3]", "[1000000, 0.0625]", "[TRUE, 12]"]


@pytest.fixture(scope="module")
def php() -> list[str]:
    """How PHP is called: without its configuration, numbers in the shortest form that reads back."""
    path = shutil.which("php")
    if path is None:
        pytest.fail(INSTALL)
    return [path, "-n", "-d", "precision=-1", "-d", "display_errors=1", "-d", "error_reporting=8191", "-r"]


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_both_print_the_same(snippet: str, php: list[str]) -> None:
    done = subprocess.run([*php, for_php(snippet)], capture_output=True, timeout=60, check=False)
    ours = "".join(f"{line}\n" for line in output_of(for_us(snippet)))
    assert ours == done.stdout.decode()
    assert done.returncode == 0


@pytest.mark.parametrize(("ours", "theirs"), FORMATS)
def test_formats_are_those_of_sprintf(ours: str, theirs: str, php: list[str]) -> None:
    hexadecimal = "x" in theirs.replace("'x", "") or "b" in theirs  # PHP's are of 64 bits, and refuse fractions
    rows = [row for row in FORMATTED if not (hexadecimal and ("-" in row or "." in row))]
    rows = [row for row in rows if "TRUE" not in row or "s" not in theirs]  # PHP writes true as 1
    snippet = "".join(f"echo $t % {row};" for row in rows)
    text = "".join(f"echo vsprintf($t, {row}), PHP_EOL;" for row in rows)
    text = f"$t = <<<'END'\n{theirs}\nEND;\n{text}"
    done = subprocess.run([*php, text], capture_output=True, timeout=60, check=False)
    printed = "".join(f"{line}\n" for line in output_of(for_us(f'$t = "{ours}"; {snippet}')))
    assert printed == done.stdout.decode()
    assert done.returncode == 0
