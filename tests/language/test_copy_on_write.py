"""Arrays are values. Random programs of assignments, writes, loops and calls are run by the evaluator, which shares
arrays until somebody writes, and by a model that copies everything at once: both must print the same."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest
from snippets import output_of

NAMES = ("a", "b", "c")
KEYS = ("0", "1", '"k"')
Expression = Callable[["Model"], Any]
Statement = Callable[["Model"], None]
APPEND = "[]"  # the key of an append; no program uses it as a key
KEY_VALUES: dict[str, Any] = {"0": 0, "1": 1, '"k"': "k", "": APPEND}


class Items(dict[Any, Any]):
    """An array of the model. The next index does not fall back when items are removed."""

    following = 0

    def put(self, key: Any, value: Any) -> None:
        key = self.following if key is APPEND else key
        self[key] = value
        if isinstance(key, int):
            self.following = max(self.following, key + 1)


class Model:
    """Variables in Python: arrays are Items, copied whenever they are read."""

    def __init__(self) -> None:
        self.globals: dict[str, Any] = {name: Items() for name in NAMES}
        self.locals: list[dict[str, Any]] = []
        self.lines: list[str] = []

    @property
    def variables(self) -> dict[str, Any]:
        return self.locals[-1] if self.locals else self.globals

    def read(self, name: str, keys: list[Any]) -> Any:
        value = self.variables[name]
        for key in keys:
            if isinstance(value, str):  # a key that a loop stored
                value = value[key : key + 1] or None if isinstance(key, int) else None
            else:
                value = value.get(key) if isinstance(value, Items) else None
        return copy.deepcopy(value)

    def write(self, name: str, keys: list[Any], value: Any) -> None:
        value = copy.deepcopy(value)
        if not keys:
            self.variables[name] = value
            return
        if not isinstance(self.variables[name], Items):
            self.variables[name] = Items()
        place = self.variables[name]
        for key in keys[:-1]:
            if not isinstance(place.get(key), Items):
                place.put(key, Items())
            place = place[key]
        place.put(keys[-1], value)

    def remove(self, name: str, keys: list[Any]) -> None:
        place = self.variables[name]
        for key in keys[:-1]:
            place = place.get(key) if isinstance(place, Items) else None
        if isinstance(place, Items):
            place.pop(keys[-1], None)

    def echo(self, value: Any) -> None:
        self.lines.append(shown(value))


def shown(value: Any, quoted: bool = False) -> str:
    if isinstance(value, Items):
        return "[" + ",".join(f"{shown(key, True)}=>{shown(item, True)}" for key, item in value.items()) + "]"
    if value is None:
        return "none"
    return f'"{value}"' if quoted and isinstance(value, str) else str(value)


class Generator:
    """Makes a random program: its text, and what the model does for it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.functions: list[str] = []
        self.count = 0

    def path(self, longest: int) -> tuple[str, list[Any]]:
        keys = [self.random.choice(KEYS) for _ in range(self.random.randint(0, longest))]
        return "".join(f"[{key}]" for key in keys), [KEY_VALUES[key] for key in keys]

    def name(self) -> str:
        return self.random.choice(NAMES)

    def expression(self, depth: int) -> tuple[str, Expression]:
        kind = self.random.randint(0, 9)
        if kind <= 1 or depth == 0:
            number = self.random.randint(0, 9)
            return str(number), lambda model: number
        if kind <= 5:
            name = self.name()
            text, keys = self.path(2)
            return f"${name}{text}", lambda model: model.read(name, keys)
        if kind <= 7:
            return self.literal(depth)
        if kind == 8:
            return self.assignment(depth)
        return self.conditional(depth)

    def literal(self, depth: int) -> tuple[str, Expression]:
        items = [(self.random.choice(["", "", *KEYS]), *self.expression(depth - 1)) for _ in range(2)]

        def evaluate(model: Model) -> Any:
            array = Items()
            for key, _, value in items:
                array.put(KEY_VALUES[key], value(model))
            return array

        return "[" + ", ".join(f"{key} => {text}" if key else text for key, text, _ in items) + "]", evaluate

    def assignment(self, depth: int) -> tuple[str, Expression]:
        name = self.name()
        path, keys = self.path(2)
        if self.random.random() < 0.4:
            path, keys = f"{path}[]", [*keys, APPEND]
        text, value = self.expression(depth - 1)

        def evaluate(model: Model) -> Any:
            result = value(model)
            model.write(name, keys, result)
            return result

        return f"(${name}{path} = {text})", evaluate

    def conditional(self, depth: int) -> tuple[str, Expression]:
        name = self.name()
        left, left_value = self.expression(depth - 1)
        right, right_value = self.expression(depth - 1)
        text = f'(isset(${name}["k"]) ? {left} : {right})'

        def evaluate(model: Model) -> Any:
            held = model.variables[name]
            return (left_value if isinstance(held, Items) and "k" in held else right_value)(model)

        return text, evaluate

    def statement(self, depth: int) -> tuple[str, Statement]:
        kind = self.random.randint(0, 9)
        if kind <= 4 or depth == 0:
            text, value = self.assignment(3)
            return f"{text[1:-1]};", lambda model: void(value(model))
        if kind == 5:
            name = self.name()
            path, keys = self.path(2)
            if not keys:
                path, keys = "[0]", [0]
            return f"unset(${name}{path});", lambda model: model.remove(name, keys)
        if kind == 6:
            return self.loop(depth)
        if kind == 7:
            return self.call(depth)
        text, value = self.expression(2)
        return f"echo {text};", lambda model: model.echo(value(model))

    def block(self, depth: int) -> tuple[str, Statement]:
        statements = [self.statement(depth) for _ in range(self.random.randint(1, 3))]

        def execute(model: Model) -> None:
            for _, run in statements:
                run(model)

        return " ".join(text for text, _ in statements), execute

    def loop(self, depth: int) -> tuple[str, Statement]:
        subject, key, value = self.name(), self.name(), self.name()
        path, keys = self.path(1)
        text, body = self.block(depth - 1)

        def execute(model: Model) -> None:
            array = model.read(subject, keys)
            for each, item in array.items() if isinstance(array, Items) else ():
                model.variables[key] = each
                model.variables[value] = copy.deepcopy(item)
                body(model)

        walked = f"is_array(${subject}{path}) ? ${subject}{path} : []"
        return f"foreach ({walked} as ${key} => ${value}) {{ {text} }}", execute

    def call(self, depth: int) -> tuple[str, Statement]:
        """`$x = f($a, $b[…]);` with a function whose locals are the parameters."""
        self.count += 1
        function, target = f"f{self.count}", self.name()
        arguments = [self.expression(2) for _ in NAMES]
        text, body = self.block(depth - 1)
        result_text, result = self.expression(2)
        parameters = ", ".join(f"${name}" for name in NAMES)
        self.functions.append(f"function {function}({parameters}) {{ {text} return {result_text}; }}")

        def execute(model: Model) -> None:
            values = [value(model) for _, value in arguments]
            model.locals.append(dict(zip(NAMES, values, strict=True)))
            body(model)
            returned = result(model)
            model.locals.pop()
            model.variables[target] = returned

        return f"${target} = {function}({', '.join(text for text, _ in arguments)});", execute

    def program(self) -> tuple[str, Statement]:
        statements = [self.statement(2) for _ in range(12)]
        report = "".join(f"echo ${name};\n" for name in NAMES)
        body = "".join(f"{text}\n{report}" for text, _ in statements)
        start = "".join(f"${name} = [];\n" for name in NAMES)

        def execute(model: Model) -> None:
            for _, run in statements:
                run(model)
                for name in NAMES:
                    model.echo(model.variables[name])

        return start + body + "\n".join(self.functions) + "\n", execute


def void(value: Any) -> None:
    """A value that nobody wants."""


@pytest.mark.parametrize("seed", range(40))
def test_random_programs_behave_as_if_everything_were_copied(seed: int) -> None:
    for part in range(10):
        text, execute = Generator(seed * 1000 + part).program()
        model = Model()
        execute(model)
        assert output_of(text) == model.lines, text
