"""What a REPL keeps between inputs: variables, functions, the stage. A text goes in, lines to show come out.

Each input is compiled against the variables and functions of those before it and run on the same stage context.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from hsl import ast
from hsl.builtins import Registry
from hsl.cli.builtins import page
from hsl.cli.run import outcome_lines
from hsl.cli.scripts import Unreadable, elsewhere, plain_environment, read_file, shown_loader, shown_path
from hsl.cli.workbench import Scene, UsageError, Workbench, read_message
from hsl.compiler import Environment, Loader, LoadError, Variable, compile_tree
from hsl.errors import CompileError, Diagnostics, ScriptError, near
from hsl.evaluator import Program
from hsl.parser import MAX_SOURCE, parse
from hsl.run import Run
from hsl.runtime.context import Context
from hsl.runtime.stages import STAGES, environment
from hsl.source import Source, Span
from hsl.values import Value, literal

COMMANDS = {
    ":help": "[NAME]  what a function does; alone: this list",
    ":vars": "the variables and their values",
    ":stage": "[NAME]  the stage; with a name: go to another one, everything anew",
    ":load": "FILE  run a script file here",
    ":message": "FILE  put another message on the bench",
    ":quit": "leave",
}


MAX_SHOWN = 10_000  # characters of a value
MAX_INCLUDED = 20  # files that include one another

CONTROLS = {number: f"\\x{number:02x}" for number in (*range(32), *range(127, 160))}
CONTROLS |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}


class Leave(Exception):
    """`:quit`."""


class Session:
    """One REPL's state. `bench` is None for the language alone; `scene` is what a stage is told that is gone to."""

    def __init__(
        self, bench: Workbench | None, root: Path, settings: Mapping[str, str], scene: Scene | None = None
    ) -> None:
        self.bench = bench
        self.root = root
        self.settings = settings
        self.scene = scene
        self.variables: dict[str, Value] = {}
        self.functions: dict[str, ast.Function] = {}
        self.inputs = 0

    @property
    def stage(self) -> str | None:
        return None if self.bench is None else self.bench.scene.stage

    @property
    def context(self) -> Context | None:
        return None if self.bench is None else self.bench.contexts[0]

    @property
    def given(self) -> Mapping[str, Variable]:
        """The variables of the stage."""
        return {} if self.stage is None else STAGES[self.stage].variables

    def environment(self) -> Environment:
        """What the next input may use: the stage's functions and variables, and what was set before."""
        loader = shown_loader(self.root)
        base = plain_environment(loader) if self.stage is None else environment(self.stage, loader)
        own = {name: Variable(name, "any", "", readonly=False) for name in self.variables if name not in base.variables}
        return replace(base, variables={**base.variables, **own})

    def names(self) -> list[str]:
        """What can be completed: variables, functions, commands."""
        known = self.environment()
        names = [f"${name}" for name in known.variables]
        return [*names, *self.functions, *known.registry.names(), *COMMANDS]

    async def feed(self, text: str) -> list[str]:
        """Run a command or a piece of script. Raises Leave on `:quit`."""
        stripped = text.strip()
        if not stripped:
            return []
        try:
            if stripped.startswith(":"):
                return await self.command(stripped)
            self.inputs += 1
            return await self.evaluate(f"input {self.inputs}", text)
        except UsageError as error:
            return [f"error: {error}"]

    # ------------------------------------------------------------ script

    async def evaluate(self, name: str, text: str) -> list[str]:
        source, script, diagnostics = parse_input(name, text)
        known = self.environment()
        shows = shown_expression(script, known.registry)
        try:
            program = compile_tree(self.with_functions(script), source, known, diagnostics)
        except CompileError as error:
            return str(error).split("\n")
        earlier = {function.span.source for function in self.functions.values()}
        new = [item for item in program.warnings if item.span.source not in earlier]
        self.functions |= {node.name: node for node in declared(script, known.loader)}
        return [line for item in new for line in item.render().split("\n")] + await self.execute(program, shows)

    def with_functions(self, script: ast.Script) -> ast.Script:
        """The script with the functions of earlier inputs before it, and its last expression returned."""
        redefined = {node.name for node in declared(script, shown_loader(self.root))}
        earlier = [node for name, node in self.functions.items() if name not in redefined]
        statements = list(script.statements)
        if statements and isinstance(statements[-1], ast.ExpressionStatement):
            last = statements[-1]
            statements[-1] = ast.Return(last.span, last.expression)
        return ast.Script(script.span, (*earlier, *statements))

    async def execute(self, program: Program, shows: bool) -> list[str]:
        """Run, and keep what it sets. The lines: what it wrote; then its value, its verdict or its error."""
        written: list[bytes] = []
        if self.bench is None or self.context is None:
            run, value, lines = await self.execute_plain(program, written.append)
        else:
            run, value, lines = await self.execute_on(self.bench, self.context, program, written.append)
        self.keep(run, program)
        output = b"".join(written).decode("utf-8", "replace").removesuffix("\n")
        if shows and not lines:
            lines = [shown_value(value)]
        return [*(output.split("\n") if written else []), *lines]

    async def execute_plain(self, program: Program, output: Callable[[bytes], None]) -> tuple[Run, Value, list[str]]:
        run = Run(program, variables=self.variables.get, output=output)
        try:
            return run, await run.execute_async(), []
        except ScriptError as error:
            return run, None, error.render().split("\n")

    async def execute_on(
        self, bench: Workbench, context: Context, program: Program, output: Callable[[bytes], None]
    ) -> tuple[Run, Value, list[str]]:
        run, outcome = await bench.execute(program, context, output, self.lookup)
        bench.forget_acts()
        lines: list[str] = []
        if outcome.error is not None:
            lines = outcome.error.render().split("\n")
        elif outcome.verdict.explicit:
            lines = outcome_lines(bench, context, outcome)
        return run, outcome.value, lines

    def lookup(self, name: str) -> Value:
        if name in self.variables:
            return self.variables[name]
        assert self.context is not None
        return self.context.variable(name)

    def keep(self, run: Run, program: Program) -> None:
        """Remember the variables that the input left behind, except those that the stage gives anew each time."""
        for name in program.global_names:
            if name in self.given:
                continue
            if run.is_set(name):
                self.variables[name] = run.variable(name)
            else:
                self.variables.pop(name, None)

    # ------------------------------------------------------------ commands

    async def command(self, line: str) -> list[str]:
        try:
            name, *words = shlex.split(line)
        except ValueError as error:
            raise UsageError(str(error)) from None
        word = words[0] if words else ""
        match name:
            case ":help":
                return self.help(word)
            case ":vars":
                return self.show_variables()
            case ":stage":
                return await self.change_stage(word)
            case ":load":
                return await self.load(self.wanted(name, word))
            case ":message":
                return self.message(self.wanted(name, word))
            case ":quit":
                raise Leave
        hint = near(name, COMMANDS)
        raise UsageError(f"there is no command {name}" + (f"; {hint}" if hint else ""))

    @staticmethod
    def wanted(command: str, word: str) -> Path:
        if not word:
            raise UsageError(f"{command} wants a file")
        return Path(word)

    def help(self, name: str) -> list[str]:
        if not name:
            return [f"{command:10}{text}" for command, text in COMMANDS.items()]
        name = name.removesuffix("()")
        known = self.environment()
        if name.startswith("$"):
            return self.help_variable(name[1:], known)
        if name in self.functions:
            return [signature(self.functions[name])]
        builtin = known.registry.get(name)
        if builtin is None:
            hint = elsewhere(name) or near(name, [*self.functions, *known.registry.names()])
            raise UsageError(f"there is no function {name}()" + (f"; {hint}" if hint else ""))
        return page(builtin).split("\n")

    def help_variable(self, name: str, known: Environment) -> list[str]:
        variable = known.variables.get(name)
        if variable is None:
            hint = near(f"${name}", [f"${item}" for item in known.variables])
            raise UsageError(f"there is no variable ${name}" + (f"; {hint}" if hint else ""))
        if name not in self.given:
            return [f"${name} = {shown_value(self.variables[name], 100)}"]
        return [f"${name} ({variable.type})  {variable.doc}", *keys_of(variable)]

    def show_variables(self) -> list[str]:
        own = sorted(name for name in self.variables if name not in self.given)
        return [f"${name} = {shown_value(self.lookup(name), 100)}" for name in (*sorted(self.given), *own)]

    async def change_stage(self, name: str) -> list[str]:
        if not name:
            return [self.stage or "no stage: the language alone"]
        before = self.scene or Scene(name) if self.bench is None else self.bench.scene
        bench = await Workbench.open(replace(before, stage=name), self.settings)
        if self.bench is not None:
            await self.bench.close()
        self.bench = bench
        return [f"stage {name}: {STAGES[name].summary}", *self.drop_functions()]

    def drop_functions(self) -> list[str]:
        """Forget the functions that the stage cannot have: they use what only others have, or each other."""
        lines = []
        while wrong := faulty(self.functions.values(), self.environment()):
            for name in sorted(wrong):
                del self.functions[name]
                lines.append(f"{name}() is dropped: it does not fit this stage")
        return lines

    async def load(self, path: Path) -> list[str]:
        try:
            source = Source.from_bytes(shown_path(path), read_file(path, MAX_SOURCE))
        except Unreadable as error:
            raise UsageError(f"cannot read {shown_path(path)}: {error}") from None
        root, self.root = self.root, path.parent
        try:
            return await self.evaluate(source.name, source.text)
        finally:
            self.root = root

    def message(self, path: Path) -> list[str]:
        if self.bench is None:
            raise UsageError("a message belongs to a stage: :stage data")
        message = read_message(path)
        self.bench.take_message(message)
        return [f"message of {len(message)} bytes"]


