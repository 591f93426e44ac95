"""Reading the records of many rows at once; used by the index builder."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from aurora_actors.storage.snapshot import CollectionInfo, Snapshot

__all__ = ["collector_paused", "read_records"]


def read_records(
    snapshot: Snapshot, info: CollectionInfo, rows: Sequence[int]
) -> list[tuple[int, memoryview]]:
    """The records of ascending rows; rows without one are left out.

    A run of rows without gaps, as inserts make them, is scanned: 0.2 us each against
    1.2 for looking them up.
    """
    if rows and rows[-1] - rows[0] + 1 == len(rows):
        cursor = snapshot.open_cursor(info, rows[0] - 1)
        if cursor is not None:
            records = list(islice(cursor.iternext(keys=False), len(rows)))
            last = bytes(cursor.key())
            if last == info.prefix + rows[-1].to_bytes(8, "big"):
                return list(zip(rows, records, strict=True))
    return snapshot.get_rows(info, list(rows))


@contextmanager
def collector_paused() -> Iterator[None]:
    """Work without Python's cycle collector.

    A batch makes tens of thousands of small objects, none of them in a cycle; walking
    them again and again cost two thirds of the time of catching up.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
