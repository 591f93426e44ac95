"""Rules for fragments: names used once, collections that exist, no cycles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from aurora_actors.aql import tree
from aurora_actors.aql.diagnostics import shorten
from aurora_actors.aql.scope import Scope

__all__ = ["check_cycles", "fragments_by_name", "reachable"]

Spreads = Mapping[str, Mapping[str, tree.Position]]
"""For each fragment, the fragments it spreads and where."""


def fragments_by_name(document: tree.Document) -> dict[str, tree.Fragment]:
    """The fragments of a text; of those with one name, the first."""
    found: dict[str, tree.Fragment] = {}
    for definition in document.definitions:
        if isinstance(definition, tree.Fragment):
            found.setdefault(definition.name, definition)
    return found


def check_cycles(scope: Scope, spreads: Spreads) -> bool:
    """Report each spread that leads back to its own fragment; whether there is one.

    Depth first with a stack of its own, each fragment once: linear time.
    """
    done: set[str] = set()
    found = False
    for root in spreads:
        way: dict[str, Iterator[tuple[str, tree.Position]]] = {}
        waiting: str | None = root if root not in done else None
        while waiting is not None or way:
            if waiting is not None:
                way[waiting] = iter(spreads[waiting].items())
            name = next(reversed(way))
            waiting = None
            target, position = next(way[name], ("", tree.NOWHERE))
            if not target:
                done.add(name)
                del way[name]
            elif target in way:
                found = True
                names = list(way)
                _report_cycle(scope, names[names.index(target) :], position)
            elif target in spreads and target not in done:
                waiting = target
    return found


def _report_cycle(scope: Scope, names: list[str], position: tree.Position) -> None:
    shown = names if len(names) <= 6 else [*names[:5], "…"]
    circle = " → ".join(shorten(name).strip('"') for name in [*shown, names[0]])
    node = tree.NullValue(position=position)
    scope.below(names[-1]).report(node, f"fragments spread each other: {circle}")


def reachable(names: Iterable[str], spreads: Spreads) -> list[str]:
    """The fragments spread by ``names`` or by one of them, each once."""
    seen: dict[str, None] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen[name] = None
            waiting.extend(spreads.get(name, ()))
    return list(seen)
