"""Syntax tree in, Program out: names become slots, constants are folded, literal regular expressions compiled, and all
static errors are reported at once, with near-name hints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from hsl import arithmetic, ast, calls, evaluator, expressions, nodes, variables
from hsl.builtins import Builtin, Options, Registry
from hsl.calls import Declaration
from hsl.errors import CompileError, Diagnostics, ScriptError, near
from hsl.evaluator import Program
from hsl.nodes import Constant, Node, Statement
from hsl.parser import declared_names, parse
from hsl.regex import compile_pattern
from hsl.source import Source, Span
from hsl.values import Array, Value, share
from hsl.variables import GlobalTarget, PathTarget, SlotTarget, Target

MAX_DEPTH = 400  # nesting of expressions and statements
MAX_INCLUDES = 1_000
MAX_FOLDED = 4_096  # bytes or items of a folded constant
MAX_ERRORS = 100  # compiling stops there
MAX_HINTS = 100  # near names are searched for that often


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable that the host sets before the script runs. `keys` documents the keys of an array."""

    name: str
    type: str
    doc: str
    readonly: bool = True
    keys: tuple[Variable, ...] = ()


class Loader(Protocol):
    """Where included files come from. Raises LoadError with a sentence for the script's author."""

    def load(self, path: str) -> Source: ...


class LoadError(Exception):
    """A file that a script names cannot be had."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What a script of one kind may use: functions, preset variables, files.

    `elsewhere` explains a function that exists, but not for this kind of script.
    """

    registry: Registry
    variables: Mapping[str, Variable] = field(default_factory=dict)
    loader: Loader | None = None
    elsewhere: Callable[[str], str | None] = lambda name: None


def compile_script(source: Source, environment: Environment) -> Program:
    """Load a script. Raises CompileError with every error found; warnings are on the program."""
    diagnostics = Diagnostics()
    return compile_tree(parse(source, diagnostics), source, environment, diagnostics)


def compile_tree(script: ast.Script, source: Source, environment: Environment, diagnostics: Diagnostics) -> Program:
    """Compile what the parser made of a source, findings included."""
    try:
        return Compiler(source, environment, diagnostics).compile(script)
    except RecursionError:
        diagnostics.error("depth", "the script nests too deeply", Span(source, 0, 0))
        raise CompileError(diagnostics.items) from None


@dataclass(eq=False)
class Scope:
    """The variables and named functions of the script, or of one function."""

    parent: Scope | None
    declaration: Declaration | None  # None: the script itself
    slots: dict[str, int] = field(default_factory=dict)
    imported: set[str] = field(default_factory=set)  # names that `global` brought in
    functions: dict[str, Declaration] = field(default_factory=dict)
    assigned: set[str] = field(default_factory=set)
    reads: list[tuple[str, Span]] = field(default_factory=list)

    def slot(self, name: str) -> int:
        return self.slots.setdefault(name, len(self.slots))

    def find_function(self, name: str) -> Declaration | None:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.functions:
                return scope.functions[name]
            scope = scope.parent
        return None

    def function_names(self) -> Iterator[str]:
        scope: Scope | None = self
        while scope is not None:
            yield from scope.functions
            scope = scope.parent


