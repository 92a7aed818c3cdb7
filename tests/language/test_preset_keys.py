"""Keys of preset variables that the host never sets: a read of one is found at load, a question for one is none."""

from __future__ import annotations

import pytest

from hsl.compiler import Environment, Variable, compile_script
from hsl.errors import CompileError
from hsl.library import core_registry
from hsl.source import Source

GIVEN = Variable(
    "given",
    "array",
    "What there is",
    keys=(
        Variable("name", "string", "A name"),
        Variable("gone", "array", "Nothing", later="there is no such thing"),
        Variable("inner", "array", "More", keys=(Variable("gone", "any", "Nothing", later="nor this"),)),
    ),
)


def findings(script: str) -> str:
    environment = Environment(core_registry(), {"given": GIVEN})
    try:
        return "; ".join(str(item) for item in compile_script(Source("x.hsl", script), environment).warnings)
    except CompileError as error:
        return str(error)


READS = [
    ('echo $given["gone"];', 'x.hsl:1:13: error: "gone" is not available here: there is no such thing'),
    ('echo $given["gone"]["deeper"]["and"];', "1:13: error"),
    ('f($given["inner"]["gone"]); function f($x) {}', '1:19: error: "gone" is not available here: nor this'),
    ('echo ["x" => $given["gone"]];', '"gone" is not available here'),
    ('foreach ($given["gone"] as $x) echo $x;', "1:17: error"),
]


@pytest.mark.parametrize(("script", "wanted"), READS)
def test_reading_is_an_error(script: str, wanted: str) -> None:
    assert wanted in findings(script)


ALLOWED = [
    'echo $given["name"] . $given["gne"];',
    'echo $given["gone"] ?? "none";',
    'echo isset($given["gone"]) and isset($given["inner"]["gone"]);',
    'echo $given["inner"]["name"]; $key = "gone"; echo $given[$key];',
    'function f() { $given = ["gone" => 1]; return $given["gone"]; } echo f();',
    "echo $given" + '["gome"]' * 300 + ";",
]


@pytest.mark.parametrize("script", ALLOWED)
def test_asking_is_not(script: str) -> None:
    assert findings(script) == ""
