"""A REPL's session: a text goes in, lines to show come out. It keeps what inputs set and declare, and the stage.

Each input is one more piece of one script (cli/workspace.py), run on the same stage context.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

from hsl import ast
from hsl.builtins import Registry
from hsl.cli.manual import page
from hsl.cli.run import outcome_lines
from hsl.cli.scripts import Unreadable, elsewhere, plain_environment, read_file, shown_loader, shown_path
from hsl.cli.workbench import Scene, UsageError, Workbench, read_message
from hsl.cli.workspace import Workspace, faulty
from hsl.compiler import Environment, Variable
from hsl.errors import CompileError, Diagnostic, Diagnostics, ScriptError, near
from hsl.evaluator import Program
from hsl.objects import ClassDeclaration, Instance
from hsl.parser import MAX_SOURCE, parse
from hsl.runtime.context import Context
from hsl.runtime.plainhost import PlainHost
from hsl.runtime.stages import STAGES, environment
from hsl.shared import SharedStore
from hsl.source import Source
from hsl.values import Object, Value, literal, to_text

COMMANDS = {
    ":help": "[NAME]  what a function does; alone: this list",
    ":vars": "the variables and their values",
    ":stage": "[NAME]  the stage; with a name: go to another one, everything anew",
    ":load": "FILE  run a script file here",
    ":message": "FILE  put another message on the bench",
    ":quit": "leave",
}

MAX_SHOWN = 10_000  # characters of a value
WORD = re.compile(r"(?:\$?[A-Za-z_]\w*(?:->|::))?[$:]?(?:[A-Za-z_]\w*)?\Z", re.ASCII)

CONTROLS = {number: f"\\x{number:02x}" for number in (*range(32), *range(127, 160))}
CONTROLS |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}


class Leave(Exception):
    """`:quit`."""


class Session:
    """One REPL's state. `bench` is None for the language alone; `scene` is what a stage is told that is gone to."""

    def __init__(
        self,
        bench: Workbench | None,
        root: Path,
        settings: Mapping[str, str],
        scene: Scene | None = None,
        *,
        ffi: bool = False,
    ) -> None:
        self.bench = bench
        self.root = root
        self.settings = settings
        self.scene = scene
        self.workspace = Workspace()
        self.shared = SharedStore()  # of the language alone; a stage has the process's
        self.ffi = ffi
        self.host = PlainHost(root, ffi)  # of the language alone
        self.warned: set[tuple[str, int, str]] = set()
        self.inputs = 0

    async def close(self) -> None:
        """End what scripts, the bench and the host have opened."""
        if self.workspace.run is not None:
            self.workspace.run.close()
        if self.bench is not None:
            await self.bench.close()
        await self.host.close()

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
        """What scripts may use: the stage's functions and variables."""
        loader = shown_loader(self.root)
        return plain_environment(loader) if self.stage is None else environment(self.stage, loader)

    def names(self) -> list[str]:
        """What can be completed: variables, functions, classes, commands."""
        known = self.environment()
        names = [f"${name}" for name in {**known.variables, **self.workspace.slots()}]
        registry = [*known.registry.names(), *(set(known.registry.classes) - set(known.registry.names()))]
        return [*names, *self.workspace.functions(), *registry, *COMMANDS]

    def complete(self, text: str) -> tuple[int, list[str]]:
        """What may stand for the word at the end of a text: where it begins, and the words."""
        match = WORD.search(text)
        word = match[0] if match else ""
        start = len(text) - len(word)
        for arrow, members in (("->", self.members), ("::", self.statics)):
            owner, found, _ = word.partition(arrow)
            if found:
                return start, completions(word, [owner + arrow + name for name in members(owner)])
        return start, completions(word, self.names()) if word else []

    def members(self, variable: str) -> list[str]:
        """The public properties and methods of the object that a variable holds."""
        value = self.lookup(variable.removeprefix("$")) if variable.startswith("$") else None
        if not isinstance(value, Object):
            return []
        names = [to_text(key) for key in value.members] if isinstance(value, Instance) else []
        return [name for name in [*names, *value.methods()] if value.has(name.encode(), None)]

    def statics(self, name: str) -> list[str]:
        """The public static members of a class."""
        named = self.workspace.functions().get(name)
        if isinstance(named, ClassDeclaration):
            private = named.static_private
            variables = [f"${item}" for item in named.static_variables if item not in private]
            return [*variables, *(item for item in named.static_functions if item not in private)]
        builtin = self.environment().registry.classes.get(name)
        return [] if builtin is None else list(builtin.static_methods)

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
            program = self.workspace.compile(returning(script), source, known, diagnostics)
        except CompileError as error:
            return str(error).split("\n")
        warnings = [line for item in program.warnings if self.is_new(item) for line in item.render().split("\n")]
        return warnings + await self.execute(program, shows)

    def is_new(self, item: Diagnostic) -> bool:
        """Whether a warning was not shown before: declarations are compiled more than once."""
        mark = (item.span.file, item.span.start, item.message)
        new = mark not in self.warned
        self.warned.add(mark)
        return new

    async def execute(self, program: Program, shows: bool) -> list[str]:
        """Run, and keep what it sets. The lines: what it wrote; then its value, its verdict or its error."""
        written: list[bytes] = []
        if self.bench is None or self.context is None:
            value, lines = await self.execute_plain(program, written.append)
        else:
            value, lines = await self.execute_on(self.bench, self.context, program, written.append)
        output = b"".join(written).decode("utf-8", "replace").removesuffix("\n")
        if shows and not lines:
            lines = [shown_value(value)]
        return [*(output.split("\n") if written else []), *lines]

    async def execute_plain(self, program: Program, output: Callable[[bytes], None]) -> tuple[Value, list[str]]:
        run = self.workspace.start(program, host=self.host, output=output, shared=self.shared)
        try:
            return await run.execute_async(), []
        except ScriptError as error:
            return None, error.render().split("\n")

    async def execute_on(
        self, bench: Workbench, context: Context, program: Program, output: Callable[[bytes], None]
    ) -> tuple[Value, list[str]]:
        _, outcome = await bench.execute(program, context, output, self.workspace.start)
        bench.forget_acts()
        lines: list[str] = []
        if outcome.error is not None:
            lines = outcome.error.render().split("\n")
        elif outcome.verdict.explicit:
            lines = outcome_lines(bench, context, outcome)
            if (following := bench.next_round(context, outcome.verdict)) is not None:
                bench.contexts[0] = following
        return outcome.value, lines

    def lookup(self, name: str) -> Value:
        if name in self.given and self.context is not None:
            return self.context.variable(name)
        return self.workspace.variables().get(name)

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
        declared = self.workspace.declared.get(name)
        if isinstance(declared, ast.Function | ast.Class):
            return declaration_lines(declared)
        builtin = known.registry.classes.get(name) or known.registry.get(name)
        if builtin is None:
            hint = elsewhere(name) or near(name, self.names())
            raise UsageError(f"there is no function {name}()" + (f"; {hint}" if hint else ""))
        return page(builtin).split("\n")

    def help_variable(self, name: str, known: Environment) -> list[str]:
        variable = known.variables.get(name)
        if variable is not None:
            return [f"${name} ({variable.type})  {variable.doc}", *keys_of(variable)]
        values = self.workspace.variables()
        if name not in values:
            hint = near(f"${name}", [f"${item}" for item in {**known.variables, **values}])
            raise UsageError(f"there is no variable ${name}" + (f"; {hint}" if hint else ""))
        return [f"${name} = {shown_value(values[name], 100)}"]

    def show_variables(self) -> list[str]:
        own = sorted(name for name in self.workspace.slots() if name not in self.given)
        return [f"${name} = {shown_value(self.lookup(name), 100)}" for name in (*sorted(self.given), *own)]

    async def change_stage(self, name: str) -> list[str]:
        if not name:
            return [self.stage or "no stage: the language alone"]
        before = self.scene or Scene(name) if self.bench is None else self.bench.scene
        bench = await Workbench.open(replace(before, stage=name), self.settings, root=self.root, ffi=self.ffi)
        if self.bench is not None:
            await self.bench.close()
        self.bench = bench
        return [f"stage {name}: {STAGES[name].summary}", *self.drop_functions()]

    def drop_functions(self) -> list[str]:
        """Forget the declarations that the stage cannot have: they use what only others have, or each other."""
        known = self.environment()
        dropped = self.workspace.keep(lambda declared: faulty(declared, known))
        return [f"{call_name(name)} is dropped: it does not fit this stage" for name in dropped]

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
            raise UsageError("a message belongs to a stage: :stage data or :stage eod")
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


