"""From an access to batches of matches: the lower half of running a query.

Used wherever queries run. A batch is a few milliseconds of work at most, so that
whoever runs the query can do other things between two of them; the batches' sizes
follow the measured time. Closing the iterator lets go of the snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from time import perf_counter
from typing import Final, TypeAlias, cast

from aurora_actors.errors import CorruptionError
from aurora_actors.messages.query import OrderKey
from aurora_actors.query.cache import DocumentCache
from aurora_actors.query.loops import UNBOUNDED, Bound, ColumnLoop, RecordLoop, Want
from aurora_actors.query.plan import Access
from aurora_actors.query.predicate import terms
from aurora_actors.query.sources import CollectionSource, RowSource, Source
from aurora_actors.schema.values import DECODE_FAULTS
from aurora_actors.storage.reader import CollectionInfo, Snapshot

__all__ = ["Finish", "Pace", "Scan", "take_batch", "unbounded"]

Finish: TypeAlias = Callable[[memoryview], bytes]

_SHORTEST_S: Final = 0.001
_LONGEST_S: Final = 0.003
_FIRST: Final = 32
_LARGEST: Final = 8192
_BATCH_BYTES: Final = 256 << 10


class Pace:
    """How much to do before the next pause: as much as takes one to three ms."""

    def __init__(self) -> None:
        self.size = _FIRST
        self.elapsed = 0.0
        self._started = 0.0

    def start(self) -> None:
        """A batch begins."""
        self._started = perf_counter()

    def stop(self, held_bytes: int = 0) -> float:
        """A batch has ended, with this much memory in its results; gives its time."""
        took = perf_counter() - self._started
        self.elapsed += took
        if took > _LONGEST_S or held_bytes > 2 * _BATCH_BYTES:
            shrink = max(took / _LONGEST_S, held_bytes / _BATCH_BYTES)
            self.size = max(1, int(self.size / shrink))
        elif took < _SHORTEST_S and held_bytes < _BATCH_BYTES // 2:
            self.size = min(_LARGEST, self.size * 2)
        return took

    def parts(self, length: int) -> Iterator[slice]:
        """Slices of that many items, each as long as the pace is when it is taken."""
        at = 0
        while at < length:
            part = slice(at, at + self.size)
            yield part
            at = part.stop


def unbounded() -> Bound:
    """Every value is of interest."""
    return UNBOUNDED


class Scan:
    """Reads what an access finds, and passes on what matches.

    Attributes:
        snapshot: What is read.
        info: The collection.
        name: What is done, for the plan.
        rows_read: The documents read or tested so far.
        seconds: The time it has taken so far.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        info: CollectionInfo,
        access: Access,
        cache: DocumentCache | None,
    ) -> None:
        self.name = access.kind.replace("_", " ")
        self.rows_read = 0
        self.seconds = 0.0
        self.snapshot = snapshot
        self.info = info
        self._access = access
        self._cache = cache

    def batches(
        self,
        want: Want,
        order: Sequence[OrderKey] = (),
        *,
        finish: Finish = bytes,
        bound: Callable[[], Bound] = unbounded,
    ) -> Generator[list[object]]:
        """What is wanted of the matches, in the order of rows.

        Args:
            want: What.
            order: The order keys, for ``Want.KEYS``.
            finish: Makes a result of a record, for ``Want.RECORD``.
            bound: Asked before each batch, for ``Want.KEYS``.
        """
        cache = self._usable_cache(order)
        if cache is not None:
            columns = ColumnLoop(self._access.residual, _column_want(want), order)
            if cache.admits(self.info, columns.fields):
                self.name = "scan of cached columns"
                found = self._from_columns(cache, columns, bound)
                wanted = want is Want.RECORD
                yield from self._fetched(found, finish) if wanted else found
                return
        records = RecordLoop(self._access.residual, want, order)
        yield from self._from_records(records, finish, bound)

    def _usable_cache(self, order: Sequence[OrderKey]) -> DocumentCache | None:
        """The cache, if the access is a scan that reads fields but no ids."""
        access = self._access
        if access.kind != "document_scan" or (access.residual is None and not order):
            return None
        read = {key.field for key in order}
        if access.residual is not None:
            read.update(term.field for term in terms(access.residual))
        return self._cache if not any(_is_id(path) for path in read) else None

    # -------------------------------------------------------------- records
    def _from_records(
        self, loop: RecordLoop, finish: Finish, bound: Callable[[], Bound]
    ) -> Generator[list[object]]:
        snapshot, info = self.snapshot, self.info
        pace = Pace()
        source: Source
        if self._access.kind == "document_scan":
            source = CollectionSource(snapshot, info)
        else:
            rows: set[int] = set()
            yield from self._look_up(rows, pace)
            source = RowSource(info, _records(snapshot, info, rows))
        try:
            while not source.done:
                pace.start()
                found = take_batch(source, loop, pace.size, finish, bound())
                pace.stop(sum(map(_length, found)))
                self.rows_read, self.seconds = source.taken, pace.elapsed
                yield found
        finally:
            source.close()

    def _look_up(self, rows: set[int], pace: Pace) -> Generator[list[object]]:
        """Collect the rows that the access names; gives empty batches meanwhile."""
        snapshot, info, access = self.snapshot, self.info, self._access
        field = str(access.field)
        for at in pace.parts(len(access.values)):
            pace.start()
            for value in access.values[at]:
                if access.kind == "primary_key":
                    row = snapshot.row_of(info, str(value))
                else:
                    row = snapshot.lookup_unique(info, field, value)
                if row is not None:
                    rows.add(row)
            pace.stop()
            if at.stop < len(access.values):
                yield []

    # -------------------------------------------------------------- columns
    def _from_columns(
        self, cache: DocumentCache, loop: ColumnLoop, bound: Callable[[], Bound]
    ) -> Generator[list[object]]:
        pace = Pace()
        started = perf_counter()
        for block in cache.blocks(self.snapshot, self.info, loop.fields):
            columns = [block.columns[name] for name in loop.fields]
            self.seconds += perf_counter() - started
            for at in pace.parts(len(block.rows)):
                pace.start()
                found: list[object] = []
                parts = [column[at] for column in columns]
                loop.run(block.rows[at], parts, found.append, bound())
                self.rows_read += len(parts[0])
                self.seconds += pace.stop()
                yield found
            started = perf_counter()

    def _fetched(
        self, batches: Generator[list[object]], finish: Finish
    ) -> Generator[list[object]]:
        """The finished records of rows."""
        pace = Pace()
        for rows in batches:
            for at in pace.parts(len(rows)):
                pace.start()
                records = [finish(each) for each in self.records(rows[at])]
                pace.stop(sum(map(len, records)))
                yield [*records]
            if not rows:
                yield []
        self.seconds += pace.elapsed

    def record(self, row: object) -> memoryview:
        """The record of a row that the snapshot has.

        Raises:
            CorruptionError: it has not.
        """
        assert isinstance(row, int)  # noqa: S101 - what loops and sorters give
        record = self.snapshot.get_row(self.info, row)
        if record is None:
            raise self._missing(row)
        return record

    def records(self, rows: Sequence[object]) -> list[memoryview]:
        """The records of rows that the snapshot has, in the order of ``rows``.

        Raises:
            CorruptionError: it has not all of them.
        """
        wanted = cast("list[int]", rows)
        found = self.snapshot.get_records(self.info, wanted)
        if len(found) < len(rows):
            known = {row for row, _ in self.snapshot.get_rows(self.info, wanted)}
            raise self._missing(next(row for row in wanted if row not in known))
        return found

    def _missing(self, row: int) -> CorruptionError:
        return CorruptionError(
            f"row {row} of {self.info.name} is in an index but not there",
            file="data.mdb",
        )


def take_batch(
    source: Source, loop: RecordLoop, size: int, finish: Finish, bound: Bound
) -> list[object]:
    """Run a loop over the next ``size`` records of a source.

    Raises:
        CorruptionError: a document cannot be decoded.
    """
    found: list[object] = []
    try:
        loop.run(source.take(size), source.key, found.append, finish, bound)
        if not source.settle():
            found.clear()
            loop.run(source.take(size), source.key, found.append, finish, bound)
            source.settle()
    except DECODE_FAULTS as exc:
        raise CorruptionError(f"a document cannot be decoded: {exc}") from exc
    return found


def _records(
    snapshot: Snapshot, info: CollectionInfo, rows: set[int]
) -> Iterator[tuple[int, memoryview]]:
    for row in sorted(rows):
        record = snapshot.get_row(info, row)
        if record is not None:
            yield row, record


def _length(record: object) -> int:
    return len(record) if isinstance(record, bytes) else 0


def _column_want(want: Want) -> Want:
    return Want.ROW if want is Want.RECORD else want


def _is_id(path: str) -> bool:
    return path.partition(".")[0] == "id"