class Compiler:
    def __init__(self, source: Source, environment: Environment, diagnostics: Diagnostics) -> None:
        self.source = source
        self.environment = environment
        self.registry = environment.registry
        self.diagnostics = diagnostics
        self.script_scope = Scope(None, None)
        self.scope = self.script_scope
        self.chains: dict[Source, tuple[str, ...]] = {source: (source.name,)}  # which file included which
        self.included: set[str] = {source.name}
        self.included_statements: dict[int, tuple[ast.Include, list[ast.Statement]]] = {}  # by id of the include
        self.loops = 0
        self.switches = 0
        self.depth = 0
        self.deepest = 0
        self.effects = 0  # assignments and calls compiled so far
        self.hints = 0
        self.called: dict[Declaration | None, dict[Declaration, Span]] = {}
        self.builtin_values: dict[tuple[str, Builtin], calls.BuiltinFunction] = {}
        self.lost: set[str] = set()  # functions whose declaration may be in a statement that did not parse
        self.broken = False  # some statements did not parse: what they set is unknown

    # ------------------------------------------------------------ the script

    def compile(self, script: ast.Script) -> Program:
        self.look_for_lost(self.source)
        statements = self.body(script.statements)
        self.check_recursion()
        self.check_reads(self.script_scope)
        self.diagnostics.check()
        return Program(
            statements,
            span=Span(self.source, 0, 0),
            registry=self.registry,
            global_names=self.script_scope.slots,
            stage_names=frozenset(self.environment.variables),
            functions=self.script_scope.functions,
            warnings=[item for item in self.diagnostics.items if item.severity == "warning"],
            notes=[item for item in self.diagnostics.items if item.severity == "note"],
        )

    def expand(self, statements: Iterable[ast.Statement]) -> Iterator[ast.Statement]:
        """The statements with includes replaced by what the files hold."""
        for statement in statements:
            if isinstance(statement, ast.Include):
                yield from self.include(statement)
            else:
                yield statement

    def include(self, node: ast.Include) -> list[ast.Statement]:
        """The statements of an included file, and of those that it includes; read once for each include."""
        if id(node) not in self.included_statements:
            statements: list[ast.Statement] = []
            self.included_statements[id(node)] = (node, statements)
            source = self.load(node)
            if source is not None:
                self.included.add(source.name)
                self.chains[source] = (*self.chains[node.span.source], source.name)
                parsed = parse(source, self.diagnostics)
                self.look_for_lost(source)
                statements.extend(self.expand(parsed.statements))
        return self.included_statements[id(node)][1]

    def look_for_lost(self, source: Source) -> None:
        """After a syntax error: the names that statements which did not parse may have declared."""
        if any(item.span.source is source for item in self.diagnostics.items):
            self.broken = True
            self.lost.update(declared_names(source.text))

    def load(self, node: ast.Include) -> Source | None:
        loader = self.environment.loader
        if loader is None:
            self.error("include", "this script has no files to include from", node.span)
            return None
        if len(self.included_statements) > MAX_INCLUDES:
            self.error("include", f"more than {MAX_INCLUDES} includes", node.span)
            return None
        try:
            source = loader.load(node.path)
        except LoadError as error:
            self.error("include", str(error), node.span)
            return None
        if node.once and source.name in self.included:
            return None
        if source.name in self.chains[node.span.source]:
            chain = " -> ".join([*self.chains[node.span.source], source.name])
            self.error("include", f"{source.name} includes itself: {chain}", node.span)
            return None
        return source

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

    def check_reads(self, scope: Scope) -> None:
        """Warn of variables that nothing ever sets."""
        for name, span in () if self.broken else scope.reads:
            if name not in scope.assigned and name not in scope.imported and not self.is_stage_variable(scope, name):
                known = scope.assigned | set(self.environment.variables if scope.parent is None else ())
                hint = self.near(f"${name}", (f"${item}" for item in known))
                if scope.parent is not None and (name in self.environment.variables):
                    hint = f"functions see ${name} only after `global ${name};`"
                self.diagnostics.warning("undeclared", f"${name} is never set", span, hint)

    def is_stage_variable(self, scope: Scope, name: str) -> bool:
        return scope.parent is None and name in self.environment.variables

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
        self.depth += 1
        self.deepest = max(self.deepest, self.depth)
        try:
            if self.depth > MAX_DEPTH:
                self.error("depth", f"nested more than {MAX_DEPTH} deep", span)
                raise CompileError(self.diagnostics.items)
            yield
        finally:
            self.depth -= 1

    # ------------------------------------------------------------ statements

    def body(self, given: Iterable[ast.Statement]) -> list[Statement]:
        """A scope's statements. Its functions are known from the start, wherever they stand in it (hoisting)."""
        given = list(self.expand(given))
        declared = [(node, self.declare(node)) for node in self.functions_in(given)]
        for node, declaration in declared:
            if declaration is not None:
                self.function_body(node.parameters, node.body, declaration)
        return self.statements(given)

    def functions_in(self, given: list[ast.Statement]) -> Iterator[ast.Function]:
        """The functions of a scope, those in its blocks too, but not those in its functions."""
        pending = given[::-1]
        while pending:
            node = pending.pop()
            inner: list[ast.Statement] = []
            if isinstance(node, ast.Function):
                yield node
            elif isinstance(node, ast.Include):
                inner = self.include(node)
            elif isinstance(node, ast.Block):
                inner = list(node.statements)
            elif isinstance(node, ast.If):
                inner = [node.then] if node.otherwise is None else [node.then, node.otherwise]
            elif isinstance(node, ast.While | ast.For | ast.Foreach | ast.Barrier):
                inner = [node.body]
            elif isinstance(node, ast.Switch):
                inner = [statement for case in node.cases for statement in case.statements]
            pending += inner[::-1]

    def statements(self, given: Iterable[ast.Statement]) -> list[Statement]:
        """Compile a list of statements in order; its functions are compiled already."""
        compiled: list[Statement] = []
        ended = False
        for item in self.expand(given):
            if isinstance(item, ast.Function):
                continue
            if ended:
                self.diagnostics.warning("unreachable", "this code is never reached", item.span)
                ended = False
            compiled.append(self.statement(item))
            ended = isinstance(item, ast.Return | ast.Break | ast.Continue) or self.ends_script(item)
        return compiled

    def ends_script(self, item: ast.Statement) -> bool:
        """Whether a statement is a plain call of a verdict function."""
        if not isinstance(item, ast.ExpressionStatement) or not isinstance(item.expression, ast.Call):
            return False
        callee = item.expression.callee
        if not isinstance(callee, ast.FunctionName) or (not callee.builtin and self.scope.find_function(callee.name)):
            return False
        builtin = self.registry.get(callee.name)
        return builtin is not None and builtin.halts and not item.expression.arguments

    def statement(self, node: ast.Statement) -> Statement:
        with self.nested(node.span):
            method: Callable[[ast.Statement], Statement] = getattr(self, f"visit_{type(node).__name__}")
            return method(node)

    def visit_Block(self, node: ast.Block) -> Statement:
        return evaluator.Block(node.span, self.statements(node.statements))

    def visit_Include(self, node: ast.Include) -> Statement:
        """An include that is the lone body of an `if` or a loop."""
        return evaluator.Block(node.span, self.statements([node]))

    def visit_Function(self, node: ast.Function) -> Statement:
        """A function that is the lone body of an `if` or a loop: compiled with its scope."""
        return evaluator.Block(node.span, [])

    def visit_ExpressionStatement(self, node: ast.ExpressionStatement) -> Statement:
        expression = self.expression(node.expression)
        if isinstance(expression, variables.AppendText):
            return evaluator.AppendTextStatement(expression)
        if isinstance(expression, variables.Assign) and isinstance(expression.value, Constant):
            target = expression.target
            if type(target) is SlotTarget:
                return evaluator.StoreConstant(expression.span, target.slot, expression.value.value)
        return evaluator.ExpressionStatement(expression)

    def visit_Echo(self, node: ast.Echo) -> Statement:
        return evaluator.Echo(node.span, self.expression(node.expression))

    def visit_If(self, node: ast.If) -> Statement:
        """A chain of `else if` is one statement: its length is not nesting."""
        arms: list[tuple[Node, Statement]] = []
        otherwise: ast.Statement | None = node
        while isinstance(otherwise, ast.If):
            arms.append((self.expression(otherwise.condition), self.statement(otherwise.then)))
            otherwise = otherwise.otherwise
        return evaluator.If(node.span, arms, None if otherwise is None else self.statement(otherwise))

    def visit_While(self, node: ast.While) -> Statement:
        condition = None if node.condition is None else self.expression(node.condition)
        return evaluator.While(node.span, condition, self.loop_body(node.body))

    def visit_For(self, node: ast.For) -> Statement:
        start, condition, step = (
            None if part is None else self.expression(part) for part in (node.start, node.condition, node.step)
        )
        return evaluator.For(node.span, start, condition, step, self.loop_body(node.body))

    def visit_Foreach(self, node: ast.Foreach) -> Statement:
        subject = self.expression(node.subject)
        key = None if node.key is None else self.variable_target(node.key)
        value = self.variable_target(node.value)
        return evaluator.Foreach(node.span, subject, key, value, self.loop_body(node.body))

    def loop_body(self, node: ast.Statement) -> Statement:
        self.loops += 1
        switches, self.switches = self.switches, 0
        try:
            return self.statement(node)
        finally:
            self.loops -= 1
            self.switches = switches

    def visit_Switch(self, node: ast.Switch) -> Statement:
        subject = self.expression(node.subject)
        tests: list[Node | None] = []
        bodies: list[list[Statement]] = []
        default: int | None = None
        self.switches += 1
        for index, case in enumerate(node.cases):
            if case.test is None:
                if default is not None:
                    self.error("switch", "this switch has two defaults", case.span)
                default = index
            tests.append(None if case.test is None else self.expression(case.test))
            bodies.append(self.statements(case.statements))
        self.switches -= 1
        return evaluator.Switch(node.span, subject, tests, bodies, default)

    def visit_Break(self, node: ast.Break) -> Statement:
        if not self.loops and not self.switches:
            self.error("break", "break outside a loop or switch", node.span)
        return evaluator.Jump(node.span, nodes.BREAK)

    def visit_Continue(self, node: ast.Continue) -> Statement:
        if not self.loops:
            self.error("continue", "continue outside a loop", node.span)
        return evaluator.Jump(node.span, nodes.CONTINUE)

    def visit_Return(self, node: ast.Return) -> Statement:
        value = None if node.value is None else self.expression(node.value)
        plain_local = isinstance(value, SlotTarget) and not isinstance(value, GlobalTarget)
        return evaluator.Return(node.span, value, value is not None and value.aliases and not plain_local)

    def visit_Global(self, node: ast.Global) -> Statement:
        if self.scope.parent is None:
            self.error("global", "global outside a function", node.span)
            return evaluator.Block(node.span, [])
        for variable in node.variables:
            if variable.name in self.scope.slots:
                self.error("global", f"${variable.name} is already a local variable", variable.span)
            self.scope.imported.add(variable.name)
        return evaluator.Block(node.span, [])

    def visit_Barrier(self, node: ast.Barrier) -> Statement:
        name = self.expression(node.name)
        variable = None if node.variable is None else self.variable_target(node.variable)
        return evaluator.Barrier(node.span, name, variable, self.statement(node.body))

    # ------------------------------------------------------------ functions

    def declare(self, node: ast.Function) -> Declaration | None:
        if node.name in self.scope.functions:
            first = self.scope.functions[node.name].span
            if first.file == node.span.file and first.start == node.span.start:
                return None  # the same function of a file that is included twice
            self.error("duplicate", f"function {node.name} is declared twice (first at {first})", node.span)
            return None
        declaration = Declaration(node.name, node.span)
        self.scope.functions[node.name] = declaration
        self.parameters(node.parameters, declaration)
        return declaration

    def parameters(self, given: tuple[ast.Parameter, ...], declaration: Declaration) -> None:
        """Arity and defaults, known before any body is compiled."""
        names: set[str] = set()
        for index, parameter in enumerate(given):
            if parameter.name in names:
                self.error("duplicate", f"parameter ${parameter.name} is declared twice", parameter.span)
            names.add(parameter.name)
            if parameter.variadic:
                declaration.variadic = True
                if index != len(given) - 1:
                    self.error("parameter", f"...${parameter.name} must be the last parameter", parameter.span)
                continue
            declaration.parameters.append(parameter.name)
            if parameter.default is not None:
                declaration.defaults.append(self.constant_of(parameter.default))
            elif declaration.defaults:
                self.error("parameter", f"${parameter.name} needs a default like those before it", parameter.span)
        declaration.required = len(declaration.parameters) - len(declaration.defaults)

    def constant_of(self, node: ast.Expression) -> Value:
        compiled = self.expression(node)
        if not isinstance(compiled, Constant):
            self.error("default", "a default is a constant expression", node.span)
            return None
        return share(compiled.value)

    def function_body(self, parameters: tuple[ast.Parameter, ...], body: ast.Block, declaration: Declaration) -> None:
        outer, loops, switches = self.scope, self.loops, self.switches
        self.scope, self.loops, self.switches = Scope(outer, declaration), 0, 0
        deepest, self.deepest = self.deepest, self.depth
        for parameter in parameters:
            self.scope.slot(parameter.name)
            self.scope.assigned.add(parameter.name)
        try:
            declaration.body = self.body(body.statements)
            declaration.slot_count = len(self.scope.slots)
            declaration.depth = self.deepest - self.depth
            self.check_reads(self.scope)
        finally:
            self.scope, self.loops, self.switches = outer, loops, switches
            self.deepest = max(deepest, self.deepest)

    def visit_Lambda(self, node: ast.Lambda) -> Node:
        declaration = Declaration("function", node.span)
        self.parameters(node.parameters, declaration)
        self.function_body(node.parameters, node.body, declaration)
        return Constant(node.span, declaration.value)

    # ------------------------------------------------------------ expressions

    def expression(self, node: ast.Expression) -> Node:
        with self.nested(node.span):
            method: Callable[[ast.Expression], Node] = getattr(self, f"visit_{type(node).__name__}")
            return method(node)

    def fold(self, compiled: Node, *operands: Node) -> Node:
        """Compute now what cannot change; an expression that fails is left to fail when it runs."""
        if not all(isinstance(operand, Constant) for operand in operands):
            return compiled
        try:
            value = compiled.evaluate(nodes.Frame.__new__(nodes.Frame))
        except ScriptError:
            return compiled
        if isinstance(value, bytes | Array) and len(value) > MAX_FOLDED:
            return compiled
        constant = Constant(compiled.span, share(value))
        constant.aliases = isinstance(value, Array)
        return constant

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

    def visit_Literal(self, node: ast.Literal) -> Node:
        return Constant(node.span, node.value)

    def visit_Interpolation(self, node: ast.Interpolation) -> Node:
        return expressions.Concatenation(node.span, self.in_order(node.parts))

    def visit_Variable(self, node: ast.Variable) -> Node:
        return self.read_variable(node)

    def read_variable(self, node: ast.Variable) -> SlotTarget:
        self.scope.reads.append((node.name, node.span))
        return self.slot_of(node)

    def slot_of(self, node: ast.Variable) -> SlotTarget:
        if node.name in self.scope.imported:
            return GlobalTarget(node.span, node.name, self.script_scope.slot(node.name))
        return SlotTarget(node.span, node.name, self.scope.slot(node.name))

    def visit_ArrayLiteral(self, node: ast.ArrayLiteral) -> Node:
        items = [
            (None if item.key is None else self.expression(item.key), self.expression(item.value), item.spread)
            for item in node.items
        ]
        operands = [part for key, value, _ in items for part in (key, value) if part is not None]
        return self.fold(variables.ArrayLiteral(node.span, items), *operands)

    def visit_Subscript(self, node: ast.Subscript) -> Node:
        base, index = self.in_order([node.base, node.index])
        return self.fold(variables.Subscript(node.span, base, index), base, index)

    def visit_Slice(self, node: ast.Slice) -> Node:
        bounds = [None if item is None else self.expression(item) for item in (node.first, node.last, node.step)]
        base = self.expression(node.base)
        return self.fold(variables.Slice(node.span, base, bounds), base, *[item for item in bounds if item is not None])

    def visit_Append(self, node: ast.Append) -> Node:
        self.error("append", "[] can only be assigned to", node.span)
        return Constant(node.span, None)

    def visit_Property(self, node: ast.Property) -> Node:
        self.error("unsupported", f"`->{node.name}`: objects are not supported by this version", node.span)
        return Constant(node.span, None)

    def visit_Unary(self, node: ast.Unary) -> Node:
        operand = self.expression(node.operand)
        return self.fold(expressions.Unary(node.span, arithmetic.UNARY[node.operator], operand), operand)

    def visit_Not(self, node: ast.Not) -> Node:
        operand = self.expression(node.operand)
        return self.fold(expressions.Not(node.span, operand), operand)

    def visit_Binary(self, node: ast.Binary) -> Node:
        if node.operator in ("=~", "!~"):
            return self.match(node)
        left, right = self.in_order([node.left, node.right])
        special = {"+": expressions.Add, "<": expressions.Less, "==": expressions.Equal}
        kind = special.get(node.operator, expressions.Binary)
        return self.fold(kind(node.span, arithmetic.BINARY[node.operator], left, right), left, right)

    def match(self, node: ast.Binary) -> Node:
        subject, source = self.in_order([node.left, node.right])
        pattern = None
        if isinstance(source, Constant) and isinstance(source.value, bytes):
            try:
                pattern = compile_pattern(source.value)
            except ScriptError as error:
                self.error("regex", error.message, node.right.span, error.hint)
        return expressions.Match(node.span, subject, source, pattern, node.operator == "!~")

    def visit_Concatenation(self, node: ast.Concatenation) -> Node:
        parts = self.in_order(node.parts)
        return self.fold(expressions.Concatenation(node.span, parts), *parts)

    def visit_Logical(self, node: ast.Logical) -> Node:
        parts = [self.expression(part) for part in node.parts]
        kind = expressions.And if node.operator == "and" else expressions.Or
        return self.fold(kind(node.span, parts), *parts)

    def visit_Ternary(self, node: ast.Ternary) -> Node:
        condition = self.expression(node.condition)
        then = None if node.then is None else self.expression(node.then)
        return expressions.Ternary(node.span, condition, then, self.expression(node.otherwise))

    def visit_Coalesce(self, node: ast.Coalesce) -> Node:
        return expressions.Coalesce(node.span, self.tolerant(node.left), self.expression(node.right))

    def tolerant(self, node: ast.Expression) -> Node:
        """An expression in which a missing variable is none: the left side of `??`, the targets of `isset`."""
        with self.nested(node.span):
            return self.tolerant_node(node)

    def tolerant_node(self, node: ast.Expression) -> Node:
        if isinstance(node, ast.Variable):
            return variables.TolerantVariable(self.slot_of(node))
        if isinstance(node, ast.Subscript):
            return variables.Subscript(node.span, self.tolerant(node.base), self.tolerant(node.index))
        if isinstance(node, ast.Slice):
            bounds = [None if item is None else self.tolerant(item) for item in (node.first, node.last, node.step)]
            return variables.Slice(node.span, self.tolerant(node.base), bounds)
        return self.expression(node)

    # ------------------------------------------------------------ assignment

    def variable_target(self, node: ast.Variable) -> SlotTarget:
        """A variable about to be written."""
        at_script = self.scope.parent is None or node.name in self.scope.imported
        known = self.environment.variables.get(node.name) if at_script else None
        if known is not None and known.readonly:
            self.error("readonly", f"${node.name} is read-only", node.span)
        self.scope.assigned.add(node.name)
        if node.name in self.scope.imported:
            self.script_scope.assigned.add(node.name)
        return self.slot_of(node)

    def target(self, node: ast.Expression) -> SlotTarget | PathTarget | None:
        """The left side of an assignment; None after an error."""
        self.effects += 1
        if isinstance(node, ast.Variable):
            return self.variable_target(node)
        keys: list[Node | None] = []
        base: ast.Expression = node
        while isinstance(base, ast.Subscript | ast.Append):
            keys.append(self.expression(base.index) if isinstance(base, ast.Subscript) else None)
            base = base.base
        if len(keys) > MAX_DEPTH:
            self.error("depth", f"nested more than {MAX_DEPTH} deep", node.span)
        if keys and isinstance(base, ast.Variable):
            return PathTarget(node.span, self.variable_target(base), keys[::-1])
        reason = {
            ast.ArrayLiteral: "destructuring assignments are not supported by this version",
            ast.Slice: "slice assignments are not supported by this version",
        }.get(type(base), "only variables and their items can be assigned to")
        if isinstance(base, ast.Property):
            reason = "objects are not supported by this version"
        self.error("assignment", reason, node.span)
        return None

    def visit_Assign(self, node: ast.Assign) -> Node:
        value = self.expression(node.value)
        target = self.target(node.target)
        if target is None:
            return value
        if node.operator is None:
            if isinstance(target, PathTarget):
                return variables.AssignPath(node.span, target, value)
            return variables.Assign(node.span, target, value)
        if isinstance(target, PathTarget):
            return variables.AugmentPath(node.span, target, self.operator(node.operator), value)
        if node.operator == ".":
            return variables.AppendText(node.span, target, value)
        return variables.Augment(node.span, target, self.operator(node.operator), value)

    @staticmethod
    def operator(name: str) -> arithmetic.Operator:
        return join if name == "." else arithmetic.BINARY[name]

    def visit_Step(self, node: ast.Step) -> Node:
        target = self.target(node.target)
        if target is None:
            return Constant(node.span, None)
        if isinstance(target, PathTarget):
            return variables.StepPath(node.span, target, float(node.delta), node.before)
        return variables.Step(node.span, target, float(node.delta), node.before)

    def visit_Isset(self, node: ast.Isset) -> Node:
        targets: list[Node] = []
        for argument in node.targets:
            base: ast.Expression = argument.value
            while isinstance(base, ast.Subscript):
                base = base.base
            if argument.spread or not isinstance(base, ast.Variable | ast.Call):
                self.error("isset", "isset takes variables and their items", argument.span)
                continue
            if isinstance(argument.value, ast.Variable):
                targets.append(self.slot_of(argument.value))
            else:
                targets.append(self.tolerant(argument.value))
        if not node.targets:
            self.error("arity", "isset() takes at least 1 argument, got 0", node.span)
        return variables.Isset(node.span, targets)

    def visit_Unset(self, node: ast.Unset) -> Node:
        targets: list[Target] = []
        for argument in node.targets:
            if argument.spread or appends(argument.value):
                self.error("unset", "unset takes variables and their items", argument.span)
            elif isinstance(argument.value, ast.Slice):
                self.error("unset", "unset of a slice is not supported by this version", argument.span)
            else:
                target = self.target(argument.value)
                if target is not None:
                    targets.append(target)
        if not node.targets:
            self.error("arity", "unset() takes at least 1 argument, got 0", node.span)
        return variables.Unset_(node.span, targets)

    # ------------------------------------------------------------ calls

    def arguments(self, given: tuple[ast.Argument, ...]) -> calls.Arguments:
        compiled = self.in_order([item.value for item in given])
        return [(node, item.spread) for node, item in zip(compiled, given, strict=True)]

    def visit_FunctionName(self, node: ast.FunctionName) -> Node:
        """A function's name without a call: a pointer to it."""
        declaration = None if node.builtin else self.scope.find_function(node.name)
        if declaration is not None:
            return Constant(node.span, declaration.value)
        builtin = self.builtin(node)
        if builtin is None:
            return Constant(node.span, None)
        value = self.builtin_values.setdefault((node.name, builtin), calls.BuiltinFunction(node.name, builtin))
        return Constant(node.span, value)

    def builtin(self, node: ast.FunctionName) -> Builtin | None:
        """A builtin by name; reports the unknown, and the older names."""
        builtin = self.registry.get(node.name)
        if builtin is None:
            if node.name not in self.lost:
                elsewhere = self.environment.elsewhere(node.name)
                known = [*self.scope.function_names(), *self.registry.names()]
                hint = elsewhere or self.near(f"{node.name}()", (f"{name}()" for name in known))
                self.error("undefined", f"there is no function {node.name}()", node.span, hint)
            return None
        if node.name in self.registry.current:
            today = self.registry.current[node.name]
            message = f"{node.name}() is an older name of {today}()"
            self.diagnostics.note("older-name", message, node.span, f"today's form is {today}()")
        return builtin

    def visit_Call(self, node: ast.Call) -> Node:
        callee = node.callee
        if not isinstance(callee, ast.FunctionName):
            self.effects += 1
            return calls.CallValue(node.span, self.expression(callee), self.arguments(node.arguments))
        return self.named_call(node, callee) or Constant(node.span, None)

    def named_call(self, node: ast.Call, callee: ast.FunctionName) -> calls.CallNode | None:
        arguments = self.arguments(node.arguments)
        spreads = any(spread for _, spread in arguments)
        declaration = None if callee.builtin else self.scope.find_function(callee.name)
        if declaration is not None:
            self.effects += 1
            problem = None if spreads else declaration.arity_error(len(arguments))
            if problem is not None:
                self.error("arity", problem, callee.span, f"declared at {declaration.span}")
            self.called.setdefault(self.scope.declaration, {}).setdefault(declaration, callee.span)
            return calls.CallScript(callee.span, declaration, arguments)
        builtin = self.builtin(callee)
        if builtin is None:
            return None
        problem = None if spreads else builtin.arity_error(len(arguments), callee.name)
        if problem is not None:
            self.error("arity", problem, callee.span, builtin.signature)
        self.check_options(builtin, node.arguments)
        if any(not parameter.types.isdisjoint(("function", "any")) for parameter in builtin.parameters):
            self.effects += 1  # it may call the script back
        return calls.CallBuiltin(callee.span, callee.name, builtin, arguments)

    def check_options(self, builtin: Builtin, given: tuple[ast.Argument, ...]) -> None:
        """Warn of options that a literal options array has and the function does not."""
        for parameter, argument in zip(builtin.parameters, given, strict=False):
            if parameter.options is not None and isinstance(argument.value, ast.ArrayLiteral):
                self.check_option_names(f"{builtin.name}()", parameter.options, argument.value)

    def check_option_names(self, owner: str, options: type[Options], literal: ast.ArrayLiteral) -> None:
        for item in literal.items:
            if isinstance(item.key, ast.Literal) and isinstance(item.key.value, bytes):
                name = item.key.value.decode("utf-8", "replace")
                if name not in options.names():
                    hint = near(name, options.names())
                    self.diagnostics.warning("option", f"{owner} has no option {name!r}", item.key.span, hint)

    def visit_Cache(self, node: ast.Cache) -> Node:
        callee = node.call.callee
        assert isinstance(callee, ast.FunctionName)
        options = self.expression(node.options)
        self.check_option_names("cache", calls.CacheOptions, node.options)
        call = self.named_call(node.call, callee)
        if call is None:
            return Constant(node.span, None)
        return calls.Cache(node.span, options, call)


def appends(node: ast.Expression) -> bool:
    """Whether there is a `[]` in a path of subscripts."""
    while isinstance(node, ast.Subscript):
        node = node.base
    return isinstance(node, ast.Append)


def join(left: Value, right: Value) -> Value:
    """`.=` on an item."""
    return arithmetic.concatenate([left, right])
