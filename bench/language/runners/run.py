"""Runs PROGRAM.py's main(SIZE): its result goes to the standard output, the seconds it took to standard error."""

import runpy
import sys
import time

path, size = sys.argv[1], int(sys.argv[2])
main = runpy.run_path(path)["main"]
start = time.perf_counter()
result = main(size)
seconds = time.perf_counter() - start
print(result)
print(f"{seconds:.6f}", file=sys.stderr)
