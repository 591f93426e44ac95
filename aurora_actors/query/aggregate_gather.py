"""How documents get into the groups of an aggregation, and three ways to them.

Used wherever queries run; whoever gathers takes steps of a few milliseconds. Which way
serves, ``query.aggregate_ways`` decides; the way by columns is ``query.aggregate_segments``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from contextlib import closing
from time import perf_counter
from typing import Final, NamedTuple, cast

from aurora_actors.errors import InternalError
from aurora_actors.messages.query import OrderKey, QuerySpec
from aurora_actors.messages.shares import AggregateSegments, SegmentsAggregated
from aurora_actors.query.aggregate_groups import Groups
from aurora_actors.query.aggregate_terms import Terms
from aurora_actors.query.choose import Aids, Choice
from aurora_actors.query.execute import run_query
from aurora_actors.query.loops import RecordLoop, Want
from aurora_actors.query.plan import PlanStep
from aurora_actors.query.predicate import Predicate
from aurora_actors.query.scan import take_batch, unbounded
from aurora_actors.query.sources import RowSource
from aurora_actors.storage.reader import CollectionInfo, Snapshot

__all__ = [
    "Asked",
    "CountGathering",
    "DocumentGathering",
    "Gathering",
    "ResultGathering",
]

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

    def shares(self, helpers: int) -> list[AggregateSegments]:
        """What helpers are to do; taken away from what is to be done here."""
        return []

    def take(self, groups: Groups, number: int, reply: SegmentsAggregated) -> None:
        """Take in the answer to the share of that number; each comes once."""
        raise InternalError(f"no share {number} was given away")

    def begin(self, groups: Groups) -> Generator[None]:
        """Do what is to be done here while helpers do theirs."""
        yield from ()

    @abstractmethod
    def into(self, groups: Groups) -> Generator[None]:
        """Add all documents to ``groups`` that are not there yet, in steps."""

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


class CountGathering(Gathering):
    """Of documents that are only counted nothing has to be known."""

    def into(self, groups: Groups) -> Generator[None]:
        """Count, as a query does."""
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


class ResultGathering(Gathering):
    """The results of the query, whose places are those in its order."""

    def into(self, groups: Groups) -> Generator[None]:
        """Run the query, and add its results with their numbers as places."""
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


class DocumentGathering(Gathering):
    """What a scan finds."""

    def into(self, groups: Groups) -> Generator[None]:
        """Scan, and add what is found."""
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
