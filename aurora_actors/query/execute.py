"""Running queries: filter, order, offset, limit, field selection, in small steps.

Used in executors, and in the caller's process for what is small. Everything here is
synchronous and reads one snapshot, which the caller opens and closes; whoever runs a
query takes its steps one by one and may do other things in between.

Invariants:

* A result is the same however its documents were found: without an order they come in
  the order of insertion, with one ties come by id. Where the two are known to be the
  same, nothing is sorted by id.
* Closing (or dropping) the iterator of steps lets go of everything that refers to the
  snapshot, at any point.
* What a query holds in memory is bounded: chunks by size, sorting by ``memory_limit``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from itertools import islice
from time import perf_counter
from typing import Final, TypeVar, cast

import msgspec

from aurora_actors.messages.query import QuerySpec, ResultMode
from aurora_actors.query.cache import DocumentCache
from aurora_actors.query.check import check_query
from aurora_actors.query.choose import MEMORY_LIMIT, Aids, choose, needed
from aurora_actors.query.describe import describe_predicate
from aurora_actors.query.id_order import IdOrder
from aurora_actors.query.index_order import IndexOrder, TooManyReadError
from aurora_actors.query.loops import Want
from aurora_actors.query.ordering import MOST_SELECTED, Hit, Sorter
from aurora_actors.query.plan import (
    CALLER_ROWS,
    Plan,
    PlanStep,
    choose_access,
    estimated_matches,
    plan_query,
)
from aurora_actors.query.predicate import Predicate, decode_predicate
from aurora_actors.query.projection import projection
from aurora_actors.query.scan import Finish, Pace
from aurora_actors.schema.types import CollectionDefinition
from aurora_actors.schema.values import Buffer
from aurora_actors.storage.reader import Snapshot

__all__ = ["MEMORY_LIMIT", "Execution", "explain_query", "matching_rows", "run_query"]

T = TypeVar("T")

CHUNK_BYTES: Final = 256 << 10
_SORTED_AT_ONCE: Final = 2048
_RUN: Final = 1024


class Execution:
    """A query under way; made by :func:`run_query`, run by taking :meth:`steps`.

    Attributes:
        count: The documents given so far; for the modes count and exists the answer,
            once there are no more steps.
        definition: What the query was checked against.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        spec: QuerySpec,
        aids: Aids,
        memory_limit: int,
        predicate: Predicate | None = None,
        checked: CollectionDefinition | None = None,
    ) -> None:
        if predicate is None and spec.predicate:
            predicate = decode_predicate(spec.predicate)
        info = snapshot.collection(spec.collection)
        self.definition = info.definition
        if checked is not info.definition:
            check_query(info.definition, spec, predicate)
        self.count = 0
        self._asked = spec
        spec = needed(snapshot, info, spec, aids)
        self._spec = spec
        self._info = info
        self._predicate: Predicate | None = predicate
        if _sorts_many(spec):
            # Sorting needs the ids, which the cache has not.
            aids = msgspec.structs.replace(aids, cache=None)
        self._choice = choose(snapshot, info, spec, predicate, aids)
        self._scan = self._choice.scan
        self._memory_limit = memory_limit
        self._done: list[tuple[str, int, float, bool]] = []
        self._fetched = 0

    @property
    def plan(self) -> Plan:
        """How the query is answered; with real numbers for what has been done."""
        spec, info = self._asked, self._info
        choice = self._choice
        plan = plan_query(info.definition, spec, self._predicate, info.count)
        estimate = plan.estimated_rows
        if choice.estimate is not None:
            estimate = min(choice.estimate, estimate if spec.limit else info.count)
        matching = choice.estimate
        if matching is None:
            access = choose_access(info.definition, self._predicate)
            matching = round(estimated_matches(access, info.count))
        ordered = choice.ordered
        read = self._scan.rows_read
        if ordered is not None:
            # Of documents read for their place many are read again to be given.
            read += max(ordered.rows_read, self._fetched)
        return msgspec.structs.replace(
            plan,
            access=choice.kind,
            where="caller" if self.is_short else "executor",
            index_field=choice.field,
            filter=describe_predicate(choice.residual),
            estimated_rows=estimate,
            actual_rows=self.count,
            rows_read=read,
            steps=[
                PlanStep(name, rows, took, matching if is_scan else estimate)
                for name, rows, took, is_scan in self._done
            ],
        )

    @property
    def is_short(self) -> bool:
        """Whether so little is read that the caller may run the query itself."""
        return self._choice.bound <= CALLER_ROWS

    def steps(self) -> Generator[list[bytes]]:
        """Run the query; gives records in result order, in lists of up to 256 KiB.

        After a few milliseconds without a full list it gives an empty one, to let the
        caller do other things.

        Raises:
            LimitExceededError: sorting needs more memory than the query may use.
            CorruptionError: a document cannot be decoded.
        """
        if self._spec.mode is not ResultMode.DOCUMENTS:
            return self._counted()
        if self._spec.order:
            return self._chunked(self._sorted_records())
        return self._chunked(self._unsorted(Want.RECORD))

    def at_once(self, convert: Callable[[Buffer], T]) -> list[T]:
        """All results of a short plan, converted while the snapshot is open.

        The same as from :meth:`steps`, without the pauses that a short plan needs not.

        Args:
            convert: Makes a result of a record, which is valid only until it returns.
        """
        spec, ordered = self._spec, self._choice.ordered
        if ordered is not None and spec.fields is None and spec.limit:
            stop = min(spec.offset + spec.limit, sys.maxsize)
            with suppress(TooManyReadError), closing(ordered.rows()) as found:
                rows = list(islice((r for r in found if r is not None), stop))
                records = self._scan.records(rows[spec.offset :])
                return [convert(record) for record in records]
        return [convert(record) for part in self.steps() for record in part]

    def rows(self) -> Generator[list[int]]:
        """The rows of the results, in the same steps."""
        if self._spec.order:
            for part in self._sorted():
                yield [*part]
        else:
            for found in self._unsorted(Want.ROW):
                yield cast("list[int]", found)

    # -------------------------------------------------------------- counting
    def _counted(self) -> Generator[list[bytes]]:
        spec = self._spec
        limit = spec.limit
        if spec.mode is ResultMode.EXISTS:
            limit = 1 if limit is None else min(limit, 1)
        if self._predicate is None:
            total = self._info.count
        else:
            total = 0
            with closing(self._scan.batches(Want.NOTHING)) as batches:
                for found in batches:
                    total += len(found)
                    if limit is not None and total >= spec.offset + limit:
                        break
                    yield []
            self._note_scan(total)
        rest = max(0, total - spec.offset)
        self.count = rest if limit is None else min(rest, limit)

    # -------------------------------------------------------------- insertion order
    def _unsorted(self, want: Want) -> Generator[list[object]]:
        skip, left = self._spec.offset, self._spec.limit
        if left == 0:
            return
        total = 0
        with closing(self._scan.batches(want, finish=self._finish())) as batches:
            for found in batches:
                total += len(found)
                part = found[skip:] if skip else found
                skip = max(0, skip - len(found))
                if left is not None:
                    part = part[:left]
                    left -= len(part)
                yield part
                if left == 0:
                    break
        self._note_scan(total)

    # -------------------------------------------------------------- sorted
    def _sorted(self) -> Generator[list[int]]:
        """The rows of the results; empty lists while they are being sorted."""
        spec, scan = self._spec, self._scan
        if spec.limit == 0:
            return
        stop = (
            None if spec.limit is None else min(spec.offset + spec.limit, sys.maxsize)
        )
        if self._choice.ordered is not None:
            try:
                yield from self._in_index_order(self._choice.ordered, stop)
            except TooManyReadError:
                yield []
            else:
                return
        sorter = Sorter(spec.order, stop, scan.record, self._memory_limit)
        total, seconds = 0, 0.0
        with closing(
            scan.batches(Want.KEYS, spec.order, bound=sorter.bound)
        ) as batches:
            for found in batches:
                total += len(found)
                for at in range(0, len(found) or 1, _SORTED_AT_ONCE):
                    started = perf_counter()
                    sorter.add(cast("list[Hit]", found[at : at + _SORTED_AT_ONCE]))
                    seconds += perf_counter() - started
                    yield []
        self._note_scan(total)
        rows = islice(sorter.rows(), spec.offset, stop)
        pace, given = Pace(), 0
        while True:
            pace.start()
            part = list(islice(rows, pace.size))
            pace.stop()
            if not part:
                break
            given += len(part)
            yield part
        self._note("sort", given, seconds + pace.elapsed)

    def _in_index_order(
        self, ordered: IndexOrder | IdOrder, stop: int | None
    ) -> Generator[list[int]]:
        """The rows of the results as an index orders them."""
        offset = self._spec.offset
        found: list[int] = []
        given = 0
        started = perf_counter()
        with closing(ordered.rows()) as rows:
            for row in rows:
                if row is None:
                    yield []
                    continue
                found.append(row)
                if len(found) == stop:
                    break
                # With a stop nothing is given before it is sure that there is enough.
                if stop is None and len(found) >= _RUN and offset < len(found):
                    given += len(found) - offset
                    yield found[offset:]
                    found, offset = [], 0
        self._note("index order", given + len(found), perf_counter() - started)
        if found[offset:]:
            yield found[offset:]

    def _sorted_records(self) -> Generator[list[object]]:
        finish, records = self._finish(), self._scan.records
        pace = Pace()
        given = 0
        for rows in self._sorted():
            for at in pace.parts(len(rows)):
                pace.start()
                part = [finish(record) for record in records(rows[at])]
                pace.stop(sum(map(len, part)))
                given += len(part)
                yield [*part]
            if not rows:
                yield []
        self._fetched = given
        self._note("fetch", given, pace.elapsed)

    def _finish(self) -> Finish:
        fields = self._spec.fields
        return bytes if fields is None else projection(fields)

    # -------------------------------------------------------------- chunks
    def _chunked(self, parts: Generator[list[object]]) -> Generator[list[bytes]]:
        """Records put together into lists of about :data:`CHUNK_BYTES`."""
        chunk: list[bytes] = []
        size = 0
        with closing(parts):
            for part in parts:
                full = False
                for record in cast("list[bytes]", part):
                    chunk.append(record)
                    size += len(record)
                    if size >= CHUNK_BYTES:
                        self.count += len(chunk)
                        yield chunk
                        chunk, size, full = [], 0, True
                if not full:
                    yield []
        if chunk:
            self.count += len(chunk)
            yield chunk

    # -------------------------------------------------------------- the plan's steps
    def _note_scan(self, rows: int) -> None:
        self._note(self._scan.name, rows, self._scan.seconds, is_scan=True)

    def _note(
        self, name: str, rows: int, seconds: float, *, is_scan: bool = False
    ) -> None:
        self._done.append((name, rows, round(seconds * 1000, 3), is_scan))


