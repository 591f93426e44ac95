"""What a text touches, told before it runs: for those who decide whether it may.

Pure. A text names its collections itself (a variable cannot stand for one), so what it
touches is known without a schema. Imports the parser: not for start-up.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec

from aurora_actors.aql import tree
from aurora_actors.aql.lookups import LOOKUP
from aurora_actors.aql.parser import parse

__all__ = ["Reach", "reach_of"]

_LONGEST_KEPT: Final = 8 << 10
_INTROSPECTION: Final = "__schema"


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """What a text touches.

    Attributes:
        reads: Collections it reads.
        writes: Collections whose documents it changes; it may show them, too.
        defines: It defines, alters, drops or migrates collections.
        enqueues: It enqueues jobs.
        introspects: It asks for the definitions of collections.
    """

    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    defines: bool = False
    enqueues: bool = False
    introspects: bool = False


def reach_of(text: str) -> Reach:
    """What ``text`` touches.

    Raises:
        QuerySyntaxError: it is no AQL.
        LimitExceededError: it is too large.
    """
    return _kept(text) if len(text) <= _LONGEST_KEPT else _reach(text)


def _reach(text: str) -> Reach:
    reads: set[str] = set()
    writes: set[str] = set()
    defines = enqueues = introspects = False
    for definition in parse(text).definitions:
        if isinstance(definition, tree.Operation | tree.Fragment):
            reads |= _looked_up(definition.selection)
        match definition:
            case tree.Operation(kind="mutation"):
                for root in _roots(definition):
                    enqueues = enqueues or root.name.startswith("enqueue")
                    writes |= _targets(root)
            case tree.Operation():
                names = {root.name for root in _roots(definition)}
                introspects = introspects or _INTROSPECTION in names
                reads |= names - {_INTROSPECTION}
            case tree.Fragment():
                pass
            case _:
                defines = True
    return Reach(
        reads=frozenset(reads),
        writes=frozenset(writes),
        defines=defines,
        enqueues=enqueues,
        introspects=introspects,
    )


_kept = lru_cache(1_000)(_reach)


def _looked_up(selection: tree.SelectionSet) -> set[str]:
    """The collections that look-ups reach, however deep."""
    found: set[str] = set()
    waiting = [selection]
    while waiting:
        for item in waiting.pop().items:
            if isinstance(item, tree.Field) and item.name == LOOKUP:
                found |= _targets(item)
            inner = getattr(item, "selection", None)
            if inner is not None:
                waiting.append(inner)
    return found


def _roots(operation: tree.Operation) -> list[tree.Field]:
    items = operation.selection.items
    return [item for item in items if isinstance(item, tree.Field)]


def _targets(root: tree.Field) -> set[str]:
    """The collections that arguments name; more than one is refused later."""
    found = set()
    for argument in root.arguments:
        match argument.value:
            case tree.EnumValue(name=name) | tree.StringValue(value=name):
                if argument.name == "collection":
                    found.add(name)
    return found
