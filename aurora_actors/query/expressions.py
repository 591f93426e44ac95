"""Predicates as Python expressions: the one place that says what an operator means.

Pure functions, used in every process. A predicate becomes the *text* of an expression
over ``document leaves`` (how a field is read: ``d.get(k0)``, ``d.f0``, ``f0``) and
constants ``k0, k1, ...``. Nothing a user has written is ever part of the text: names
and operands are constants, so the text depends on the predicate's shape alone.

Invariants of the expressions:

* they are total: no value of any kind makes one raise;
* they are two-valued, and null (also for a missing field) meets no range and no text
  operator; kinds do not mix, but Int and Float are one kind, and so are text and uuid;
* evaluation order is free, so cheap terms are put before dear ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, datetime, time
from typing import Final, NamedTuple
from uuid import UUID

from aurora_actors.errors import InvalidFilterError, ValidationError
from aurora_actors.query.generated import Constants, build
from aurora_actors.query.pattern import compile_pattern
from aurora_actors.query.predicate import And, Compare, Not, Or, Predicate
from aurora_actors.schema.order import sort_key
from aurora_actors.schema.values import decode_value, encode_value, values_equal

__all__ = ["Leaves", "expression", "path_expression"]

_NUMBERS: Final = (int, float)
_MOMENTS: Final = (datetime, date, time)
_SIGNS: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_COSTS: Final = {"matches": 8, "contains": 3, "contains_any": 4, "contains_all": 4}
_CHEAP: Final = {"eq": 0, "is_null": 0, "is_not_null": 0}

# A connective with more parts is tested in groups, each a function of its own: 10,000
# terms of one shape take 0.15 s to build, in one expression 0.6 s.
_MOST_PARTS: Final = 64
_GROUP: Final = 32


class Leaves(NamedTuple):
    """How generated code reads a document.

    Attributes:
        parameters: The variables it reads from, as text.
        read: Gives the text of an expression for a top-level field; ``id`` is the id.
    """

    parameters: str
    read: Callable[[str, Constants], str]


def expression(predicate: Predicate, leaves: Leaves, constants: Constants) -> str:
    """The text of an expression that is true for the documents that match.

    Raises:
        InvalidFilterError: an operand is no value, or a pattern is none.
    """
    match predicate:
        case And(parts):
            return _joined(parts, " and ", "True", leaves, constants)
        case Or(parts):
            return _joined(parts, " or ", "False", leaves, constants)
        case Not(part):
            return f"(not {expression(part, leaves, constants)})"
        case Compare():
            return _term(predicate, leaves, constants)


def _joined(
    parts: Iterable[Predicate],
    word: str,
    empty: str,
    leaves: Leaves,
    constants: Constants,
) -> str:
    ordered = sorted(parts, key=_cost)
    if not ordered:
        return empty
    if len(ordered) > _MOST_PARTS:
        texts = [
            _group(ordered[at : at + _GROUP], word, leaves, constants)
            for at in range(0, len(ordered), _GROUP)
        ]
    else:
        texts = [expression(part, leaves, constants) for part in ordered]
    return f"({word.join(texts)})"


def _group(
    parts: list[Predicate], word: str, leaves: Leaves, constants: Constants
) -> str:
    """Some parts of a connective as a call of a function."""
    own = Constants()
    texts = [expression(part, leaves, own) for part in parts]
    lines = [
        f"def test({leaves.parameters}):",
        f"    return {word.join(texts)}",
        "return test",
    ]
    return f"{constants.add(build(lines, own))}({leaves.parameters})"


def _cost(predicate: Predicate) -> int:
    match predicate:
        case Compare(op, field):
            return _COSTS.get(op, _CHEAP.get(op, 1)) + ("." in field)
        case Not(part):
            return _cost(part)
        case And(parts) | Or(parts):
            return sum(map(_cost, parts)) + 1


def path_expression(path: str, leaves: Leaves, constants: Constants) -> str:
    """The text of an expression for a dotted path; null when there is nothing."""
    first, *rest = path.split(".")
    text = leaves.read(first, constants)
    if len(rest) > 3:
        return f"{constants.add(_walker(rest))}({text})"
    for name in rest:
        key = constants.add(name)
        text = f"(t.get({key}) if type(t := {text}) is dict else None)"
    return text


def _walker(names: list[str]) -> Callable[[object], object]:
    def walk(value: object) -> object:
        for name in names:
            if type(value) is not dict:
                return None
            value = value.get(name)
        return value

    return walk


# ------------------------------------------------------------------ terms
class _Place:
    """A field of one term: read once, then called by a name."""

    def __init__(self, text: str) -> None:
        simple = text.isidentifier()
        self.first = text if simple else f"(v := {text})"
        self.again = text if simple else "v"
        self.once = text


def _term(term: Compare, leaves: Leaves, constants: Constants) -> str:
    operand = _plain(term)
    place = _Place(path_expression(term.field, leaves, constants))
    if term.op in _NEGATIONS:
        positive = _NEGATIONS[term.op](place, operand, constants)
        return f"(not {positive})"
    if term.op in _SIGNS:
        return _range(place, f"{{}} {_SIGNS[term.op]} {{}}", [operand], constants)
    return _TERMS[term.op](place, operand, constants)


def _plain(term: Compare) -> object:
    """The operand as a document would give it back: UTC, lists, plain classes."""
    value = term.value
    if value is None or type(value) in (str, bool, bytes):
        return value
    try:
        return decode_value(encode_value(value))
    except ValidationError as exc:
        raise InvalidFilterError(
            f"{term.op} on field {term.field[:80]!r}: {exc}", field=term.field[:80]
        ) from exc


def _uuid_of(text: str) -> UUID | None:
    """The uuid whose text this is, exactly."""
    if len(text) != 36:
        return None
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text else None


def _equal(place: _Place, operand: object, constants: Constants) -> str:
    if operand is None or isinstance(operand, bool):
        return f"({place.once} is {operand})"
    if isinstance(operand, _NUMBERS) and operand in (0, 1):
        return (
            f"({place.first} == {constants.add(operand)}"
            f" and type({place.again}) is not bool)"
        )
    if isinstance(operand, (list, dict)):
        kind = type(operand).__name__
        same = constants.add(_same_as(operand))
        return f"(type({place.first}) is {kind} and {same}({place.again}))"
    key = constants.add(operand)
    other: object = None
    if isinstance(operand, UUID):
        other = str(operand)
    elif isinstance(operand, str):
        other = _uuid_of(operand)
    if other is None:
        return f"({place.once} == {key})"
    return f"({place.first} == {key} or {place.again} == {constants.add(other)})"


def _same_as(operand: object) -> Callable[[object], bool]:
    return lambda value: values_equal(value, operand)


def _range(place: _Place, form: str, bounds: list[object], constants: Constants) -> str:
    """A range over values of the bounds' kind; false for all others."""
    kinds = {_kind(bound) for bound in bounds}
    kind = kinds.pop()
    if kinds or kind is None:
        return "False"
    if kind == "text":
        bounds = [str(bound) for bound in bounds]
    names = [constants.add(bound) for bound in bounds]
    test = form.format(place.again, *names)
    if kind == "number":
        first, again = place.first, place.again
        return f"((type({first}) is int or type({again}) is float) and {test})"
    if kind == "text":
        as_text = form.format(f"str({place.again})", *names)
        kind_of = f"type({place.again})"
        other = f"({kind_of} is UUID and {as_text})"
        return f"({test} if type({place.first}) is str else {other})"
    return f"(type({place.first}) is {kind} and {test})"


