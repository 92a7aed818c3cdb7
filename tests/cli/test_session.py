"""A REPL's session, fed text by text: what it shows, and what it keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from hsl.cli.session import COMMANDS, Leave, Session, completions, is_incomplete
from hsl.cli.workbench import Scene, Workbench
from hsl.run import Budget
from hsl.runtime.stages import STAGES

pytestmark = pytest.mark.asyncio

DATA = Path(__file__).parents[1] / "data"
Start = Callable[..., Awaitable[Session]]


@pytest_asyncio.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Makes sessions, of the language alone or of a stage."""
    made: list[Session] = []

    async def begin(stage: str | None = None, **scene: object) -> Session:
        told = replace(Scene(stage or ""), **scene)  # type: ignore[arg-type]
        bench = None if stage is None else await Workbench.open(told, {})
        made.append(Session(bench, tmp_path, {}, told))
        return made[-1]

    yield begin
    for session in made:
        await session.close()


async def fed(session: Session, *texts: str) -> list[str]:
    """The lines that the last text shows."""
    lines: list[str] = []
    for text in texts:
        lines = await session.feed(text)
    return lines


# ------------------------------------------------------------ the language

SHOWN = [
    (["1 + 1"], ["2"]),
    (["1 + 1;"], ["2"]),
    (["1 + 1 // two"], ["2"]),
    (['"a" . 1'], ['"a1"']),
    ([r'"line\n\x1b[2J\x00"'], [r'"line\n\x1b[2J\x00"']),
    (["[1, [], none]"], ["[0=>1,1=>[],2=>none]"]),
    (["none"], ["none"]),
    (["$a = 5"], []),
    (["$a = 5; $a"], ["5"]),
    (["$a = 5", "$a + 1"], ["6"]),
    (["$a = [1]", "$a[] = 2", "$a"], ["[0=>1,1=>2]"]),
    (["$a = 1", "unset($a)", "isset($a)"], ["false"]),
    (['echo "x\n\ny"'], ["x", "", "y"]),
    (['echo ""'], [""]),
    (["function f($a) { return $a * 2; }"], []),
    (["function f($a) { return $a * 2; }", "f(21)"], ["42"]),
    (["function f() { return g(); }\nfunction g() { return 1; }", "function g() { return 2; }", "f()"], ["2"]),
    (["$n = 1", "function f() { global $n; $n += 1; return $n; }", "f()", "$n"], ["2"]),
    (["if (true) echo 1; else echo 2"], ["1"]),
    (["for ($i = 0; $i < 3; $i += 1) echo $i", "$i"], ["3"]),
    (["", "  \n "], []),
    (["return 3;"], []),
]


@pytest.mark.parametrize(("texts", "wanted"), SHOWN)
async def test_what_is_shown(start: Start, texts: list[str], wanted: list[str]) -> None:
    assert await fed(await start(), *texts) == wanted


async def test_errors_have_a_caret_and_end_nothing(start: Start) -> None:
    session = await start()
    await fed(session, "$a = 1", "function f($x) { return md5($x); }")
    assert await fed(session, "$a + nope()") == [
        "input 3:1:6: error: there is no function nope()",
        "    $a + nope()",
        "         ^^^^",
        "    hint: did you mean range()?",
    ]
    written, error, line, caret, call = await fed(session, "echo 1; f([])")
    assert written == "1"
    assert error == "input 2:1:25: error: md5(): parameter 1 (message): wanted string, got array"
    assert line == "    function f($x) { return md5($x); }"
    assert caret.startswith("                            ^")
    assert call == "    in f() called at input 4:1:9"
    assert await fed(session, "$a") == ["1"]


async def test_what_was_set_before_an_error_stays(start: Start) -> None:
    session = await start()
    await fed(session, "$a = 1; md5([]); $a = 2;")
    assert await fed(session, "$a") == ["1"]


async def test_a_syntax_error_shows_what_was_written(start: Start) -> None:
    lines = await fed(await start(), "echo (1")
    assert lines == ["input 1:1:7: error: unexpected end of file, expected `)`", "    echo (1", "          ^"]


async def test_what_is_opened_stays_open_until_the_session_ends(start: Start, tmp_path: Path) -> None:
    (tmp_path / "names").write_text("one\ntwo\n")
    session = await start()
    await fed(session, '$file = File("names");', "$file->readline()")
    assert await fed(session, "$file->readline()") == ['"two"']
    await session.close()
    assert session.workspace.run is not None
    assert session.workspace.run.closing is None


