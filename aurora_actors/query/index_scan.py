"""Reading what indexes select.

The set of rows comes from the indexes as a whole; then, unless rows or their number are
all that is wanted, the documents are read in row order. Rows of the delta are taken out
of the set and put back as their present documents say.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from time import perf_counter
from typing import Final

from aurora_actors.errors import CorruptionError
from aurora_actors.indexing.rowsets import RowSet
from aurora_actors.messages.query import OrderKey
from aurora_actors.query.derived import Derived
from aurora_actors.query.loops import Bound, RecordLoop, Want
from aurora_actors.query.plan import Access
from aurora_actors.query.predicate import Predicate
from aurora_actors.query.scan import Finish, Pace, Scan, take_batch, unbounded
from aurora_actors.query.selection import Selector
from aurora_actors.query.sources import RowSource
from aurora_actors.storage.reader import CollectionInfo, Snapshot

__all__ = ["IndexScan", "read_rows", "records_of"]

_CHUNK: Final = 8192
_FIRST_FETCH: Final = 32
_LARGEST_FETCH: Final = 1024


class IndexScan(Scan):
    """A scan of the rows that indexes select for a predicate.

    Args:
        snapshot: The data.
        info: The collection.
        derived: Its derived data.
        predicate: What indexes know something about.
        first: So many matches are enough; ``None`` if all are wanted.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        info: CollectionInfo,
        derived: Derived,
        predicate: Predicate,
        first: int | None = None,
    ) -> None:
        super().__init__(snapshot, info, Access("index", residual=predicate), None)
        self._derived = derived
        self._predicate = predicate
        self._first = first
        self._selector = Selector(derived.indexes)

    def batches(
        self,
        want: Want,
        order: Sequence[OrderKey] = (),
        *,
        finish: Finish = bytes,
        bound: Callable[[], Bound] = unbounded,
    ) -> Generator[list[object]]:
        """See :meth:`Scan.batches`."""
        started = perf_counter()
        self.name = self._selector.way(self._predicate)
        rows, exact = self._rows()
        self.seconds = perf_counter() - started
        yield []
        if exact and want in {Want.NOTHING, Want.ROW}:
            for at in range(0, len(rows), _CHUNK):
                yield [*rows[at : at + _CHUNK].to_array()]
            return
        residual = None if exact else self._predicate
        loop = RecordLoop(residual, want, order)
        first = self._first if exact and want is Want.RECORD else None
        yield from read_rows(self, rows, loop, finish, bound, first)

    def _rows(self) -> tuple[RowSet, bool]:
        derived, predicate = self._derived, self._predicate
        selected = self._selector.select(predicate)
        if selected is None:
            raise CorruptionError("an index that a plan uses is gone")
        rows, exact = selected
        if derived.changed:
            rows = rows - derived.changed
            rows |= derived.matching_delta(predicate)
            self.rows_read += len(derived.changed)
        return rows, exact


def read_rows(
    scan: Scan,
    rows: RowSet,
    loop: RecordLoop,
    finish: Finish,
    bound: Callable[[], Bound],
    first: int | None = None,
) -> Generator[list[object]]:
    """Run ``loop`` over the documents of ``rows``, counting and timing in ``scan``.

    Of ``first``, if given, that many rows are enough.
    """
    pace = Pace()
    if first is not None:
        pace.size = max(1, min(pace.size, first))
        rows = rows[:first]
    before, seconds = scan.rows_read, scan.seconds
    source = RowSource(scan.info, records_of(scan.snapshot, scan.info, rows))
    try:
        while not source.done:
            pace.start()
            found = take_batch(source, loop, pace.size, finish, bound())
            pace.stop(sum(len(item) for item in found if isinstance(item, bytes)))
            scan.rows_read = before + source.taken
            scan.seconds = seconds + pace.elapsed
            yield found
    finally:
        source.close()


def records_of(
    snapshot: Snapshot, info: CollectionInfo, rows: RowSet
) -> Iterator[tuple[int, memoryview]]:
    """The records of rows, read some at a time."""
    size, at, total = _FIRST_FETCH, 0, len(rows)
    while at < total:
        part = rows[at : at + size]
        yield from snapshot.get_rows(info, part.to_array().tolist())
        at += size
        size = min(_LARGEST_FETCH, 2 * size)
