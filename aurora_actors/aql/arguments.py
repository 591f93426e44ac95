"""The arguments of a field as a checked table.

Pure. Readers say which arguments there are, in which spellings, and which must be
given; this module reports the rest: unknown, doubled, missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from aurora_actors.aql import tree
from aurora_actors.aql.diagnostics import shorten
from aurora_actors.aql.scope import UNBOUND, Scope
from aurora_actors.aql.values import read_boolean, read_text

__all__ = [
    "Spellings",
    "Taken",
    "flag_argument",
    "no_arguments",
    "take_arguments",
    "word_argument",
]

Spellings: TypeAlias = Mapping[str, str]
"""Each accepted spelling with the name it stands for."""

Taken: TypeAlias = dict[str, tree.Argument]
"""Arguments by the name they stand for, however they were spelt."""


def take_arguments(
    scope: Scope,
    node: tree.Field | tree.Directive,
    spellings: Spellings,
    required: tuple[str, ...] = (),
) -> Taken:
    """The arguments of ``node``; faults are reported."""
    taken: Taken = {}
    label = f"@{node.name}" if isinstance(node, tree.Directive) else node.name
    for argument in node.arguments:
        name = spellings.get(argument.name)
        if name is None:
            hint = scope.did_you_mean(argument.name, spellings)
            if not hint:
                known = ", ".join(spellings)
                hint = f"it takes {known}" if known else "it takes none"
            scope.report(
                argument, f"{label} has no argument {shorten(argument.name)}", hint
            )
        elif name in taken:
            first = taken[name].name
            same = "" if first == argument.name else f" (as {first})"
            scope.report(argument, f"{label} has {argument.name} twice{same}")
        else:
            taken[name] = argument
    for name in required:
        if name not in taken:
            scope.report(node, f"{label} needs the argument {name}")
    return taken


def no_arguments(scope: Scope, node: tree.Field | tree.Directive) -> None:
    """Report every argument of a ``node`` that takes none."""
    if node.arguments:
        take_arguments(scope, node, {})


def flag_argument(scope: Scope, taken: Taken, name: str) -> bool:
    """A Boolean argument; false when it is not given."""
    argument = taken.get(name)
    if argument is None:
        return False
    value = read_boolean(scope.below(name), argument.value)
    return value is True


def word_argument(scope: Scope, taken: Taken, name: str) -> str | None:
    """The name of a collection, field or the like, which must be written in the text.

    A variable cannot stand for it, because the rest of the text is checked by it.
    """
    argument = taken.get(name)
    if argument is None:
        return None
    here = scope.below(name)
    match argument.value:
        case tree.Variable():
            here.report(
                argument.value,
                f"{name} cannot be a variable",
                "write the name in the text",
            )
            return None
        case tree.EnumValue():
            return argument.value.name
        case _:
            text = read_text(here, argument.value)
            return None if text is UNBOUND else text
