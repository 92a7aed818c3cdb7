"""Builtin functions are declared once: a Python function with annotations and a docstring, under `@chapter.function`.

From that one declaration come the arity and type checks with uniform messages, the defaults, `hsl builtins`, the REPL's
help and completion, and the manual. Annotations and what scripts may pass:

    bytes string · float number · int number, cut to an integer · bool boolean (or number) · Array array ·
    Function function · Value anything · unions of these · `X | None = None` may be left out (or be none) ·
    a subclass of Options: an options array (also in a union: `bytes | TryOptions | None`) · `*args: Value` variadic ·
    a first parameter annotated `Run`: the running script (not seen by scripts)

A class is a Python class below NativeObject under `@chapter.object`, its methods under `@method` or `@static_method`.

A function may be `async def`; it is then awaited through the bridge while the script stands still.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, cached_property, partial
from typing import Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from hsl.invocation import REQUIRED, Builtin, OptionEntry, Parameter, read_options, wanted
from hsl.run import Run
from hsl.values import Array, Function, Object, Resource, Value

if typing.TYPE_CHECKING:
    import inspect

if typing.TYPE_CHECKING:
    from hsl.calls import CallBuiltin

NAMES: Mapping[object, str] = {
    bytes: "string",
    float: "number",
    int: "number",
    bool: "boolean",
    Array: "array",
    Function: "function",
    Object: "object",
    Resource: "resource",
    type(None): "none",
}
ANY = frozenset({"any"})
F = TypeVar("F", bound=Callable[..., Any])


class Option(NamedTuple):
    """One entry of an options array. `default` is a Python value; `unit` is seconds, bytes … or empty."""

    name: str
    types: frozenset[str]
    wants_int: bool
    default: Any
    doc: str
    unit: str = ""


class Declared(NamedTuple):
    """What `option(...)` leaves in the class until Options reads it."""

    default: Any
    doc: str
    unit: str
    name: str


def option(default: Any, doc: str, *, unit: str = "", name: str = "") -> Any:
    """The right side of an option's declaration: `ttl: float = option(60.0, "How long …", unit="seconds")`."""
    return Declared(default, doc, unit, name)


class Options:
    """Base of declared options arrays. Each attribute is an `option(...)`; instances hold the given or default values.

    A value of the wrong type is an error; an unknown name is ignored at run time and a warning of `hsl check`.
    """

    written: typing.ClassVar[Mapping[str, Declared]] = {}

    def __init_subclass__(cls) -> None:
        own = {name: value for name, value in vars(cls).items() if isinstance(value, Declared)}
        cls.written = {**cls.written, **own}
        for attribute, value in own.items():
            setattr(cls, attribute, value.default)

    @classmethod
    @cache
    def declared(cls) -> Mapping[str, Option]:
        """The options by attribute. Their types are read when a call first needs them."""
        hints = get_type_hints(cls)
        return {
            attribute: Option(
                value.name or attribute, *type_names(hints[attribute]), value.default, value.doc, value.unit
            )
            for attribute, value in cls.written.items()
        }

    def __init__(self, **values: Any) -> None:
        if values:
            vars(self).update(values)

    @classmethod
    def read(cls, function: str, array: Array | None) -> typing.Self:
        """The options that an array gives; errors name function, option, wanted and got."""
        result = cls()
        if array is not None:
            read_options(function, result, cls.entries(), array)
        return result

    @classmethod
    @cache
    def entries(cls) -> dict[Value, OptionEntry]:
        """The options by name."""
        return {
            item.name.encode(): OptionEntry(attribute, item.name, item.types, item.wants_int, item.default is None)
            for attribute, item in cls.declared().items()
        }

    @classmethod
    def names(cls) -> list[str]:
        return [item.name for item in cls.declared().values()]


class BuiltinClass:
    """A declared class. What it has is read off the Python class when a script first uses it."""

    def __init__(
        self,
        name: str,
        chapter: str,
        python_class: type[NativeObject],
        stages: frozenset[str] | None,
        creatable: bool,
    ) -> None:
        self.name = name
        self.chapter = chapter
        self.python_class = python_class
        self.stages = stages
        self.creatable = creatable

    @cached_property
    def doc(self) -> str:
        from inspect import getdoc

        return getdoc(self.python_class) or ""

    @cached_property
    def creator(self) -> Builtin:
        return build(self.name, self.python_class, self.chapter, (), self.stages)

    @property
    def constructor(self) -> Builtin | None:
        """Called by the name of the class; `None`: only functions give instances."""
        return self.creator if self.creatable else None

    @cached_property
    def methods(self) -> dict[str, Builtin]:
        return self.marked("hsl_method", "->", receiver=True)

    @cached_property
    def static_methods(self) -> dict[str, Builtin]:
        return self.marked("hsl_static_method", "::", receiver=False)

    def marked(self, marker: str, operator: str, *, receiver: bool) -> dict[str, Builtin]:
        found: dict[str, Builtin] = {}
        classes = reversed(self.python_class.__mro__)  # a class has the methods of its base too
        for item in (item for one in classes for item in vars(one).values()):
            function = getattr(item, "__func__", item)
            called = getattr(function, marker, None)
            if called is not None:
                name = f"{self.name}{operator}{called}"
                found[called] = build(name, function, self.chapter, (), self.stages, receiver=receiver)
        return found


