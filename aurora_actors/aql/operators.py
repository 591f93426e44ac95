"""The operators of filters: their names, what they are for, what they take.

Pure tables; the meaning is in :mod:`aurora_actors.aql.filters` and, for the comparisons
themselves, in ``query.predicate``. To add an operator, add it here and there.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgspec

from aurora_actors.query.predicate import Operator as Comparison
from aurora_actors.schema.types import FieldType, Kind

__all__ = ["OPERATORS", "Operator", "Takes", "operators_for"]

_ALL: Final = frozenset(Kind)
_ORDERED: Final = frozenset(
    {
        Kind.STRING, Kind.INT, Kind.FLOAT, Kind.UUID,
        Kind.DATETIME, Kind.DATE, Kind.TIME, Kind.ANY,
    }
)  # fmt: skip
_TEXT: Final = frozenset({Kind.STRING, Kind.ANY})
_ARRAY: Final = frozenset({Kind.ARRAY, Kind.ANY})


class Takes(Enum):
    """What stands behind an operator."""

    VALUE = "a value of the field's type"
    VALUES = "a list of values of the field's type"
    RANGE = "[low, high]"
    FLAG = "a Boolean"
    EMPTINESS = "a Boolean, true for no elements"
    TEXT = "a String"
    FOLDED = "a String, its case ignored"
    PATTERN = "a pattern"
    MEMBER = "a text within a String, an element of an array"
    MEMBERS = "a list of elements"
    SIZE = "a number, or an object of comparisons"


class Operator(msgspec.Struct, frozen=True):
    """One operator.

    Attributes:
        op: The comparison of ``query.predicate`` it becomes.
        takes: What stands behind it.
        kinds: The kinds of field that have it.
    """

    op: Comparison
    takes: Takes
    kinds: frozenset[Kind]


OPERATORS: Final[dict[str, Operator]] = {
    "eq": Operator("eq", Takes.VALUE, _ALL),
    "ne": Operator("ne", Takes.VALUE, _ALL),
    "in": Operator("in", Takes.VALUES, _ALL),
    "nin": Operator("nin", Takes.VALUES, _ALL),
    "notIn": Operator("nin", Takes.VALUES, _ALL),
    "isNull": Operator("is_null", Takes.FLAG, _ALL),
    "isNotNull": Operator("is_not_null", Takes.FLAG, _ALL),
    "gt": Operator("gt", Takes.VALUE, _ORDERED),
    "gte": Operator("gte", Takes.VALUE, _ORDERED),
    "lt": Operator("lt", Takes.VALUE, _ORDERED),
    "lte": Operator("lte", Takes.VALUE, _ORDERED),
    "between": Operator("between", Takes.RANGE, _ORDERED),
    "contains": Operator("contains", Takes.MEMBER, _TEXT | _ARRAY),
    "startsWith": Operator("starts_with", Takes.TEXT, _TEXT),
    "endsWith": Operator("ends_with", Takes.TEXT, _TEXT),
    "containsIgnoreCase": Operator("matches", Takes.FOLDED, _TEXT),
    "matches": Operator("matches", Takes.PATTERN, _TEXT),
    "containsAny": Operator("contains_any", Takes.MEMBERS, _ARRAY),
    "containsAll": Operator("contains_all", Takes.MEMBERS, _ARRAY),
    "isEmpty": Operator("eq", Takes.EMPTINESS, _ARRAY),
    "size": Operator("size", Takes.SIZE, _ARRAY),
}


def operators_for(field_type: FieldType) -> list[str]:
    """The operators that a field of this type has."""
    return [
        name
        for name, operator in OPERATORS.items()
        if field_type.kind in operator.kinds
    ]
