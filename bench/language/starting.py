"""How long `hsl run` takes for a script of one line, beside an interpreter that does nothing."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from engines import execute

TIMES = 10


def start(python: str) -> tuple[float, float]:
    """Median seconds of `hsl run` and of `python -c pass`, in turn. Raises Failed."""
    hsl = str(Path(python).with_name("hsl"))
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "one.hsl"
        script.write_text('echo "hello";\n')
        commands = [hsl, "run", str(script)], [python, "-c", "pass"]
        samples: list[list[float]] = [[], []]
        for _ in range(TIMES):
            for command, found in zip(commands, samples, strict=True):
                begin = time.perf_counter()
                execute(command)
                found.append(time.perf_counter() - begin)
    return statistics.median(samples[0]), statistics.median(samples[1])
