"""What a REPL keeps between inputs: variables, functions, the stage. A text goes in, lines to show come out.

Each input is compiled against the variables and functions of those before it and run on the same stage context.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from hsl import ast
from hsl.builtins import Registry
from hsl.cli.builtins import page
from hsl.cli.run import describe
from hsl.cli.workbench import UsageError, Workbench, read_message
from hsl.compiler import Environment, Variable, compile_tree
from hsl.errors import CompileError, Diagnostics, ScriptError, near
from hsl.evaluator import Program
from hsl.library import core_registry
from hsl.loader import FileLoader
from hsl.parser import parse
from hsl.run import Run
from hsl.runtime.context import Context
from hsl.runtime.stages import STAGES, elsewhere, environment
from hsl.source import Source
from hsl.values import Value, literal

COMMANDS = {
    ":help": "[NAME]  what a function does; alone: this list",
    ":vars": "the variables and their values",
    ":stage": "[NAME]  the stage; with a name: go to another one, everything anew",
    ":load": "FILE  run a script file here",
    ":message": "FILE  put another message on the bench",
    ":quit": "leave",
}


class Leave(Exception):
    """`:quit`."""


class Session:
    """One REPL's state. `bench` is None for the language alone."""

    def __init__(self, bench: Workbench | None, root: Path, settings: Mapping[str, str]) -> None:
        self.bench = bench
        self.root = root
        self.settings = settings
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
    def registry(self) -> Registry:
        return self.environment().registry

    def environment(self) -> Environment:
        """What the next input may use: the stage's functions and variables, and what was set before."""
        loader = FileLoader(self.root)
        if self.stage is None:
            base = Environment(core_registry(), loader=loader, elsewhere=elsewhere)
        else:
            base = environment(self.stage, loader)
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
            return await self.evaluate(text)
        except UsageError as error:
            return [f"error: {error}"]

    # ------------------------------------------------------------ script

    async def evaluate(self, text: str, name: str | None = None) -> list[str]:
        self.inputs += 1
        source = Source(name or f"input {self.inputs}", text if text.rstrip().endswith((";", "}")) else text + ";")
        diagnostics = Diagnostics()
        script = parse(source, diagnostics)
        shows = shown_expression(script)
        try:
            program = compile_tree(self.with_functions(script), source, self.environment(), diagnostics)
        except CompileError as error:
            return str(error).split("\n")
        lines = [line for item in program.warnings for line in item.render().split("\n")]
        self.functions |= {node.name: node for node in script.statements if isinstance(node, ast.Function)}
        return lines + await self.execute(program, shows)

    def with_functions(self, script: ast.Script) -> ast.Script:
        """The script with the functions of earlier inputs before it, and its last expression returned."""
        redefined = {node.name for node in script.statements if isinstance(node, ast.Function)}
        earlier = [node for name, node in self.functions.items() if name not in redefined]
        statements = list(script.statements)
        if statements and isinstance(statements[-1], ast.ExpressionStatement):
            last = statements[-1]
            statements[-1] = ast.Return(last.span, last.expression)
        return ast.Script(script.span, (*earlier, *statements))

    async def execute(self, program: Program, shows: bool) -> list[str]:
        written: list[bytes] = []
        verdict: list[str] = []
        value: Value = None
        if self.bench is None or self.context is None:
            run = Run(program, variables=self.variables.get, output=written.append)
            try:
                value = await run.execute_async()
            except ScriptError as error:
                verdict = error.render().split("\n")
        else:
            run, outcome = await self.bench.execute(program, self.context, written.append, self.lookup)
            value = outcome.value
            if outcome.error is not None:
                verdict = outcome.error.render().split("\n")
            elif outcome.verdict.explicit:
                reply = self.bench.reply_text(outcome.verdict)
                verdict = [f"verdict: {describe(outcome)}", *([f"reply: {reply}"] if reply else [])]
        self.keep(run, program)
        output = b"".join(written).decode("utf-8", "replace").removesuffix("\n")
        shown = [literal(value).decode("utf-8", "replace")] if shows and not verdict else []
        return [*(output.split("\n") if output else []), *shown, *verdict]

    def lookup(self, name: str) -> Value:
        if name in self.variables:
            return self.variables[name]
        assert self.context is not None
        return self.context.variable(name)

    def keep(self, run: Run, program: Program) -> None:
        """Remember the variables that the input left behind, except those that the stage gives anew each time."""
        given = STAGES[self.stage].variables if self.stage is not None else {}
        for name in program.global_names:
            if name in given:
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
            return [f"{command} {text}" for command, text in COMMANDS.items()]
        name = name.removesuffix("()")
        if name.startswith("$"):
            variable = self.environment().variables.get(name[1:])
            if variable is None:
                raise UsageError(f"there is no stage variable {name}")
            return [f"${variable.name} ({variable.type})  {variable.doc}"]
        builtin = self.registry.get(name)
        if builtin is None:
            hint = elsewhere(name) or near(name, self.registry.names())
            raise UsageError(f"there is no function {name}()" + (f"; {hint}" if hint else ""))
        return page(builtin).split("\n")

    def show_variables(self) -> list[str]:
        given = [] if self.stage is None else sorted(STAGES[self.stage].variables)
        own = sorted(name for name in self.variables if name not in given)
        lines = [f"${name} = {shorten(self.lookup(name))}" for name in given]
        return lines + [f"${name} = {shorten(self.variables[name])}" for name in own]

    async def change_stage(self, name: str) -> list[str]:
        if not name:
            return [self.stage or "no stage: the language alone"]
        if name not in STAGES:
            hint = near(name, STAGES)
            raise UsageError(f"there is no stage {name!r}" + (f"; {hint}" if hint else f": {', '.join(STAGES)}"))
        from hsl.cli.workbench import Scene

        scene = Scene(name) if self.bench is None else replace(self.bench.scene, stage=name)
        bench = await Workbench.open(scene, self.settings)
        if self.bench is not None:
            await self.bench.close()
        self.bench = bench
        return [f"stage {name}: {STAGES[name].summary}"]

    async def load(self, path: Path) -> list[str]:
        try:
            text = path.read_bytes().decode("utf-8", "surrogateescape")
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from None
        root, self.root = self.root, path.parent
        try:
            return await self.evaluate(text, str(path))
        finally:
            self.root = root

    def message(self, path: Path) -> list[str]:
        if self.bench is None:
            raise UsageError("a message belongs to a stage: :stage data")
        message = read_message(path)
        self.bench.take_message(message)
        return [f"message of {len(message)} bytes"]