def _kind(value: object) -> str | None:
    """The kind within which ranges are defined, or ``None``."""
    if isinstance(value, bool):
        return None
    if isinstance(value, _NUMBERS):
        return "number"
    if isinstance(value, (str, UUID)):
        return "text"
    return type(value).__name__ if isinstance(value, _MOMENTS) else None


def _between(place: _Place, operand: object, constants: Constants) -> str:
    low, high = _items(operand)
    if _kind(low) != _kind(high):
        return "False"
    # The form has the value between its bounds: "{1} <= {0} <= {2}".
    return _range(place, "{1} <= {0} <= {2}", [low, high], constants)


def _items(operand: object) -> list[object]:
    return operand if isinstance(operand, list) else []


# ------------------------------------------------------------------ membership
def _member(place: _Place, operand: object, constants: Constants) -> str:
    """Whether the value equals one of a list; a hash look-up, whatever its length."""
    items = _items(operand)
    if not items:
        return "False"
    if all(type(item) is str and len(item) != 36 for item in items):
        key = constants.add(frozenset(items))
        return f"(type({place.first}) is str and {place.again} in {key})"
    return f"{constants.add(_membership(items))}({place.once})"


def _membership(items: list[object]) -> Callable[[object], bool]:
    """Set look-up for hashable values, by type so that 1 is not true."""
    hashed: dict[type, set[object]] = {}
    others = [item for item in items if isinstance(item, (list, dict))]
    for item in items:
        if isinstance(item, (list, dict)):
            continue
        for value in _forms(item):
            hashed.setdefault(_family(value), set()).add(value)

    def member(value: object) -> bool:
        if isinstance(value, (list, dict)):
            return any(values_equal(value, other) for other in others)
        return value in hashed.get(_family(value), ())

    return member


