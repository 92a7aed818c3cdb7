"""Where names live while a script is compiled: the script, its modules, its functions, its classes."""

from __future__ import annotations

from collections.abc import Iterator

from hsl.functions import Declaration
from hsl.objects import ClassDeclaration
from hsl.source import Span
from hsl.values import Function

Named = Declaration | ClassDeclaration


class Scope:
    """The variables and named functions of a module (`parent` is None), or of one function.

    Variables of a module have slots in the run's globals, those of a function in its frame.
    """

    def __init__(self, parent: Scope | None, declaration: Declaration | None = None) -> None:
        self.parent = parent
        self.module: Module = parent.module if parent is not None else Module(self)
        self.declaration = declaration
        self.slots: dict[str, int] = {}
        self.boxed: set[str] = set()  # variables that closures capture: their slots hold cells
        self.captured: dict[str, int | None] = {}  # those that a closure brought in: its cells; the slot if of globals
        self.imported: dict[str, int] = {}  # what `global` and captures brought in: slots of the globals
        self.functions: dict[str, Named] = {}
        self.assigned: set[str] = set()
        self.reads: list[tuple[str, Span]] = []
        self.owner: ClassDeclaration | None = None if parent is None else parent.owner  # the class around
        self.has_this = False
        self.counter: int | None = None  # of a generator: the slot of its next key

    def find_function(self, name: str) -> Named | None:
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


class Module:
    """The script itself, or a file that it imports: the scope that its functions see as global."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.namespaces: dict[str, Module] = {}  # `import * as name`
        self.names: dict[str, Span] = {}  # what imports brought in, and where
        self.boxed: set[str] = set()  # every name that a closure anywhere in it captures
        self.title = "the script"


def value_of(named: Named) -> Function:
    """A function or class as a value."""
    return named.value
