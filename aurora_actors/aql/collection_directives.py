"""The directives of ``define collection``: ``@open`` and ``@index(fields: [...])``.

Pure. Whether the fields of an index are there and go together is the definition's own
business (``schema.types``).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from aurora_actors.aql import tree
from aurora_actors.aql.arguments import take_arguments
from aurora_actors.aql.scope import Scope

__all__ = ["CollectionDirectives", "read_collection_directives"]

_KNOWN: Final = ("open", "index")


class CollectionDirectives(NamedTuple):
    """What the directives of a collection say.

    Attributes:
        is_open: It takes fields that are not declared.
        indexes: The fields of each index on several fields, or on one apart from its
            declaration.
    """

    is_open: bool
    indexes: tuple[tuple[str, ...], ...]


def read_collection_directives(
    scope: Scope, statement: tree.DefineCollection
) -> CollectionDirectives:
    """Read the directives of a definition; faults are reported."""
    is_open = False
    indexes: list[tuple[str, ...]] = []
    for directive in statement.directives:
        if directive.name == "index":
            names = _index(scope, directive)
            if names is not None:
                indexes.append(names)
        elif directive.name != "open":
            hint = (
                scope.did_you_mean(directive.name, _KNOWN)
                or "a collection can be @open, and have @index(fields: [...])"
            )
            shown = directive.name[:40]
            scope.report(directive, f"a collection has no directive @{shown}", hint)
        elif is_open:
            scope.report(directive, "@open stands twice")
        else:
            is_open = True
            if directive.arguments:
                scope.report(directive.arguments[0], "@open takes no arguments")
    return CollectionDirectives(is_open, tuple(indexes))


def _index(scope: Scope, directive: tree.Directive) -> tuple[str, ...] | None:
    taken = take_arguments(scope, directive, {"fields": "fields"}, ("fields",))
    argument = taken.get("fields")
    if argument is None:
        return None
    value = argument.value
    items = value.items if isinstance(value, tree.ListValue) else (value,)
    names: list[str] = []
    for item in items:
        match item:
            case tree.StringValue(value=name) | tree.EnumValue(name=name):
                names.append(name)
            case _:
                hint = 'for example @index(fields: ["role", "age"])'
                scope.report(item, "@index takes the names of fields", hint)
                return None
    return tuple(names)
