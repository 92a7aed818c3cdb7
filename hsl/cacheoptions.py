"""The options of the `cache` statement ("structures", cache)."""

from __future__ import annotations

from hsl.builtins import Options, option
from hsl.values import Array, Function


class CacheOptions(Options):
    """The options of the cache statement."""

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
