"""Syntax errors: what is said, where, with which hint, and that one mistake gives one error."""

from __future__ import annotations

import pytest
from snippets import load

from hsl.errors import CompileError
from hsl.library import core_registry
from hsl.parser import parser


def findings(text: str) -> list[str]:
    """`column: message | hint` of each error."""
    with pytest.raises(CompileError) as caught:
        load(text)
    assert {item.code for item in caught.value.errors} == {"syntax"}
    return [
        f"{item.span.column}: {item.message}" + (f" | {item.hint}" if item.hint else "") for item in caught.value.errors
    ]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        # a word for a sign
        ("$a = 1 && 2;", "9: unexpected `&`, expected an expression | write `and`"),
        ("$a = 1 || 2;", "9: unexpected `|`, expected an expression | write `or`"),
        ("$a = 1 <> 2;", "9: unexpected `>`, expected an expression | write `!=`"),
        ("$a := 1;", "4: unexpected `:`, expected `;` | write `=`"),
        ("foreach ([1] in $a) {}", "14: unexpected `in`, expected `as` | write `as`"),
        ("$a = match (1) { 1: 2 };", "19: unexpected `:`, expected `=>` | write `=>`"),
        ("print 1;", "1: unexpected `print` | write `echo`"),
        ("var $a = 1;", "1: unexpected `var` | variables are not declared"),
        ("const A = 1;", "1: unexpected `const` | there are no constants: use a variable"),
        ("do { echo 1; } while (1);", "1: unexpected `do` | there is no `do`: write `forever` with a `break`"),
        # words that were mistyped
        ("whlie (1) { echo 1; }", "11: unexpected `{`, expected `;` | did you mean while?"),
        ("fucntion f() { echo 1; }", "10: unexpected `f`, expected `;` | did you mean function?"),
        ("retrun $a;", "8: unexpected `$a`, expected `;` | did you mean return?"),
        ('import { a } form "x";', "14: unexpected `form`, expected `from` | did you mean from?"),
        ("try {} cathc ($e) {}", "8: unexpected `cathc`, expected `catch` | did you mean catch?"),
        (
            "class A { pirvate $a; }",
            "11: unexpected `pirvate`, expected a variable or `function` | did you mean private?",
        ),
        # variables and parameters
        ("function f(a, b) {}", "12: unexpected `a`, expected a variable | did you mean $a?"),
        ("function f(string $a) {}", "12: unexpected `string`, expected a variable | variables have no types"),
        ("function f($a): int {}", "15: unexpected `:`, expected `{` | functions have no type of result"),
        ("function f(&$a) {}", "12: unexpected `&`, expected a variable | arguments are values, not references"),
        ("global a;", "8: unexpected `a`, expected a variable | did you mean $a?"),
        ("foreach ([1] as b) {}", "17: unexpected `b`, expected a variable | did you mean $b?"),
        # objects and classes
        ("$a = new B();", "6: unexpected `new` | an object is made by calling its class: Name()"),
        ("class A { f() {} }", "11: unexpected `f`, expected a variable or `function` | did you mean `function f`?"),
        ("class A { x = 1; }", "11: unexpected `x`, expected a variable or `function` | did you mean $x?"),
        ("class A extends B {}", "9: unexpected `extends`, expected `{` | classes do not inherit"),
        (
            "class A { public $a; }",
            "11: unexpected `public`, expected a variable or `function` | members are public unless they are `private`",
        ),
        (
            "$a = 1; $a->$b = 2;",
            "13: unexpected `$b`, expected a name | a property whose name is in a variable is written $a[$name]",
        ),
        # functions, exceptions, generators
        (
            "$f = function () use ($a) {};",
            "18: unexpected `use`, expected `{` | write `closure`: function ($x) closure ($y) { … }",
        ),
        ("$f = function ($x) => $x;", "20: unexpected `=>`, expected `{` | a function has a body: { return …; }"),
        ("try {} echo 1;", "8: unexpected `echo`, expected `catch` | a `try` has a catch ($error) { … }"),
        ("try {} catch {}", "14: unexpected `{`, expected `(` | a `catch` has a variable: catch ($error) { … }"),
        ("catch ($e) {}", "1: unexpected `catch` | it stands behind the block of a `try`"),
        ("try {} catch ($e) {} finally {}", "22: unexpected `finally` | there is no `finally`"),
        (
            "function f() { $x = yield 1; }",
            "21: unexpected `yield` | `yield` is a statement of its own, no part of an expression",
        ),
        (
            "echo if;",
            "6: unexpected `if`, expected an expression | a statement is no part of an expression; there is `? :`",
        ),
        # literals
        ("$a = {1};", "6: unexpected `{`, expected an expression | an array is written in brackets: [key => value]"),
        ("echo #/a;", "6: this regular expression has no end | it ends with `/` in the same line"),
        ("echo #a", "6: unexpected character `#` | comments are written // or /* */"),
    ],
)
def test_hints(text: str, wanted: str) -> None:
    assert findings(text) == [wanted]


@pytest.mark.parametrize(
    "text",
    [
        # the rest of a broken statement is no second mistake
        'import { a b } from "x"; class A { f() { $x = [1]; } }',
        "class A { public static function f() { if (1) { echo 1; } else { echo 2; } } }",
        "class { function f() { echo 1; } }",
        "class A { $a = f(function () { return 1; } 2); function f() {} }",
        "switch { case 1: echo 1; break; default: echo 2; }",
        "f(function () use ($a) { echo 1; }, [1, 2], function () { echo 2; });",
        "$a = match { 1 => function () { echo 1; }, default => [1] };",
        "echo $a{0}{1};",
        "try { try { echo 1; } } catch ($e) { echo 2; }",
        "cache f(1);",
        'import { a } "x"',
        "class A { function f() { return 1; }",
        "if (1) { echo 1; } else { echo 2;",
        "$f = function () { return 1;",
    ],
)
def test_one_mistake_is_one_error_more_often_than_not(text: str) -> None:
    assert len(findings(text)) <= 2


def test_what_follows_a_mistake_is_still_there() -> None:
    """A statement that lacks its semicolon counts: the function it declares is no unknown one."""
    assert findings("$f = 1\nfunction g() { return 1 }\necho g() . $f;\ntry { g(); }") == [
        "6: expected `;` after this",
        "25: unexpected `}`, expected `;`",
        "12: unexpected end of file, expected `catch`",
    ]


def test_no_function_has_the_name_of_a_word() -> None:
    """What is read as a function's name may be said to be misplaced; array() is written like a call, and is none."""
    assert parser().builder.words & set(core_registry().names()) == {"array"}
