"""What the budget check costs: loops and calls with it, beside a package without it.

Both packages are copies in build/, of the same moment, for this measurement alone. In one every statement that counts a
step is taken out of the source (run.spend(…), and what lowers or tests a run's fuel), nothing else. A budget that is
merely out of reach would not do: it is counted all the same.
"""

from __future__ import annotations

import ast
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from engines import Engine, Failed, execute, hsl

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build" / "budget"
FOLDERS = ("hsl", "grammar", "runtime", "smtpd", "cli")
COMPILED_VENV = "tools/compiled-venv"
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", COMPILED_VENV)
REFILLS = "run.py"  # sets a slice's fuel; the only file that is left alone
BUILD_TIMEOUT = 1800.0
PURE_SHARE = 16  # the pure package runs so much less of a program
PROGRAMS = {"arithmetic": 32_000, "calls": 800_000}  # a step for each turn of a small loop; three calls for each


class Unbudgeted(ast.NodeTransformer):
    """Takes the check out of a module; `removed` counts."""

    def __init__(self) -> None:
        self.removed = 0

    def drop(self, node: ast.stmt) -> ast.stmt:
        self.removed += 1
        return ast.copy_location(ast.Pass(), node)

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        call = node.value
        spends = isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[-1] == "spend"
        return self.drop(node) if spends else node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt:
        return self.drop(node) if is_fuel(node.target) else node

    def visit_If(self, node: ast.If) -> ast.AST:
        if isinstance(node.test, ast.Compare) and is_fuel(node.test.left):
            return self.drop(node)
        return self.generic_visit(node)


def is_fuel(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "fuel"


def copies() -> tuple[Path, Path]:
    """Two copies of the source tree as it is now: with and without the check. Raises Failed when none was found."""
    original, changed = BUILD / "with", BUILD / "without"
    copy(ROOT, original)
    copy(original, changed)
    removed = 0
    for path in (changed / "hsl").rglob("*.py"):
        if path.name == REFILLS:
            continue
        text, count = without_check(path.read_text())
        if count:
            path.write_text(text)
        removed += count
    if not removed:
        raise Failed("no budget check was found in the source")
    return original, changed


def copy(source: Path, target: Path) -> None:
    """What was built in the target stays, for compiled-venv to use again."""
    for folder in FOLDERS:
        shutil.rmtree(target / folder, ignore_errors=True)
        shutil.copytree(source / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in FILES:
        (target / name).parent.mkdir(exist_ok=True)
        shutil.copy(source / name, target / name)


def without_check(text: str) -> tuple[str, int]:
    """A module's source without the check, and how many statements that took out. Raises Failed if it is used still."""
    without = Unbudgeted()
    tree = without.visit(ast.parse(text))
    left = [node.lineno for node in ast.walk(tree) if is_fuel(node)]
    if left:
        raise Failed(f"line {left[0]} uses the fuel in a way that cannot be taken out")
    return ast.unparse(tree) + "\n", without.removed


def engine_of(source: Path, engine: Engine, compiled: bool) -> Engine:
    """The engine on the package of a copy. Raises Failed."""
    if compiled:
        return hsl(compiled_python(source), compiled=True)
    path = arranged(source, source / "pure")
    return replace(engine, command=("env", f"PYTHONPATH={path}", *engine.command))


def arranged(source: Path, target: Path) -> Path:
    """The folders of a tree where they are imported from, for PYTHONPATH."""
    shutil.rmtree(target, ignore_errors=True)
    for folder in FOLDERS:
        shutil.copytree(source / folder, target / "hsl" / ("" if folder == "hsl" else folder), dirs_exist_ok=True)
    return target


def compiled_python(root: Path) -> str:
    """The interpreter that has the package of a source tree compiled. Raises Failed."""
    return execute([str(root / COMPILED_VENV), str(Path(sys.prefix) / "bin")], BUILD_TIMEOUT)[0].strip()


def cost(engine: Engine, compiled: bool, rounds: int) -> dict[str, float]:
    """For each program how much longer it takes with the check, as a fraction: of the best of interleaved rounds.

    The best, since what disturbs a run is more than the check. Raises Failed.
    """
    engines = [engine_of(source, engine, compiled) for source in copies()]
    best: dict[str, list[float]] = {program: [float("inf")] * 2 for program in PROGRAMS}
    for _ in range(rounds):
        for program, size in PROGRAMS.items():
            for index, each in enumerate(engines):
                seconds = each.run(program, size if compiled else size // PURE_SHARE).seconds
                best[program][index] = min(best[program][index], seconds)
    return {program: with_check / without - 1 for program, (with_check, without) in best.items()}
