"""The `cache` statement: a call whose result is kept for a while ("structures", cache)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hsl.cacheoptions import CacheOptions
from hsl.calls import CallMethod, CallNode
from hsl.errors import ScriptError
from hsl.nodes import Frame, Node
from hsl.objects import Instance
from hsl.run import Run
from hsl.source import Span
from hsl.values import Array, Function, Object, Value, integer, share, strict_equal, to_number, to_text, type_name

MAX_ENTRIES = 1_000_000.0  # of one cache


class Cache(Node):
    """`cache [options] f(…)`: nothing is stored when the call throws or ends the script."""

    __slots__ = ("call", "options")

    def __init__(self, span: Span, options: Node, call: CallNode) -> None:
        super().__init__(span)
        self.aliases = True
        self.options: Final = options
        self.call: Final = call

    def evaluate(self, frame: Frame) -> Value:
        run = frame.run
        given = self.options.evaluate(frame)
        assert isinstance(given, Array)
        try:
            options = CacheOptions.read("cache", given)
            name, invoke = self.callee(frame)
            values = self.call.values(frame)
            namespace = options.namespace.decode("utf-8", "surrogateescape")
            if options.per_message:
                bucket = run.shared.message_bucket(run.message_id, namespace, name)
            else:
                bucket = run.shared.bucket(namespace, name)
            key = cache_key(values, options.argv_filter)
            entry = None if options.force else run.shared.lookup(bucket, key)
            if entry is not None:
                return share(entry.value)
            result = invoke(values)
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

    def callee(self, frame: Frame) -> tuple[str, Callable[[list[Value]], Value]]:
        """What is called: the name of its cache, and how to call it. The object of a method is evaluated once."""
        call = self.call
        if not isinstance(call, CallMethod):
            return call.qualified_name, lambda values: call.invoke(frame, values)
        base, key = call.callee.evaluate(frame), call.key.evaluate(frame)
        if not isinstance(base, Object):
            raise ScriptError(f"cache takes a function or a method, got an item of {type_name(base)}")
        place = base.declaration.span.file if isinstance(base, Instance) else "builtin"
        name = f"{place}:{base.class_name}->{to_text(key)}"
        return name, lambda values: base.invoke(frame.run, key, values, frame.this)


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
