"""Where a scan's records come from: a cursor over a collection, or given rows.

Used wherever queries run. Generated code iterates over the records alone and asks for
the key of the present one only when it matches: 0.21 us a record, against 0.48 when
each comes with its row.

Invariant: a source never hands out a record of another collection. LMDB iterates on
into the next one, so a cursor is asked for no more records than the catalog counts, the
place it has reached is compared after each batch, and should the two disagree the batch
is taken again the slow way, which looks at every key.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, Protocol, cast

from aurora_actors.storage.reader import CollectionInfo, Snapshot

__all__ = ["CollectionSource", "RowSource", "Source"]

_KEY: Final = struct.Struct(">IQ")


class Source(Protocol):
    """A run of records, taken in batches.

    Attributes:
        done: Nothing is left.
        taken: The records handed out so far.
    """

    done: bool
    taken: int

    def take(self, size: int) -> Iterator[memoryview]:
        """The next ``size`` records, or as many as there are."""

    def key(self) -> bytes | memoryview:
        """The key of the record handed out last: collection u32, row u64."""

    def settle(self) -> bool:
        """After each batch: false when it was not ours and must be taken again."""

    def close(self) -> None:
        """Let go of the snapshot."""


class RowSource:
    """Records that come with their rows."""

    def __init__(
        self, info: CollectionInfo, pairs: Iterable[tuple[int, memoryview]]
    ) -> None:
        self.done = False
        self.taken = 0
        self._number = info.id
        self._row = 0
        self._records = self._iterate(pairs)

    def _iterate(self, pairs: Iterable[tuple[int, memoryview]]) -> Iterator[memoryview]:
        for self._row, record in pairs:
            self.taken += 1
            yield record
        self.done = True

    def take(self, size: int) -> Iterator[memoryview]:
        """The next ``size`` records."""
        return islice(self._records, size)

    def key(self) -> bytes:
        """The key of the record handed out last."""
        return _KEY.pack(self._number, self._row)

    def settle(self) -> bool:
        """Every batch is ours."""
        return True

    def close(self) -> None:
        """Let go of the snapshot."""
        self._records = iter(())
        self.done = True


class CollectionSource:
    """All documents of a collection, in row order."""

    def __init__(self, snapshot: Snapshot, info: CollectionInfo) -> None:
        self.done = False
        self.taken = 0
        self._snapshot: Snapshot | None = snapshot
        self._info = info
        self._left = info.count
        self._size = 0
        self._fast = 0
        self._row = 0
        self._slow: RowSource | None = None
        self._cursor = snapshot.open_cursor(info)
        if self._cursor is not None:
            self._records = self._cursor.iternext(keys=False)

    def take(self, size: int) -> Iterator[memoryview]:
        """The next ``size`` records, or as many as there are."""
        if self._cursor is None or self._left <= 0:
            return self._take_slowly(size)
        self._size = min(size, self._left)
        return islice(self._records, self._size)

    def _take_slowly(self, size: int) -> Iterator[memoryview]:
        if self._slow is None:
            if self._snapshot is None:
                return iter(())
            pairs = self._snapshot.scan(self._info, self._row)
            self._slow = RowSource(self._info, pairs)
        self._size = size
        return self._slow.take(size)

    def key(self) -> bytes | memoryview:
        """The key of the record handed out last."""
        if self._slow is not None:
            return self._slow.key()
        return b"" if self._cursor is None else cast("memoryview", self._cursor.key())

    def settle(self) -> bool:
        """Compare the place reached with where the collection ends."""
        if self._slow is not None:
            self.done = self._slow.done
            self.taken = self._fast + self._slow.taken
            return True
        key = bytes(self._cursor.key()) if self._cursor is not None else b""
        if len(key) != _KEY.size or key[:4] != self._info.prefix:
            self._left = 0
            return False
        self._row = _KEY.unpack(key)[1]
        self._fast += self._size
        self.taken = self._fast
        self._left -= self._size
        return True

    def close(self) -> None:
        """Let go of the snapshot."""
        if self._slow is not None:
            self._slow.close()
        self._snapshot = self._cursor = self._slow = None
        self._records = iter(())
        self.done = True
