"""A mutation fuzzer of scripts, guided by coverage (atheris): the language tests come in, what they break goes out.

    python tests/fuzz/mutate_scripts.py --seconds 600

Each mutant is parsed, printed, compiled and run with a small budget. Nothing but the errors of the language may come
out, and the printed text must give the same tree. Ends with 0 when it found nothing, else shows the script that broke,
which is also kept in build/fuzz.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
from pathlib import Path

try:
    import atheris
except ImportError:
    sys.exit("the fuzzer needs atheris: pip install 'atheris>=3,<4'")

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

with atheris.instrument_imports(include=["hsl"]):
    from hsl import values

    # Instrumented code is slow: arrays and strings are not worth their full size here. Others import these numbers.
    vars(values).update(MAX_ITEMS=50_000, MAX_STRING=1_000_000, MAX_WORK=50_000)

    from trees import round_trip

    from hsl.compiler import Environment, compile_script
    from hsl.errors import CompileError, Diagnostics, Halt, ScriptError
    from hsl.evaluator import Program
    from hsl.library import core_registry
    from hsl.loader import FileLoader
    from hsl.parser import parse
    from hsl.run import Budget, Run
    from hsl.source import Source

SCRIPTS = [path for folder in ("tests/language", "scripts") for path in sorted((ROOT / folder).rglob("*.hsl"))]
ENVIRONMENT = Environment(core_registry(), loader=FileLoader(ROOT / "tests" / "language" / "modules"))
BUDGET = Budget(steps=20_000, seconds=1.0, call_depth=50, output=100_000)
LARGEST = 4_096  # bytes of a mutant
PIECES = re.compile(rb'\s+|[a-zA-Z_0-9$]+|"[^"\n]*"|=>|->|::|[=!<>*.+&|^-]+|.', re.S)


def check(text: bytes) -> None:
    """Raises what is a defect: any exception but the language's own."""
    source = Source.from_bytes("fuzz.hsl", text)
    check_printer(source)
    program = loaded(source)
    if program is None or b"sleep" in text:
        return
    error = failure(program)
    assert error is None or error.span is not None, f"no place: {error}"
    if error is not None:
        error.render().encode()


def loaded(source: Source) -> Program | None:
    try:
        return compile_script(source, ENVIRONMENT)
    except CompileError as error:
        diagnostics = error.diagnostics
    assert any(item.severity == "error" for item in diagnostics), "refused without a reason"
    "".join(item.render() for item in diagnostics).encode()
    return None


def failure(program: Program) -> ScriptError | None:
    """What ended a run early."""
    try:
        Run(program, output=lambda line: None, budget=BUDGET).execute()
    except ScriptError as error:
        return error
    except Halt:
        pass
    return None


def check_printer(source: Source) -> None:
    diagnostics = Diagnostics()
    tree = parse(source, diagnostics)
    if not diagnostics.items:
        round_trip(tree)


class Mutator:
    """Changes scripts by whole tokens and lines, and one time in five by bytes, as libFuzzer would."""

    def __init__(self, texts: list[bytes]) -> None:
        self.pieces = sorted({piece for text in texts for piece in PIECES.findall(text)})
        self.lines = sorted({line for text in texts for line in text.split(b"\n") if line.strip()})

    def __call__(self, text: bytes, limit: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.2:
            return bytes(atheris.Mutate(text, limit))
        if chance.random() < 0.3:
            return self.with_line(text, chance)[:limit]
        pieces = PIECES.findall(text)
        for _ in range(chance.randint(1, 4)):
            self.change(pieces, chance)
        return b"".join(pieces)[:limit]

    def with_line(self, text: bytes, chance: random.Random) -> bytes:
        """The text with a line of another script."""
        lines = text.split(b"\n")
        lines.insert(chance.randint(0, len(lines)), chance.choice(self.lines))
        return b"\n".join(lines)

    def change(self, pieces: list[bytes], chance: random.Random) -> None:
        place = chance.randint(0, len(pieces))
        other = chance.randint(0, len(pieces))
        kind = chance.randrange(4)
        if kind == 0:
            pieces.insert(place, chance.choice(self.pieces))
        elif kind == 1:
            pieces[place : place + 1] = [chance.choice(self.pieces)]
        elif kind == 2:
            del pieces[place : place + chance.randint(1, 10)]
        else:
            pieces[place:place] = pieces[other : other + chance.randint(1, 10)]


def seeds() -> list[bytes]:
    texts = [path.read_bytes() for path in SCRIPTS if "limits" not in path.parts]
    return [text for text in texts if len(text) <= LARGEST]


def test_one(text: bytes) -> None:
    try:
        check(text)
    except BaseException:
        print(f"\nthis script breaks:\n{text.decode('utf-8', 'backslashreplace')}\nits bytes: {text!r}", flush=True)
        raise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=int, default=600, help="how long (600)")
    parser.add_argument("--runs", type=int, default=-1, help="how many mutants at most (as many as the time allows)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (each run another)")
    parser.add_argument("--seeds", type=int, default=10**6, help="begin with so many of the scripts (all)")
    parser.add_argument("--keep", type=Path, default=ROOT / "build" / "fuzz", help="folder of what broke (build/fuzz)")
    parser.add_argument("scripts", nargs="*", type=Path, help="only check these scripts")
    options = parser.parse_args()
    if options.scripts:
        for path in options.scripts:
            test_one(path.read_bytes())
        return
    options.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        texts = seeds()
        chosen = random.Random(options.seed).sample(texts, min(len(texts), options.seeds))
        for number, text in enumerate(chosen):
            (Path(corpus) / str(number)).write_bytes(text)
        arguments = [f"-max_total_time={options.seconds}", f"-runs={options.runs}", f"-seed={options.seed}"]
        arguments += [f"-max_len={LARGEST}", "-timeout=30", f"-artifact_prefix={options.keep}/", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *arguments, corpus], test_one, custom_mutator=Mutator(texts))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
