"""Compiles functions and their calls: declarations, closures, pointers, arity and options checked at load."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hsl import ast, calls, functions
from hsl.builtins import BuiltinClass, Options
from hsl.cacheoptions import CacheOptions
from hsl.caching import Cache
from hsl.compiler.assignments import Assignments
from hsl.compiler.scopes import Module, Scope, value_of
from hsl.errors import near
from hsl.functions import Declaration
from hsl.invocation import Builtin
from hsl.nodes import Constant, Node
from hsl.objects import ClassDeclaration
from hsl.source import Span
from hsl.values import Value, share
from hsl.variables import GlobalTarget, SlotTarget

RESERVED = frozenset(
    re.findall(
        r"\w+",
        """
        and array as barrier break builtin cache case catch class closure constructor continue default echo else false
        for foreach forever from function global if import include include_once isset match none not object or private
        readonly return static switch throw true try unset while with yield
        """,
    )
)


class Functions(Assignments):
    # ------------------------------------------------------------ declarations

    def check_name(self, name: str, span: Span) -> None:
        if name in RESERVED:
            self.error("reserved", f"`{name}` is a reserved word", span)

    def declare(self, node: ast.Function) -> Declaration | None:
        """Make a function known in its scope; None after an error."""
        if not self.claim(node.name, node.span, "function"):
            return None
        declaration = Declaration(node.name, node.span)
        self.scope.functions[node.name] = declaration
        self.parameters(node.parameters, declaration)
        return declaration

    def claim(self, name: str, span: Span, kind: str) -> bool:
        """Whether a function or class may have a name here. The same one of a file included twice is no error."""
        self.check_name(name, span)
        if self.scope.parent is None and name in self.scope.module.namespaces:
            first = self.scope.module.names[name]
            self.error("duplicate", f"{kind} {name} has the name of a module (imported at {first})", span)
        if name in self.scope.functions:
            first = self.scope.functions[name].span
            if first.file != span.file or first.start != span.start:
                self.error("duplicate", f"{kind} {name} is declared twice (first at {first})", span)
            return False
        return True

    def parameters(self, given: tuple[ast.Parameter, ...] | None, declaration: Declaration) -> None:
        """Arity and defaults, known before any body is compiled. Without a list the function takes what it gets."""
        self.declarations.append(declaration)
        if given is None:
            declaration.variadic = declaration.counted = True
            message = "a function without a list of parameters is an older form"
            self.diagnostics.note("older-form", message, declaration.span, "today's form is (...$argv)")
            return
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
                declaration.defaults.append(self.constant_of(parameter.default, "a default"))
            elif declaration.defaults:
                self.error("parameter", f"${parameter.name} needs a default like those before it", parameter.span)
        declaration.required = len(declaration.parameters) - len(declaration.defaults)

    def constant_of(self, node: ast.Expression, what: str) -> Value:
        compiled = self.expression(node)
        if not isinstance(compiled, Constant):
            self.error("default", f"{what} is a constant expression", node.span)
            return None
        return share(compiled.value)

    def function_body(
        self,
        parameters: tuple[ast.Parameter, ...] | None,
        body: ast.Block,
        declaration: Declaration,
        captures: tuple[ast.Variable, ...] = (),
        *,
        owner: ClassDeclaration | None = None,
        method: bool = False,
    ) -> Scope:
        """Compile a body in a scope of its own."""
        outer, loops, switches = self.scope, self.loops, self.switches
        scope = Scope(outer, declaration)
        scope.owner = owner or outer.owner
        scope.has_this = method
        self.scope, self.loops, self.switches = scope, 0, 0
        deepest, self.deepest = self.deepest, self.depth
        names = [item.name for item in parameters] if parameters is not None else ["argv", "argc"]
        for name in names:
            self.slot(scope, name)
            scope.assigned.add(name)
        self.capture(captures, outer, declaration)
        if scope.has_this and "this" in names and parameters is not None:
            self.no_this(next(item.span for item in parameters if item.name == "this"))
        self.look_inside(body.statements, scope, declaration)
        compiled = self.body(body.statements)
        declaration.boxed = [slot for name, slot in scope.slots.items() if name in scope.boxed - scope.captured.keys()]
        declaration.finish(len(scope.slots), self.deepest - self.depth, compiled)
        self.check_reads(scope)
        self.scope, self.loops, self.switches = outer, loops, switches
        self.deepest = max(deepest, self.deepest)
        return scope

    def no_this(self, span: Span) -> None:
        """Report that something else would take the name of the object that a method runs on."""
        self.error("readonly", "$this cannot be assigned to", span)

    def capture(self, captures: Iterable[ast.Variable], outer: Scope, declaration: Declaration) -> None:
        """Give a closure's scope the variables that it captures."""
        for variable in captures:
            name = variable.name
            if name == "this" and outer.has_this:
                self.scope.has_this = True
            elif name in self.scope.slots or name in self.scope.imported:
                self.error("capture", f"${name} is captured twice, or is a parameter too", variable.span)
            else:
                outer.reads.append((name, variable.span))
                slot = self.global_of(outer, name)
                if slot is None or slot in self.boxed_globals:
                    self.slot(self.scope, name)
                    self.scope.captured[name] = slot
                    declaration.captures += 1
                else:
                    self.scope.imported[name] = slot  # another module's, which knows nothing of cells

    def global_of(self, scope: Scope, name: str) -> int | None:
        """The slot of the globals that a name has in a scope; None for a local."""
        if scope.parent is None:
            return self.slot(scope, name)
        return scope.imported.get(name, scope.captured.get(name))

    def look_inside(self, statements: Iterable[ast.Statement], scope: Scope, declaration: Declaration) -> None:
        """What must be known before a body is compiled: captured variables, and whether there is a `yield`."""
        for node in ast.within_function(iter(statements)):
            if isinstance(node, ast.Lambda):
                scope.boxed |= {item.name for item in node.captures} - scope.imported.keys() - {"this"}
            elif isinstance(node, ast.Yield):
                declaration.generates = True
            elif isinstance(node, ast.Include):
                self.look_inside(self.include(node), scope, declaration)
        if declaration.generates:
            scope.counter = self.slot(scope, "yield")

    def visit_Lambda(self, node: ast.Lambda) -> Node:
        declaration = Declaration("function", node.span)
        self.parameters(node.parameters, declaration)
        outer = self.scope
        inner = self.function_body(node.parameters, node.body, declaration, node.captures)
        if not node.captures:
            return Constant(node.span, declaration.value)
        self.effects += 1
        for name in inner.captured.keys() & inner.assigned:
            self.note_assignment(outer, name)
        cells: list[tuple[bool, int]] = []
        for name in inner.captured:
            of_globals = outer.imported.get(name)
            cells.append((False, self.slot(outer, name)) if of_globals is None else (True, of_globals))
        return functions.MakeClosure(node.span, declaration, cells, inner.has_this)

    def include(self, node: ast.Include) -> list[ast.Statement]:
        raise NotImplementedError

    # ------------------------------------------------------------ names

    def visit_FunctionName(self, node: ast.FunctionName) -> Node:
        """A function's name without a call: a pointer to it."""
        named = None if node.builtin else self.scope.find_function(node.name)
        if named is not None:
            return Constant(node.span, value_of(named))
        builtin = self.builtin(node)
        if builtin is None:
            return Constant(node.span, None)
        return Constant(node.span, self.builtin_value(node.name, builtin))

    def builtin_value(self, name: str, builtin: Builtin) -> functions.BuiltinFunction:
        return self.builtin_values.setdefault((name, builtin), functions.BuiltinFunction(name, builtin))

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

    def owner(self, name: str, span: Span) -> ClassDeclaration | Module | BuiltinClass | None:
        """What stands before `::`; None after an error."""
        if name == "static":
            if self.scope.owner is None:
                self.error("member", "static:: outside a class", span)
            return self.scope.owner
        named = self.scope.find_function(name)
        if isinstance(named, ClassDeclaration):
            return named
        found = self.scope.module.namespaces.get(name) or self.registry.classes.get(name)
        if found is None and name not in self.lost:
            classes = [item for item in self.scope.function_names() if self.is_class(item)]
            known = [*classes, *self.scope.module.namespaces, *self.registry.classes]
            self.error("undefined", f"there is no class or module {name}", span, self.near(name, known))
        return found

    def is_class(self, name: str) -> bool:
        return isinstance(self.scope.find_function(name), ClassDeclaration)

    def visit_ScopedName(self, node: ast.ScopedName) -> Node:
        found = self.member(node)
        if found is None:
            return Constant(node.span, None)
        if isinstance(found, Builtin):
            return Constant(node.span, self.builtin_value(found.name, found))
        return Constant(node.span, value_of(found))

    def member(self, node: ast.ScopedName) -> Declaration | ClassDeclaration | Builtin | None:
        """The function that `owner::name` means; None after an error."""
        owner = self.owner(node.owner, node.span)
        if owner is None:
            return None
        table: dict[str, Declaration] | dict[str, Declaration | ClassDeclaration] | dict[str, Builtin]
        if isinstance(owner, ClassDeclaration):
            table = owner.static_functions
        else:
            table = owner.scope.functions if isinstance(owner, Module) else owner.static_methods
        found = table.get(node.name)
        if found is None:
            self.no_member(node.owner, node.name, owner, table, node.span)
        elif isinstance(owner, ClassDeclaration):
            self.check_private(owner, node.name, node.span)
        return found

    def no_member(self, shown: str, name: str, owner: object, known: Iterable[str], span: Span) -> None:
        hint = self.near(name, known)
        bare = name.removeprefix("$")
        if isinstance(owner, ClassDeclaration) and (bare.encode() in owner.methods or bare.encode() in owner.declared):
            hint = f"{bare} belongs to the objects of {owner.name}"
        self.error("member", f"{shown} has no {name}" if "$" in name else f"{shown} has no {name}()", span, hint)

    def check_private(self, owner: ClassDeclaration, name: str, span: Span) -> None:
        if name in owner.static_private and self.scope.owner is not owner:
            self.error("member", f"{owner.name}::{name} is private", span)

    def visit_ScopedVariable(self, node: ast.ScopedVariable) -> Node:
        return self.scoped_variable(node, False) or Constant(node.span, None)

    def scoped_variable(self, node: ast.ScopedVariable, written: bool) -> SlotTarget | None:
        owner = self.owner(node.owner, node.span)
        if owner is None:
            return None
        if isinstance(owner, Module):
            return self.module_variable(owner, node, written)
        table = owner.static_variables if isinstance(owner, ClassDeclaration) else {}
        if node.name not in table:
            self.no_member(node.owner, f"${node.name}", owner, (f"${name}" for name in table), node.span)
            return None
        assert isinstance(owner, ClassDeclaration)
        self.check_private(owner, node.name, node.span)
        if written and node.name in owner.static_readonly and self.scope.owner is not owner:
            self.error("readonly", f"{owner.name}::${node.name} is read-only", node.span)
        return GlobalTarget(node.span, f"{node.owner}::${node.name}", table[node.name])

    def module_variable(self, module: Module, node: ast.ScopedVariable, written: bool) -> SlotTarget | None:
        raise NotImplementedError

    # ------------------------------------------------------------ calls

    def arguments(self, given: tuple[ast.Argument, ...]) -> calls.Arguments:
        compiled = self.in_order([item.value for item in given])
        return [(node, item.spread) for node, item in zip(compiled, given, strict=True)]

    def visit_Call(self, node: ast.Call) -> Node:
        return self.named_call(node) or Constant(node.span, None)

    def named_call(self, node: ast.Call) -> calls.CallNode | None:
        """Any call; None after an error in what is called."""
        callee = node.callee
        if isinstance(callee, ast.FunctionName):
            named = None if callee.builtin else self.scope.find_function(callee.name)
            if named is None:
                return self.builtin_call(node, callee)
            return self.script_call(node, named)
        if isinstance(callee, ast.ScopedName):
            found = self.member(callee)
            if isinstance(found, Builtin):
                return self.checked_builtin_call(node, found, f"{callee.owner}::{callee.name}")
            return None if found is None else self.script_call(node, found)
        self.effects += 1
        if isinstance(callee, ast.Property | ast.Subscript):
            return self.method_call(node, callee)
        return calls.CallValue(node.span, self.expression(callee), self.arguments(node.arguments))

    def method_call(self, node: ast.Call, callee: ast.Property | ast.Subscript) -> calls.CallNode:
        base = self.expression(callee.base)
        if isinstance(callee, ast.Property):
            key: Node = Constant(callee.span, self.text(callee.name))
        else:
            key = self.expression(callee.index)
        if isinstance(callee.base, ast.Variable) and callee.base.name == "this" and isinstance(key, Constant):
            method = None if self.scope.owner is None else self.scope.owner.methods.get(key.value)
            if method is not None and self.scope.has_this:
                self.note_call(method, callee.span)
        return calls.CallMethod(node.span, base, key, self.arguments(node.arguments))

    def script_call(self, node: ast.Call, callee: Declaration | ClassDeclaration) -> calls.CallNode:
        """A call of a function or class of the script."""
        arguments = self.arguments(node.arguments)
        self.effects += 1
        span = node.callee.span
        spreads = any(spread for _, spread in arguments)
        problem = None if spreads else callee.arity_error(len(arguments))
        if problem is not None:
            self.error("arity", problem, span, f"declared at {callee.span}")
        if isinstance(callee, ClassDeclaration):
            for part in (callee.constructor, callee.starter):
                if part is not None:
                    self.note_call(part, span)
            return calls.Create(span, callee, arguments)
        self.note_call(callee, span)
        if spreads or problem is not None or callee.variadic:
            return calls.CallScript(span, callee, arguments)
        return calls.CallDirect(span, callee, arguments)

    def builtin_call(self, node: ast.Call, callee: ast.FunctionName) -> calls.CallNode | None:
        builtin = self.builtin(callee)
        if builtin is None:
            self.arguments(node.arguments)
            return None
        return self.checked_builtin_call(node, builtin, callee.name)

    def checked_builtin_call(self, node: ast.Call, builtin: Builtin, name: str) -> calls.CallNode:
        arguments = self.arguments(node.arguments)
        spreads = any(spread for _, spread in arguments)
        problem = None if spreads else builtin.arity_error(len(arguments), name)
        if problem is not None:
            self.error("arity", problem, node.callee.span, builtin.signature)
        self.check_options(builtin, node.arguments)
        if any(not parameter.types.isdisjoint(("function", "any")) for parameter in builtin.parameters):
            self.effects += 1  # it may call the script back
        return (builtin.node or calls.CallBuiltin)(node.callee.span, name, builtin, arguments)

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
        options = self.expression(node.options)
        self.check_option_names("cache", CacheOptions, node.options)
        call = self.named_call(node.call)
        if call is None:
            return Constant(node.span, None)
        return Cache(node.span, options, call)