async def test_warnings_come_once(start: Start) -> None:
    session = await start()
    lines = await fed(session, "function f() { if (false) return $nothing; return 1; }")
    assert lines[0] == "input 1:1:34: warning: $nothing is never set"
    assert await fed(session, "f()") == ["1"]


async def test_large_values_are_cut(start: Start) -> None:
    session = await start()
    (line,) = await fed(session, 'str_repeat("x", 1000000)')
    assert len(line) == 10_000
    assert line.endswith("x…")
    (variables,) = await fed(session, '$x = str_repeat("x", 1000);', ":vars")
    assert len(variables) < 120


async def test_a_value_too_large_to_show(start: Start) -> None:
    session = await start()
    await fed(session, "$a = [1]; for ($i = 0; $i < 40; $i += 1) $a = [$a, $a];")
    assert await fed(session, "$a") == ["(the array is too large to be shown as a string)"]


async def test_an_endless_script_is_ended_by_its_budget(start: Start) -> None:
    session = await start("connect")
    assert session.bench is not None
    session.bench.budget = Budget(steps=1000)
    lines = await fed(session, "forever { }")
    assert any("exceeded its budget of 1000 steps" in line for line in lines)
    assert await fed(session, "1") == ["1"]


# ------------------------------------------------------------ what later inputs know

CLASS = """class Counter {
	static $made = 0;
	private $count;
	constructor($start = 0) { static::$made += 1; $this->count = $start; }
	function next() { $this->count += 1; return $this->count; }
	static function total() { return static::$made; }
}"""
MODULE = """echo "runs";
$count = 0;
function next() { global $count; $count += 1; return $count; }
class Box { static $made = 0; constructor() { static::$made += 1; } static function total() { return static::$made; } }
"""

KEPT = [
    # closures share variables with the script, whichever input set them
    (["$n = 1; $f = function () closure ($n) { $n += 1; return $n; };", "$f()", "$f(); $n"], ["3"]),
    (["$n = 1", "$f = function () closure ($n) { return $n; }", "$n = 5", "$f()"], ["5"]),
    (["$f = function () closure ($later) { return $later; }", "$later = 7", "$f()"], ["7"]),
    (["function f() { $n = 1; return function () closure ($n) { $n += 1; return $n; }; }", "$g = f()", "$g()", "$g()"],
     ["3"]),
    (["$n = 1; function f() { global $n; $n += 1; return $n; } $p = f;", "$p(); $n = 10", "$p()", "$n"], ["11"]),
    (["$n = 1; $f = function () closure ($n) { return isset($n); };", "unset($n)", "$f()"], ["false"]),
    # classes and their objects
    ([CLASS, "$a = Counter(5)", "$a->next()", "$a->next()"], ["7"]),
    ([CLASS, "$a = Counter()", "$b = Counter(); Counter::total()"], ["2"]),
    ([CLASS, "$a = Counter()", "Counter::$made = 9", "Counter()", "Counter::total()"], ["10"]),
    ([CLASS, "$make = Counter", "$make(3)->next()"], ["4"]),
    ([CLASS, "$next = Counter(3)->next", "$next()"], ["4"]),
    # generators go on
    (["function g() { yield 1; yield 2; }", "$g = g()", "foreach ($g as $v) break", "foreach ($g as $v) echo $v"],
     ["2"]),
    # exceptions, shared memory, matches
    (['try { throw Exception("x"); } catch ($e) { }', "$e->message()"], ['"x"']),
    (['barrier "k" => $v { $v = 5; }', 'memory_fetch("k")'], ["5"]),
    (["$n = 0; function f($x) { global $n; $n += 1; return $x; }", "cache [] f(1)", "cache [] f(1)", "$n"], ["1"]),
    (['match (2) { 1 => "a", default => "b" }'], ['"b"']),
    (["[$a, [$b]] = [1, [2]]", "[$b, $a]"], ["[0=>2,1=>1]"]),
    # modules run once, and keep their variables
    (['import { next } from "module"'], ["runs"]),
    (['import { next } from "module"', "next()", "next()"], ["2"]),
    (['import { next } from "module"', 'import { $count as $c } from "module"', "next()", "$c"], ["1"]),
    (['import * as m from "module"', "m::next()", "m::$count"], ["1"]),
    (['import { Box } from "module"', "Box(); Box()", "Box::total()"], ["2"]),
    (['import $data from "data.json"', "$data[1]"], ["2"]),
    (['import { srs_forward as srs } from "extras://srs"', 'srs("a", "b.example", ["time" => 0])[0:4]'], ['"SRS0"']),
    # what is declared anew is used everywhere, and nothing else is lost
    (["function g() { return 1; }", "function f() { return g(); }", "function g() { return 2; }", "f()"], ["2"]),
    (["function f() { return 1; }", "$n = 1; $h = function () closure ($n) { $n += 1; return $n; };",
      "function f() { return 2; }", "$h(); [$n, f()]"], ["[0=>2,1=>2]"]),
    ([CLASS, "Counter()", "function f() { }", "function f() { return 1; }", "Counter::total()"], ["1"]),
    ([CLASS, "$a = Counter()", "class Counter { function next() { return 0; } }", "[$a->next(), Counter()->next()]"],
     ["[0=>1,1=>0]"]),
    (['import { next } from "module"', "next()", "function f() { }", "function f() { }", "next()"], ["2"]),
    (['import { next } from "module"', "function next() { return 0; }", "next()"], ["0"]),
    (["function Box() { return 0; }", 'import { Box } from "module"', "Box()"], ["Box"]),
    (["if (true) { function f() { return 1; } }", "function f() { return 2; }", "f()"], ["2"]),
    # an input with errors changes nothing
    (["function f() { return 1; }", "function f() { return nope(); }", "f()"], ["1"]),
    ([CLASS, "Counter()", "class Other { } nope()", "class Other { $x = 3; }", "Other()->x + Counter::total()"], ["4"]),
    (['import { next, nope } from "module"', 'import { next } from "module"', "next()"], ["1"]),
    (["$a = 1", "$a = 2; md5([])", "$a"], ["2"]),
]  # fmt: skip


