"""Predicates as data: what a document must be like to be part of a result.

A tree of frozen structs, used in every process: filters make it, queries and
statements carry it encoded, the planner takes it apart and ``query.compile`` turns it
into code. A predicate that exists is well formed (each operator has the form of operand
it takes); whether it makes sense for a collection is ``query.check``'s business.

Logic is two-valued, a missing field is null, and the field name ``id`` reads the
document's id. Encoded, a term is ``["compare", operator, field, operand]`` and a
connective ``["and" | "or", parts]`` or ``["not", part]``, in msgpack; operands are
encoded as document values are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, TypeAlias, cast, get_args

import msgspec

from aurora_actors.errors import InvalidFilterError, ValidationError
from aurora_actors.schema.values import decode_value, encode_value

__all__ = [
    "MAX_DEPTH",
    "MAX_NODES",
    "And",
    "Compare",
    "Not",
    "Operator",
    "Or",
    "Predicate",
    "conjuncts",
    "decode_predicate",
    "encode_predicate",
    "terms",
]

MAX_DEPTH: Final = 32
"""Connectives within each other."""
MAX_NODES: Final = 10_000
"""Terms and connectives together."""
MAX_PATH: Final = 32
"""Names in a dotted field name; documents nest no deeper."""

Operator: TypeAlias = Literal[
    "eq",
    "ne",
    "gt",
    "gte",
    "lt",
    "lte",
    "in",
    "nin",
    "contains",
    "contains_any",
    "contains_all",
    "starts_with",
    "ends_with",
    "matches",
    "between",
    "is_null",
    "is_not_null",
    "size",
    "above",
    "not_above",
    "below",
    "not_below",
]

OPERATORS: Final[frozenset[str]] = frozenset(get_args(Operator))
LIST_OPERATORS: Final = frozenset({"in", "nin", "contains_any", "contains_all"})
TEXT_OPERATORS: Final = frozenset({"starts_with", "ends_with", "matches"})
RANGE_OPERATORS: Final = frozenset({"gt", "gte", "lt", "lte", "between"})
NULL_OPERATORS: Final = frozenset({"is_null", "is_not_null"})
# Operators that take any operand: with a name that is known, there is nothing to check.
_PLAIN: Final = frozenset({"eq", "ne", "gt", "gte", "lt", "lte"})
_MOST_KNOWN: Final = 1000
_known: Final[set[str]] = set()
PLACE_OPERATORS: Final = frozenset({"above", "not_above", "below", "not_below"})


class Compare(msgspec.Struct, frozen=True, array_like=True, tag="compare"):
    """One term: a field, an operator, an operand.

    Attributes:
        op: The operator.
        field: A field's name, dotted to reach into objects, or ``id``.
        value: The operand; a list for ``in``, ``nin``, ``contains_any`` and
            ``contains_all``, ``[low, high]`` for ``between``, unused for ``is_null``
            and ``is_not_null``; for ``size`` the fewest and the most elements an array
            has, as ``[low, high]`` of Ints, null where there is no bound. ``above`` and
            ``below`` compare as sorting does, over all kinds of values and null; they
            say where a page begins.

    Raises:
        InvalidFilterError: the operand has not the form the operator takes.
    """

    op: Operator
    field: str
    value: object = None

    def __post_init__(self) -> None:
        if self.op in _PLAIN and type(self.field) is str and self.field in _known:
            return
        if fault := _fault(self.op, self.field, self.value):
            raise InvalidFilterError(fault, field=str(self.field)[:80])
        if len(_known) < _MOST_KNOWN:
            _known.add(self.field)


class And(msgspec.Struct, frozen=True, array_like=True, tag="and"):
    """True when all parts are; so without parts it is true."""

    parts: list[Predicate]


class Or(msgspec.Struct, frozen=True, array_like=True, tag="or"):
    """True when a part is; so without parts it is false."""

    parts: list[Predicate]


class Not(msgspec.Struct, frozen=True, array_like=True, tag="not"):
    """True when the part is not."""

    part: Predicate


Predicate: TypeAlias = Compare | And | Or | Not


class _Term(msgspec.Struct, array_like=True, tag="compare", forbid_unknown_fields=True):
    """A term as it travels; the operand is checked as a value is."""

    op: str
    field: str
    value: msgspec.Raw


class _All(msgspec.Struct, array_like=True, tag="and", forbid_unknown_fields=True):
    parts: list[_Wire]


class _Some(msgspec.Struct, array_like=True, tag="or", forbid_unknown_fields=True):
    parts: list[_Wire]


class _None(msgspec.Struct, array_like=True, tag="not", forbid_unknown_fields=True):
    part: _Wire


_Wire: TypeAlias = _Term | _All | _Some | _None


def _fault(op: str, field: object, value: object) -> str | None:
    """What is wrong with a term, or ``None``."""
    if not isinstance(field, str) or not field or "" in field.split("."):
        return f"{str(field)[:80]!r} is not the name of a field"
    if field.count(".") >= MAX_PATH:
        return f"the field name {field[:60]!r}... has more than {MAX_PATH} parts"
    if op not in OPERATORS:
        return f"{str(op)[:80]!r} is not an operator"
    return _operand_fault(op, field, value)


def _operand_fault(op: str, field: str, value: object) -> str | None:
    where = f"{op} on field {field[:80]!r}"
    if op in LIST_OPERATORS and not isinstance(value, (list, tuple)):
        return f"{where} needs a list of values, not {type(value).__name__}"
    if op in TEXT_OPERATORS and not isinstance(value, str):
        return f"{where} needs a text, not {type(value).__name__}"
    if op == "between" and not (isinstance(value, (list, tuple)) and len(value) == 2):
        return f"{where} needs two values, the lowest and the highest"
    if op == "size" and not _is_size(value):
        return f"{where} needs two whole numbers or nulls, the fewest and the most"
    return None


def _is_size(value: object) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and all(bound is None or type(bound) is int for bound in value)
    )


# ------------------------------------------------------------------ the codec
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Wire)


def encode_predicate(predicate: Predicate) -> bytes:
    """Encode a predicate for the wire.

    Raises:
        InvalidFilterError: it is too deep or too large, or an operand is a value that
            no document can hold.
    """
    _Size().measure(predicate, 0)
    return _encoder.encode(_to_wire(predicate))


def decode_predicate(data: bytes | bytearray | memoryview) -> Predicate:
    """Decode and check a predicate from anywhere.

    Raises:
        InvalidFilterError: ``data`` is none, or it is too deep or too large.
    """
    try:
        wire = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidFilterError(f"not an encoded predicate: {exc}") from exc
    _Size().measure(wire, 0)
    return _from_wire(wire)


class _Size:
    """Counts the nodes of a tree, and refuses one that is too large or too deep."""

    def __init__(self) -> None:
        self._nodes = 0

    def measure(self, node: Predicate | _Wire, depth: int) -> None:
        """Visit ``node`` and all below it."""
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise InvalidFilterError(
                f"a filter may have {MAX_NODES} terms, nested {MAX_DEPTH} deep; "
                "for long lists of values use in_()"
            )
        match node:
            case And(parts) | Or(parts) | _All(parts) | _Some(parts):
                for part in parts:
                    self.measure(part, depth + 1)
            case Not(part) | _None(part):
                self.measure(part, depth + 1)
            case Compare() | _Term():
                pass
            case _:
                raise InvalidFilterError(
                    f"a filter has a {type(node).__name__} where a predicate must be"
                )


def _to_wire(node: Predicate) -> _Wire:
    match node:
        case Compare(op, field, value):
            try:
                return _Term(op, field, msgspec.Raw(encode_value(value)))
            except ValidationError as exc:
                raise _unusable(op, field, exc) from exc
        case And(parts):
            return _All([_to_wire(part) for part in parts])
        case Or(parts):
            return _Some([_to_wire(part) for part in parts])
        case Not(part):
            return _None(_to_wire(part))


def _from_wire(node: _Wire) -> Predicate:
    match node:
        case _Term(op, field, value):
            try:
                return Compare(cast("Operator", op), field, decode_value(value))
            except ValidationError as exc:
                raise _unusable(op, field, exc) from exc
        case _All(parts):
            return And([_from_wire(part) for part in parts])
        case _Some(parts):
            return Or([_from_wire(part) for part in parts])
        case _None(part):
            return Not(_from_wire(part))


def _unusable(op: str, field: str, exc: ValidationError) -> InvalidFilterError:
    return InvalidFilterError(
        f"{op} on field {field[:80]!r}: no document can hold the operand: {exc}",
        field=field[:80],
    )


# ------------------------------------------------------------------ taking apart
def terms(predicate: Predicate) -> Iterator[Compare]:
    """All terms of a predicate, from left to right."""
    match predicate:
        case Compare():
            yield predicate
        case And(parts) | Or(parts):
            for part in parts:
                yield from terms(part)
        case Not(part):
            yield from terms(part)


def conjuncts(predicate: Predicate | None) -> Iterator[Predicate]:
    """The parts that must all be true: a nested ``And`` is flattened."""
    if isinstance(predicate, And):
        for part in predicate.parts:
            yield from conjuncts(part)
    elif predicate is not None:
        yield predicate