def _forms(item: object) -> list[object]:
    """The values that equal ``item`` without being equal in Python."""
    if isinstance(item, UUID):
        return [item, str(item)]
    if isinstance(item, str) and (found := _uuid_of(item)) is not None:
        return [item, found]
    return [item]


def _family(value: object) -> type:
    return int if type(value) is float else type(value)


# ------------------------------------------------------------------ containment
def _contains(place: _Place, operand: object, constants: Constants) -> str:
    """Part of a text, or element of an array."""
    if isinstance(operand, str) and _uuid_of(operand) is None:
        key = constants.add(operand)
        kinds = f"type({place.first}) is str or type({place.again}) is list"
        return f"(({kinds}) and {key} in {place.again})"
    held = constants.add(_holding(_membership([operand])))
    test = f"type({place.again}) is list and {held}({place.again})"
    if isinstance(operand, str):
        key = constants.add(operand)
        return f"({key} in {place.again} if type({place.first}) is str else {test})"
    return f"(type({place.first}) is list and {held}({place.again}))"


def _holding(member: Callable[[object], bool]) -> Callable[[list[object]], bool]:
    return lambda values: any(map(member, values))


def _contains_any(place: _Place, operand: object, constants: Constants) -> str:
    held = constants.add(_holding(_membership(_items(operand))))
    return f"(type({place.first}) is list and {held}({place.again}))"


def _contains_all(place: _Place, operand: object, constants: Constants) -> str:
    needed = [_holding(_membership([item])) for item in _items(operand)]

    def held(values: list[object]) -> bool:
        return all(holds(values) for holds in needed)

    test = f"{constants.add(held)}({place.again})"
    return f"(type({place.first}) is list and {test})"


def _text(method: str) -> Callable[[_Place, object, Constants], str]:
    def term(place: _Place, operand: object, constants: Constants) -> str:
        test = f"{place.again}.{method}({constants.add(operand)})"
        return f"(type({place.first}) is str and {test})"

    return term


def _matches(place: _Place, operand: object, constants: Constants) -> str:
    occurs = constants.add(compile_pattern(str(operand)))
    test = f"{occurs}({place.again}) is not None"
    return f"(type({place.first}) is str and {test})"


def _is_null(place: _Place, _operand: object, _constants: Constants) -> str:
    return f"({place.once} is None)"


def _size(place: _Place, operand: object, constants: Constants) -> str:
    """Whether an array has at least and at most so many elements."""
    low, high = _items(operand)
    least = 0 if low is None else low
    bounds = f"{constants.add(least)} <= len({place.again})"
    if high is not None:
        bounds = f"{bounds} <= {constants.add(high)}"
    return f"(type({place.first}) is list and {bounds})"


def _above(place: _Place, operand: object, constants: Constants) -> str:
    key = sort_key(operand)
    return f"{constants.add(lambda value: sort_key(value) > key)}({place.once})"


def _below(place: _Place, operand: object, constants: Constants) -> str:
    key = sort_key(operand)
    return f"{constants.add(lambda value: sort_key(value) < key)}({place.once})"


_TERMS: Final[dict[str, Callable[[_Place, object, Constants], str]]] = {
    "eq": _equal,
    "in": _member,
    "between": _between,
    "contains": _contains,
    "contains_any": _contains_any,
    "contains_all": _contains_all,
    "starts_with": _text("startswith"),
    "ends_with": _text("endswith"),
    "matches": _matches,
    "is_null": _is_null,
    "size": _size,
    "above": _above,
    "below": _below,
}
_NEGATIONS: Final = {
    "ne": _equal,
    "nin": _member,
    "is_not_null": _is_null,
    "not_above": _above,
    "not_below": _below,
}
