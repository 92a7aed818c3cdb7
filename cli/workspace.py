"""What the inputs of a REPL add up to: one script that grows. A syntax tree goes in, a Program and a Run come out that
know the variables, functions, classes and modules of all inputs before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from inspect import isdatadescriptor
from typing import Any

from hsl import ast
from hsl.compiler import Compiler, Environment, Loader, LoadError
from hsl.compiler.scopes import Named, Scope
from hsl.errors import CompileError, Diagnostics
from hsl.evaluator import Program
from hsl.objects import ClassDeclaration
from hsl.parser import parse
from hsl.run import Run
from hsl.slots import Cell, Slot, is_set, settled
from hsl.source import Source, Span
from hsl.values import Value

MAX_INCLUDED = 20  # files that include one another

Declared = ast.Function | ast.Class | ast.Import | ast.ImportAll | ast.ImportData


class Growing(Compiler):
    """A compilation that goes on with each input, or stays as it was when one has errors.

    Every variable of the script and of its modules has a cell: closures of later inputs may capture it.
    """

    def slot(self, scope: Scope, name: str) -> int:
        slot = super().slot(scope, name)
        if scope.parent is None:
            self.boxed_globals.add(slot)
        return slot

    def grow(self, script: ast.Script, source: Source, environment: Environment, diagnostics: Diagnostics) -> Program:
        """The script so far, of which one run executes the given statements. Raises CompileError."""
        before = self.state()
        self.source, self.diagnostics = source, diagnostics
        self.environment, self.registry = environment, environment.registry
        for origin in (source, *(node.span.source for node in script.statements)):
            self.chains.setdefault(origin, (origin.name,))
        self.initial, self.script_scope.reads = [], []
        self.lost, self.broken, self.hints, self.files = set(), False, 0, 0
        try:
            return self.compile(script)
        except RecursionError:
            self.restore(before)
            diagnostics.error("depth", "the script nests too deeply", Span(source, 0, 0))
            raise CompileError(diagnostics.items) from None
        except CompileError:
            self.restore(before)
            raise

    def state(self) -> list[tuple[object, dict[str, object]]]:
        """What is known so far; containers are copied."""
        holders = (self, self.script_scope, self.script_scope.module)
        return [(holder, {name: copied(value) for name, value in vars(holder).items()}) for holder in holders]

    @staticmethod
    def restore(state: list[tuple[object, dict[str, object]]]) -> None:
        for holder, attributes in state:
            vars(holder).clear()
            vars(holder).update(attributes)

    def places(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """What has a slot in the globals, by names that another compilation of it gives too."""
        yield from places_of((), self.script_scope)
        for file, (module, _, _) in self.modules.items():
            yield from places_of((file,), module.scope)


def copied(value: object) -> object:
    return value.copy() if isinstance(value, dict | list | set) else value


def places_of(lead: tuple[str, ...], scope: Scope) -> Iterator[tuple[tuple[str, ...], int]]:
    for name, slot in scope.slots.items():
        yield (*lead, f"${name}"), slot
    for name, named in scope.functions.items():
        if isinstance(named, ClassDeclaration):
            for variable, slot in named.static_variables.items():
                yield (*lead, name, variable), slot


class Workspace:
    """The script of a session, and the run that its inputs share: generators go on in later inputs.

    A name that is declared anew makes everything declared before be compiled once more, so that it is used there too;
    variables keep their values, classes their static variables, modules do not run again.
    """

    def __init__(self) -> None:
        self.compiler: Growing | None = None
        self.declared: dict[str, Declared] = {}  # by name; variables with their `$`
        self.run: Run | None = None
        self.moves: list[tuple[int, int]] = []  # the slots that the next run takes over: from, to
        self.superseded: Program | None = None  # no function belongs to it any more
        self.stale = False

    # ------------------------------------------------------------ compile

    def compile(
        self, script: ast.Script, source: Source, environment: Environment, diagnostics: Diagnostics
    ) -> Program:
        """Raises CompileError; nothing has changed then."""
        new = dict(declared(script, environment.loader))
        again = new.keys() & self.declared.keys()
        compiler = self.compiler
        if compiler is None or again or self.stale:
            compiler = self.afresh(source, environment, diagnostics)
            earlier = [node for name, node in self.declared.items() if name not in again]
            script = ast.Script(script.span, (*earlier, *script.statements))
        program = compiler.grow(script, source, environment, diagnostics)
        self.take_over(compiler, again)
        self.declared = {name: node for name, node in self.declared.items() if name not in again} | new
        return program

    def afresh(self, source: Source, environment: Environment, diagnostics: Diagnostics) -> Growing:
        """A compilation that knows nothing but the script's own variables."""
        compiler = Growing(source, environment, diagnostics)
        if self.compiler is not None:
            scope = self.compiler.script_scope
            compiler.script_scope.assigned |= scope.assigned
            for name in scope.slots.keys() - self.compiler.environment.variables.keys():
                compiler.slot(compiler.script_scope, name)
        return compiler

    def take_over(self, compiler: Growing, again: Collection[str]) -> None:
        """Note where the next run finds what is there."""
        self.superseded = self.run.program if self.run is not None and compiler is self.compiler else None
        if self.compiler is None or self.run is None:
            self.moves = []
        elif compiler is self.compiler:
            self.moves = [(slot, slot) for slot in range(len(self.run.globals))]
        else:
            given = {f"${name}" for name in self.compiler.environment.variables}
            old = {names: slot for names, slot in self.compiler.places() if names[0] not in given}
            self.moves = [
                (old[names], slot) for names, slot in compiler.places() if names in old and names[0] not in again
            ]
            ran = {file for file, (_, _, number) in self.compiler.modules.items() if number in (self.run.modules or ())}
            self.run.modules = {number for file, (_, _, number) in compiler.modules.items() if file in ran}
        self.compiler, self.stale = compiler, False

    def keep(self, fits: Callable[[Mapping[str, Declared]], set[str]]) -> list[str]:
        """After a change of what scripts can use: forget the declarations that `fits` finds wrong. Their names."""
        dropped: list[str] = []
        while wrong := fits(self.declared):
            dropped += sorted(wrong)
            self.declared = {name: node for name, node in self.declared.items() if name not in wrong}
        self.stale = True
        return dropped

    # ------------------------------------------------------------ run

    def start(self, program: Program, **given: Any) -> Run:
        """A run of the program with what the runs before left; `given` is for Run."""
        if self.run is None:
            self.run = Run(program, **given)
            self.run.goes_on = True
            return self.run
        run, before, modules, closing = self.run, self.run.globals, self.run.modules, self.run.closing
        before_spaces = run.spaces or {run.program: (run.globals, run.frames)}
        spaces = {known: space for known, space in before_spaces.items() if known is not self.superseded}
        become(run, Run(program, **given))  # the same object: generators that it made go on in it only
        run.modules, run.closing, run.goes_on = modules, closing, True
        run.spaces = {**spaces, program: (run.globals, run.frames)}
        anew = set(program.stage_variables.values())
        for old, new in self.moves:
            run.globals[new] = refreshed(before[old], run.globals[new]) if new in anew else before[old]
        return run

    # ------------------------------------------------------------ look

    def slots(self) -> dict[str, Slot]:
        """The variables that are set."""
        if self.run is None or self.compiler is None:
            return {}
        known = {name: self.run.globals[slot] for name, slot in self.compiler.script_scope.slots.items()}
        return {name: slot for name, slot in known.items() if is_set(slot)}

    def variables(self) -> dict[str, Value]:
        return {name: settled(slot) for name, slot in self.slots().items()}

    def functions(self) -> dict[str, Named]:
        """The functions and classes, imported ones too."""
        return {} if self.compiler is None or self.stale else self.compiler.script_scope.functions


