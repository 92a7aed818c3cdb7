"""Modules over several runs and files: state per run, what they see of the host, places and stacks of their errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hsl.builtins import Chapter
from hsl.compiler import Environment, Variable, compile_script
from hsl.errors import CompileError, ScriptError
from hsl.evaluator import Program
from hsl.library import core_registry
from hsl.loader import SHIPPED, FileLoader
from hsl.run import Run
from hsl.source import Source
from hsl.values import Value

STAGE = {"sender": Variable("sender", "string", "Set by the host.")}
chapter = Chapter("Test")


@chapter.function("stage_name")
def stage_name() -> bytes:
    """Return the name of the stage."""
    return b"test"


Files = Callable[[dict[str, str]], FileLoader]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    def write(texts: dict[str, str]) -> FileLoader:
        for name, text in texts.items():
            place = tmp_path / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        return FileLoader(tmp_path)

    return write


def compiled(loader: FileLoader, text: str) -> Program:
    return compile_script(Source("main.hsl", text), Environment(core_registry([chapter]), STAGE, loader))


def output(program: Program, variables: Callable[[str], Value] = lambda name: b"a@b") -> list[str]:
    lines: list[bytes] = []
    Run(program, output=lines.append, variables=variables).execute()
    return b"".join(lines).decode().splitlines()


def mistakes(loader: FileLoader, text: str) -> list[str]:
    """`place: message` of every static error."""
    with pytest.raises(CompileError) as caught:
        compiled(loader, text)
    return [f"{item.span}: {item.message}" for item in caught.value.errors]


def failure(loader: FileLoader, text: str) -> str:
    """The rendered run-time error."""
    with pytest.raises(ScriptError) as caught:
        output(compiled(loader, text))
    return caught.value.render()


# ---------------------------------------------------------------- state

COUNTER = 'echo "runs"; $n = 0; class Static { static $n = 0; } function up() { global $n; return ++$n; }'


def test_a_module_runs_once_in_each_run(files: Files) -> None:
    loader = files({"m.hsl": COUNTER, "n.hsl": 'import { up } from "m.hsl"; up();'})
    program = compiled(loader, 'import * as n from "n.hsl"; import { $n, Static } from "m.hsl"; echo $n; Static::$n++;')
    assert [output(program), output(program)] == [["runs", "1"]] * 2


def test_variables_of_modules_are_of_one_run(files: Files) -> None:
    loader = files({"m.hsl": COUNTER})
    program = compiled(loader, 'import { up, Static } from "m.hsl"; echo up() . up() . Static::$n++ . Static::$n;')
    assert [output(program), output(program)] == [["runs", "1201"]] * 2


def test_a_module_of_two_scripts_has_variables_of_its_own_in_each(files: Files) -> None:
    loader = files({"m.hsl": COUNTER})
    scripts = [compiled(loader, 'import { up } from "m.hsl"; echo up();') for _ in range(2)]
    assert [output(script) for script in scripts] == [["runs", "1"]] * 2


def test_data_is_read_once_and_the_same_in_each_run(files: Files, tmp_path: Path) -> None:
    loader = files({"d.json": '{"list": [[1], 2]}'})
    program = compiled(loader, 'import $d from "d.json"; $d["list"][0][] = 5; $d["x"] = 1; echo $d;')
    (tmp_path / "d.json").unlink()
    assert [output(program), output(program)] == [['["list"=>[0=>[0=>1,1=>5],1=>2],"x"=>1]']] * 2


def test_a_module_that_threw_is_not_run_again(files: Files) -> None:
    loader = files({"m.hsl": 'echo "runs"; $x = 1; throw "broken"; $x = 2;'})
    error = failure(loader, 'import { $x } from "m.hsl";')
    assert error.startswith("m.hsl:1:22: error: uncaught exception: broken")


# ---------------------------------------------------------------- the host


def test_stage_variables_are_not_visible_in_modules(files: Files) -> None:
    loader = files(
        {
            "m.hsl": """
                function direct() { return isset($sender); }
                function by_global() { global $sender; return isset($sender); }
                function given($sender) { $sender .= "!"; return $sender; }
            """
        }
    )
    text = 'import { direct, by_global, given } from "m.hsl"; echo [$sender, direct(), by_global(), given($sender)];'
    assert output(compiled(loader, text)) == ['[0=>"a@b",1=>false,2=>false,3=>"a@b!"]']


def test_a_module_may_have_variables_named_like_those_of_the_stage(files: Files) -> None:
    loader = files({"m.hsl": '$sender = "mine"; function tell() { global $sender; return $sender; }'})
    text = 'import { tell, $sender as $theirs } from "m.hsl"; $theirs .= "!"; echo tell() . $sender;'
    assert output(compiled(loader, text)) == ["mine!a@b"]


def test_an_import_cannot_take_the_name_of_a_stage_variable(files: Files) -> None:
    loader = files({"m.hsl": "$sender = 1;"})
    (message,) = mistakes(loader, 'import { $sender } from "m.hsl";')
    assert message.startswith("main.hsl:1:10: $sender")


def test_functions_of_the_stage_are_visible_in_modules(files: Files) -> None:
    loader = files({"m.hsl": "function where() { return stage_name(); }"})
    assert output(compiled(loader, 'import { where } from "m.hsl"; echo where();')) == ["test"]


def test_modules_without_files() -> None:
    with pytest.raises(CompileError) as caught:
        compile_script(Source("m", 'import { f } from "x";'), Environment(core_registry()))
    assert [item.message for item in caught.value.errors] == ["this script has no files to import from"]


def test_a_scheme_of_the_host(files: Files) -> None:
    def resolve(name: str) -> Source:
        return Source(f"company://{name.lower()}", f'echo "{name} runs"; function f() {{ return 1 - "x"; }}')

    root = files({"own.hsl": 'import { f as g } from "company://tools";'}).root
    loader = FileLoader(root, {**SHIPPED, "company": resolve})
    text = 'import { f } from "company://Tools"; import { g } from "own"; echo f == g;\n'
    assert output(compiled(loader, text)) == ["Tools runs", "true"]
    assert failure(loader, text + "f();").startswith("company://tools:1:42: error: unsupported operands")


# ---------------------------------------------------------------- files


def test_links_are_followed_below_the_root_only(files: Files, tmp_path: Path) -> None:
    files({"root/m.hsl": 'echo "runs"; $x = 1;', "secret.hsl": "$x = 2;", "secret.json": "1"})
    root = tmp_path / "root"
    (root / "inside.hsl").symlink_to(root / "m.hsl")
    (root / "outside.hsl").symlink_to(tmp_path / "secret.hsl")
    (root / "folder").symlink_to(tmp_path)
    loader = FileLoader(root)
    text = 'import { $x } from "m.hsl"; import { $x as $y } from "inside.hsl"; $y = 5; echo $x;'
    assert output(compiled(loader, text)) == ["runs", "5"]
    for statement in (
        'import { $x } from "outside.hsl";',
        'import { $x } from "folder/secret";',
        'import * as s from "folder/secret.hsl";',
        'import $x from "folder/secret.json";',
    ):
        (message,) = mistakes(loader, statement)
        assert message.endswith("is outside the script root")


@pytest.mark.parametrize("path", ["m", "./m.hsl", "sub/../m.hsl", "file:m", "file://./m.hsl"])
def test_one_file_is_one_module(files: Files, path: str) -> None:
    loader = files({"m.hsl": 'echo "runs"; $x = 1;', "sub/n.hsl": ""})
    program = compiled(loader, f'import {{ $x as $a }} from "m.hsl"; import {{ $x as $b }} from "{path}"; echo $b;')
    assert output(program) == ["runs", "1"]


def test_a_file_may_be_included_and_imported(files: Files) -> None:
    loader = files({"m.hsl": '$x = ($x ?? 0) + 1; echo "runs";'})
    text = 'include "m.hsl"; import { $x as $theirs } from "m.hsl"; include "m.hsl"; echo [$x, $theirs];'
    assert output(compiled(loader, text)) == ["runs"] * 3 + ["[0=>2,1=>1]"]


def test_cycles_through_includes(files: Files) -> None:
    loader = files({"m.hsl": 'include "part.hsl"; $y = 1;', "part.hsl": 'import { $x } from "m.hsl";'})
    (message,) = mistakes(loader, 'import { $y } from "m.hsl";')
    assert "main.hsl -> m.hsl -> part.hsl -> m.hsl" in message


def test_files_are_limited(files: Files) -> None:
    loader = files({"m.hsl": "function f() {}"})
    imports = [f'import {{ f as f{number} }} from "m.hsl";\n' for number in range(1001)]
    compiled(loader, "".join(imports[:1000]))
    assert mistakes(loader, "".join(imports))[0] == "main.hsl:1001:1: more than 1000 files"


def test_a_long_chain_of_modules(files: Files) -> None:
    texts = {f"m{number}.hsl": f'import {{ $x }} from "m{number + 1}.hsl"; $x += 1;' for number in range(900)}
    loader = files({**texts, "m900.hsl": "$x = 1;"})
    assert output(compiled(loader, 'import { $x } from "m0.hsl"; echo $x;')) == ["901"]


# ---------------------------------------------------------------- errors


def test_mistakes_of_all_files_at_once(files: Files) -> None:
    loader = files(
        {
            "m.hsl": "import { missing } from 'x'n.hsl'x';\nfunction f() { own(); }\n",
            "n.hsl": "function missin() { break; }\n",
        }
    )
    found = mistakes(loader, 'import { f } from "m.hsl";\nfunction own() { }\nf(1);\nnowhere();\n')
    assert [item.split(": ")[0] for item in found] == [
        "m.hsl:1:10",
        "m.hsl:2:16",
        "main.hsl:3:1",
        "main.hsl:4:1",
        "n.hsl:1:21",
    ]
    assert found[1].endswith("there is no function own()")


def test_mistakes_of_a_module_are_reported_once(files: Files) -> None:
    loader = files({"m.hsl": "function f() { nowhere(); }"})
    found = mistakes(loader, 'import { f } from "m.hsl"; import { f as g } from "m.hsl"; import * as m from "m.hsl";')
    assert found == ["m.hsl:1:16: there is no function nowhere()"]


def test_near_names_of_what_modules_have(files: Files) -> None:
    loader = files({"m.hsl": "$customer = 1; function lookup() { } class Account { }"})
    for text, hint in [
        ('import { lokup } from "m.hsl";', "lookup"),
        ('import { Acount } from "m.hsl";', "Account"),
        ('import { $custmer } from "m.hsl";', "$customer"),
        ('import * as m from "m.hsl"; m::lokup();', "lookup"),
        ('import * as m from "m.hsl"; echo m::$custmer;', "customer"),
        ('import * as module from "m.hsl"; modul::lookup();', "module"),
    ]:
        with pytest.raises(CompileError) as caught:
            compiled(loader, text)
        (error,) = caught.value.errors
        assert error.hint is not None
        assert hint in error.hint, text


def test_warnings_of_modules(files: Files) -> None:
    program = compiled(files({"m.hsl": "function f() {\n\treturn $nothing;\n}"}), 'import { f } from "m.hsl";')
    assert [str(item.span) for item in program.warnings] == ["m.hsl:2:9"]


def test_the_call_stack_crosses_files(files: Files) -> None:
    loader = files(
        {
            "lib/a.hsl": 'import { half } from "lib/b.hsl";\nfunction twice($x) {\n\treturn half($x) * 2;\n}\n',
            "lib/b.hsl": 'include "lib/c.hsl";\nclass Math { static function half($x) { return fail($x) / 2; } }\n'
            "function half($x) { return Math::half($x); }\n",
            "lib/c.hsl": 'function fail($x) { return $x - "x"; }\n',
        }
    )
    assert failure(loader, 'import { twice } from "lib/a.hsl";\necho twice(1);') == (
        "lib/c.hsl:1:28: error: unsupported operands: number - string\n"
        '    function fail($x) { return $x - "x"; }\n'
        "                               ^^^^^^^^\n"
        "    in fail() called at lib/b.hsl:2:48\n"
        "    in Math::half() called at lib/b.hsl:3:28\n"
        "    in half() called at lib/a.hsl:3:9\n"
        "    in twice() called at main.hsl:2:6"
    )


def test_an_error_while_a_module_runs_has_its_place(files: Files) -> None:
    loader = files({"m.hsl": '$x = 1;\n$y = $x - "x";\n'})
    assert failure(loader, '\nimport { $y } from "m.hsl";').startswith("m.hsl:2:6: error: unsupported operands")
