"""Chapter "Shared memory": variables that all scripts of the process see, the same that `barrier` names.

Each function holds the lock of its key, callbacks included: it waits while another run is inside a barrier of that
name, or inside a callback for that key; within one run the lock is re-entrant. A thrown error, a verdict and a
cancellation release it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsl.builtins import Chapter
from hsl.sequences import OMITTED
from hsl.values import Function, Value, share

if TYPE_CHECKING:
    from hsl.run import Run

chapter = Chapter("Shared memory")


@chapter.function("memory_add")
def memory_add(run: Run, key: bytes, value: Value) -> bool:
    """Store a value where the key has none yet, and return whether it was stored.

    There are at most 100,000 keys, those of barriers included; one more is an error. So for all functions that store.

    Example:
        echo memory_add("example-add", 1);  // expect: true
        echo memory_add("example-add", 2);  // expect: false
        echo memory_fetch("example-add");  // expect: 1
    """
    with run.shared.held(key, run):
        if key in run.shared.variables:
            return False
        run.shared.remember(key, value)
        return True


@chapter.function("memory_dec")
def memory_dec(run: Run, key: bytes, offset: float = 1.0, remove_if_zero: bool = False) -> float | None:
    """Subtract from the number of a key, and return the result; none, and nothing is changed, if it is no number.

    A missing key counts as 0. `remove_if_zero` deletes the key when the result is 0.

    Example:
        memory_store("example-dec", 2);
        echo memory_dec("example-dec");  // expect: 1
        echo memory_dec("example-dec", 1, true);  // expect: 0
        echo memory_exists("example-dec");  // expect: false
    """
    with run.shared.held(key, run):
        result = count(run, key, -offset)
        if result == 0.0 and remove_if_zero:
            run.shared.forget(key)
        return result


@chapter.function("memory_inc")
def memory_inc(run: Run, key: bytes, offset: float = 1.0) -> float | None:
    """Add to the number of a key, and return the result; none, and nothing is changed, if it is no number.

    A missing key counts as 0.

    Example:
        echo memory_inc("example-inc");  // expect: 1
        echo memory_inc("example-inc", 10);  // expect: 11
    """
    with run.shared.held(key, run):
        return count(run, key, offset)


def count(run: Run, key: bytes, offset: float) -> float | None:
    current = run.shared.variables.get(key, 0.0)
    if not isinstance(current, float):
        return None
    run.shared.remember(key, current + offset)
    return current + offset


@chapter.function("memory_delete")
def memory_delete(run: Run, key: bytes, callback: Function | None = None) -> bool:
    """Delete a key, and return whether it was there; then callback(key, value) is called with what it held.

    Example:
        memory_store("example-delete", [1, 2]);
        echo memory_delete("example-delete", function ($key, $value) { echo $value; });  // expect: [0=>1,1=>2]
        // expect: true
        echo memory_delete("example-delete");  // expect: false
    """
    with run.shared.held(key, run):
        if key not in run.shared.variables:
            return False
        value = run.shared.variables[key]
        run.shared.forget(key)
        if callback is not None:
            callback.call(run, [key, value])
        return True


@chapter.function("memory_exists")
def memory_exists(run: Run, key: bytes, callback: Function | None = None) -> bool:
    """Return whether a key is there; if so callback(key, value) is called with what it holds.

    Example:
        memory_store("example-exists", none);
        echo memory_exists("example-exists");  // expect: true
        echo memory_exists("example-missing");  // expect: false
    """
    with run.shared.held(key, run):
        if key not in run.shared.variables:
            return False
        if callback is not None:
            callback.call(run, [key, run.shared.variables[key]])
        return True


@chapter.function("memory_fetch")
def memory_fetch(run: Run, key: bytes, callback: Function | None = None) -> Value:
    """Return the value of a key; of a missing one the result of callback(key), which is not stored, or none.

    Example:
        memory_store("example-fetch", 5);
        echo memory_fetch("example-fetch");  // expect: 5
        echo memory_fetch("example-missing", function ($key) { return "no $key"; });  // expect: no example-missing
    """
    with run.shared.held(key, run):
        if key in run.shared.variables:
            return run.shared.variables[key]
        return None if callback is None else callback.call(run, [key])


@chapter.function("memory_store")
def memory_store(run: Run, key: bytes, value: Value, callback: Function | None = None) -> bool:
    """Store a value, and return whether the key was there; if so callback(key, value) gets what was overwritten.

    Any value can be stored, functions and objects too: the store is that of the process.

    Example:
        echo memory_store("example-store", 1);  // expect: false
        echo memory_store("example-store", 2);  // expect: true
    """
    with run.shared.held(key, run):
        exists = key in run.shared.variables
        overwritten = run.shared.variables.get(key)
        run.shared.remember(key, value)
        if exists and callback is not None:
            callback.call(run, [key, overwritten])
        return exists


@chapter.function("memory_update")
def memory_update(run: Run, key: bytes, value: Value, callback: Function, initial: Value = OMITTED) -> bool:
    """Store the result of callback(key, current, value) in a key, and return whether the key was there.

    With a missing key nothing happens, unless there is an initial value: it is then the current one.

    Example:
        $append = function ($key, $current, $value) { return $current + $value; };
        echo memory_update("example-update", [1], $append);  // expect: false
        echo memory_update("example-update", [1], $append, []);  // expect: false
        echo memory_update("example-update", [2], $append);  // expect: true
        echo memory_fetch("example-update");  // expect: [0=>1,1=>2]
    """
    with run.shared.held(key, run):
        exists = key in run.shared.variables
        if not exists and initial is OMITTED:
            return False
        current = run.shared.variables[key] if exists else initial
        run.shared.remember(key, callback.call(run, [key, share(current), share(value)]))
        return exists
