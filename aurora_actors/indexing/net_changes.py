"""From single changes to what became of each row.

An index needs to know what a row was at one LSN and is at another, not what happened in
between. This is the first half of the hot path of catching up: most changes are inserts
of documents that are still as they were, whose records are read together and not one by
one. Functions over a snapshot; used by the index builder.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from operator import itemgetter
from typing import Final, NamedTuple

from msgspec import structs

from aurora_actors.indexing.documents import read_records
from aurora_actors.schema.values import Buffer
from aurora_actors.storage.changes import (
    HEADER_BYTES,
    ChangeKind,
    split_update,
    superseded_by,
)
from aurora_actors.storage.snapshot import CollectionInfo, Snapshot

__all__ = ["NetChange", "net_changes"]

_HEADER: Final = struct.Struct(">BIQ")
_INSERT: Final = int(ChangeKind.INSERT)
_UPDATE: Final = int(ChangeKind.UPDATE)
_DELETE: Final = int(ChangeKind.DELETE)
_row = itemgetter(0)


class NetChange(NamedTuple):
    """What became of one row, over any number of changes.

    Attributes:
        row: The row.
        old: Its record before; ``None`` when there was none.
        new: Its record after; ``None`` when it was removed.
    """

    row: int
    old: Buffer | None
    new: Buffer | None


class _Gathered:
    """The changes of one collection, as far as they have been read."""

    def __init__(self) -> None:
        # Inserted rows whose records are the documents as they are now.
        self.present: dict[int, None] = {}
        self.changed: dict[int, tuple[Buffer | None, Buffer | None]] = {}
        # Rows that are deleted and still have their records.
        self.marked: list[int] = []

    def replace(self, row: int, old: Buffer, new: Buffer | None) -> None:
        """The row was updated or removed."""
        before = self.changed.get(row)
        self.changed[row] = (old if before is None else before[0], new)


def net_changes(
    snapshot: Snapshot, collections: Iterable[CollectionInfo], after_lsn: int, most: int
) -> tuple[int, dict[int, list[NetChange]]]:
    """What became of each row of ``collections``, over up to ``most`` changes.

    Returns:
        The last LSN taken in, and the net changes by collection id, ascending by row.

    Raises:
        LaggedError: some of the changes are no longer kept.
    """
    upto = min(snapshot.lsn, after_lsn + most)
    known = {info.id: info for info in collections}
    gathered = {number: _Gathered() for number in known}
    unpack = _HEADER.unpack_from
    for _, value in snapshot.change_records(after_lsn, upto):
        kind, number, row = unpack(value)
        found = gathered.get(number)
        if found is None or kind > _DELETE:
            continue
        if kind == _INSERT:
            ended_by = superseded_by(value)
            if not ended_by:
                found.present[row] = None
            elif ended_by > upto:
                found.changed[row] = (None, snapshot.superseded_record(ended_by))
            else:
                found.changed[row] = (None, None)
        elif kind == _UPDATE:
            found.replace(row, *split_update(value))
        elif len(value) == HEADER_BYTES:
            found.marked.append(row)
        else:
            found.replace(row, value[HEADER_BYTES:], None)
    return upto, {
        number: _listed(snapshot, known[number], found)
        for number, found in gathered.items()
        if found.present or found.changed or found.marked
    }


def _listed(
    snapshot: Snapshot, info: CollectionInfo, found: _Gathered
) -> list[NetChange]:
    # What is deleted may still be there; here it is wanted.
    everything = structs.replace(info, marked=None)
    if found.marked:
        for row, record in read_records(snapshot, everything, sorted(found.marked)):
            if row in found.present:
                del found.present[row]
                found.changed[row] = (None, None)
            else:
                found.replace(row, record, None)
    present = read_records(snapshot, everything, sorted(found.present))
    changes = [NetChange(row, None, record) for row, record in present]
    if found.changed:
        changes += [
            NetChange(row, old, new) for row, (old, new) in found.changed.items()
        ]
        changes.sort(key=_row)
    return changes
