"""Compiles what brings other files in: include, and import of names, of whole modules and of data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hsl import ast, evaluator
from hsl.compiler.classes import Classes
from hsl.compiler.scopes import Module, Scope
from hsl.environment import Environment, LoadError
from hsl.errors import Diagnostics
from hsl.nodes import Statement
from hsl.parser import parse
from hsl.source import Source, Span
from hsl.values import Array
from hsl.variables import GlobalCellTarget, GlobalTarget, SlotTarget

MAX_INCLUDES = 1_000


class Modules(Classes):
    def __init__(self, source: Source, environment: Environment, diagnostics: Diagnostics) -> None:
        super().__init__(source, environment, diagnostics)
        self.chains: dict[Source, tuple[str, ...]] = {source: (source.name,)}  # which file brought which in
        self.included: dict[Module, set[str]] = {self.script_scope.module: {source.name}}
        self.included_statements: dict[int, tuple[ast.Include, list[ast.Statement]]] = {}  # by id of the include
        self.modules: dict[str, tuple[Module, list[Statement], int]] = {}  # by name of the file
        self.import_statements: dict[int, tuple[ast.Statement, Module]] = {}  # by id of the import
        self.files = 0

    # ------------------------------------------------------------ include

    def expand(self, statements: Iterable[ast.Statement]) -> Iterator[ast.Statement]:
        """The statements with includes replaced by what the files hold."""
        for statement in statements:
            if isinstance(statement, ast.Include):
                yield from self.include(statement)
            else:
                self.include_below(statement)
                yield statement

    def include_below(self, statement: ast.Statement) -> None:
        """Read the includes inside a statement: which one of several `include_once` counts is a matter of the text."""
        if "include_once" in statement.span.source.text:
            for node in ast.within_function(iter([statement])):
                if isinstance(node, ast.Include):
                    self.include(node)

    def include(self, node: ast.Include) -> list[ast.Statement]:
        """The statements of an included file, and of those that it includes; read once for each include."""
        if id(node) not in self.included_statements:
            statements: list[ast.Statement] = []
            self.included_statements[id(node)] = (node, statements)
            source = self.load(node.path, node.span, "include")
            included = self.included.setdefault(self.scope.module, set())
            if source is not None and not (node.once and source.name in included):
                included.add(source.name)
                statements.extend(self.expand(self.parsed(source, node.span)))
        return self.included_statements[id(node)][1]

    def parsed(self, source: Source, span: Span) -> tuple[ast.Statement, ...]:
        """The statements of a file that a statement at `span` brings in."""
        self.chains[source] = (*self.chains[span.source], source.name)
        script = parse(source, self.diagnostics)
        self.look_for_lost(source)
        return script.statements

    def look_for_lost(self, source: Source) -> None:
        """After a syntax error: the names that statements which did not parse may have declared."""
        if any(item.span.source is source for item in self.diagnostics.items):
            from hsl.syntaxerrors import declared_names  # it brings Lark along

            self.broken = True
            self.lost.update(declared_names(source.text))

    def load(self, path: str, span: Span, statement: str) -> Source | None:
        """A script file; None after an error."""
        loader = self.environment.loader
        if loader is None:
            self.error(statement, f"this script has no files to {statement} from", span)
            return None
        self.files += 1
        if self.files > MAX_INCLUDES:
            self.error(statement, f"more than {MAX_INCLUDES} files", span)
            return None
        try:
            source = loader.load(path) if statement == "include" else loader.load_module(path)
        except LoadError as error:
            self.error(statement, str(error), span)
            return None
        if source.name in self.chains[span.source]:
            chain = " -> ".join([*self.chains[span.source], source.name])
            self.error(statement, f"{source.name} {statement}s itself: {chain}", span)
            return None
        return source

    # ------------------------------------------------------------ import

    def imports(self, given: Iterable[ast.Statement]) -> None:
        """Make the names that a script's top level imports known, before anything else is compiled."""
        before: list[ast.Statement] = []
        for node in given:
            if isinstance(node, ast.Import):
                module = self.module(node, node.path)
                if module is not None:
                    for item in node.names:
                        self.import_name(item, module, before)
            elif isinstance(node, ast.ImportAll):
                module = self.module(node, node.path)
                self.check_name(node.alias, node.span)
                if module is not None and self.take_name(node.alias, node.span):
                    self.scope.module.namespaces[node.alias] = module
            elif isinstance(node, ast.ImportData):
                self.import_data(node, before)
            before.append(node)

    def module(self, node: ast.Import | ast.ImportAll, path: str) -> Module | None:
        """A module, compiled at its first import; None after an error."""
        source = self.load(path, node.span, "import")
        if source is None:
            return None
        if source.name not in self.modules:
            scope = Scope(None)
            scope.module.title = path
            outer, loops, switches = self.scope, self.loops, self.switches
            self.scope, self.loops, self.switches = scope, 0, 0
            statements = self.script_body(self.parsed(source, node.span))
            self.check_reads(scope)
            self.scope, self.loops, self.switches = outer, loops, switches
            self.modules[source.name] = (scope.module, statements, len(self.modules))
        module = self.modules[source.name][0]
        self.import_statements[id(node)] = (node, module)
        return module

    def script_body(self, statements: Iterable[ast.Statement]) -> list[Statement]:
        """The top level of the script or of a module."""
        scope = self.scope
        given = list(self.expand(statements))
        for node in self.everything(given):
            if isinstance(node, ast.Lambda):
                scope.boxed |= {item.name for item in node.captures} - {"this"}
        self.imports(given)
        return self.body(given)

    def everything(self, given: list[ast.Statement]) -> Iterator[ast.Node]:
        """All nodes of a module, those of functions too."""
        pending: list[ast.Node] = list(given)
        while pending:
            node = pending.pop()
            yield node
            pending += self.include(node) if isinstance(node, ast.Include) else ast.children(node)

    def import_name(self, node: ast.Imported, module: Module, before: list[ast.Statement]) -> None:
        if node.variable:
            self.import_variable(node, module, before)
            return
        self.check_name(node.alias, node.span)
        functions = module.scope.functions
        found = functions.get(node.name)
        if found is not None:
            if self.take_name(node.alias, node.span):
                self.scope.functions[node.alias] = found
        elif node.name not in self.lost:
            hint = self.near(node.name, functions)
            self.error("import", f"{module.title} has no function {node.name}()", node.span, hint)

    def import_variable(self, node: ast.Imported, module: Module, before: list[ast.Statement]) -> None:
        source = module.scope
        if node.name not in source.assigned:
            hint = self.near(f"${node.name}", (f"${name}" for name in source.assigned))
            self.error("import", f"{module.title} has no variable ${node.name}", node.span, hint)
        elif self.take_variable(node.alias, node.span, before):
            self.scope.slots[node.alias] = self.slot(source, node.name)

    def take_name(self, name: str, span: Span) -> bool:
        """Whether an import may bring a name in: no other import did."""
        names = self.scope.module.names
        if name in names:
            self.error("duplicate", f"{name} is imported twice (first at {names[name]})", span)
            return False
        names[name] = span
        return True

    def take_variable(self, name: str, span: Span, before: list[ast.Statement]) -> bool:
        """The same for a variable, which nothing before the import may use."""
        known = self.environment.variables if self.scope is self.script_scope else {}
        used = name in known or any(
            isinstance(node, ast.Variable) and node.name == name for node in ast.within_function(iter(before))
        )
        if used:
            self.error("import", f"${name} is already a variable here: import it under another name", span)
            return False
        self.scope.assigned.add(name)
        return self.take_name(f"${name}", span)

    def import_data(self, node: ast.ImportData, before: list[ast.Statement]) -> None:
        from hsl.dataimport import import_data  # few scripts import data

        loader = self.environment.loader
        if loader is None:
            self.error("import", "this script has no files to import from", node.span)
            return
        options = None if node.options is None else self.constant_of(node.options, "what follows `with`")
        try:
            value = import_data(loader, node.path, options if isinstance(options, Array) else None)
        except LoadError as error:
            self.error("import", str(error), node.span)
            value = None
        if self.take_variable(node.variable.name, node.variable.span, before):
            self.initial.append((self.slot(self.scope, node.variable.name), value))

    def misplaced_import(self, span: Span) -> Statement:
        self.error("import", "import stands at the top level of a script, not inside blocks and functions", span)
        return evaluator.Block(span, [])

    def visit_Import(self, node: ast.Import | ast.ImportAll) -> Statement:
        if self.scope.parent is not None or self.depth > 1:
            return self.misplaced_import(node.span)
        _, imported = self.import_statements.get(id(node), (node, None))
        for module, statements, number in self.modules.values():
            if module is imported:
                return evaluator.RunModule(node.span, number, statements)
        return evaluator.Block(node.span, [])

    visit_ImportAll = visit_Import

    def visit_ImportData(self, node: ast.ImportData) -> Statement:
        if self.scope.parent is not None or self.depth > 1:
            return self.misplaced_import(node.span)
        return evaluator.Block(node.span, [])

    def module_variable(self, module: Module, node: ast.ScopedVariable, written: bool) -> SlotTarget | None:
        scope = module.scope
        if node.name not in scope.assigned:
            hint = self.near(f"${node.name}", (f"${name}" for name in scope.assigned))
            self.error("member", f"{node.owner} has no ${node.name}", node.span, hint)
            return None
        slot = self.slot(scope, node.name)
        kind = GlobalCellTarget if slot in self.boxed_globals else GlobalTarget
        return kind(node.span, f"{node.owner}::${node.name}", slot)
