"""Validation of encoded documents against their collection.

Used where documents are written: in the storage process for all that arrives, and in
clients that want the error before they send. A validator belongs to one definition and
is immutable; making one costs about a millisecond, using it about a microsecond.

The hot path is generated for the definition: one typed msgspec decode (``typed``), then
straight-line checks of what the decode cannot know. It never judges alone: whatever
fails there goes to ``conformance``, which finds the precise fault or lets the document
pass. The generated source holds numbers only, no text from the definition.

A field that stands twice in the document's map is refused. Within nested objects the
last one counts, as for every reader.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeAlias, cast

import msgspec
from msgspec import UNSET

from aurora_actors.schema.conformance import conforming_fields, map_length
from aurora_actors.schema.extensions import decode_ext
from aurora_actors.schema.typed import check_for, ext_value, is_expressible, struct_for
from aurora_actors.schema.types import CollectionDefinition, FieldDefinition, Kind
from aurora_actors.schema.values import DECODE_FAULTS, Buffer

__all__ = ["DocumentValidator", "UniqueValues"]

UniqueValues: TypeAlias = list[tuple[str, object]]
_Inspect: TypeAlias = Callable[[Buffer], UniqueValues]

_EXT_KINDS: Final = frozenset({Kind.UUID, Kind.DATE, Kind.TIME})


class DocumentValidator:
    """Checks the documents of one collection.

    Attributes:
        definition: The collection's definition.
        inspect: ``inspect(body)`` checks the encoded fields and returns the unique
            values in them, as :meth:`unique_values` does, for one decode. Raises
            ``ValidationError`` like :meth:`check`.
        unique_values: ``unique_values(body)`` gives the fields declared unique that
            are present and not null, as ``(field, value)`` in the definition's order.
            For documents that have passed: it decodes no other field.
    """

    __slots__ = ("definition", "inspect", "unique_values")

    def __init__(self, definition: CollectionDefinition) -> None:
        self.definition = definition
        unique = {name: f for name, f in definition.fields.items() if f.unique}

        def inspect_slowly(body: Buffer) -> UniqueValues:
            fields = conforming_fields(definition, body)
            if not unique:
                return []
            return [(n, fields[n]) for n in unique if fields.get(n) is not None]

        self.inspect: _Inspect = inspect_slowly
        if not definition.open and is_expressible(definition.fields):
            self.inspect = _generate(definition.fields, inspect_slowly)
        self.unique_values: _Inspect = inspect_slowly if unique else _nothing
        if unique and is_expressible(unique):
            self.unique_values = _generate(unique, inspect_slowly, partial=True)

    def check(self, body: Buffer) -> None:
        """Check the encoded fields of a document.

        Raises:
            ValidationError: the document does not fit. The context has
                ``collection``, ``path``, what was ``expected``, what it ``got``, and
                for a field that is not declared a ``suggestion`` if one is near.
        """
        self.inspect(body)


def _nothing(_body: Buffer) -> UniqueValues:
    return []


def _generate(
    fields: dict[str, FieldDefinition], slowly: _Inspect, *, partial: bool = False
) -> _Inspect:
    """Make the function for these fields; ``slowly`` decides what it cannot."""
    struct = struct_for(fields, strict=not partial)
    scope: dict[str, object] = {
        "decode": msgspec.msgpack.Decoder(struct, ext_hook=decode_ext).decode,
        "slowly": slowly,
        "map_length": map_length,
        "ext_value": ext_value,
        "datetime": datetime,
        "UNSET": UNSET,
        "FAULTS": DECODE_FAULTS,
    }
    lines = ["def inspect(body):", " try:", "  document = decode(body)"]
    if not partial:
        lines += _count_lines(fields)
    for number, field in enumerate(fields.values()):
        lines += [f"  {line}" for line in _check_lines(number, field, scope)]
    lines += [" except FAULTS:", "  return slowly(body)", " found = []"]
    for number, (name, field) in enumerate(fields.items()):
        if field.unique:
            scope[f"name{number}"] = name
            lines += [f" {line}" for line in _unique_lines(number, field)]
    lines += [" return found"]
    # Built from field numbers alone; one function without loops or look-ups is a
    # third faster than closures over lists of fields.
    exec("\n".join(lines), scope)  # noqa: S102
    return cast("_Inspect", scope["inspect"])


def _count_lines(fields: dict[str, FieldDefinition]) -> list[str]:
    """Compare the map's length with the fields found: a name can stand there twice."""
    present = str(sum(not field.nullable for field in fields.values()))
    for number, field in enumerate(fields.values()):
        if field.nullable:
            present += f" + (document.f{number} is not UNSET)"
    return [
        "  head = body[0]",
        f"  if (head - 128 if head < 144 else map_length(body)) != {present}:",
        "   return slowly(body)",
    ]


def _check_lines(
    number: int, field: FieldDefinition, scope: dict[str, object]
) -> list[str]:
    check = check_for(field.field_type)
    if check is None:
        return []
    lines = [f"value = document.f{number}"]
    guard = "value is not None and value is not UNSET and " if field.nullable else ""
    if field.field_type.kind is Kind.DATETIME:
        test = "type(value) is not datetime"
    else:
        scope[f"check{number}"] = check
        test = f"not check{number}(value)"
    if not field.nullable and field.field_type.kind in {Kind.ANY, Kind.OBJECT}:
        test = f"value is None or {test}"
    return [*lines, f"if {guard}{test}:", " return slowly(body)"]


def _unique_lines(number: int, field: FieldDefinition) -> list[str]:
    value = "ext_value(value)" if field.field_type.kind in _EXT_KINDS else "value"
    return [
        f"value = document.f{number}",
        "if value is not None and value is not UNSET:",
        f" found.append((name{number}, {value}))",
    ]
