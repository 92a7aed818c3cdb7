"""What all parts of the compiler share: findings, scopes, slots, the dispatch over the tree."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from hsl import ast, expressions
from hsl.builtins import Registry
from hsl.calls import CallNode
from hsl.compiler.scopes import Scope
from hsl.environment import Environment
from hsl.errors import CompileError, Diagnostics, ScriptError, near
from hsl.evaluator import Program
from hsl.functions import BuiltinFunction, Declaration
from hsl.invocation import Builtin
from hsl.nodes import Constant, Frame, Node, Statement, constant
from hsl.run import Run
from hsl.source import Source, Span
from hsl.values import Array, Value, share

MAX_DEPTH = 400  # nesting of expressions and statements
MAX_FOLDED = 4_096  # bytes or items of a folded constant
MAX_ERRORS = 100  # compiling stops there
MAX_HINTS = 100  # near names are searched for that often


class Base:
    """One compilation. The parts of the compiler are layers of subclasses, each with the `visit_` methods of its
    kinds of nodes."""

    def __init__(self, source: Source, environment: Environment, diagnostics: Diagnostics) -> None:
        self.source = source
        self.environment = environment
        self.registry = environment.registry
        self.diagnostics = diagnostics
        self.script_scope = Scope(None)
        self.scope = self.script_scope
        self.global_count = 0
        self.initial: list[tuple[int, Value]] = []  # what slots of the globals hold from the start
        self.boxed_globals: set[int] = set()  # of variables that closures capture
        self.declarations: list[Declaration] = []
        self.nowhere = nowhere(self.registry, Span(source, 0, 0))
        self.loops = 0
        self.switches = 0
        self.depth = 0
        self.deepest = 0
        self.effects = 0  # assignments and calls compiled so far
        self.hints = 0
        self.called: dict[Declaration | None, dict[Declaration, Span]] = {}
        self.builtin_values: dict[tuple[str, Builtin], BuiltinFunction] = {}
        self.texts: dict[bytes, bytes] = {}  # one object for equal literals: dicts find keys by identity first
        self.lost: set[str] = set()  # functions whose declaration may be in a statement that did not parse
        self.broken = False  # some statements did not parse: what they set is unknown

    # ------------------------------------------------------------ findings

    def error(self, code: str, message: str, span: Span, hint: str | None = None) -> None:
        """Report an error. Raises CompileError when there are too many to go on."""
        self.diagnostics.error(code, message, span, hint)
        if len(self.diagnostics.items) >= MAX_ERRORS:
            found = [item for item in self.diagnostics.items if item.severity == "error"]
            if len(found) >= MAX_ERRORS:
                raise CompileError(found)

    def near(self, name: str, names: Iterable[str]) -> str | None:
        """The hint that names the nearest. The search is slow: after MAX_HINTS there are none."""
        self.hints += 1
        return near(name, names) if self.hints <= MAX_HINTS else None

    @contextmanager
    def nested(self, span: Span) -> Iterator[None]:
        self.descend(span)
        try:
            yield
        finally:
            self.depth -= 1

    def descend(self, span: Span) -> None:
        """One level deeper; whoever calls it comes back up. Raises CompileError below MAX_DEPTH."""
        self.depth += 1
        self.deepest = max(self.deepest, self.depth)
        if self.depth > MAX_DEPTH:
            self.error("depth", f"nested more than {MAX_DEPTH} deep", span)
            raise CompileError(self.diagnostics.items)

    def check_recursion(self) -> None:
        """Functions may not call themselves, directly or through others."""
        done: set[Declaration] = set()
        path: list[Declaration] = []

        def visit(function: Declaration) -> None:
            path.append(function)
            for callee, span in self.called.get(function, {}).items():
                if callee in path:
                    chain = [item.name for item in path[path.index(callee) :]] + [callee.name]
                    self.error("recursion", f"recursion is not allowed: {' -> '.join(chain)}", span)
                elif callee not in done and len(path) < MAX_DEPTH:
                    visit(callee)
            path.pop()
            done.add(function)

        for function in list(self.called):
            if function is not None and function not in done:
                visit(function)

    def note_call(self, callee: Declaration, span: Span) -> None:
        self.called.setdefault(self.scope.declaration, {}).setdefault(callee, span)

    def check_reads(self, scope: Scope) -> None:
        """Warn of variables that nothing ever sets."""
        for name, span in () if self.broken else scope.reads:
            known = scope.assigned | scope.imported.keys() | scope.captured.keys()
            if name not in known and not self.is_stage_variable(scope, name):
                given = self.environment.variables if scope is self.script_scope else ()
                hint = self.near(f"${name}", (f"${item}" for item in scope.assigned | set(given)))
                if name in self.environment.variables:
                    hint = self.hidden_hint(scope, name)
                self.diagnostics.warning("undeclared", f"${name} is never set", span, hint)

    def hidden_hint(self, scope: Scope, name: str) -> str:
        """Why a variable that is there elsewhere is not there."""
        if scope.module is not self.script_scope.module:
            return f"modules do not see ${name}: pass it to their functions"
        return f"functions see ${name} only after `global ${name};`"

    def is_stage_variable(self, scope: Scope, name: str) -> bool:
        return scope is self.script_scope and name in self.environment.variables

    # ------------------------------------------------------------ slots

    def slot(self, scope: Scope, name: str) -> int:
        """The slot of a variable of a scope, made at its first mention."""
        if name not in scope.slots:
            scope.slots[name] = self.global_slot() if scope.parent is None else len(scope.slots)
            if scope.parent is None and name in scope.boxed:
                self.boxed_globals.add(scope.slots[name])
        return scope.slots[name]

    def global_slot(self) -> int:
        """A new slot in the run's globals."""
        self.global_count += 1
        return self.global_count - 1

    def text(self, name: str) -> bytes:
        """A name as a key."""
        data = name.encode()
        return self.texts.setdefault(data, data)

    # ------------------------------------------------------------ dispatch

    def statement(self, node: ast.Statement) -> Statement:
        self.descend(node.span)
        method: Callable[[ast.Statement], Statement] = getattr(self, f"visit_{type(node).__name__}")
        compiled = method(node)
        self.depth -= 1
        return compiled

    def expression(self, node: ast.Expression) -> Node:
        self.descend(node.span)
        method: Callable[[ast.Expression], Node] = getattr(self, f"visit_{type(node).__name__}")
        compiled = method(node)
        self.depth -= 1
        return compiled

    def fold(self, compiled: Node, *operands: Node) -> Node:
        """Compute now what cannot change; an expression that fails is left to fail when it runs."""
        for operand in operands:
            if not isinstance(operand, Constant):
                return compiled
        try:
            value = compiled.evaluate(self.nowhere)
        except ScriptError:
            return compiled
        if isinstance(value, bytes | Array) and len(value) > MAX_FOLDED:
            return compiled
        folded = constant(compiled.span, share(value))
        folded.aliases = isinstance(value, Array)
        return folded

    def in_order(self, given: Iterable[ast.Expression]) -> list[Node]:
        """Operands, each with the value that it has before those behind it run: an array that one of these may
        change in place is shared first."""
        compiled: list[Node] = []
        effects: list[int] = []
        for item in given:
            compiled.append(self.expression(item))
            effects.append(self.effects)
        return [
            expressions.Snapshot(node) if node.aliases and before != self.effects else node
            for node, before in zip(compiled, effects, strict=True)
        ]

    # ------------------------------------------------------------ what the layers above do

    def body(self, given: Iterable[ast.Statement]) -> list[Statement]:
        raise NotImplementedError

    def named_call(self, node: ast.Call) -> CallNode | None:
        raise NotImplementedError


def nowhere(registry: Registry, span: Span) -> Frame:
    """A frame to fold constants in: they look at nothing in it."""
    empty = Program(
        [],
        span=span,
        registry=registry,
        global_names={},
        global_count=0,
        function_count=0,
        initial=[],
        boxed=[],
        stage_names=frozenset(),
        functions={},
        warnings=[],
        notes=[],
    )
    return Frame(Run(empty), [])
