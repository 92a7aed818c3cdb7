"""Compiles classes: members and their rules at load, methods and field values as functions with a `$this`."""

from __future__ import annotations

from hsl import ast
from hsl.compiler.functions import Functions
from hsl.functions import Declaration
from hsl.objects import ClassDeclaration
from hsl.source import Span


class Classes(Functions):
    def declare_class(self, node: ast.Class) -> ClassDeclaration | None:
        """Make a class and its members known in its scope; None after an error."""
        if not self.claim(node.name, node.span, "class"):
            return None
        declaration = ClassDeclaration(node.name, node.span)
        self.scope.functions[node.name] = declaration
        names: dict[str, Span] = {}
        for member in node.members:
            if member.name in names and not self.is_constructor(member):
                message = f"{node.name} has two members {member.name} (first at {names[member.name]})"
                self.error("duplicate", message, member.span)
                continue
            names.setdefault(member.name, member.span)
            if isinstance(member, ast.Method):
                self.declare_method(node, member, declaration)
            else:
                self.declare_field(member, declaration)
        return declaration

    @staticmethod
    def is_constructor(member: ast.Field | ast.Method) -> bool:
        return isinstance(member, ast.Method) and member.constructor

    def declare_method(self, node: ast.Class, member: ast.Method, declaration: ClassDeclaration) -> None:
        static = "static" in member.modifiers
        if "readonly" in member.modifiers:
            self.error("member", "only variables can be readonly", member.span)
        method = Declaration(f"{node.name}{'::' if static else '->'}{member.name}", member.span)
        self.parameters(member.parameters, method)
        if member.constructor:
            if member.modifiers:
                self.error("member", f"a constructor cannot be {member.modifiers[0]}", member.span)
            if declaration.constructor is not None:
                self.error("member", f"{node.name} has two constructors", member.span)
            method.name = node.name
            declaration.constructor = method
        elif static:
            declaration.static_functions[member.name] = method
            if "private" in member.modifiers:
                declaration.static_private.add(member.name)
        else:
            declaration.methods[self.text(member.name)] = method
            if "private" in member.modifiers:
                declaration.private.add(self.text(member.name))

    def declare_field(self, member: ast.Field, declaration: ClassDeclaration) -> None:
        key = self.text(member.name)
        if "static" in member.modifiers:
            slot = declaration.static_variables[member.name] = self.global_slot()
            value = None if member.value is None else self.constant_of(member.value, "the value of a static variable")
            self.initial.append((slot, value))
            if "private" in member.modifiers:
                declaration.static_private.add(member.name)
            if "readonly" in member.modifiers:
                declaration.static_readonly.add(member.name)
            return
        declaration.declared.add(key)
        declaration.fields[key] = None
        if "private" in member.modifiers:
            declaration.private.add(key)
        if "readonly" in member.modifiers:
            declaration.readonly.add(key)

    def class_body(self, node: ast.Class, declaration: ClassDeclaration) -> None:
        """Compile the methods, and the values of the fields."""
        self.field_values(node, declaration)
        for member in node.members:
            if isinstance(member, ast.Method):
                method = self.method_of(member, declaration)
                if method is not None and method.span is member.span:
                    method_scope = "static" not in member.modifiers
                    self.function_body(member.parameters, member.body, method, owner=declaration, method=method_scope)

    @staticmethod
    def method_of(member: ast.Method, declaration: ClassDeclaration) -> Declaration | None:
        if member.constructor:
            return declaration.constructor
        if "static" in member.modifiers:
            return declaration.static_functions.get(member.name)
        return declaration.methods.get(member.name.encode())

    def field_values(self, node: ast.Class, declaration: ClassDeclaration) -> None:
        """Constants are put into each new object; anything else is computed by a function that runs first."""
        given = [
            item
            for item in node.members
            if isinstance(item, ast.Field) and item.value is not None and "static" not in item.modifiers
        ]
        computed: list[ast.Statement] = []
        for member in given:
            if isinstance(member.value, ast.Literal):
                declaration.fields[self.text(member.name)] = member.value.value
            elif member.value is not None:
                target = ast.Property(member.span, ast.Variable(member.span, "this"), member.name)
                assign = ast.Assign(member.span, target, None, member.value)
                computed.append(ast.ExpressionStatement(member.span, assign))
        if computed:
            declaration.starter = Declaration(node.name, node.span)
            self.parameters((), declaration.starter)
            body = ast.Block(node.span, tuple(computed))
            self.function_body((), body, declaration.starter, owner=declaration, method=True)
