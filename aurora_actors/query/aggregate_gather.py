"""Where an aggregation's documents come from, and how they get into its groups.

Used wherever queries run; whoever gathers takes steps of a few milliseconds. There are
four ways, of which :func:`gathering_of` takes the first that serves:

* the number of documents alone, where nothing else is asked;
* the results of the query, where it has a limit, or an order that matters;
* whole columns, and documents for the rows that columns do not speak for;
* the documents that a scan finds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from contextlib import closing
from importlib import import_module
from time import perf_counter
from typing import Final, NamedTuple, cast

import msgspec

from aurora_actors.indexing.tables import SegmentTables
from aurora_actors.messages.query import OrderKey, QuerySpec, ResultMode
from aurora_actors.query.aggregate_groups import Groups
from aurora_actors.query.aggregate_terms import Terms
from aurora_actors.query.choose import Aids, Choice, choose
from aurora_actors.query.derived import Derived
from aurora_actors.query.execute import run_query
from aurora_actors.query.index_scan import read_rows
from aurora_actors.query.loops import RecordLoop, Want
from aurora_actors.query.plan import Access, PlanStep
from aurora_actors.query.predicate import Predicate, terms as terms_of
from aurora_actors.query.scan import Scan, take_batch, unbounded
from aurora_actors.query.sources import RowSource
from aurora_actors.storage.reader import CollectionInfo, Snapshot

__all__ = ["Asked", "Gathering", "gathering_of"]

# Of fewer documents each is read sooner than pyarrow is got going.
_FEW: Final = 1000
_AT_ONCE: Final = 2048


class Asked(NamedTuple):
    """What is to be gathered.

    Attributes:
        snapshot: The data.
        info: The collection.
        spec: The query for the documents.
        predicate: Its predicate.
        terms: What is computed.
        aids: What helps.
    """

    snapshot: Snapshot
    info: CollectionInfo
    spec: QuerySpec
    predicate: Predicate | None
    terms: Terms
    aids: Aids


class Gathering(ABC):
    """A way to the documents.

    Attributes:
        choice: How they are found.
        rows_read: The documents, or rows of columns, read or tested so far.
        steps: What has been done.
    """

    def __init__(self, asked: Asked, choice: Choice) -> None:
        self._asked = asked
        self.choice = choice
        self.rows_read = 0
        self.steps: list[PlanStep] = []
        self._order = [OrderKey(name) for name in asked.terms.fields]
        self._want = Want.KEYS if self._order else Want.ROW

    @abstractmethod
    def into(self, groups: Groups) -> Generator[None]:
        """Add all documents to ``groups``, in steps."""

    def _note(self, name: str, rows: int, seconds: float) -> None:
        self.steps.append(PlanStep(name, rows, round(seconds * 1000, 3)))

    def _loop(self, predicate: Predicate | None) -> RecordLoop:
        return RecordLoop(predicate, self._want, self._order)

    def _add(
        self,
        groups: Groups,
        hits: Sequence[object],
        places: Sequence[int] | None = None,
    ) -> float:
        """Add what a scan has found; gives the seconds it took."""
        started = perf_counter()
        for at in range(0, len(hits), _AT_ONCE):
            part = hits[at : at + _AT_ONCE]
            where = None if places is None else places[at : at + _AT_ONCE]
            if self._order:
                rows, _, *columns = zip(*cast("Sequence[Hit]", part), strict=True)
                groups.add(columns, cast("Sequence[int]", rows), where)
            else:
                groups.add((), cast("Sequence[int]", part), where)
        return perf_counter() - started


Hit = tuple[object, ...]


def gathering_of(asked: Asked) -> Gathering:
    """The best way to the documents."""
    snapshot, info, spec, predicate, terms, aids = asked
    is_part = spec.limit is not None or spec.offset > 0
    found = spec if is_part else msgspec.structs.replace(spec, order=[])
    if terms.counts_only:
        found = msgspec.structs.replace(found, order=[], mode=ResultMode.COUNT)
    choice = choose(snapshot, info, found, predicate, aids)
    asked = asked._replace(spec=found)
    if terms.counts_only:
        return _Count(asked, choice)
    if is_part or (spec.order and terms.minds_order):
        return _Results(asked._replace(spec=spec), choice)
    if choice.kind in {"column_scan", "document_scan"}:
        derived = _usable(asked)
        if derived is not None and aids.tables is not None:
            return _Columns(asked, choice, derived, aids.tables)
    return _Documents(asked, choice)


def _usable(asked: Asked) -> Derived | None:
    """The derived data, if its columns have most of what is read."""
    snapshot, info, _, predicate, terms, aids = asked
    if aids.tables is None or info.count < _FEW:
        return None
    derived = Derived.of(aids.index, snapshot, info)
    columns = None if derived is None else derived.columns
    if derived is None or columns is None:
        return None
    read = {*terms.fields}
    if predicate is not None:
        read.update(term.field for term in terms_of(predicate))
    if not read <= columns.fields.keys():
        return None
    beside = columns.document_count + len(derived.changed)
    return derived if 2 * beside <= info.count else None


class _Count(Gathering):
    """Of documents that are only counted nothing has to be known."""

    def into(self, groups: Groups) -> Generator[None]:
        asked = self._asked
        execution = run_query(
            asked.snapshot, asked.spec, aids=asked.aids, predicate=asked.predicate
        )
        for _ in execution.steps():
            yield
        groups.absorb((), [execution.count])
        plan = execution.plan
        self.rows_read = plan.rows_read
        self.steps += plan.steps


class _Results(Gathering):
    """The results of the query, whose places are those in its order."""

    def into(self, groups: Groups) -> Generator[None]:
        asked = self._asked
        execution = run_query(
            asked.snapshot, asked.spec, aids=asked.aids, predicate=asked.predicate
        )
        loop = self._loop(None)
        number, seconds = 0, 0.0
        with closing(execution.rows()) as parts:
            for rows in parts:
                for at in range(0, len(rows), _AT_ONCE):
                    started = perf_counter()
                    self._add_results(groups, loop, rows[at : at + _AT_ONCE], number)
                    number += len(rows[at : at + _AT_ONCE])
                    seconds += perf_counter() - started
                    yield
                if not rows:
                    yield
        plan = execution.plan
        self.rows_read = plan.rows_read
        self.steps += plan.steps
        self._note("aggregate", number, seconds)

    def _add_results(
        self, groups: Groups, loop: RecordLoop, rows: Sequence[int], number: int
    ) -> None:
        """Add documents whose places are numbered from ``number`` on."""
        if not self._order:
            self._add(groups, rows, range(number, number + len(rows)))
            return
        asked = self._asked
        pairs = asked.snapshot.get_rows(asked.info, sorted(rows))
        source = RowSource(asked.info, pairs)
        try:
            hits = take_batch(source, loop, len(rows), bytes, unbounded())
        finally:
            source.close()
        place = {row: at for at, row in enumerate(rows, number)}
        found = cast("list[Hit]", hits)
        found.sort(key=lambda hit: place[cast("int", hit[0])])
        self._add(groups, found, [place[cast("int", hit[0])] for hit in found])


class _Columns(Gathering):
    """Whole columns, and the documents of rows that no column speaks for."""

    def __init__(
        self, asked: Asked, choice: Choice, derived: Derived, tables: SegmentTables
    ) -> None:
        access = Access("column_scan", residual=asked.predicate)
        scan = Scan(asked.snapshot, asked.info, access, None)
        super().__init__(
            asked, Choice("column_scan", scan, choice.bound, residual=asked.predicate)
        )
        self._derived = derived
        self._tables = tables

    def into(self, groups: Groups) -> Generator[None]:
        # pyarrow is imported by the first process that has a use for it.
        matching = import_module("aurora_actors.query.segment_match")
        columns = import_module("aurora_actors.query.aggregate_columns")
        asked, scan = self._asked, self.choice.scan
        matcher = matching.SegmentMatcher(
            self._derived, asked.predicate, self._tables, asked.terms.fields
        )
        started, paused, total = perf_counter(), 0.0, 0
        for matched in matcher.matches():
            if matched is not None:
                total += matched.count
                for keys, parts in columns.segment_groups(matched, asked.terms):
                    groups.absorb(keys, parts)
            self.rows_read = matcher.rows_tested
            before = perf_counter()
            yield
            paused += perf_counter() - before
        self._note("aggregate columns", total, perf_counter() - started - paused)
        rows = matcher.document_rows
        if not rows:
            return
        loop, seconds, count = self._loop(asked.predicate), 0.0, 0
        for hits in read_rows(scan, rows, loop, bytes, unbounded):
            seconds += self._add(groups, hits)
            count += len(hits)
            yield
        self.rows_read += scan.rows_read
        self._note("aggregate documents", count, scan.seconds + seconds)


class _Documents(Gathering):
    """What a scan finds."""

    def into(self, groups: Groups) -> Generator[None]:
        scan = self.choice.scan
        total, seconds = 0, 0.0
        with closing(scan.batches(self._want, self._order)) as batches:
            for hits in batches:
                seconds += self._add(groups, hits)
                total += len(hits)
                yield
        self.rows_read = scan.rows_read
        self._note(scan.name, total, scan.seconds)
        self._note("aggregate", total, seconds)
