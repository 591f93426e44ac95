"""From finished groups to results: having, order, offset and limit.

Pure; used wherever queries run. What is left equal by the order asked for comes by its
keys, null first, in the order of :func:`~aurora_actors.schema.order.sort_key`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Final, NamedTuple

from aurora_actors.query.aggregate_groups import Group, Groups
from aurora_actors.query.aggregate_terms import Terms
from aurora_actors.query.compile import compile_predicate
from aurora_actors.schema.order import get_path, sort_key

__all__ = ["Chosen", "ordered_groups"]

_AS_THEY_ARE: Final = ({str, type(None)}, {int, float, type(None)})
_keys_of: Final = itemgetter(0)


class Chosen(NamedTuple):
    """A group that is given: its keys, its results, and itself, if it has states."""

    keys: tuple[object, ...]
    results: Sequence[object]
    group: Group | None = None


def ordered_groups(terms: Terms, groups: Groups) -> list[Chosen]:
    """The groups of a result, in its order.

    Raises:
        LimitExceededError: a result is larger than any Float.
    """
    found = [
        Chosen(group.keys, terms.results(group.states), group)
        for group in groups.by_identity.values()
    ]
    if groups.bulk is not None:
        found += [Chosen(*each) for each in groups.bulk.finished()]
    if terms.having is not None:
        meets = compile_predicate(terms.having)
        found = [each for each in found if meets(_named(terms, each), "")]
    _sort_by_keys(found)
    for key in reversed(terms.spec.order):
        read = _reader(terms, key.field)
        found.sort(key=lambda each: sort_key(read(each)), reverse=not key.ascending)
    spec = terms.spec
    stop = None if spec.limit is None else spec.offset + spec.limit
    return found[spec.offset : stop]


def _sort_by_keys(found: list[Chosen]) -> None:
    """In the order of their keys, null first."""
    if found and len(found[0].keys) == 1:
        kinds = {type(each.keys[0]) for each in found}
        if any(kinds <= alike for alike in _AS_THEY_ARE):
            # What is sorted by is the key itself; one group at most has none.
            there = [each for each in found if each.keys[0] is not None]
            without = [each for each in found if each.keys[0] is None]
            found[:] = [*without, *sorted(there, key=_keys_of)]
            return
    found.sort(key=lambda each: tuple([sort_key(key) for key in each.keys]))


def _reader(terms: Terms, name: str) -> Callable[[Chosen], object]:
    """What reads a result or a key of a group."""
    names = [wanted.name for wanted in terms.wanted]
    if name in names:
        at = names.index(name)
        return lambda each: each.results[at]
    fields = [key.field for key in terms.keys]
    if name in fields:
        at = fields.index(name)
        return lambda each: each.keys[at]
    return lambda each: get_path(_named(terms, each), name)


def _named(terms: Terms, chosen: Chosen) -> dict[str, object]:
    """A group as a document."""
    keys = _nested([key.field for key in terms.keys], chosen.keys)
    named = {**keys, "keys": keys}
    if len(chosen.keys) == 1:
        named["key"] = chosen.keys[0]
    names = [wanted.name for wanted in terms.wanted]
    named.update(zip(names, chosen.results, strict=True))
    return named


def _nested(paths: Sequence[str], values: Sequence[object]) -> dict[str, object]:
    """Values at dotted paths, as a document has them."""
    document: dict[str, object] = {}
    for path, value in zip(paths, values, strict=True):
        *parents, last = path.split(".")
        inner = document
        for name in parents:
            inner = inner.setdefault(name, {})  # type: ignore[assignment]  # an object
        inner[last] = value
    return document
