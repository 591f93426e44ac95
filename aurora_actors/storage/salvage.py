"""Reading what can still be read of a damaged data file and a damaged log.

Used by ``storage.repair`` in a maintenance process. Nothing here believes an index or a
counter: documents come from ``docs``, definitions from ``meta`` and the change log.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import lmdb

from aurora_actors.errors import AuroraError
from aurora_actors.schema.types import CollectionDefinition, decode_definition
from aurora_actors.storage.catalog import (
    State,
    read_counters,
    read_definitions,
    read_dropped,
    read_state,
)
from aurora_actors.storage.changes import ChangeKind, change_header
from aurora_actors.storage.environment import Table, Tables, Transaction
from aurora_actors.storage.findings import Findings
from aurora_actors.storage.frames import Frame, scan_frames
from aurora_actors.storage.layout import META_NEXT_COLLECTION, row_key

__all__ = [
    "Numbers",
    "read_catalog",
    "read_numbers",
    "read_state_or_zero",
    "salvage_documents",
    "salvage_frames",
]

Document: TypeAlias = "tuple[int, int, bytes]"
Catalog: TypeAlias = "dict[int, tuple[int, CollectionDefinition]]"
_PAIR: Final = struct.Struct(">IQ")
_ROWS_TRIED: Final = 10_000


def read_state_or_zero(txn: Transaction, tables: Tables, found: Findings) -> State:
    """The state entry; zeros, and a finding, when it cannot be read."""
    try:
        return read_state(txn, tables.meta)
    except (AuroraError, lmdb.Error) as exc:
        found.add("meta", f"the state cannot be read: {exc}")
        return State(0, 0, 0)


def read_catalog(txn: Transaction, tables: Tables, found: Findings) -> Catalog:
    """The definitions in ``meta``, and those that only the change log still has."""
    catalog: Catalog = {}
    dropped: set[int] = set()
    try:
        for lsn, value in txn.cursor(tables.changes):
            kind, number, _ = change_header(value)
            if kind == ChangeKind.DEFINE:
                _take(catalog, number, int.from_bytes(lsn, "big"), value[13:], found)
            elif kind == ChangeKind.DROP:
                dropped.add(number)
    except (lmdb.Error, AuroraError) as exc:
        found.add("changes", f"the change log cannot be read on: {exc}")
    try:
        for number, created, encoded in read_definitions(txn, tables.meta):
            _take(catalog, number, created, encoded, found)
            dropped.discard(number)
    except (lmdb.Error, AuroraError, struct.error) as exc:
        found.add("meta", f"the catalog cannot be read on: {exc}")
    return {number: entry for number, entry in catalog.items() if number not in dropped}


class Numbers(NamedTuple):
    """What must not be given again, as far as it can be read.

    Attributes:
        rows: The last row of each collection.
        collection: The last collection.
        dropped: The removed collections whose documents are still there.
    """

    rows: dict[int, int]
    collection: int
    dropped: frozenset[int]


def read_numbers(
    txn: Transaction, tables: Tables, catalog: Catalog, found: Findings
) -> Numbers:
    """The numbers that were given."""
    rows: dict[int, int] = {}
    try:
        for number in catalog:
            rows[number] = read_counters(txn, tables.meta, number).next_row - 1
        following = txn.get(META_NEXT_COLLECTION, db=tables.meta)
        last = int.from_bytes(following, "big") - 1 if following else 0
        return Numbers(rows, last, frozenset(read_dropped(txn, tables.meta)))
    except (AuroraError, lmdb.Error, struct.error) as exc:
        found.add("meta", f"the counters cannot be read: {exc}")
        return Numbers(rows, 0, frozenset())


def _take(
    catalog: Catalog, number: int, created: int, encoded: bytes, found: Findings
) -> None:
    try:
        catalog[number] = (created, decode_definition(encoded))
    except AuroraError as exc:
        found.add("meta", f"the definition of collection {number}: {exc.message}")


def salvage_documents(
    txn: Transaction, table: Table, found: Findings
) -> Iterator[Document]:
    """All rows of ``docs`` that can be reached: collection, row, record; in order.

    Where a page cannot be read, it goes on with the rows behind it.
    """
    after: tuple[int, int] | None = (0, 0)
    while after is not None:
        last = after
        try:
            for document in _from(txn, table, after):
                last = document[:2]
                yield document
        except (lmdb.Error, struct.error) as exc:
            found.add("pages", f"docs cannot be read behind {last}: {exc}")
            after = _behind_gap(txn, table, last)
        else:
            after = None


def _from(txn: Transaction, table: Table, after: tuple[int, int]) -> Iterator[Document]:
    cursor = txn.cursor(table)
    if not cursor.set_range(_PAIR.pack(after[0], after[1] + 1)):
        return
    for key, record in cursor.iternext():
        collection, row = _PAIR.unpack(key)
        yield collection, row, record


def _behind_gap(
    txn: Transaction, table: Table, last: tuple[int, int]
) -> tuple[int, int] | None:
    """The place before the first row behind ``last`` that can be read again."""
    collection, row = last
    for step in range(2, _ROWS_TRIED):
        try:
            cursor = txn.cursor(table)
            if not cursor.set_range(row_key(collection, row + step)):
                return None
        except lmdb.Error:
            continue
        else:
            key = _PAIR.unpack(bytes(cursor.key()))
            return key[0], key[1] - 1
    try:
        cursor = txn.cursor(table)
        if cursor.set_range(_PAIR.pack(collection + 1, 0)):
            key = _PAIR.unpack(bytes(cursor.key()))
            return key[0], key[1] - 1
    except lmdb.Error:
        pass
    return None


# ------------------------------------------------------------------ log
def salvage_frames(directory: Path, uuid: bytes, found: Findings) -> list[Frame]:
    """The intact frames of all segments up to the first gap, in order."""
    frames: list[Frame] = []
    seed = zlib.crc32(uuid)
    for file in sorted(directory.glob("*.log")) if directory.is_dir() else []:
        scan = scan_frames(file.read_bytes(), seed)
        for frame in scan.frames:
            if frames and frame.first_lsn != frames[-1].last_lsn + 1:
                found.add(
                    "log",
                    f"changes {frames[-1].last_lsn + 1} to {frame.first_lsn - 1} are "
                    "missing: what comes after them is not applied",
                    str(file),
                )
                return frames
            frames.append(frame)
        if scan.stray:
            lost = scan.stray[-1].last_lsn
            found.add(
                "log",
                f"damaged at offset {scan.end}: changes up to {lost} that stand behind "
                "it are not applied",
                str(file),
                offset=scan.end,
            )
            return frames
    return frames
