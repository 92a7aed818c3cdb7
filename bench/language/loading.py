"""How long a script takes to load and how much memory it then holds; prints JSON. Run by the measured interpreter.

Each load is of a text that this process has not seen, the first after one of a small script that prepares the parser.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
import tracemalloc
from typing import TYPE_CHECKING

from admin_script import admin_script

if TYPE_CHECKING:
    from hsl.evaluator import Program

LINES = 1000
TIMES = 5


def load(text: str) -> Program:
    """The text as a DATA script. The package comes from the interpreter that runs this file, not from the bench's."""
    from hsl.compiler import compile_script
    from hsl.runtime.stages import environment
    from hsl.source import Source

    return compile_script(Source.from_bytes("policy.hsl", text.encode()), environment("data"))


def measure() -> dict[str, float]:
    """Median seconds of a load, and the bytes that one program holds."""
    text = admin_script(LINES)
    load("$x = 1;\n")
    samples = []
    for turn in range(TIMES):
        start = time.perf_counter()
        load(f"{text}// {turn}\n")
        samples.append(time.perf_counter() - start)
    return {"seconds": statistics.median(samples), "bytes": held(f"{text}// held\n")}


def held(text: str) -> int:
    """Bytes allocated by a load that are still in use after it."""
    gc.collect()
    tracemalloc.start()
    program = load(text)
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del program
    return size


if __name__ == "__main__":
    json.dump(measure(), sys.stdout)