@pytest.mark.parametrize(("texts", "wanted"), KEPT)
async def test_what_later_inputs_know(start: Start, tmp_path: Path, texts: list[str], wanted: list[str]) -> None:
    (tmp_path / "module.hsl").write_text(MODULE)
    (tmp_path / "data.json").write_text("[1, 2]")
    assert await fed(await start(), *texts) == wanted


@pytest.mark.parametrize(("texts", "wanted"), KEPT)
async def test_what_later_inputs_know_on_a_stage(
    start: Start, tmp_path: Path, texts: list[str], wanted: list[str]
) -> None:
    (tmp_path / "module.hsl").write_text(MODULE)
    (tmp_path / "data.json").write_text("[1, 2]")
    assert await fed(await start("data"), *texts) == wanted


async def test_closures_see_what_the_stage_sets_now(start: Start) -> None:
    session = await start("data")
    await fed(session, "$sender . 1", "$f = function () closure ($sender) { return $sender; }")
    await fed(session, 'SetSender("other@example.org")')
    assert await fed(session, "$f()") == ['"other@example.org"']


async def test_objects_go_along_to_another_stage(start: Start) -> None:
    session = await start("data")
    await fed(session, CLASS, "$a = Counter(4)", "$n = 1; $f = function () closure ($n) { $n += 1; return $n; };")
    await fed(session, ":stage rcptto")
    assert await fed(session, "$f(); [$a->next(), $n]") == ["[0=>5,1=>2]"]
    assert await fed(session, "Counter::total()") == ["1"]


async def test_declarations_that_do_not_fit_the_stage_are_dropped(start: Start) -> None:
    session = await start("data")
    await fed(session, "class Scan { function score() { return ScanSA(); } }")
    await fed(session, "class Plain { function x() { return 1; } }")
    assert (await fed(session, ":stage rcptto"))[1:] == ["Scan() is dropped: it does not fit this stage"]
    assert await fed(session, "Plain()->x()") == ["1"]


async def test_each_input_has_a_budget_of_its_own(start: Start) -> None:
    session = await start("connect")
    assert session.bench is not None
    session.bench.budget = Budget(steps=1000)
    for _ in range(3):
        assert await fed(session, "for ($i = 0; $i < 900; $i += 1) { }", "$i") == ["900"]


# ------------------------------------------------------------ stages


async def test_gtube(start: Start) -> None:
    session = await start("data")
    assert await fed(session, "ScanSA()") == ["0"]
    await fed(session, f":message {DATA / 'gtube.eml'}")
    (score,) = await fed(session, "ScanSA()")
    assert float(score) > 900