def shown_expression(script: ast.Script) -> bool:
    """Whether the input ends with an expression whose value is worth showing."""
    if not script.statements or not isinstance(script.statements[-1], ast.ExpressionStatement):
        return False
    return not isinstance(script.statements[-1].expression, ast.Assign)


def is_incomplete(text: str) -> bool:
    """Whether an input goes on: a block, a string or an expression in it is still open."""
    if not text.strip() or text.lstrip().startswith(":"):
        return False
    diagnostics = Diagnostics()
    parse(Source("input", text + "\n;"), diagnostics)
    errors = sorted((item for item in diagnostics.items if item.severity == "error"), key=lambda item: item.span.start)
    if not errors:
        return False
    first = errors[0]
    return (
        first.message.startswith("unexpected end of file")
        or first.message.endswith("has no end")
        or first.span.start >= len(text)
    )


def shorten(value: Value, width: int = 100) -> str:
    text = literal(value).decode("utf-8", "replace")
    return text if len(text) <= width else text[: width - 1] + "…"


def completions(prefix: str, names: Iterable[str]) -> list[str]:
    """The names that begin with a prefix, those of the same case first."""
    exact = [name for name in names if name.startswith(prefix)]
    folded = [name for name in names if name.lower().startswith(prefix.lower()) and name not in exact]
    return sorted(set(exact)) + sorted(set(folded))