def parse_input(name: str, text: str) -> tuple[Source, ast.Script, Diagnostics]:
    """An input as a script; the semicolon at its end may be missing."""
    source, diagnostics = Source(name, text), Diagnostics()
    script = parse(source, diagnostics)
    if diagnostics.items:
        ended, none = Source(name, text + "\n;"), Diagnostics()
        script_ended = parse(ended, none)
        if not none.items:
            return ended, script_ended, none
    return source, script, diagnostics


def shown_expression(script: ast.Script, registry: Registry) -> bool:
    """Whether the input ends with an expression whose value is worth showing."""
    if not script.statements or not isinstance(script.statements[-1], ast.ExpressionStatement):
        return False
    expression = script.statements[-1].expression
    if isinstance(expression, ast.Call) and isinstance(expression.callee, ast.FunctionName):
        builtin = registry.get(expression.callee.name)
        return builtin is None or builtin.result != "none"
    return not isinstance(expression, ast.Assign)


def declared(script: ast.Script, loader: Loader | None, depth: int = 0) -> Iterator[ast.Function]:
    """The functions that a script and the files it includes declare at their top; files that do not load have none."""
    for node in script.statements:
        if isinstance(node, ast.Function):
            yield node
        elif isinstance(node, ast.Include) and loader is not None and depth < MAX_INCLUDED:
            try:
                source = loader.load(node.path)
            except LoadError:
                continue
            yield from declared(parse(source, Diagnostics()), loader, depth + 1)


