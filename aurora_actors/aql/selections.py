"""Selections with their fragments in place.

Pure. What a selection set asks for, once spreads and inline fragments are opened and
``@include`` and ``@skip`` are decided: fields by response name, in the order in which
the names first stand. Each fragment is opened once for one set, as in GraphQL
(specification, October 2021, 6.3.2), and all that is opened is counted, so fragments
that multiply each other end in ``LimitExceededError``, not in exponential time.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from aurora_actors.aql import tree
from aurora_actors.aql.arguments import take_arguments
from aurora_actors.aql.scope import UNBOUND, Scope
from aurora_actors.aql.values import read_boolean

__all__ = ["Collected", "collect", "is_included", "merged_selections"]


class Collected(msgspec.Struct):
    """What one or more selection sets ask for together.

    Attributes:
        fields: The fields that share a response name; they mean the same.
        every: Whether ``*`` is among them.
    """

    fields: dict[str, list[tree.Field]] = {}
    every: bool = False


def collect(scope: Scope, selections: Iterable[tree.SelectionSet]) -> Collected:
    """Open ``selections`` together.

    Raises:
        LimitExceededError: the text's fragments multiply to too much.
    """
    found = Collected()
    opened: set[str] = set()
    for selection in selections:
        _collect(scope, selection, found, opened)
    return found


def _collect(
    scope: Scope, selection: tree.SelectionSet, found: Collected, opened: set[str]
) -> None:
    # A stack of its own: fragments may be chained deeper than Python recurses.
    stack = [iter(selection.items)]
    while stack:
        item = next(stack[-1], None)
        if item is None:
            stack.pop()
            continue
        scope.session.spend(item.position)
        match item:
            case tree.EveryField():
                found.every = True
            case tree.Field() if is_included(scope, item.directives):
                found.fields.setdefault(item.response_name, []).append(item)
            case tree.InlineFragment() if is_included(scope, item.directives):
                stack.append(iter(item.selection.items))
            case tree.FragmentSpread() if is_included(scope, item.directives):
                fragment = scope.session.fragments.get(item.name)
                if fragment is not None and item.name not in opened:
                    opened.add(item.name)
                    stack.append(iter(fragment.selection.items))


def is_included(scope: Scope, directives: Iterable[tree.Directive]) -> bool:
    """What ``@include`` and ``@skip`` say; true while variables are not known."""
    if scope.session.variables is None:
        return True
    for directive in directives:
        if directive.name in {"include", "skip"}:
            taken = take_arguments(scope, directive, {"if": "if"}, ("if",))
            flag = read_boolean(scope, taken["if"].value) if taken else UNBOUND
            if flag is (directive.name == "skip"):
                return False
    return True


def merged_selections(fields: Iterable[tree.Field]) -> list[tree.SelectionSet]:
    """The selection sets behind fields that share a response name."""
    return [field.selection for field in fields if field.selection is not None]
