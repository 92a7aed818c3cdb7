"""Classes of scripts: what the compiler makes of one, its instances, and its functions as values."""

from __future__ import annotations

from typing import Final

from hsl.errors import ScriptError
from hsl.functions import Declaration
from hsl.run import Run
from hsl.source import Span
from hsl.values import MAX_ITEMS, Function, Object, Value, array_key, to_text


class ClassDeclaration:
    """A class, shared by all runs of the loaded program. Its static variables live in the run's globals."""

    __slots__ = (
        "constructor",
        "declared",
        "fields",
        "methods",
        "name",
        "private",
        "readonly",
        "span",
        "starter",
        "static_functions",
        "static_private",
        "static_readonly",
        "static_variables",
        "value",
    )

    def __init__(self, name: str, span: Span) -> None:
        self.name = name
        self.span = span
        self.constructor: Declaration | None = None
        self.starter: Declaration | None = None  # computes the fields that are no constants
        self.fields: Final[dict[Value, Value]] = {}  # the variables of a new instance; arrays in it are shared
        self.methods: Final[dict[Value, Declaration]] = {}
        self.private: Final[set[Value]] = set()  # names of instance members
        self.readonly: Final[set[Value]] = set()
        self.static_functions: Final[dict[str, Declaration]] = {}
        self.static_variables: Final[dict[str, int]] = {}  # the slots of the globals
        self.static_private: Final[set[str]] = set()
        self.static_readonly: Final[set[str]] = set()
        self.declared: Final[set[Value]] = set()  # the names of the variables of instances
        self.value: Final = ClassFunction(self)

    def arity_error(self, count: int) -> str | None:
        """What is wrong with creating an instance with so many arguments, or None."""
        if self.constructor is None:
            return None if count == 0 else f"{self.name}() takes 0 arguments, got {count}"
        return self.constructor.arity_error(count)

    def create(self, run: Run, arguments: list[Value], span: Span | None) -> Instance:
        """A new instance, its constructor called. Raises ScriptError."""
        problem = self.arity_error(len(arguments))
        if problem is not None:
            raise ScriptError(problem, span)
        instance = Instance(self)
        if self.starter is not None:
            self.starter.invoke(run, [], span, instance)
        if self.constructor is not None:
            self.constructor.invoke(run, arguments, span, instance)
        return instance


class ClassFunction(Function):
    """A class as a value: calling it creates an instance."""

    __slots__ = ("declaration",)

    def __init__(self, declaration: ClassDeclaration) -> None:
        super().__init__(declaration.name)
        self.declaration: Final = declaration

    def call(self, run: object, arguments: list[Value]) -> Value:
        assert isinstance(run, Run)
        return self.declaration.create(run, arguments, None)


class Instance(Object):
    """An object of a script's class: its variables by name; functions come from the class."""

    __slots__ = ("declaration", "members")

    def __init__(self, declaration: ClassDeclaration) -> None:
        super().__init__(declaration.name)
        self.declaration: Final = declaration
        self.members: Final[dict[Value, Value]] = declaration.fields.copy()

    def check_access(self, key: Value, this: Object | None) -> None:
        """Raises ScriptError for a private member seen from outside."""
        if this is not self and key in self.declaration.private:
            raise ScriptError(f"{self.class_name}->{to_text(key)} is private")

    def check_write(self, key: Value, this: Object | None) -> None:
        """Raises ScriptError for what cannot be assigned to or unset from here."""
        if key in self.declaration.methods:
            raise ScriptError(f"{self.class_name}->{to_text(key)} is a function")
        if this is not self:
            self.check_access(key, this)
            if key in self.declaration.readonly:
                raise ScriptError(f"{self.class_name}->{to_text(key)} is read-only")

    def read(self, key: Value, this: Object | None) -> Value:
        return self.member(array_key(key), this)

    def member(self, key: Value, this: Object | None) -> Value:
        """The same for a key that is cast already."""
        if this is not self and key in self.declaration.private:
            self.check_access(key, this)
        value = self.members.get(key)
        if value is not None or key in self.members:
            return value
        method = self.declaration.methods.get(key)
        return None if method is None else BoundMethod(self, method)

    def has(self, key: Value, this: Object | None) -> bool:
        key = array_key(key)
        if this is not self and key in self.declaration.private:
            return False
        return key in self.members or key in self.declaration.methods

    def write(self, key: Value, value: Value, this: Object | None) -> None:
        self.put(array_key(key), value, this)

    def put(self, key: Value, value: Value, this: Object | None) -> None:
        """The same for a key that is cast already."""
        if this is not self or key not in self.members:
            self.check_write(key, this)
            if len(self.members) >= MAX_ITEMS and key not in self.members:
                raise ScriptError(f"an object has at most {MAX_ITEMS} properties")
        self.members[key] = value

    def remove(self, key: Value, this: Object | None) -> bool:
        key = array_key(key)
        self.check_write(key, this)
        there = key in self.members
        if there:
            del self.members[key]
        return there

    def invoke(self, run: object, key: Value, arguments: list[Value], this: Object | None) -> Value:
        method = self.method(key, this)
        if method is None:
            return super().invoke(run, key, arguments, this)
        assert isinstance(run, Run)
        return method.invoke(run, arguments, None, self)

    def method(self, key: Value, this: Object | None) -> Declaration | None:
        """The function of the class, or None. Raises ScriptError if it is private and this is outside."""
        method = self.declaration.methods.get(key)
        if method is not None:
            self.check_access(key, this)
        return method

    def methods(self) -> list[str]:
        return [to_text(key) for key in self.declaration.methods]


class BoundMethod(Function):
    """`$object->function` as a value."""

    __slots__ = ("declaration", "instance")

    def __init__(self, instance: Instance, declaration: Declaration) -> None:
        super().__init__(declaration.name)
        self.instance: Final = instance
        self.declaration: Final = declaration

    def call(self, run: object, arguments: list[Value]) -> Value:
        assert isinstance(run, Run)
        return self.declaration.invoke(run, arguments, None, self.instance)

    def same(self, other: Function) -> bool:
        return (
            isinstance(other, BoundMethod) and self.instance is other.instance and self.declaration is other.declaration
        )
