"""Patches: changes of single fields, as data.

A patch is made where it is asked for and applied in the storage process, again on
replay, and on another host perhaps: :meth:`Patch.apply` is pure and deterministic. It
never changes its argument, and shares with it what it does not change.

On the wire a patch is a msgpack array of ``[path, operation, value]``, the operation
one of :class:`Operation`'s numbers, the value encoded as in documents. No path stands
twice or within another, so the order of the changes has no meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from math import isfinite
from typing import Final, NamedTuple, TypeAlias, cast

import msgspec

from aurora_actors.schema.editing import edit_document, set_fields
from aurora_actors.schema.extensions import decode_ext
from aurora_actors.schema.refusal import Refused, describe
from aurora_actors.schema.types import INT_MAX, INT_MIN, MAX_DEPTH, field_name_fault
from aurora_actors.schema.values import (
    DECODE_FAULTS,
    Buffer,
    encode_within,
    values_equal,
    wire_value,
)

__all__ = [
    "AddToSet",
    "Change",
    "Decrement",
    "Increment",
    "Modifier",
    "Operation",
    "Patch",
    "Pull",
    "Push",
    "Unset",
    "decode_patch",
    "encode_patch",
]


class Increment(msgspec.Struct, frozen=True):
    """Add ``amount`` to a number; a missing or null one counts as 0."""

    amount: int | float = 1


class Decrement(msgspec.Struct, frozen=True):
    """Subtract ``amount`` from a number; a missing or null one counts as 0."""

    amount: int | float = 1


class Push(msgspec.Struct, frozen=True):
    """Append ``value`` to an array; a missing or null one counts as empty."""

    value: object


class Pull(msgspec.Struct, frozen=True):
    """Remove each element equal to ``value`` from an array, if there is one."""

    value: object


class AddToSet(msgspec.Struct, frozen=True):
    """Append ``value`` to an array that has no element equal to it."""

    value: object


class Unset(msgspec.Struct, frozen=True):
    """Remove the field, if it is there."""


Modifier: TypeAlias = Increment | Decrement | Push | Pull | AddToSet | Unset


class Operation(IntEnum):
    """What a change does to its field."""

    SET = 0
    INCREMENT = 1
    DECREMENT = 2
    PUSH = 3
    PULL = 4
    ADD_TO_SET = 5
    UNSET = 6


class Change(NamedTuple):
    """One change of one field: its dotted path, what to do, and with which value."""

    path: str
    operation: Operation
    value: object


_MAX_KNOWN: Final = 1000
# Sound paths do not stop being so, and checking one takes as long as decoding a patch.
_known_paths: Final[dict[str, tuple[int, str]]] = {}


class Patch:
    """Changes to be made to a document together; two equal ones do the same.

    Attributes:
        changes: The changes, sound and free of conflicts.
        fields: The top-level fields that may change, each once.

    Raises:
        ValidationError: a path is no path or in conflict with another, or a value
            cannot be in a document.
    """

    __slots__ = ("_nested", "_sets", "changes", "fields")

    def __init__(self, changes: tuple[Change, ...]) -> None:
        nested = False
        names: dict[str, None] = {}
        for change in changes:
            try:
                levels, name = _known_paths.get(change.path) or _check_path(change.path)
                _check_value(change, levels)
            except Refused as refused:
                raise refused.within(change.path).error() from None
            nested = nested or levels > 1
            names[name] = None
        if len(changes) > 1:
            _check_conflicts(changes, nested=nested)
        self._nested = nested
        self._sets = not nested and all(
            change.operation is Operation.SET for change in changes
        )
        self.changes = changes
        self.fields = tuple(names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Patch) and self.changes == other.changes

    def __hash__(self) -> int:
        return hash(tuple(change.path for change in self.changes))

    def __repr__(self) -> str:
        return f"Patch({self.changes!r})"

    def apply(self, document: dict[str, object]) -> dict[str, object]:
        """The document with the changes made, as a new dict.

        Nested values are shared with ``document`` and with the patch: treat the
        result as immutable. Whether it fits its collection is for its validator.

        Raises:
            ValidationError: a field is not of the kind that its change needs, or a
                sum is no 64-bit Int or finite Float; ``path`` names the field.
        """
        out = dict(document)
        for path, operation, value in self.changes:
            try:
                if operation is Operation.SET and not self._nested:
                    out[path] = value
                else:
                    _make(out, path.split("."), operation, value)
            except Refused as refused:
                raise (
                    refused if refused.parts else refused.within(path)
                ).error() from None
        return out

    def edit(self, body: Buffer) -> bytes:
        """The same for an encoded document; what does not change is not looked at.

        Raises:
            ValidationError: as :meth:`apply`, or a value that no document can have.
            CorruptionError: ``body`` is no encoded document.
        """
        if self._sets:
            return set_fields(body, self.changes)
        return edit_document(body, self.fields, self.apply)


def _make(
    out: dict[str, object], names: list[str], operation: Operation, value: object
) -> None:
    """Make one change in ``out``, a fresh dict; containers on the way are copied."""
    for position, name in enumerate(names[:-1], start=1):
        inner = out.get(name)
        if inner is None:
            if operation in {Operation.UNSET, Operation.PULL}:
                return
            inner = {}
        elif not isinstance(inner, dict):
            got = describe(inner)
            raise Refused(
                f"must be an object to have {'.'.join(names[position:])!r}, got {got}",
                expected="Object",
                got=got,
            ).within(".".join(names[:position]))
        # Copied again for each change below it: patches are short.
        inner = dict(inner)
        out[name] = inner
        out = inner
    _OPERATIONS[operation](out, names[-1], value)


def _set(out: dict[str, object], name: str, value: object) -> None:
    out[name] = value


def _unset(out: dict[str, object], name: str, _value: object) -> None:
    out.pop(name, None)


def _increment(out: dict[str, object], name: str, value: object) -> None:
    out[name] = _sum(out.get(name), cast("int | float", value), 1)


def _decrement(out: dict[str, object], name: str, value: object) -> None:
    out[name] = _sum(out.get(name), cast("int | float", value), -1)


def _sum(current: object, amount: float, sign: int) -> int | float:
    if current is None:
        current = 0
    if isinstance(current, bool) or not isinstance(current, (int, float)):
        got = describe(current)
        fault = f"must be a number to be changed by one, got {got}"
        raise Refused(fault, expected="Int or Float", got=got)
    total = current + sign * amount
    if isinstance(total, int):
        if not INT_MIN <= total <= INT_MAX:
            fault = f"would leave the range of a 64-bit Int: {total}"
            raise Refused(fault, expected="Int", got=str(total))
    elif not isfinite(total):
        raise Refused(
            "would leave the range of a Float", expected="Float", got=str(total)
        )
    return total


def _push(out: dict[str, object], name: str, value: object) -> None:
    out[name] = [*_array(out.get(name)), value]


def _pull(out: dict[str, object], name: str, value: object) -> None:
    current = out.get(name)
    if current is not None:
        out[name] = [item for item in _array(current) if not values_equal(item, value)]


def _add_to_set(out: dict[str, object], name: str, value: object) -> None:
    items = _array(out.get(name))
    if not any(values_equal(item, value) for item in items):
        items = [*items, value]
    out[name] = items


def _array(current: object) -> list[object]:
    if current is None:
        return []
    if isinstance(current, list):
        return current
    if isinstance(current, tuple):
        return list(current)
    got = describe(current)
    raise Refused(f"must be an array, got {got}", expected="Array", got=got)


_OPERATIONS: Final[
    dict[Operation, Callable[[dict[str, object], str, object], None]]
] = {
    Operation.SET: _set,
    Operation.INCREMENT: _increment,
    Operation.DECREMENT: _decrement,
    Operation.PUSH: _push,
    Operation.PULL: _pull,
    Operation.ADD_TO_SET: _add_to_set,
    Operation.UNSET: _unset,
}


# ------------------------------------------------------------------ soundness
def _check_path(path: str) -> tuple[int, str]:
    """How many names a path has, and the first of them."""
    names = path.split(".")
    for position, name in enumerate(names):
        if fault := field_name_fault(name, top_level=position == 0):
            raise Refused(fault, expected="a dotted path", got=path)
    if len(names) > MAX_DEPTH:
        raise Refused(f"is nested more than {MAX_DEPTH} levels deep")
    found = len(names), names[0]
    if len(_known_paths) < _MAX_KNOWN:
        _known_paths[path] = found
    return found


def _check_value(change: Change, levels: int) -> None:
    operation, value = change.operation, change.value
    if (operation is Operation.INCREMENT or operation is Operation.DECREMENT) and (
        isinstance(value, bool) or not isinstance(value, (int, float))
    ):
        got = describe(value)
        fault = f"can be changed by a number only, got {got}"
        raise Refused(fault, expected="Int or Float", got=got)
    wire_value(value, levels)


def _check_conflicts(changes: tuple[Change, ...], *, nested: bool) -> None:
    paths = {change.path for change in changes}
    if len(paths) != len(changes):
        raise Refused("changes one field twice").error()
    if not nested:
        return
    for path in paths:
        outer = path
        while "." in outer:
            outer = outer.rpartition(".")[0]
            if outer in paths:
                fault = f"is changed as part of {outer!r} already: change one of them"
                raise Refused(fault).within(path).error()


# ------------------------------------------------------------------ the wire
_MODIFIERS: Final[dict[type, Operation]] = {
    Increment: Operation.INCREMENT,
    Decrement: Operation.DECREMENT,
    Push: Operation.PUSH,
    Pull: Operation.PULL,
    AddToSet: Operation.ADD_TO_SET,
    Unset: Operation.UNSET,
}
_NUMBERED: Final = {int(operation): operation for operation in Operation}
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(
    tuple[tuple[str, int, object], ...], ext_hook=decode_ext
).decode


def _change(path: str, value: object) -> Change:
    operation = _MODIFIERS.get(type(value), Operation.SET)
    if operation is Operation.SET:
        return Change(path, operation, value)
    operand = next(iter(msgspec.structs.astuple(cast("Modifier", value))), None)
    return Change(path, operation, operand)


def encode_patch(changes: Mapping[str, object]) -> bytes:
    """Encode changes: dotted path → value to set there, or a modifier.

    Raises:
        ValidationError: see :class:`Patch`.
    """
    for path in changes:
        if (
            fault := None
            if isinstance(path, str)
            else field_name_fault(path, top_level=True)
        ):
            raise Refused(fault).within(path).error()
    patch = Patch(tuple(_change(path, value) for path, value in changes.items()))
    return _encode([_encoded(change) for change in patch.changes])


def _encoded(change: Change) -> tuple[str, int, msgspec.Raw]:
    try:
        value = encode_within(change.value, change.path.count(".") + 1)
    except Refused as refused:
        raise refused.within(change.path).error() from None
    return change.path, int(change.operation), msgspec.Raw(value)


def decode_patch(data: Buffer) -> Patch:
    """Decode and check a patch.

    Raises:
        ValidationError: ``data`` is no patch; see also :class:`Patch`.
    """
    try:
        changes = tuple(
            [
                Change(path, _NUMBERED[operation], value)
                for path, operation, value in _decode(data)
            ]
        )
    except (*DECODE_FAULTS, KeyError) as exc:
        raise Refused(f"is no encoded patch: {exc}").error() from exc
    return Patch(changes)