def faulty(functions: Collection[ast.Function], known: Environment) -> set[str]:
    """The names of the functions that have errors; those of all when the errors are in none of them."""
    source = Source("functions", "")
    try:
        compile_tree(ast.Script(Span(source, 0, 0), tuple(functions)), source, known, Diagnostics())
    except CompileError as error:
        found = {name for item in error.errors if (name := function_at(item.span, functions)) is not None}
        return found or {node.name for node in functions}
    return set()


def function_at(place: Span, functions: Iterable[ast.Function]) -> str | None:
    """The function that a place is in: the last one declared before it."""
    before = [node for node in functions if node.span.source is place.source and node.span.start <= place.start]
    return max(before, key=lambda node: node.span.start).name if before else None


def is_incomplete(text: str) -> bool:
    """Whether an input goes on: a block, a string or an expression in it is still open."""
    if not text.strip() or text.lstrip().startswith(":"):
        return False
    for tail in ("", "\n;"):
        diagnostics = Diagnostics()
        parse(Source("input", text + tail), diagnostics)
        first = min(diagnostics.items, key=lambda item: item.span.start, default=None)
        if first is None:
            return False
        at_end = first.message.startswith("unexpected end of file")
        if not at_end and not first.message.endswith("has no end"):
            return False
        if not first.message.endswith("expected `;`"):
            return True
    return False


def signature(function: ast.Function) -> str:
    """A script's function as it was declared, without its body."""
    shown = []
    for parameter in function.parameters or ():
        name = f"${parameter.name}"
        shown.append(f"...{name}" if parameter.variadic else name if parameter.default is None else f"[{name}]")
    return f"{function.name}({', '.join(shown)})"


def keys_of(variable: Variable, lead: str = "  ") -> list[str]:
    """The documented keys of an array, those of arrays in it indented further."""
    lines = []
    for key in variable.keys:
        lines.append(f'{lead}"{key.name}" ({key.type})  {key.doc}')
        lines += keys_of(key, lead + "  ")
    return lines


def shown_value(value: Value, width: int = MAX_SHOWN) -> str:
    """A value as it would be written in a script, cut off behind `width` characters."""
    try:
        text = literal(value).decode("utf-8", "replace")
    except ScriptError as error:
        return f"({error.message})"
    text = text[: width + 1].translate(CONTROLS)
    return text if len(text) <= width else text[: width - 1] + "…"


def completions(prefix: str, names: Collection[str]) -> list[str]:
    """The names that begin with a prefix, those of the same case first."""
    exact = {name for name in names if name.startswith(prefix)}
    folded = {name for name in names if name.lower().startswith(prefix.lower())}
    return sorted(exact) + sorted(folded - exact)
