"""Compiles what names variables: reading them, assigning in every form, isset, unset, and what `??` tolerates."""

from __future__ import annotations

from hsl import arithmetic, ast, paths, variables
from hsl.compiler.base import MAX_DEPTH
from hsl.compiler.operators import Operators
from hsl.compiler.scopes import Scope
from hsl.expressions import Coalesce
from hsl.nodes import Constant, Node
from hsl.paths import Part, Path, Pattern, SliceTarget
from hsl.values import Value
from hsl.variables import CellTarget, GlobalTarget, SlotTarget, Target, This

AUGMENTS = {"+": variables.AddTo, "-": variables.SubtractFrom}
HOLDERS = (ast.Variable, ast.Subscript, ast.Append, ast.Property, ast.ScopedVariable)  # of arrays, to be changed


class Assignments(Operators):
    # ------------------------------------------------------------ variables

    def visit_Variable(self, node: ast.Variable) -> Node:
        if node.name == "this" and self.scope.has_this:
            return This(node.span)
        self.scope.reads.append((node.name, node.span))
        return self.slot_of(node)

    def slot_of(self, node: ast.Variable) -> SlotTarget:
        scope = self.scope
        if node.name in scope.imported:
            slot = scope.imported[node.name]
            kind = variables.GlobalCellTarget if slot in self.boxed_globals else GlobalTarget
            return kind(node.span, node.name, slot)
        slot = self.slot(scope, node.name)
        boxed = slot in self.boxed_globals if scope.parent is None else self.is_boxed(scope, node.name)
        return (CellTarget if boxed else SlotTarget)(node.span, node.name, slot)

    @staticmethod
    def is_boxed(scope: Scope, name: str) -> bool:
        return name in scope.boxed or name in scope.captured

    def variable_target(self, node: ast.Variable) -> SlotTarget:
        """A variable about to be written."""
        scope = self.scope
        if node.name == "this" and scope.has_this:
            self.error("readonly", "$this cannot be assigned to", node.span)
        of_script = scope.imported.get(node.name, scope.captured.get(node.name)) is not None
        if scope is self.script_scope or (of_script and scope.module is self.script_scope.module):
            known = self.environment.variables.get(node.name)
            if known is not None and known.readonly:
                self.error("readonly", f"${node.name} is read-only", node.span)
        self.note_assignment(scope, node.name)
        return self.slot_of(node)

    @staticmethod
    def note_assignment(scope: Scope, name: str) -> None:
        scope.assigned.add(name)
        if name in scope.imported:
            scope.module.scope.assigned.add(name)

    # ------------------------------------------------------------ targets

    def target(self, node: ast.Expression) -> Target | None:
        """The left side of an assignment; None after an error."""
        self.effects += 1
        if isinstance(node, ast.Variable):
            return self.variable_target(node)
        if isinstance(node, ast.ArrayLiteral):
            return self.destructuring(node)
        if isinstance(node, ast.Slice):
            if not isinstance(node.base, HOLDERS):
                self.no_target(node)
                return None
            base = self.target(node.base)
            bounds = [None if item is None else self.expression(item) for item in (node.first, node.last, node.step)]
            return None if base is None else SliceTarget(node.span, base, bounds)
        if isinstance(node, ast.Subscript | ast.Append | ast.Property):
            return self.path(node)
        if isinstance(node, ast.ScopedVariable):
            return self.scoped_variable(node, True)
        self.no_target(node)
        return None

    def no_target(self, node: ast.Expression) -> None:
        """Report that nothing can be assigned here."""
        self.error("assignment", "only variables, their items and properties can be assigned to", node.span)

    def path(self, node: ast.Expression) -> Path | None:
        keys: list[Node | None] = []
        base = node
        while isinstance(base, ast.Subscript | ast.Append | ast.Property):
            if isinstance(base, ast.Property):
                keys.append(Constant(base.span, self.text(base.name)))
            else:
                keys.append(self.expression(base.index) if isinstance(base, ast.Subscript) else None)
            base = base.base
        if len(keys) > MAX_DEPTH:
            self.error("depth", f"nested more than {MAX_DEPTH} deep", node.span)
        if isinstance(base, ast.Call | ast.Cache):
            return Path(node.span, None, self.expression(base), keys[::-1])
        if isinstance(base, ast.Variable) and base.name == "this" and self.scope.has_this:
            return Path(node.span, This(base.span), None, keys[::-1])
        if not isinstance(base, ast.Variable | ast.ScopedVariable):
            self.no_target(node)
            return None
        root = self.target(base)
        return None if root is None else Path(node.span, root, None, keys[::-1])

    def scoped_variable(self, node: ast.ScopedVariable, written: bool) -> SlotTarget | None:
        raise NotImplementedError

    # ------------------------------------------------------------ destructuring

    def destructuring(self, node: ast.ArrayLiteral) -> Pattern | None:
        """`[$a, "k" => $b = 1, ...$c]` on the left of an assignment."""
        items = node.items
        rest: Target | None = None
        if items and items[-1].spread and items[-1].key is None:
            rest = self.target(items[-1].value)
            items = items[:-1]
            if isinstance(rest, Pattern):
                self.error("destructuring", "the rest goes into one variable", node.items[-1].span)
        keyed = [item.key is not None for item in items]
        if not node.items:
            self.error("destructuring", "there is nothing to assign to in []", node.span)
        elif any(item.spread for item in items):
            self.error("destructuring", "...$rest comes last", node.span)
        elif any(keyed) and (rest is not None or not all(keyed)):
            self.error("destructuring", "keyed and unkeyed targets cannot be mixed", node.span)
        parts = [self.part(item) for item in items]
        return Pattern(node.span, [part for part in parts if part is not None], rest)

    def part(self, item: ast.Item) -> Part | None:
        key = None if item.key is None else self.expression(item.key)
        if isinstance(item.value, ast.Assign) and item.value.operator is None:
            target, default = self.target(item.value.target), self.expression(item.value.value)
            return None if target is None else Part(key, target, default)
        target = self.target(item.value)
        return None if target is None else Part(key, target, None)

    # ------------------------------------------------------------ assignments

    def visit_Assign(self, node: ast.Assign) -> Node:
        value = self.expression(node.value)
        target = self.target(node.target)
        if target is None:
            return value
        if isinstance(target, SliceTarget):
            return self.assign_slice(node, target, value)
        if node.operator is not None:
            return self.augment(node, target, value, node.operator)
        if isinstance(target, Path):
            return self.assign_path(node, target, value)
        if type(target) is SlotTarget:
            return variables.AssignLocal(node.span, target.slot, value)
        return variables.Assign(node.span, target, value)

    def assign_path(self, node: ast.Assign, target: Path, value: Node) -> Node:
        general = paths.AssignPath(node.span, target, value)
        if len(target.keys) > 1 or target.root is None:
            return general
        if isinstance(node.target, ast.Property):
            return self.property_node(node, target, None, value, general)
        if isinstance(target.root, SlotTarget):
            return paths.AssignItem(node.span, target.root, target.keys[0], value)
        return general

    def property_node(
        self, node: ast.Assign, target: Path, operator: arithmetic.Operation | None, value: Node, general: Node
    ) -> Node:
        assert isinstance(node.target, ast.Property)
        assert target.root is not None
        key = self.text(node.target.name)
        return paths.AssignProperty(node.span, target.root, key, operator, value, general)

    def augment_path(self, node: ast.Assign, target: Path, value: Node, operator: arithmetic.Operation) -> Node:
        general = paths.AugmentPath(node.span, target, operator, value)
        if len(target.keys) > 1 or target.root is None or target.keys[0] is None:
            return general
        if isinstance(node.target, ast.Property):
            return self.property_node(node, target, operator, value, general)
        if isinstance(target.root, SlotTarget):
            return paths.AugmentItem(node.span, target.root, target.keys[0], operator, value, general)
        return general

    @staticmethod
    def assign_slice(node: ast.Assign, target: SliceTarget, value: Node) -> Node:
        operator = None if node.operator is None else arithmetic.BINARY[node.operator]
        return paths.AssignSlice(node.span, target, operator, value)

    def augment(self, node: ast.Assign, target: Target, value: Node, operator: str) -> Node:
        if isinstance(target, Path):
            return self.augment_path(node, target, value, arithmetic.BINARY[operator])
        if not isinstance(target, SlotTarget):
            self.error("destructuring", f"a pattern can only be assigned to with =, not {operator}=", node.span)
            return value
        if operator == ".":
            return variables.AppendText(node.span, target, value)
        kind = AUGMENTS.get(operator, variables.Augment)
        return kind(node.span, target, arithmetic.BINARY[operator], value)

    def visit_Step(self, node: ast.Step) -> Node:
        target = self.target(node.target)
        if isinstance(target, Path):
            return paths.StepPath(node.span, target, float(node.delta), node.before)
        if isinstance(target, SlotTarget):
            return variables.Step(node.span, target, float(node.delta), node.before)
        if target is not None:
            self.error("assignment", "++ and -- take variables, their items and properties", node.span)
        return Constant(node.span, None)

    # ------------------------------------------------------------ isset, unset, ??

    def visit_Isset(self, node: ast.Isset) -> Node:
        targets: list[Node] = []
        for argument in node.targets:
            base: ast.Expression = argument.value
            while isinstance(base, ast.Subscript | ast.Property):
                base = base.base
            if argument.spread or not isinstance(base, ast.Variable | ast.Call | ast.ScopedVariable):
                self.error("isset", "isset takes variables, their items and properties", argument.span)
            else:
                targets.append(self.peeked(argument.value))
        if not node.targets:
            self.error("arity", "isset() takes at least 1 argument, got 0", node.span)
        return variables.Isset(node.span, targets)

    def peeked(self, node: ast.Expression) -> Node:
        """A target of isset, which is asked whether it is there."""
        if isinstance(node, ast.Variable) and not (node.name == "this" and self.scope.has_this):
            return self.slot_of(node)
        return self.tolerant(node)

    def visit_Unset(self, node: ast.Unset) -> Node:
        targets: list[Target] = []
        for argument in node.targets:
            if argument.spread or not removable(argument.value):
                self.error("unset", "unset takes variables, their items and properties", argument.span)
                continue
            target = self.target(argument.value)
            if target is not None:
                targets.append(target)
        if not node.targets:
            self.error("arity", "unset() takes at least 1 argument, got 0", node.span)
        return variables.RemoveTargets(node.span, targets)

    def visit_Coalesce(self, node: ast.Coalesce) -> Node:
        left, right = self.tolerant(node.left), self.expression(node.right)
        return self.fold(Coalesce(node.span, left, right), left, right)

    def tolerant(self, node: ast.Expression) -> Node:
        """An expression in which a missing variable is none: the left side of `??`, the targets of `isset`."""
        with self.nested(node.span):
            return self.tolerant_node(node)

    def tolerant_node(self, node: ast.Expression) -> Node:
        if isinstance(node, ast.Variable) and not (node.name == "this" and self.scope.has_this):
            return variables.TolerantVariable(self.slot_of(node))
        if isinstance(node, ast.Subscript):
            return paths.Tolerant(node.span, self.tolerant(node.base), self.tolerant(node.index))
        if isinstance(node, ast.Property):
            key: Value = self.text(node.name)
            return paths.Tolerant(node.span, self.tolerant(node.base), Constant(node.span, key))
        if isinstance(node, ast.Slice):
            bounds = [None if item is None else self.tolerant(item) for item in (node.first, node.last, node.step)]
            return paths.Slice(node.span, self.tolerant(node.base), bounds)
        return self.expression(node)


def removable(node: ast.Expression) -> bool:
    """Whether an expression names something that `unset` can remove; there is no `[]` in its path."""
    if isinstance(node, ast.Slice):
        node = node.base
    while isinstance(node, ast.Subscript | ast.Property):
        node = node.base
    return isinstance(node, ast.Variable | ast.Call | ast.ScopedVariable)