@pytest.mark.parametrize(
    ("stage", "text", "wanted"),
    [
        ("data", 'Defer("x")', ["verdict: defer", "reply: 421 4.7.1 x"]),
        ("data", 'Reject("a\\nb")', ["verdict: reject", "reply: 550-5.7.1 a", "       550 5.7.1 b"]),
        ("data", "echo 1; Deliver()", ["1", "verdict: deliver", "reply: 250 2.0.0 Ok"]),
        ("rcptto", "Accept()", ["verdict: accept", "reply: 250 2.1.5 Ok"]),
        ("predelivery", 'Reschedule(5, ["reason" => "later"])', ["verdict: queue delay=5", "reason: later"]),
        ("postdelivery", "Delete()", ["verdict: delete"]),
    ],
)
async def test_verdicts_are_shown_and_not_fatal(start: Start, stage: str, text: str, wanted: list[str]) -> None:
    session = await start(stage, reply="550 5.1.1 No")
    assert await fed(session, text) == wanted
    assert await fed(session, "2 + 2") == ["4"]


async def test_verdicts_without_end(start: Start) -> None:
    session = await start("data")
    for _ in range(150):
        lines = await fed(session, "Deliver()")
    assert lines == ["verdict: deliver", "reply: 250 2.0.0 Ok"]


async def test_the_message_keeps_its_changes(start: Start) -> None:
    session = await start("data")
    assert await fed(session, 'SetMetaData(["spam" => "yes"])') == []
    assert await fed(session, "GetMetaData()") == ['["spam"=>"yes"]']
    assert await fed(session, 'AddHeader("X-A", "b")', 'GetHeader("X-A")') == ['"b"']
    assert await fed(session, 'SetSender("other@example.org")', "$senderdomain") == ['"example.org"']
    assert await fed(session, f":message {DATA / 'clean.eml'}", 'GetHeader("Subject")') == ['"Minutes of the meeting"']
    assert await fed(session, "GetMetaData()") == ["[]"]


async def test_stage_variables_are_read_only_and_context_is_kept(start: Start) -> None:
    session = await start("mailfrom", sender=b"joe@example.org")
    assert await fed(session, "$senderlocalpart") == ['"joe"']
    assert (await fed(session, '$sender = "x"'))[0].startswith("input 2:1:1: error: $sender is read-only")
    assert await fed(session, "$context = [1]", "$context") == ["[0=>1]"]


@pytest.mark.parametrize("stage", STAGES)
async def test_every_stage_shows_its_variables(start: Start, stage: str) -> None:
    lines = await fed(await start(stage), ":vars")
    assert [line.split(" ")[0] for line in lines] == sorted(f"${name}" for name in STAGES[stage].variables)


async def test_going_to_another_stage(start: Start) -> None:
    session = await start(sender=b"joe@example.org")
    assert await fed(session, ":stage") == ["no stage: the language alone"]
    await fed(session, "$mine = 1", "function twice($x) { return $x * 2; }")
    assert await fed(session, ":stage data") == ["stage data: At the end of data, for each recipient"]
    assert await fed(session, ":stage") == ["data"]
    assert await fed(session, "$senderlocalpart . $mine . twice(4)") == ['"joe18"']


async def test_functions_that_do_not_fit_the_stage_are_dropped(start: Start) -> None:
    session = await start("data")
    await fed(session, "function score() { return ScanSA(); }", "function one() { return 1; }")
    await fed(session, "function more() { return score() + 1; }")
    assert (await fed(session, ":stage rcptto"))[1:] == [
        "score() is dropped: it does not fit this stage",
        "more() is dropped: it does not fit this stage",
    ]
    assert await fed(session, "one()") == ["1"]
    assert (await fed(session, "score()"))[0].endswith("error: there is no function score()")


async def test_a_stage_that_there_is_not(start: Start) -> None:
    session = await start("data")
    assert await fed(session, ":stage rcpto") == ["error: there is no stage 'rcpto'; did you mean rcptto?"]
    assert await fed(session, ":stage") == ["data"]


# ------------------------------------------------------------ commands


async def test_load(start: Start, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "more.hsl").write_text("function more($x) { return $x + 1; }\n$limit = 3;\n")
    (tmp_path / "lib" / "main.hsl").write_text('include "more.hsl";\necho "loaded";\n$sum = more($limit);\n')
    session = await start()
    assert await fed(session, f":load {tmp_path / 'lib' / 'main.hsl'}") == ["loaded"]
    assert await fed(session, "[$sum, more(9)]") == ["[0=>4,1=>10]"]
    assert await fed(session, 'include "lib/more.hsl";', "more(1)") == ["2"]


