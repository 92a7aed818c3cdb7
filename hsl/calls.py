"""Functions and the nodes that call them: builtins, the script's own, function values, and the `cache` statement."""

from __future__ import annotations

from hsl.builtins import Builtin, Options, option, plural
from hsl.errors import BudgetError, ScriptError
from hsl.nodes import RETURN, Frame, Node, Statement, spend
from hsl.run import Run
from hsl.slots import UNSET, Slot
from hsl.source import Span
from hsl.values import Array, Function, Value, integer, share, strict_equal, to_number, type_name

MAX_ARGUMENTS = 100_000  # of one call, spread ones included
MAX_ENTRIES = 1_000_000.0  # of one cache
MAX_NESTING = 4_000  # nodes below each other, over all nested function calls: the evaluator recurses that deep
Arguments = list[tuple[Node, bool]]  # value and whether it is spread


class Declaration:
    """A function of a script, shared by all runs of the loaded program: parameters, slots and body."""

    __slots__ = (
        "body",
        "defaults",
        "depth",
        "name",
        "parameters",
        "required",
        "slot_count",
        "span",
        "value",
        "variadic",
    )

    def __init__(self, name: str, span: Span) -> None:
        self.name = name
        self.span = span
        self.parameters: list[str] = []
        self.defaults: list[Value] = []  # of the last parameters; arrays in it are shared
        self.required = 0
        self.variadic = False
        self.slot_count = 0
        self.depth = 0  # how deep the nodes of the body nest
        self.body: list[Statement] = []
        self.value = ScriptFunction(self)  # the one function value of it, equal to itself only

    def arity_error(self, count: int) -> str | None:
        """What is wrong with a call of so many arguments, or None."""
        most = len(self.parameters)
        if count < self.required:
            least = "at least " if self.variadic or most != self.required else ""
            return f"{self.name}() takes {least}{plural(self.required)}, got {count}"
        if count > most and not self.variadic:
            at_most = "at most " if most != self.required else ""
            return f"{self.name}() takes {at_most}{plural(most)}, got {count}"
        return None

    def invoke(self, run: Run, arguments: list[Value], span: Span | None) -> Value:
        """Run the body. Raises ScriptError with this call on its stack."""
        problem = self.arity_error(len(arguments))
        if problem is not None:
            raise ScriptError(problem, span)
        calls = run.calls
        if len(calls) >= run.budget.call_depth:
            raise BudgetError(f"function calls nest more than {run.budget.call_depth} deep", span)
        if run.nesting + self.depth > MAX_NESTING:
            raise BudgetError(f"expressions in function calls nest more than {MAX_NESTING} deep", span)
        run.nesting += self.depth
        calls.append(self)
        try:
            spend(run, span or self.span)
            return self.execute(Frame(run, self.bind(arguments)))
        except ScriptError as error:
            run.trace(error, self.name, span)
            raise
        finally:
            calls.pop()
            run.nesting -= self.depth

    def bind(self, arguments: list[Value]) -> list[Slot]:
        """The slots of a new activation: arguments, defaults, the rest as an array, then the unset locals."""
        count = len(self.parameters)
        slots: list[Slot] = [*arguments[:count], *self.defaults[max(0, len(arguments) - self.required) :]]
        if self.variadic:
            slots.append(Array(arguments[count:]))
        slots += [UNSET] * (self.slot_count - len(slots))
        return slots

    def execute(self, frame: Frame) -> Value:
        for statement in self.body:
            try:
                ended = statement.execute(frame)
            except ScriptError as error:
                error.span = error.span or statement.span
                raise
            if ended == RETURN:
                return frame.result
        return None


class ScriptFunction(Function):
    """A script's function as a value. Builtins that call it share what they took out of an array, and only that:
    a reduce that appends to its carry would else copy it at every step."""

    __slots__ = ("declaration",)

    def __init__(self, declaration: Declaration) -> None:
        super().__init__(declaration.name)
        self.declaration = declaration

    def call(self, run: object, arguments: list[Value]) -> Value:
        assert isinstance(run, Run)
        if self.declaration in run.calls:
            raise ScriptError(f"recursion is not allowed: {self.name}() is already running")
        return self.declaration.invoke(run, arguments, None)


class BuiltinFunction(Function):
    """A builtin function as a value."""

    __slots__ = ("builtin",)

    def __init__(self, name: str, builtin: Builtin) -> None:
        super().__init__(name)
        self.builtin = builtin

    def call(self, run: object, arguments: list[Value]) -> Value:
        assert isinstance(run, Run)
        return self.builtin.call(run, arguments, self.name)


def evaluate_arguments(frame: Frame, arguments: Arguments, shares: bool) -> list[Value]:
    """The values of a call's arguments, spread ones unpacked; shared when the callee will store them in variables."""
    values: list[Value] = []
    for node, spread in arguments:
        value = node.evaluate(frame)
        if not spread:
            if shares and node.aliases:
                share(value)
            values.append(value)
            continue
        if not isinstance(value, Array):
            raise ScriptError(f"... wants an array, got {type_name(value)}", node.span)
        if len(values) + len(value) > MAX_ARGUMENTS:
            raise ScriptError(f"a call takes at most {MAX_ARGUMENTS} arguments", node.span)
        values.extend(share(item) for item in value.values())
    return values


class CallNode(Node):
    """What the `cache` statement can stand before."""

    __slots__ = ("arguments",)

    def __init__(self, span: Span, arguments: Arguments) -> None:
        super().__init__(span)
        self.arguments = arguments

    @property
    def qualified_name(self) -> str:
        raise AssertionError

    def values(self, frame: Frame) -> list[Value]:
        raise AssertionError

    def invoke(self, frame: Frame, values: list[Value]) -> Value:
        raise AssertionError

    def evaluate(self, frame: Frame) -> Value:
        return self.invoke(frame, self.values(frame))