def _sorts_many(spec: QuerySpec) -> bool:
    if not spec.order or spec.mode is not ResultMode.DOCUMENTS:
        return False
    return spec.limit is None or spec.offset + spec.limit > MOST_SELECTED


def run_query(
    snapshot: Snapshot,
    spec: QuerySpec,
    *,
    cache: DocumentCache | None = None,
    memory_limit: int | None = None,
    aids: Aids | None = None,
    predicate: Predicate | None = None,
    checked: CollectionDefinition | None = None,
) -> Execution:
    """Check and plan a query; nothing is read until its steps are taken.

    Args:
        snapshot: What is read; it has to stay open until the steps are closed.
        spec: The query.
        cache: Decoded columns of earlier scans in this process.
        memory_limit: How many bytes sorting may use; if not said, as ``aids`` say.
        aids: Indexes, columns and ``cache`` together; they make no difference but in
            time. The index snapshot is the older one, and stays open as long.
        predicate: What ``spec.predicate`` encodes, if the caller has it.
        checked: A definition for which the query is known to make sense.

    Raises:
        CollectionNotFoundError: there is no such collection.
        InvalidFilterError: the query does not make sense for the collection.
    """
    aids = aids or Aids(cache=cache)
    limit = aids.memory_limit if memory_limit is None else memory_limit
    return Execution(snapshot, spec, aids, limit, predicate, checked)


def matching_rows(
    snapshot: Snapshot,
    spec: QuerySpec,
    *,
    cache: DocumentCache | None = None,
    aids: Aids | None = None,
) -> Iterator[list[int]]:
    """The row ids of what a query gives, in steps of a few milliseconds.

    Raises:
        CollectionNotFoundError: there is no such collection.
        InvalidFilterError: the query does not make sense for the collection.
    """
    return run_query(snapshot, spec, cache=cache, aids=aids).rows()


def explain_query(
    snapshot: Snapshot,
    spec: QuerySpec,
    *,
    cache: DocumentCache | None = None,
    aids: Aids | None = None,
) -> Plan:
    """Run a query to its end, throw the result away, and tell how it went.

    Raises:
        CollectionNotFoundError: there is no such collection.
        InvalidFilterError: the query does not make sense for the collection.
    """
    execution = run_query(snapshot, spec, cache=cache, aids=aids)
    for _ in execution.steps():
        pass
    return execution.plan