async def test_load_with_an_error(start: Start, tmp_path: Path) -> None:
    (tmp_path / "bad.hsl").write_bytes(b"echo 1;\n$x = \xff;\n")
    session = await start()
    lines = await fed(session, f":load '{tmp_path / 'bad.hsl'}'")
    assert lines[0].startswith(f"{tmp_path / 'bad.hsl'}:2:6: error: unexpected character")
    assert await fed(session, "1") == ["1"]


async def test_help(start: Start) -> None:
    session = await start("data")
    listed = await fed(session, ":help")
    assert [line.split(" ")[0] for line in listed] == list(COMMANDS)
    page = await fed(session, ":help ScanSA")
    assert page[:3] == ["## ScanSA", "", "    ScanSA([array options]) -> array or number"]
    assert await fed(session, ":help ScanSA()") == page
    assert await fed(session, ":help $senderip") == ["$senderip (string)  The client's IP address"]
    assert '  "remoteip" (string)  The client\'s IP address' in await fed(session, ":help $connection")
    await fed(session, "function mine($a, $b = 1, ...$more) {}", "$own = 7")
    assert await fed(session, ":help mine") == ["mine($a, [$b], ...$more)"]
    assert await fed(session, ":help $own") == ["$own = 7"]


async def test_help_of_classes(start: Start) -> None:
    session = await start()
    page = await fed(session, ":help Exception")
    assert page[:3] == ["## Exception", "", '    Exception([string message = ""]) -> object']
    assert "    Exception->line() -> number or none" in page
    await fed(session, CLASS)
    assert await fed(session, ":help Counter") == [
        "Counter([$start])",
        "  static $made",
        "  next()",
        "  static total()",
    ]
    await fed(session, "class Empty { readonly $x = 1; }")
    assert await fed(session, ":help Empty") == ["Empty()", "  readonly $x"]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (":hlp", "there is no command :hlp; did you mean :help?"),
        (":help scansa", "there is no function scansa(); did you mean ScanSA?"),
        (":help Try", "there is no function Try(); Try() is only available in predelivery"),
        (":help $sendr", "there is no variable $sendr; did you mean $sender?"),
        (":load", ":load wants a file"),
        (":message", ":message wants a file"),
        (":load /nowhere.hsl", "cannot read /nowhere.hsl: No such file or directory"),
        (":load /", "cannot read /: Is a directory"),
        (":message /nowhere.eml", "cannot read /nowhere.eml: No such file or directory"),
        (":load 'open", "No closing quotation"),
        (":load a\0b", "cannot read a\0b: embedded null byte"),
    ],
)
async def test_wrong_commands(start: Start, line: str, wanted: str) -> None:
    assert await fed(await start("data"), line) == [f"error: {wanted}"]


async def test_a_message_belongs_to_a_stage(start: Start) -> None:
    session = await start()
    assert await fed(session, ":message x.eml") == ["error: a message belongs to a stage: :stage data or :stage eod"]


async def test_a_whole_message(start: Start) -> None:
    """What one input queues, the next one does not."""
    session = await start("eod")
    await fed(session, '$mail = $arguments["mail"];', '$rcpt = $transaction["recipients"][0];')
    [ids] = await fed(session, '$mail->queue("", $rcpt["address"], $rcpt["transportid"])["queue"]')
    assert ids == "1"
    assert await fed(session, "Accept();") == ["verdict: accept", "reply: 250 2.0.0 Ok"]
    assert session.bench is not None
    assert session.bench.state.acts == []
    assert await fed(session, ":help $arguments") == [
        "$arguments (array)  What this stage is asked about",
        '  "mail" (object)  The message, an EODMailMessage',
        '  "metadata" (any)  In today\'s reference; not available: messages come by SMTP only',
        '  "http" (array)  In today\'s reference; not available: messages come by SMTP only',
    ]


async def test_quit(start: Start) -> None:
    session = await start()
    with pytest.raises(Leave):
        await session.feed(":quit")


# ------------------------------------------------------------ completion and lines that go on


async def test_completion(start: Start) -> None:
    session = await start("data")
    await fed(session, "$score = 1", "function getMore() {}")
    names = session.names()
    assert completions("GetMeta", names) == ["GetMetaData"]
    assert completions("getM", names) == [
        "getMore",
        "GetMailFile",
        "GetMailMessage",
        "GetMailQueueMetric",
        "GetMetaData",
    ]
    assert completions("$sc", names) == ["$score"]
    assert completions("$senderi", names) == ["$senderip"]
    assert completions(":m", names) == [":message"]
    assert completions("nothing", names) == []
    assert "Try" not in names, "a function of another stage"