def become(run: Run, fresh: Run) -> None:
    """Give a run everything that another has. (`__init__` does nothing the second time where Run is compiled.)"""
    for name, attribute in vars(Run).items():
        if isdatadescriptor(attribute) and not name.startswith("_"):
            setattr(run, name, getattr(fresh, name))


def refreshed(slot: Slot, fresh: Slot) -> Slot:
    """A variable that the host sets: closures keep its cell, which gets the new value."""
    if isinstance(slot, Cell) and isinstance(fresh, Cell):
        slot.content = fresh.content
        return slot
    return fresh


def declared(script: ast.Script, loader: Loader | None, depth: int = 0) -> Iterator[tuple[str, Declared]]:
    """What a script and the files it includes declare, by name; files that do not load declare nothing."""
    for node in ast.within_function(iter(script.statements)):
        if isinstance(node, ast.Function | ast.Class):
            yield node.name, node
        elif isinstance(node, ast.Import):
            for item in node.names:
                yield f"${item.alias}" if item.variable else item.alias, ast.Import(node.span, (item,), node.path)
        elif isinstance(node, ast.ImportAll):
            yield node.alias, node
        elif isinstance(node, ast.ImportData):
            yield f"${node.variable.name}", node
        elif isinstance(node, ast.Include) and loader is not None and depth < MAX_INCLUDED:
            try:
                source = loader.load(node.path)
            except LoadError:
                continue
            yield from declared(parse(source, Diagnostics()), loader, depth + 1)


def faulty(declarations: Mapping[str, Declared], environment: Environment) -> set[str]:
    """The names of the declarations that have errors; all names when the errors are in none of them."""
    source = Source("earlier inputs", "")
    script = ast.Script(Span(source, 0, 0), tuple(declarations.values()))
    try:
        Growing(source, environment, Diagnostics()).grow(script, source, environment, Diagnostics())
    except CompileError as error:
        found = {name for item in error.errors if (name := declared_at(item.span, declarations.items())) is not None}
        return found or set(declarations)
    return set()


def declared_at(place: Span, declarations: Iterable[tuple[str, Declared]]) -> str | None:
    """The declaration that a place is in: the last one that begins before it."""
    before = [
        (node.span.start, name)
        for name, node in declarations
        if node.span.source is place.source and node.span.start <= place.start
    ]
    return max(before)[1] if before else None