class CallBuiltin(CallNode):
    __slots__ = ("builtin", "name")

    def __init__(self, span: Span, name: str, builtin: Builtin, arguments: Arguments) -> None:
        super().__init__(span, arguments)
        self.name = name
        self.builtin = builtin

    @property
    def qualified_name(self) -> str:
        return f"builtin {self.builtin.name}"

    def values(self, frame: Frame) -> list[Value]:
        return evaluate_arguments(frame, self.arguments, shares=False)

    def invoke(self, frame: Frame, values: list[Value]) -> Value:
        try:
            return self.builtin.call(frame.run, values, self.name)
        except ScriptError as error:
            raise self.located(error) from None


class CallScript(CallNode):
    __slots__ = ("declaration",)

    def __init__(self, span: Span, declaration: Declaration, arguments: Arguments) -> None:
        super().__init__(span, arguments)
        self.declaration = declaration

    @property
    def qualified_name(self) -> str:
        return f"{self.declaration.span.file}:{self.declaration.name}"

    def values(self, frame: Frame) -> list[Value]:
        return evaluate_arguments(frame, self.arguments, shares=True)

    def invoke(self, frame: Frame, values: list[Value]) -> Value:
        return self.declaration.invoke(frame.run, values, self.span)


class CallValue(CallNode):
    """`$f(…)`, or a call of whatever an expression gives."""

    __slots__ = ("callee",)

    def __init__(self, span: Span, callee: Node, arguments: Arguments) -> None:
        super().__init__(span, arguments)
        self.callee = callee

    def evaluate(self, frame: Frame) -> Value:
        callee = self.callee.evaluate(frame)
        if not isinstance(callee, Function):
            raise ScriptError(f"only functions can be called, got {type_name(callee)}", self.span)
        values = evaluate_arguments(frame, self.arguments, shares=True)
        try:
            return callee.call(frame.run, values)
        except ScriptError as error:
            raise self.located(error) from None


class CacheOptions(Options):
    """The options of the cache statement ("structures", cache)."""

    ttl: float = option(60.0, "How long a new entry lives; 0 reads but never stores.", unit="seconds")
    ttl_override: Array | None = option(None, "Return value => ttl to use instead.")
    ttl_function: Function | bytes | None = option(None, "Takes the return value, gives the ttl; or its name (2015).")
    update_function: Function | bytes | None = option(None, "Takes old and new value, gives the value to keep.")
    argv_filter: Array | None = option(None, "Indexes (from 1) of the arguments that make an entry unique.")
    force: bool = option(False, "Force a miss; the result is stored.")
    size: float = option(32.0, "How many entries the cache holds.")
    namespace: bytes = option(b"", "Separates caches of one function.")
    per_message: bool = option(False, "One cache for each message.")
    lru: bool = option(True, "A full cache drops its least recently used entry; else it takes no more.")


class Cache(Node):
    """`cache [options] f(…)`: nothing is stored when the call throws or ends the script."""

    __slots__ = ("call", "options")

    def __init__(self, span: Span, options: Node, call: CallNode) -> None:
        super().__init__(span)
        self.aliases = True
        self.options = options
        self.call = call

    def evaluate(self, frame: Frame) -> Value:
        run = frame.run
        given = self.options.evaluate(frame)
        assert isinstance(given, Array)
        try:
            options = CacheOptions.read("cache", given)
            values = self.call.values(frame)
            namespace = options.namespace.decode("utf-8", "surrogateescape")
            if options.per_message:
                namespace = f"$messageid:{run.message_id}:{namespace}"
            bucket = run.shared.bucket(namespace, self.call.qualified_name)
            key = cache_key(values, options.argv_filter)
            entry = None if options.force else run.shared.lookup(bucket, key)
            if entry is not None:
                return share(entry.value)
            result = self.call.invoke(frame, values)
            old = bucket.entries.get(key)
            if options.update_function is not None:
                previous = None if old is None else old.value
                result = call_named(run, options.update_function, [previous, result])
            share(result)
            size = integer(options.size, 0.0, MAX_ENTRIES)
            run.shared.store(bucket, key, result, time_to_live(run, options, result), size, options.lru)
            return result
        except ScriptError as error:
            raise self.located(error) from None


def cache_key(values: list[Value], chosen: Array | None) -> tuple[Value, ...]:
    """The typed arguments that make an entry unique: 1, "1" and true differ."""
    if chosen is not None:
        indexes = [integer(to_number(index)) - 1 for index in chosen.values()]
        values = [values[index] for index in indexes if 0 <= index < len(values)]
    for value in values:
        share(value)
    return tuple(item for value in values for item in (type_name(value).encode(), value))


def time_to_live(run: Run, options: CacheOptions, result: Value) -> float:
    if options.ttl_override is not None:
        for value, ttl in options.ttl_override.pairs():
            if strict_equal(value, result) or (isinstance(result, bool) and value == to_number(result)):
                return to_number(ttl)
    if options.ttl_function is not None:
        return to_number(call_named(run, options.ttl_function, [result]))
    return options.ttl


def call_named(run: Run, function: Function | bytes, arguments: list[Value]) -> Value:
    """Call a function value, or (as in 2015) a function by its name."""
    if isinstance(function, Function):
        return function.call(run, arguments)
    found = run.program.find_function(function.decode("utf-8", "replace"))
    if found is None:
        raise ScriptError(f"cache: there is no function {function.decode('utf-8', 'replace')}()")
    return found.call(run, arguments)
