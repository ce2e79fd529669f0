"""Which statements of a notebook a glued value hangs on: a backward slice (Weiser 1981) of its code cells.

So that a value can be computed again without drawing a figure and without training: only what it needs is executed, in the
notebook's own words. A slice may hold too much, never too little, as long as cells change values by assignment, by the
methods in :data:`MUTATORS`, or not at all.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

MUTATORS = frozenset({"append", "extend", "insert", "add", "update", "setdefault", "pop", "remove", "discard", "clear", "sort", "reverse"})
LIVE = frozenset({"run_all", "open_dataset", "load_model", "read_index", "trained", "lacking", "images_here", "checked"})
"""Calls whose answer is made when the book is built, or comes from its data folder: no committed record holds it."""
PARAMETERS = "parameters"
GLUES = frozenset({"glue", "hand"})
"""Calls that glue: MyST-NB's own, and :func:`cxrlib.study.figures.captions.hand` for several values at once."""


@dataclass(frozen=True)
class Statement:
    """A statement at the top level of a cell, with the names that it sets, changes and reads."""

    node: ast.stmt
    cell: int
    sets: frozenset[str] = field(default_factory=frozenset)
    changes: frozenset[str] = field(default_factory=frozenset)
    reads: frozenset[str] = field(default_factory=frozenset)

    @property
    def replaces(self) -> frozenset[str]:
        """Names whose earlier values no longer count after this statement."""
        certain = isinstance(self.node, ast.Assign | ast.AnnAssign | ast.Import | ast.ImportFrom | ast.FunctionDef)
        return self.sets - self.reads - self.changes if certain else frozenset()


def statements(notebook: Path) -> tuple[str, list[Statement]]:
    """Source of the ``parameters`` cell of a notebook, and every statement of its other code cells, in order."""
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    given, found = "", []
    for number, cell in enumerate(cells):
        if cell["cell_type"] != "code":
            continue
        tags, source = cell["metadata"].get("tags", []), "".join(cell["source"])
        if "parameters" in tags:
            given = source
        elif "injected-parameters" not in tags:
            found += [_described(node, number) for node in ast.parse(source).body]
    return given, _through_functions(found)


def slices(found: list[Statement]) -> list[tuple[int, list[int]]]:
    """For each statement that glues: its place, and the places of all that it hangs on, itself among them."""
    return [(place, _backward(found, place)) for place, each in enumerate(found) if _calls(each.node, GLUES)]


def is_live(found: list[Statement], places: list[int]) -> bool:
    """Whether a slice trains, or reads the data folder of the book."""
    return any(_calls(found[place].node, LIVE) or "data" in used_parameters(found, [place]) for place in places)


def used_parameters(found: list[Statement], places: list[int]) -> set[str]:
    """Names of the parameters that a slice reads, as ``parameters.NAME``."""
    nodes = (node for place in places for node in ast.walk(found[place].node))
    return {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == PARAMETERS}


def _calls(node: ast.AST, names: set[str] | frozenset[str]) -> bool:
    functions = (each.func for each in ast.walk(node) if isinstance(each, ast.Call))
    return any((each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "")) in names for each in functions)


def _root(node: ast.AST) -> str | None:
    """The name at the left of ``name.a[0].b``."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _described(node: ast.stmt, cell: int) -> Statement:
    changes = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Attribute | ast.Subscript) and not isinstance(each.ctx, ast.Load):
            changes.add(_root(each))
        elif isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute) and each.func.attr in MUTATORS:
            changes.add(_root(each.func))
    return Statement(node, cell, frozenset(_set_by(node)), frozenset(changes - {None}), frozenset(_read_by(node, frozenset())))


SCOPES = ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


def _set_by(node: ast.AST) -> set[str]:
    """Names of the notebook that a statement binds; not those inside functions and comprehensions."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.Name):
        return set() if isinstance(node.ctx, ast.Load) else {node.id}
    if isinstance(node, SCOPES):
        return set()
    return set().union(*map(_set_by, ast.iter_child_nodes(node)))


def _read_by(node: ast.AST, bound: frozenset[str]) -> set[str]:
    """Names that a statement takes from before it; ``bound`` are those that it has set itself by then."""
    if isinstance(node, ast.Name):
        return {node.id} - bound if isinstance(node.ctx, ast.Load) else set()
    if isinstance(node, ast.AugAssign):
        return {_root(node.target) or ""} - bound | _read_in([node.target, node.value], bound)
    if isinstance(node, ast.For):
        return _read_by(node.iter, bound) | _block([*node.body, *node.orelse], bound | _set_by(node.target))
    if isinstance(node, ast.FunctionDef | ast.Lambda):
        arguments = node.args
        names = {each.arg for each in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg] if each}
        body = node.body if isinstance(node, ast.FunctionDef) else [node.body]
        given = [*arguments.defaults, *(each for each in arguments.kw_defaults if each)]
        return _read_in(given, bound) | _read_in(body, bound | names.union(*map(_set_by, body)))
    if isinstance(node, SCOPES):
        targets = frozenset().union(*(_set_by(each.target) for each in node.generators))
        return _read_by(node.generators[0].iter, bound) | _read_in(ast.iter_child_nodes(node), bound | targets)
    if isinstance(node, ast.If | ast.While):
        return _read_by(node.test, bound) | _block(node.body, bound) | _block(node.orelse, bound)
    return _read_in(ast.iter_child_nodes(node), bound)


def _read_in(nodes: Iterable[ast.AST], bound: frozenset[str]) -> set[str]:
    return set().union(*(_read_by(each, bound) for each in nodes))


def _block(body: list[ast.stmt], bound: frozenset[str]) -> set[str]:
    """Like :func:`_read_in`, where each assignment binds its names for what follows."""
    found: set[str] = set()
    for each in body:
        found |= _read_by(each, bound)
        if isinstance(each, ast.Assign):
            bound |= frozenset().union(*map(_set_by, each.targets))
    return found


def _through_functions(found: list[Statement]) -> list[Statement]:
    """The statements once more, each reading also what the functions read that it names: a call looks names up when it is made."""
    inside: dict[str, frozenset[str]] = {}
    for each in found:
        has_lambda = any(isinstance(node, ast.Lambda) for node in ast.walk(each.node))
        if isinstance(each.node, ast.FunctionDef) or has_lambda:
            inside |= {name: inside.get(name, frozenset()) | each.reads for name in each.sets}
    grown = True
    while grown:
        wider = {name: reads.union(*(inside[other] for other in reads if other in inside)) for name, reads in inside.items()}
        inside, grown = wider, wider != inside
    return [replace(each, reads=own.union(*(inside[name] for name in own if name in inside))) for each in found for own in [_read_when_reached(each)]]


def _read_when_reached(each: Statement) -> frozenset[str]:
    """What a statement reads as it is executed; of a function only its decorators and defaults."""
    if not isinstance(each.node, ast.FunctionDef):
        return each.reads
    arguments = each.node.args
    given = [*each.node.decorator_list, *arguments.defaults, *(default for default in arguments.kw_defaults if default)]
    return frozenset(_read_in(given, frozenset()))


def _backward(found: list[Statement], place: int) -> list[int]:
    needed, chosen = set(found[place].reads), [place]
    for earlier in range(place - 1, -1, -1):
        each = found[earlier]
        if needed & (each.sets | each.changes):
            chosen.append(earlier)
            needed = (needed - each.replaces) | each.reads
    return chosen[::-1]