class NativeObject(Object):
    """The base of the classes that are declared here."""

    builtin_class: typing.ClassVar[BuiltinClass]

    def __init__(self) -> None:
        super().__init__(self.builtin_class.name)

    def find(self, key: Value) -> Builtin | None:
        """The method of a name."""
        return self.builtin_class.methods.get(key.decode("utf-8", "replace")) if isinstance(key, bytes) else None

    def read(self, key: Value, this: Object | None) -> Value:
        method = self.find(key)
        return None if method is None else NativeMethod(self, method)

    def has(self, key: Value, this: Object | None) -> bool:
        return self.find(key) is not None

    def invoke(self, run: object, key: Value, arguments: list[Value], this: Object | None) -> Value:
        method = self.find(key)
        if method is None:
            raise self.no_method(key)
        return method.call(typing.cast("Run", run), arguments, None, self)

    def methods(self) -> list[str]:
        return list(self.builtin_class.methods)


class NativeMethod(Function):
    """A method of a builtin class, bound to its object, as a value."""

    def __init__(self, receiver: NativeObject, method: Builtin) -> None:
        super().__init__(method.name)
        self.receiver = receiver
        self.method = method

    def call(self, run: object, arguments: list[Value]) -> Value:
        return self.method.call(typing.cast("Run", run), arguments, None, self.receiver)

    def same(self, other: Function) -> bool:
        return isinstance(other, NativeMethod) and self.receiver is other.receiver and self.method is other.method


def method(name: str) -> Callable[[F], F]:
    """Declare a method of a builtin class under its HSL name."""

    def declare(implementation: F) -> F:
        vars(implementation)["hsl_method"] = name
        return implementation

    return declare


def static_method(name: str) -> Callable[[F], F]:
    """Declare a static method (`Name::name`): a function without `self`, under a `@staticmethod`."""

    def declare(implementation: F) -> F:
        vars(implementation)["hsl_static_method"] = name
        return implementation

    return declare


C = TypeVar("C", bound=type[NativeObject])


class Entry:
    """A function under its names. Its annotations are read when a script first uses it: those of the whole library take
    longer than most scripts."""

    __slots__ = ("aliases", "build", "built", "name", "stages")

    def __init__(
        self, name: str, aliases: tuple[str, ...], stages: frozenset[str] | None, build: Callable[[], Builtin]
    ) -> None:
        self.name = name
        self.aliases = aliases
        self.stages = stages
        self.build = build
        self.built: Builtin | None = None

    @property
    def builtin(self) -> Builtin:
        if self.built is None:
            self.built = self.build()
        return self.built


class Chapter:
    """A chapter of the reference: declares functions. `stages` limits all of them to these stages."""

    def __init__(self, title: str, stages: Iterable[str] | None = None) -> None:
        self.title = title
        self.stages = None if stages is None else frozenset(stages)
        self.entries: list[Entry] = []
        self.classes: list[BuiltinClass] = []

    @property
    def functions(self) -> list[Builtin]:
        return [entry.builtin for entry in self.entries]

    def object(self, name: str, *, stages: Iterable[str] | None = None, creatable: bool = True) -> Callable[[C], C]:
        """Declare the decorated NativeObject as a class; its `__init__` is what the constructor takes."""

        def declare(python_class: C) -> C:
            limited = self.stages if stages is None else frozenset(stages)
            declared = BuiltinClass(name, self.title, python_class, limited, creatable)
            python_class.builtin_class = declared
            if creatable:
                self.entries.append(Entry(name, (), limited, lambda: declared.creator))
            self.classes.append(declared)
            return python_class

        return declare

    def function(
        self,
        name: str,
        *,
        aliases: Iterable[str] = (),
        stages: Iterable[str] | None = None,
        halts: bool = False,
        constant: bool = False,
        node: type[CallBuiltin] | None = None,
    ) -> Callable[[F], F]:
        """Declare the decorated Python function under its HSL name (today's) and the older names it also has.

        `node` is a class of hsl.intrinsics that does the same faster.
        """

        def declare(implementation: F) -> F:
            limited = self.stages if stages is None else frozenset(stages)
            names = tuple(aliases)
            read = partial(
                build, name, implementation, self.title, names, limited, halts=halts, constant=constant, node=node
            )
            self.entries.append(Entry(name, names, limited, read))
            return implementation

        return declare


