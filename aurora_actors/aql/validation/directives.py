"""Rules for directives: known, in their place, once, with the arguments they take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from aurora_actors.aql import tree
from aurora_actors.aql.arguments import Spellings, take_arguments
from aurora_actors.aql.scope import Scope
from aurora_actors.aql.values import read_boolean

__all__ = [
    "NONE",
    "OPERATION_DIRECTIVES",
    "SELECTION_DIRECTIVES",
    "check_directives",
]

SELECTION_DIRECTIVES: Final[Mapping[str, Spellings]] = {
    "include": {"if": "if"},
    "skip": {"if": "if"},
}
"""Of fields, spreads and inline fragments, with their arguments."""
OPERATION_DIRECTIVES: Final[Mapping[str, Mapping[str, Spellings]]] = {
    "query": {"explain": {}},
    "mutation": {},
    "subscription": {"live": {}},
}
"""Of each kind of operation."""
NONE: Final[Mapping[str, Spellings]] = {}
"""Where no directive can stand."""


def check_directives(
    scope: Scope,
    directives: Iterable[tree.Directive],
    known: Mapping[str, Spellings],
    place: str,
) -> None:
    """Check the directives of one node; ``place`` says which kind of node that is."""
    seen: set[str] = set()
    for directive in directives:
        spellings = known.get(directive.name)
        if spellings is None:
            hint = scope.did_you_mean(directive.name, known)
            if known and not hint:
                hint = f"it can have {', '.join(f'@{name}' for name in known)}"
            shown = directive.name[:40]
            scope.report(directive, f"{place} has no directive @{shown}", hint)
            continue
        if directive.name in seen:
            scope.report(directive, f"@{directive.name} stands twice")
        seen.add(directive.name)
        taken = take_arguments(scope, directive, spellings, tuple(spellings))
        for name, argument in taken.items():
            read_boolean(scope.below(f"@{directive.name}").below(name), argument.value)
