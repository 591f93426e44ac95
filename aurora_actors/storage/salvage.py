"""Reading what can still be read of a damaged data file and a damaged log.

Used by ``storage.repair`` in a maintenance process. Nothing here believes an index or a
counter: documents come from ``docs``, definitions from ``meta`` and the change log.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import lmdb

from aurora_actors.errors import AuroraError, CorruptionError
from aurora_actors.schema.types import CollectionDefinition, decode_definition
from aurora_actors.storage.catalog import (
    State,
    read_counters,
    read_definitions,
    read_dropped,
    read_state,
)
from aurora_actors.storage.changes import ChangeKind, change_header
from aurora_actors.storage.environment import (
    Environment,
    Table,
    Tables,
    Transaction,
)
from aurora_actors.storage.findings import Findings
from aurora_actors.storage.frames import Frame, scan_frames
from aurora_actors.storage.layout import META_NEXT_COLLECTION, row_key
from aurora_actors.storage.marking import BitMap64, all_marked, read_marks

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
_FARTHEST: Final = 1 << 24


def read_state_or_zero(txn: Transaction, tables: Tables, found: Findings) -> State:
    """The state entry; zeros, and a finding, when it cannot be read."""
    try:
        return read_state(txn, tables.meta)
    except (AuroraError, lmdb.Error) as exc:
        found.add("meta", f"the state cannot be read: {exc}")
        return State(0, 0, 0)


def read_catalog(env: Environment, tables: Tables, found: Findings) -> Catalog:
    """The definitions in ``meta``, and those that only the change log still has."""
    catalog: Catalog = {}
    dropped: set[int] = set()
    try:
        with env.begin() as txn:
            for lsn, value in txn.cursor(tables.changes):
                kind, number, _ = change_header(value)
                if kind == ChangeKind.DEFINE:
                    created = int.from_bytes(lsn, "big")
                    _take(catalog, number, created, value[13:], found)
                elif kind == ChangeKind.DROP:
                    dropped.add(number)
    except (lmdb.Error, AuroraError) as exc:
        found.add("changes", f"the change log cannot be read on: {exc}")
    try:
        with env.begin() as txn:
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
        marked: The deleted rows that are still there, by collection.
    """

    rows: dict[int, int]
    collection: int
    dropped: frozenset[int]
    marked: dict[int, BitMap64]


def read_numbers(
    env: Environment, tables: Tables, catalog: Catalog, found: Findings
) -> Numbers:
    """The numbers that were given."""
    rows: dict[int, int] = {}
    meta = tables.meta
    try:
        with env.begin() as txn:
            for number in catalog:
                rows[number] = read_counters(txn, meta, number).next_row - 1
            following = txn.get(META_NEXT_COLLECTION, db=meta)
            last = int.from_bytes(following, "big") - 1 if following else 0
            marked = all_marked(read_marks(txn, meta))
            return Numbers(rows, last, frozenset(read_dropped(txn, meta)), marked)
    except (AuroraError, lmdb.Error, struct.error) as exc:
        found.add("meta", f"the counters cannot be read: {exc}")
        return Numbers(rows, 0, frozenset(), {})


def _take(
    catalog: Catalog, number: int, created: int, encoded: bytes, found: Findings
) -> None:
    try:
        catalog[number] = (created, decode_definition(encoded))
    except AuroraError as exc:
        found.add("meta", f"the definition of collection {number}: {exc.message}")


def salvage_documents(
    env: Environment, table: Table, found: Findings
) -> Iterator[Document]:
    """All rows of ``docs`` that can be reached: collection, row, record; in order.

    Where a page cannot be read, it goes on with the rows behind it. LMDB may also take
    a damaged page for the end of the table: then there is a last key further on. An
    error ends a transaction, so each attempt has its own; nobody writes meanwhile.
    """
    after: tuple[int, int] | None = (0, 0)
    with env.begin() as txn:
        count, entries = 0, int(txn.stat(table)["entries"])
    while after is not None:
        last, reason = after, "the rows that follow are not found"
        try:
            with env.begin(buffers=True) as txn:
                for document in _from(txn, table, after):
                    last, count = document[:2], count + 1
                    yield document
        except (lmdb.Error, struct.error, CorruptionError) as exc:
            reason = str(exc)
        after = None
        if last < _last_key(env, table):
            found.add("pages", f"docs cannot be read behind {last}: {reason}")
            after = _behind_gap(env, table, last)
    if count != entries:
        found.add("pages", f"docs has {entries:,} documents; {count:,} could be read")


def _from(txn: Transaction, table: Table, after: tuple[int, int]) -> Iterator[Document]:
    cursor = txn.cursor(table)
    if not cursor.set_range(_PAIR.pack(after[0], after[1] + 1)):
        return
    last = after
    for key, record in cursor.iternext():
        collection, row = _PAIR.unpack(key)
        if (collection, row) <= last:
            raise CorruptionError(f"row {row} stands behind row {last[1]}")
        last = collection, row
        yield collection, row, record


def _last_key(env: Environment, table: Table) -> tuple[int, int]:
    with suppress(lmdb.Error, struct.error), env.begin() as txn:
        cursor = txn.cursor(table)
        if cursor.last():
            collection, row = _PAIR.unpack(cursor.key())
            return collection, row
    return (0, 0)


def _behind_gap(
    env: Environment, table: Table, last: tuple[int, int]
) -> tuple[int, int] | None:
    """The place before the first row behind ``last`` that can be read again.

    Looks at doubling distances, then halves the last one, in each collection in turn.
    """
    end = _last_key(env, table)
    for collection in range(last[0], end[0] + 1):
        start = last[1] if collection == last[0] else 0
        distance = 1
        while distance <= _FARTHEST:
            if _readable(env, table, (collection, start + distance)):
                near = _nearest(env, table, (collection, start), distance)
                return collection, near - 1
            distance *= 2
    return None


def _nearest(
    env: Environment, table: Table, start: tuple[int, int], distance: int
) -> int:
    low, high = distance // 2, distance
    while high - low > 1:
        middle = (low + high) // 2
        if _readable(env, table, (start[0], start[1] + middle)):
            high = middle
        else:
            low = middle
    return start[1] + high


def _readable(env: Environment, table: Table, place: tuple[int, int]) -> bool:
    """Whether a search for a row leads to it or to one behind it."""
    with suppress(lmdb.Error, struct.error), env.begin() as txn:
        cursor = txn.cursor(table)
        if cursor.set_range(row_key(*place)):
            key: tuple[int, int] = _PAIR.unpack(cursor.key())
            return key >= place and key[0] == place[0]
    return False


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