def build(
    name: str,
    implementation: Callable[..., Any],
    chapter: str,
    aliases: tuple[str, ...],
    stages: frozenset[str] | None,
    *,
    halts: bool = False,
    constant: bool = False,
    receiver: bool = False,
    node: type[CallBuiltin] | None = None,
) -> Builtin:
    """Read a declaration off a function; off a class for a constructor; off a method, whose first parameter is the
    receiver."""
    import inspect  # here: no annotation is read before a script needs it

    creates = isinstance(implementation, type)
    annotated = vars(implementation).get("__init__", NativeObject.__init__) if creates else implementation
    hints = get_type_hints(annotated, localns={"Run": Run})
    given = list(inspect.signature(implementation).parameters.values())[1 if receiver else 0 :]
    takes_run = bool(given) and hints.get(given[0].name) is Run
    if takes_run:
        given = given[1:]
    parameters = tuple(read_parameter(item, hints[item.name]) for item in given)
    last = max((place for place, item in enumerate(parameters) if item.required), default=0)
    parameters = (*map(required, parameters[:last]), *parameters[last:])
    doc = inspect.getdoc(implementation)
    if not doc:
        raise TypeError(f"builtin {name} has no docstring")
    result = Object if creates else hints.get("return", type(None))
    return Builtin(
        name,
        implementation,
        parameters,
        takes_run=takes_run,
        is_async=inspect.iscoroutinefunction(implementation),
        chapter=chapter,
        result="none" if result in (typing.NoReturn, type(None)) else wanted(type_names(result)[0]),
        doc=doc,
        aliases=aliases,
        stages=stages,
        halts=halts or result is typing.NoReturn,
        constant=constant,
        node=node,
    )


def read_parameter(parameter: inspect.Parameter, hint: Any) -> Parameter:
    variadic = parameter.kind is parameter.VAR_POSITIONAL
    default = REQUIRED if parameter.default is parameter.empty else parameter.default
    options = next((item for item in (hint, *get_args(hint)) if is_options(item)), None)
    if options is not None:
        others = [item for item in get_args(hint) if item is not options and item is not type(None)]
        names = frozenset({"array"}).union(*(type_names(item)[0] for item in others))
        return Parameter(parameter.name, names, False, None, variadic, options)
    names, wants_int = type_names(hint)
    if default is None and names != ANY:
        names = names - {"none"}
    return Parameter(parameter.name, names, wants_int, default, variadic, None)


def required(parameter: Parameter) -> Parameter:
    """The same without a default: an options array that a required parameter follows has to be there."""
    if parameter.options is None:
        return parameter
    return Parameter(parameter.name, parameter.types, False, REQUIRED, False, parameter.options)


def is_options(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Options)


def type_names(hint: Any) -> tuple[frozenset[str], bool]:
    """The HSL type names of an annotation, and whether numbers are wanted as Python integers."""
    if hint == Value:
        return ANY, False
    origin = get_origin(hint)
    parts = get_args(hint) if origin in (typing.Union, types.UnionType) else (hint,)
    names = []
    for part in parts:
        if part not in NAMES:
            raise TypeError(f"{part!r} is not a type of the language")
        names.append(NAMES[part])
    return frozenset(names), int in parts


class Classes(Mapping[str, BuiltinClass]):
    """Classes by name. Some are promised: their declaration is read when a script first names them."""

    def __init__(self) -> None:
        self.known: dict[str, BuiltinClass] = {}
        self.promised: dict[str, Callable[[], BuiltinClass]] = {}

    def promise(self, name: str, read: Callable[[], BuiltinClass]) -> None:
        self.promised[name] = read

    def __getitem__(self, name: str) -> BuiltinClass:
        if name not in self.known:
            self.known[name] = self.promised[name]()
        return self.known[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self.known, **self.promised})

    def __len__(self) -> int:
        return len({*self.known, *self.promised})

    def __contains__(self, name: object) -> bool:
        return name in self.known or name in self.promised


class Registry:
    """The functions that scripts of one kind can call, by name and alias, and the classes."""

    def __init__(self, chapters: Iterable[Chapter], stage: str | None = None) -> None:
        self.entries: dict[str, Entry] = {}
        self.classes = Classes()
        self.current: dict[str, str] = {}  # older name -> today's name
        for chapter in chapters:
            for entry in chapter.entries:
                if entry.stages is None or stage in entry.stages:
                    self.add(entry)
            for declared in chapter.classes:
                if declared.stages is None or stage in declared.stages:
                    self.classes.known[declared.name] = declared

    def add(self, entry: Entry) -> None:
        for name in (entry.name, *entry.aliases):
            if name in self.entries:
                raise ValueError(f"builtin {name} is declared twice")
            self.entries[name] = entry
        for alias in entry.aliases:
            self.current[alias] = entry.name

    def get(self, name: str) -> Builtin | None:
        entry = self.entries.get(name)
        return None if entry is None else entry.builtin

    def names(self) -> list[str]:
        return list(self.entries)

    def unique(self) -> list[Builtin]:
        """Every function once, in order of declaration."""
        return [entry.builtin for entry in dict.fromkeys(self.entries.values())]
