"""``size: {…}`` as comparisons of an array's length with ranges.

Pure. Every condition on a length is a union of ranges ``[low, high]`` (inclusive,
``None`` where open), so predicates need one comparison, ``size``, for all of them. What
is no array has no length: only ``ne`` and ``nin`` are true of it, as complements.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from aurora_actors.aql import tree
from aurora_actors.aql.diagnostics import shorten
from aurora_actors.aql.scope import UNBOUND, Scope, Unbound
from aurora_actors.aql.values import object_entries, read_value
from aurora_actors.query.predicate import And, Compare, Not, Or, Predicate
from aurora_actors.schema.types import FieldType

__all__ = ["read_size"]

_Range: TypeAlias = list[int | None]

_RANGES: Final[dict[str, Callable[[int], _Range]]] = {
    "eq": lambda n: [n, n],
    "ne": lambda n: [n, n],
    "gt": lambda n: [n + 1, None],
    "gte": lambda n: [n, None],
    "lt": lambda n: [None, n - 1],
    "lte": lambda n: [None, n],
}
_LISTS: Final = ("in", "nin", "notIn", "between")


def read_size(scope: Scope, path: str, value: tree.Value) -> Predicate | None:
    """The predicate for ``size: value`` on the array at ``path``."""
    resolved = scope.resolve(value, FieldType.ANY, nullable=False)
    if resolved is UNBOUND:
        return None
    if not isinstance(resolved, tree.ObjectValue):
        return _compare(scope, path, "eq", value)
    parts = [
        _compare(scope.below(name), path, name, entry.value, entry)
        for name, entry in object_entries(scope, resolved).items()
    ]
    real = [part for part in parts if part is not None]
    return real[0] if len(real) == 1 else And(real)


def _compare(
    scope: Scope,
    path: str,
    name: str,
    value: tree.Value,
    node: tree.Node | None = None,
) -> Predicate | None:
    if name in _LISTS:
        return _listed(scope, path, name, value)
    ranged = _RANGES.get(name)
    if ranged is None:
        known = [*_RANGES, *_LISTS]
        hint = scope.did_you_mean(name, known) or f"a size has {', '.join(known)}"
        scope.report(node or value, f"a size has no operator {shorten(name)}", hint)
        return None
    number = _number(scope, value)
    if number is UNBOUND:
        return None
    size = Compare("size", path, ranged(number))
    return Not(size) if name == "ne" else size


def _listed(scope: Scope, path: str, name: str, value: tree.Value) -> Predicate | None:
    found = read_value(scope, value, FieldType.array(FieldType.INT), nullable=False)
    if not isinstance(found, list):
        return None
    numbers = [item for item in found if isinstance(item, int)]
    if name == "between":
        if len(found) != 2:
            scope.report(value, "a range has two ends", "write [low, high]")
            return None
        return Compare("size", path, list(numbers)) if len(numbers) == 2 else None
    any_of = Or([Compare("size", path, [each, each]) for each in numbers])
    return any_of if name == "in" else Not(any_of)


def _number(scope: Scope, value: tree.Value) -> int | Literal[Unbound.UNBOUND]:
    number = read_value(scope, value, FieldType.INT, nullable=False)
    return number if isinstance(number, int) else UNBOUND