MEMBERS = [
    ("$a->", ["$a->next"]),
    ("echo $a->ne", ["$a->next"]),
    ("$e->m", ["$e->message"]),
    ("$e->NONE", []),
    ("$plain->", []),
    ("$unknown->x", []),
    ("f()->qq", []),
    ("Counter::", ["Counter::$made", "Counter::total"]),
    ("Counter::$", ["Counter::$made"]),
    ("Counter::to", ["Counter::total"]),
    ("Nothing::x", []),
    ("Coun", ["Counter", "count"]),
    ("x + $pl", ["$plain"]),
    ("1 + ", []),
    ("", []),
]


@pytest.mark.parametrize(("text", "wanted"), MEMBERS)
async def test_completion_of_members(start: Start, text: str, wanted: list[str]) -> None:
    session = await start()
    await fed(session, CLASS, "$a = Counter()", '$plain = 1; $e = Exception("x")')
    begin, names = session.complete(text)
    assert names == wanted
    assert all(name.lower().startswith(text[begin:].lower()) for name in names)


async def test_completion_of_properties(start: Start) -> None:
    session = await start()
    await fed(session, "class P { $open; private $closed; }", "$p = P(); $p->more = 1")
    assert session.complete("$p->")[1] == ["$p->more", "$p->open"]


@pytest.mark.parametrize(
    "text",
    [
        "class A", "class A {", "class A { $x =", "class A { private", "class A { constructor(",
        "class A { static function f() {", "match ($x)", "match ($x) {", "match ($x) { 1,", "match ($x) { 1 => 2,",
        "$f = function ($x) closure", "$f = function ($x) closure ($y", "$f = function () closure ($y) {", "import {",
        "import { a as", "import { a } from", "import * as", 'import $x from "a.csv" with [', "try {", "try { }",
        "try { } catch ($e) {", "throw", "[$a, $b] =", "foreach ($x as [$a,", "function f() { yield 1 =>", "$o->",
        "A::", "#/abc", "cache []", "$a[1:", "f(...",
    ],
)  # fmt: skip
async def test_what_goes_on_of_todays_language(text: str) -> None:
    assert is_incomplete(text)


@pytest.mark.parametrize(
    "text",
    [
        "class A { function f() {} }", "match (1) { default => 2 }", "$f = function () closure ($x) { return $x; }",
        'import { a } from "x"', 'import * as a from "x"', 'import $x from "a.csv" with ["header" => true]',
        "try { } catch ($e) { }", "throw 1", "[$a, $b] = [1, 2]", "class { }", "class A { foo }", "try { } finally { }",
        "match (1) { 1 => }", "#/abc/i", "$o->m()", "A::$x",
    ],
)  # fmt: skip
async def test_what_is_complete_of_todays_language(text: str) -> None:
    assert not is_incomplete(text)


@pytest.mark.parametrize(
    "text",
    [
        "if ($x) {", "if (1)", "while (true)", "function f($a)", "function f() {\n", "$a =", "$a = [\n1,\n2", "f(",
        '"open', "''raw", "/* comment", "switch ($x) {", "$x ?", "$a[", "if (1) {\necho 1", 'barrier "x"',
        "if (1) { echo 2; } else", "1 +", "$a and",
    ],
)  # fmt: skip
async def test_what_goes_on(text: str) -> None:
    assert is_incomplete(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", "1", "1;", "f() // comment", "if ($x {", "foo bar", "}", "(1))", "1 +* 2", ":help", ":load {",
        "if (1) { echo 2; }", 'echo "a\nb"', "function f() { return 1 }", "[1,2]]", "\x01",
    ],
)  # fmt: skip
async def test_what_is_complete_or_beyond_help(text: str) -> None:
    assert not is_incomplete(text)


async def test_an_exchange_goes_on_at_each_challenge(start: Start) -> None:
    session = await start("auth", mechanism="X", responses=(b"a", b"b"))
    assert await session.feed('$arguments["state"];') == ["0"]
    assert await session.feed('Reply("?");') == ["verdict: reply challenge=?", "reply: 334 Pw=="]
    assert await fed(session, '$arguments["response"];') == ['"a"']
    assert await fed(session, 'Reply("?");', '$arguments["response"];') == ['"b"']
    assert await fed(session, 'Reply("?");', '$arguments["response"];') == ['"b"'], "no response is left"
