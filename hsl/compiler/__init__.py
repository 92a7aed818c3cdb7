"""Syntax tree in, Program out: names become slots, constants are folded, literal regular expressions compiled, and all
static errors are reported at once, with near-name hints.
"""

from __future__ import annotations

from hsl import ast
from hsl.compiler.scopes import value_of
from hsl.compiler.statements import Statements
from hsl.environment import Environment, Loader, LoadError, Variable
from hsl.errors import CompileError, Diagnostics
from hsl.evaluator import Program
from hsl.parser import parse
from hsl.source import Source, Span

__all__ = ["Environment", "LoadError", "Loader", "Variable", "compile_script", "compile_tree"]


def compile_script(source: Source, environment: Environment) -> Program:
    """Load a script. Raises CompileError with every error found; warnings are on the program."""
    diagnostics = Diagnostics()
    return compile_tree(parse(source, diagnostics), source, environment, diagnostics)


def compile_tree(script: ast.Script, source: Source, environment: Environment, diagnostics: Diagnostics) -> Program:
    """Compile what the parser made of a source, findings included."""
    try:
        return Compiler(source, environment, diagnostics).compile(script)
    except RecursionError:
        diagnostics.error("depth", "the script nests too deeply", Span(source, 0, 0))
        raise CompileError(diagnostics.items) from None


class Compiler(Statements):
    def compile(self, script: ast.Script) -> Program:
        self.look_for_lost(self.source)
        statements = self.script_body(script.statements)
        self.check_recursion()
        self.check_reads(self.script_scope)
        self.diagnostics.check()
        scope = self.script_scope
        program = Program(
            statements,
            span=Span(self.source, 0, 0),
            registry=self.registry,
            global_names=scope.slots,
            global_count=self.global_count,
            function_count=len(self.declarations),
            initial=self.initial,
            boxed=sorted(self.boxed_globals),
            stage_names=frozenset(self.environment.variables),
            functions={name: value_of(named) for name, named in scope.functions.items()},
            warnings=[item for item in self.diagnostics.items if item.severity == "warning"],
            notes=[item for item in self.diagnostics.items if item.severity == "note"],
        )
        for index, declaration in enumerate(self.declarations):
            declaration.program = program
            declaration.index = index
        return program
