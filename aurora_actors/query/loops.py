"""The inner loops of a scan, as generated code.

Used wherever queries run. A loop decodes of each record only the top-level fields that
the predicate and the order read (a msgspec struct of these fields, everything else is
skipped over), tests it, and passes on what the query wants of a match. The same test
also runs over columns of values that were decoded before (see ``query.cache``).

Measured on documents of 178 bytes, two terms: decoding to a dict 1.24 us, to a struct
of two fields 0.49, over columns 0.07.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from functools import lru_cache
from typing import Final, TypeAlias, cast

import msgspec

from aurora_actors.query.compile import build
from aurora_actors.query.expressions import Constants, expression, path_expression
from aurora_actors.query.predicate import Predicate, terms
from aurora_actors.schema.values import decode_ext

__all__ = ["ColumnLoop", "RecordLoop", "Want", "field_decoder", "top_level_fields"]

_KEY: Final = struct.Struct(">IQ")


class Want(Enum):
    """What a scan passes on of each match."""

    NOTHING = "nothing"
    """That it exists: ``None``."""
    RECORD = "record"
    """The finished record."""
    ROW = "row"
    """The row."""
    KEYS = "keys"
    """``(row, record, value of each order key...)``; from columns the record is None."""


RecordRun: TypeAlias = Callable[
    [
        Iterator[memoryview],
        Callable[[], bytes | memoryview],
        Callable[[object], None],
        Callable[[memoryview], bytes],
    ],
    None,
]
ColumnRun: TypeAlias = Callable[
    [Sequence[int], Sequence[Sequence[object]], Callable[[object], None]], None
]


def top_level_fields(
    predicate: Predicate | None, order: Sequence[str]
) -> tuple[str, ...]:
    """The top-level fields that a test and an order read, without the id."""
    paths = [*order]
    if predicate is not None:
        paths += [term.field for term in terms(predicate)]
    names = dict.fromkeys(path.partition(".")[0] for path in paths)
    names.pop("id", None)
    return tuple(names)


@lru_cache(maxsize=256)
def field_decoder(fields: tuple[str, ...]) -> Callable[[object], object]:
    """Decodes a body to an object whose ``f0, f1, ...`` are these fields or null."""
    members = [
        (f"f{number}", object, msgspec.field(default=None, name=name))
        for number, name in enumerate(fields)
    ]
    kind = msgspec.defstruct("Fields", members, gc=False)
    decoder = msgspec.msgpack.Decoder(kind, ext_hook=decode_ext)
    return cast("Callable[[object], object]", decoder.decode)


class RecordLoop:
    """The loop over records.

    Attributes:
        fields: The top-level fields it decodes.
        run: ``run(records, key, append, finish)`` appends what is wanted of each match;
            ``key()`` is the key of the present record, ``finish`` makes a result of it.
    """

    def __init__(
        self, predicate: Predicate | None, want: Want, order: Sequence[str] = ()
    ) -> None:
        self.fields = top_level_fields(predicate, order)
        places = {name: f"d.f{number}" for number, name in enumerate(self.fields)}
        places["id"] = "str(record[9:9 + record[8]], 'utf-8')"
        constants = Constants()
        unpack = constants.add(_KEY.unpack)
        test = _test(predicate, places, constants)
        place = (f"{unpack}(key())[1]", "record")
        given = _given(want, place, _values(order, places, constants))
        lines = ["def run(records, key, append, finish):", "    for record in records:"]
        if self.fields:
            decode = constants.add(field_decoder(self.fields))
            lines.append(f"        d = {decode}(record[9 + record[8]:])")
        lines += [f"        if {test}:", f"            append({given})", "return run"]
        body = "".join(f"    {line}\n" for line in lines)
        self.run = cast("RecordRun", build(body, constants))


class ColumnLoop:
    """The loop over columns: lists of values, one for each of ``fields``.

    Attributes:
        fields: The top-level fields whose columns it takes.
        run: ``run(rows, columns, append)`` appends what is wanted of each match.
    """

    def __init__(
        self, predicate: Predicate | None, want: Want, order: Sequence[str] = ()
    ) -> None:
        self.fields = top_level_fields(predicate, order)
        places = {name: f"f{number}" for number, name in enumerate(self.fields)}
        constants = Constants()
        test = _test(predicate, places, constants)
        given = _given(want, ("row", "None"), _values(order, places, constants))
        names = "".join(f"f{number}, " for number in range(len(self.fields)))
        lines = [
            "def run(rows, columns, append):",
            f"    for row, {names} in zip(rows, *columns):",
            f"        if {test}:",
            f"            append({given})",
            "return run",
        ]
        body = "".join(f"    {line}\n" for line in lines)
        self.run = cast("ColumnRun", build(body, constants))


def _test(
    predicate: Predicate | None, places: dict[str, str], constants: Constants
) -> str:
    if predicate is None:
        return "True"
    return expression(predicate, places.__getitem__, constants)


def _values(
    order: Sequence[str], places: dict[str, str], constants: Constants
) -> list[str]:
    leaf = places.__getitem__
    return [path_expression(path, leaf, constants) for path in order]


def _given(want: Want, place: tuple[str, str], values: list[str]) -> str:
    """The text of what is passed on of a match; ``place`` is its row and record."""
    row, record = place
    match want:
        case Want.NOTHING:
            return "None"
        case Want.RECORD:
            return f"finish({record})"
        case Want.ROW:
            return row
        case Want.KEYS:
            return f"({', '.join([row, record, *values])})"
