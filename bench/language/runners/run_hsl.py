"""Runs PROGRAM.hsl, which echoes main($size): the output goes to the standard output, the seconds to standard error.

The program is loaded before the clock starts. A host.py beside it brings the functions and variables that the script
needs, and a main(program, SIZE) that runs it. The step limit is out of reach, but counted as ever.
"""

import importlib.util
import sys
import time
from pathlib import Path

from hsl.compiler import Environment, Variable, compile_script
from hsl.errors import HslError
from hsl.library import core_registry
from hsl.run import Budget, Run
from hsl.source import Source

SIZE = {"size": Variable("size", "number", "How much to do.")}


def main(program, size):
    written = []
    Run(program, variables=lambda name: float(size), output=written.append, budget=Budget(10**12, 3600.0)).execute()
    return b"".join(written).decode().removesuffix("\n")


def host_of(path):
    if not path.exists():
        return {}
    spec = importlib.util.spec_from_file_location("host", path)
    module = sys.modules["host"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)


path, size = Path(sys.argv[1]), int(sys.argv[2])
host = host_of(path.with_name("host.py"))
registry = core_registry([host["chapter"]] if host else [])
source = Source.from_bytes(path.name, path.read_bytes())
run = host.get("main", main)
try:
    program = compile_script(source, Environment(registry, host.get("VARIABLES", SIZE)))
    start = time.perf_counter()
    result = run(program, size)
    seconds = time.perf_counter() - start
except HslError as error:
    sys.exit(str(error))
print(result)
print(f"{seconds:.6f}", file=sys.stderr)