def returning(script: ast.Script) -> ast.Script:
    """The script with the value of its last expression as its result."""
    statements = list(script.statements)
    if statements and isinstance(statements[-1], ast.ExpressionStatement):
        last = statements[-1]
        statements[-1] = ast.Return(last.span, last.expression)
    return ast.Script(script.span, tuple(statements))


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


def signature(name: str, parameters: tuple[ast.Parameter, ...] | None) -> str:
    """A script's function as it was declared, without its body."""
    shown = []
    for parameter in parameters or ():
        variable = f"${parameter.name}"
        optional = variable if parameter.default is None else f"[{variable}]"
        shown.append(f"...{variable}" if parameter.variadic else optional)
    return f"{name}({', '.join(shown)})"


def declaration_lines(node: ast.Function | ast.Class) -> list[str]:
    """A function, or a class with its public members."""
    if isinstance(node, ast.Function):
        return [signature(node.name, node.parameters)]
    public = [member for member in node.members if "private" not in member.modifiers]
    constructor = [item for item in public if isinstance(item, ast.Method) and item.constructor]
    lines = [signature(node.name, constructor[0].parameters if constructor else ())]
    for member in public:
        if member not in constructor:
            lead = "".join(f"{word} " for word in member.modifiers)
            shown = signature(member.name, member.parameters) if isinstance(member, ast.Method) else f"${member.name}"
            lines.append(f"  {lead}{shown}")
    return lines


def call_name(name: str) -> str:
    return name if name.startswith("$") else f"{name}()"


def keys_of(variable: Variable, lead: str = "  ") -> list[str]:
    """The documented keys of an array, those of arrays in it indented further."""
    lines = []
    for key in variable.keys:
        note = f"; not available: {key.later}" if key.later else ""
        lines.append(f'{lead}"{key.name}" ({key.type})  {key.doc}{note}')
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
