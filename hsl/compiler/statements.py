"""Compiles statements, and the scopes that they stand in: hoisting, loops, what is never reached."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from hsl import ast, evaluator, nodes, variables
from hsl.calls import CallBuiltin
from hsl.compiler.modules import Modules
from hsl.functions import Declaration
from hsl.nodes import Constant, Node, Statement
from hsl.objects import ClassDeclaration
from hsl.variables import SlotTarget, Target

Declared = ast.Function | ast.Class


class Statements(Modules):
    def body(self, given: Iterable[ast.Statement]) -> list[Statement]:
        """A scope's statements. Its functions and classes are known from the start, wherever they stand in it."""
        given = list(self.expand(given))
        pending: list[Callable[[], None]] = []
        for node in self.declared_in(given):
            if isinstance(node, ast.Class):
                named = self.declare_class(node)
                if named is not None:
                    pending.append(self.later_class(node, named))
            else:
                declaration = self.declare(node)
                if declaration is not None:
                    pending.append(self.later_function(node, declaration))
        for compile_body in pending:
            compile_body()
        return self.statements(given)

    def later_class(self, node: ast.Class, declaration: ClassDeclaration) -> Callable[[], None]:
        return lambda: self.class_body(node, declaration)

    def later_function(self, node: ast.Function, declaration: Declaration) -> Callable[[], None]:
        return lambda: void(self.function_body(node.parameters, node.body, declaration))

    def declared_in(self, given: list[ast.Statement]) -> Iterator[Declared]:
        """The functions and classes of a scope, those in its blocks too, but not those in its functions."""
        pending = given[::-1]
        while pending:
            node = pending.pop()
            inner: list[ast.Statement] = []
            if isinstance(node, Declared):
                yield node
            elif isinstance(node, ast.Include):
                inner = self.include(node)
            elif isinstance(node, ast.Block):
                inner = list(node.statements)
            elif isinstance(node, ast.If):
                inner = [node.then] if node.otherwise is None else [node.then, node.otherwise]
            elif isinstance(node, ast.While | ast.For | ast.Foreach | ast.Barrier):
                inner = [node.body]
            elif isinstance(node, ast.Try):
                inner = [node.body, node.handler]
            elif isinstance(node, ast.Switch):
                inner = [statement for case in node.cases for statement in case.statements]
            pending += inner[::-1]

    def statements(self, given: Iterable[ast.Statement]) -> list[Statement]:
        """Compile a list of statements in order; its functions are compiled already."""
        compiled: list[Statement] = []
        ended = False
        for item in self.expand(given):
            if isinstance(item, Declared):
                continue
            if ended:
                self.diagnostics.warning("unreachable", "this code is never reached", item.span)
                ended = False
            compiled.append(self.statement(item))
            ended = isinstance(item, ast.Return | ast.Break | ast.Continue) or self.ends_script(item)
        return compiled

    def ends_script(self, item: ast.Statement) -> bool:
        """Whether a statement is a `throw`, or a plain call of a verdict function."""
        if not isinstance(item, ast.ExpressionStatement):
            return False
        if isinstance(item.expression, ast.Throw):
            return True
        if not isinstance(item.expression, ast.Call):
            return False
        callee = item.expression.callee
        if not isinstance(callee, ast.FunctionName) or (not callee.builtin and self.scope.find_function(callee.name)):
            return False
        builtin = self.registry.get(callee.name)
        return builtin is not None and builtin.halts and not item.expression.arguments

    # ------------------------------------------------------------ plain statements

    def visit_Block(self, node: ast.Block) -> Statement:
        return evaluator.Block(node.span, self.statements(node.statements))

    def visit_Include(self, node: ast.Include) -> Statement:
        """An include that is the lone body of an `if` or a loop."""
        return evaluator.Block(node.span, self.statements([node]))

    def visit_Function(self, node: Declared) -> Statement:
        """A function or class that is the lone body of an `if` or a loop: compiled with its scope."""
        return evaluator.Block(node.span, [])

    visit_Class = visit_Function

    def visit_ExpressionStatement(self, node: ast.ExpressionStatement) -> Statement:
        return self.effect(self.expression(node.expression))

    @staticmethod
    def effect(expression: Node) -> Statement:
        """An expression whose value nobody wants."""
        if isinstance(expression, variables.AppendText):
            return variables.AppendTextStatement(expression)
        if isinstance(expression, CallBuiltin) and expression.builtin.halts:
            return evaluator.HaltStatement(expression)
        if isinstance(expression, variables.AssignLocal):
            if isinstance(expression.value, Constant):
                return variables.StoreConstant(expression.span, expression.slot, expression.value.value)
            return variables.StoreLocal(expression.span, expression.slot, expression.value)
        if isinstance(expression, variables.AddTo | variables.SubtractFrom) and type(expression.target) is SlotTarget:
            return variables.AddToLocal(expression)
        if isinstance(expression, variables.Step) and type(expression.target) is SlotTarget:
            return variables.StepLocal(expression.span, expression.target, expression.delta)
        return evaluator.ExpressionStatement(expression)

    def visit_Echo(self, node: ast.Echo) -> Statement:
        return evaluator.Echo(node.span, self.expression(node.expression))

    def visit_Barrier(self, node: ast.Barrier) -> Statement:
        name = self.expression(node.name)
        variable = None if node.variable is None else self.variable_target(node.variable)
        return evaluator.Barrier(node.span, name, variable, self.statement(node.body))

    def visit_Try(self, node: ast.Try) -> Statement:
        body = self.statement(node.body)
        return evaluator.Try(node.span, body, self.variable_target(node.variable), self.statement(node.handler))

    def visit_Global(self, node: ast.Global) -> Statement:
        if self.scope.parent is None:
            self.error("global", "global outside a function", node.span)
            return evaluator.Block(node.span, [])
        for variable in node.variables:
            if variable.name == "this" and self.scope.has_this:
                self.no_this(variable.span)
            elif self.scope.captured.get(variable.name) is not None:
                continue  # a closure that captured the script's variable has it already
            if variable.name in self.scope.slots:
                self.error("global", f"${variable.name} is already a local variable", variable.span)
            elif variable.name not in self.scope.imported:
                self.scope.imported[variable.name] = self.slot(self.scope.module.scope, variable.name)
        return evaluator.Block(node.span, [])

    # ------------------------------------------------------------ branches and loops

    def visit_If(self, node: ast.If) -> Statement:
        """A chain of `else if` is one statement: its length is not nesting."""
        arms: list[evaluator.If] = []
        otherwise: ast.Statement | None = node
        while isinstance(otherwise, ast.If):
            condition, then = self.expression(otherwise.condition), self.statement(otherwise.then)
            arms.append(evaluator.If(otherwise.span, condition, then, None))
            otherwise = otherwise.otherwise
        last = None if otherwise is None else self.statement(otherwise)
        if len(arms) == 1:
            return evaluator.If(node.span, arms[0].condition, arms[0].then, last)
        return evaluator.IfChain(node.span, arms, last)

    def visit_While(self, node: ast.While) -> Statement:
        condition = None if node.condition is None else self.expression(node.condition)
        return evaluator.While(node.span, condition, self.loop_body(node.body))

    def visit_For(self, node: ast.For) -> Statement:
        start, condition, step = (
            None if part is None else self.expression(part) for part in (node.start, node.condition, node.step)
        )
        first = None if start is None else self.effect(start)
        last = None if step is None else self.effect(step)
        return evaluator.For(node.span, first, condition, last, self.loop_body(node.body))

    def visit_Foreach(self, node: ast.Foreach) -> Statement:
        subject = self.expression(node.subject)
        key = None if node.key is None else self.variable_target(node.key)
        value: Target | None = self.target(node.value)
        body = self.loop_body(node.body)
        if value is None:
            return evaluator.Block(node.span, [])
        return evaluator.Foreach(node.span, subject, key, value, body)

    def loop_body(self, node: ast.Statement) -> Statement:
        self.loops += 1
        switches, self.switches = self.switches, 0
        compiled = self.statement(node)
        self.loops -= 1
        self.switches = switches
        return compiled

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

    # ------------------------------------------------------------ jumps

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
        plain_local = type(value) is SlotTarget
        return nodes.Return(node.span, value, value is not None and value.aliases and not plain_local)

    def visit_Yield(self, node: ast.Yield) -> Statement:
        key = None if node.key is None else self.expression(node.key)
        value = None if node.value is None else self.expression(node.value)
        if self.scope.counter is None:
            self.error("yield", "yield outside a function", node.span)
            return evaluator.Block(node.span, [])
        return evaluator.Yield(node.span, key, value, self.scope.counter)


def void(_: object) -> None:
    """A result that nobody wants."""
