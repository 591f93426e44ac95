"""Gathering whole columns, by one process or by several.

Used wherever queries run, but only where there are open column files: executors. What
the segments do not speak for is read from documents. The executor that has the query
can give segments away (:meth:`SegmentGathering.shares`): files do not change, so a
helper needs no snapshot, only to be told which rows to leave out. What it answers is what
would have been computed here; what it cannot do is done here after all.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from pyroaring import BitMap64

from aurora_actors.indexing.segments import Segment, decode_segment, encode_segment
from aurora_actors.indexing.tables import SegmentTables
from aurora_actors.messages.shares import (
    AggregateSegments,
    SegmentsAggregated,
    SegmentShare,
)
from aurora_actors.query.aggregate_facts import known_increments
from aurora_actors.query.aggregate_gather import Asked, Gathering
from aurora_actors.query.aggregate_groups import Groups
from aurora_actors.query.aggregate_terms import Terms
from aurora_actors.query.check import field_type
from aurora_actors.query.choose import Choice
from aurora_actors.query.derived import Derived
from aurora_actors.query.group_codec import decode_increments, encode_increments
from aurora_actors.query.index_scan import read_rows
from aurora_actors.query.plan import Access
from aurora_actors.query.predicate import decode_predicate, terms as terms_of
from aurora_actors.query.scan import Scan, unbounded
from aurora_actors.query.skipping import left_of
from aurora_actors.schema.types import decode_definition, encode_definition

if TYPE_CHECKING:
    from aurora_actors.query.segment_match import Joined, Matched, SegmentMatcher

__all__ = ["LEAST_SHARED", "SegmentGathering", "aggregate_segments"]

LEAST_SHARED: Final = 400_000
"""Of fewer rows, asking for help takes about as long as it saves."""
# So many matches are aggregated at once: a few milliseconds.
_TOGETHER: Final = 1 << 17
# Counting alone is so much faster than the rest.
_COUNTS_FASTER: Final = 4


class SegmentGathering(Gathering):
    """Whole columns, and the documents of rows that no column speaks for."""

    def __init__(
        self, asked: Asked, choice: Choice, derived: Derived, tables: SegmentTables
    ) -> None:
        access = Access("column_scan", residual=asked.predicate)
        scan = Scan(asked.snapshot, asked.info, access, None)
        super().__init__(
            asked, Choice("column_scan", scan, choice.bound, residual=asked.predicate)
        )
        # pyarrow is imported by the first process that has a use for it.
        matching = import_module("aurora_actors.query.segment_match")
        self._matcher: SegmentMatcher = matching.SegmentMatcher(
            derived, asked.predicate, tables, asked.terms.fields
        )
        self._most_gone: int = matching.FEW_GONE
        columns = derived.columns
        assert columns is not None  # noqa: S101 - the planner has looked
        self._columns = columns
        self._known: list[tuple[Segment, Sequence[Any]]] = []
        self._own: list[Segment] = []
        for segment in columns.segments:
            known = self._known_of(segment)
            if known is None:
                self._own.append(segment)
            else:
                self._known.append((segment, known))
        self._given: list[list[Segment]] = []
        self._helped = 0

    def _known_of(self, segment: Segment) -> Sequence[Any] | None:
        """What a segment adds, if that is known without a look at it."""
        if self._matcher.left(segment) is not True:
            return None
        matcher = self._matcher
        gone = matcher.gone(segment)
        if len(gone) > self._most_gone:
            return None
        self._most_gone -= len(gone)
        values = partial(matcher.values, segment, gone)
        return known_increments(segment, self._asked.terms, len(gone), values)

    # -------------------------------------------------------------- shares
    def shares(self, helpers: int) -> list[AggregateSegments]:
        """Give some of the segments away, if there are enough for that."""
        promising = [one for one in self._own if self._matcher.is_promising(one)]
        least = LEAST_SHARED
        if self._asked.terms.counts_only:
            least *= _COUNTS_FASTER
        if not helpers or sum(one.rows for one in promising) < least:
            return []
        _, *others = _portions(promising, helpers)
        self._given = [part for part in others if part]
        given = {one.number for part in self._given for one in part}
        self._own = [one for one in self._own if one.number not in given]
        return [self._share(part) for part in self._given]

    def _share(self, segments: Sequence[Segment]) -> AggregateSegments:
        asked = self._asked
        return AggregateSegments(
            definition=encode_definition(asked.info.definition),
            predicate=asked.spec.predicate,
            group=asked.terms.spec,
            segments=[
                SegmentShare(
                    str(self._columns.path(one)),
                    encode_segment(one),
                    self._matcher.gone(one).serialize(),
                )
                for one in segments
            ],
        )

    def take(self, groups: Groups, number: int, reply: SegmentsAggregated) -> None:
        """Take in the answer to a share."""
        if not reply.done:
            self._own += self._given[number]
            return
        started = perf_counter()
        for data in reply.groups:
            groups.absorb(*decode_increments(data))
        self._helped += reply.rows_tested
        self._note("merge", len(reply.groups), perf_counter() - started)

    # -------------------------------------------------------------- gathering
    def begin(self, groups: Groups) -> Generator[None]:
        """Aggregate the segments that are not given away."""
        self._take_known(groups)
        own, self._own = self._own, []
        if not own:
            return
        aggregate = import_module("aurora_actors.query.aggregate_columns")
        matcher, terms = self._matcher, self._asked.terms
        started, paused, total = perf_counter(), 0.0, 0
        for matched in _together(matcher.matches(own), terms):
            total += matched.count
            groups.absorb_all(*aggregate.segment_groups(matched, terms))
            self.rows_read = self._helped + matcher.rows_tested
            before = perf_counter()
            yield
            paused += perf_counter() - before
        self.rows_read = self._helped + matcher.rows_tested
        self._note("aggregate columns", total, perf_counter() - started - paused)

    def _take_known(self, groups: Groups) -> None:
        known, self._known = self._known, []
        if not known:
            return
        started = perf_counter()
        for _, increments in known:
            groups.absorb((), increments)
        rows = sum(segment.rows for segment, _ in known)
        self._note("segment statistics", rows, perf_counter() - started)

    def into(self, groups: Groups) -> Generator[None]:
        """Aggregate what is left of the segments, and the other rows' documents."""
        if self._own or self._known:
            yield from self.begin(groups)
        scan, tested = self.choice.scan, self._helped + self._matcher.rows_tested
        self.rows_read = tested
        rows = self._matcher.document_rows
        if not rows:
            return
        loop, seconds, count = self._loop(self._asked.predicate), 0.0, 0
        for hits in read_rows(scan, rows, loop, bytes, unbounded):
            seconds += self._add(groups, hits)
            count += len(hits)
            yield
        self.rows_read = tested + scan.rows_read
        self._note("aggregate documents", count, scan.seconds + seconds)


def _together(
    found: Iterable[Matched | None], terms: Terms
) -> Iterator[Matched | Joined]:
    """Segments put together, up to what is done in one step."""
    matching = import_module("aurora_actors.query.segment_match")
    most = 1 if terms.minds_order else _TOGETHER
    waiting: list[Matched] = []
    rows = 0
    for matched in found:
        if matched is not None:
            waiting.append(matched)
            rows += matched.count
        if rows >= most:
            yield matching.Joined(waiting) if len(waiting) > 1 else waiting[0]
            waiting, rows = [], 0
    if waiting:
        yield matching.Joined(waiting) if len(waiting) > 1 else waiting[0]


def _portions(segments: Sequence[Segment], helpers: int) -> list[list[Segment]]:
    """Segments for this process, and then for each helper, of about as many rows."""
    parts: list[list[Segment]] = [[] for _ in range(helpers + 1)]
    rows = [0] * len(parts)
    for segment in sorted(segments, key=lambda each: -each.rows):
        least = min(range(len(parts)), key=rows.__getitem__)
        parts[least].append(segment)
        rows[least] += segment.rows
    return parts


def aggregate_segments(
    request: AggregateSegments, tables: SegmentTables
) -> Generator[None, None, SegmentsAggregated]:
    """Do what another process asks for, in steps; returns the answer."""
    aggregate = import_module("aurora_actors.query.aggregate_columns")
    wanted = Terms(decode_definition(request.definition), request.group)
    groups: list[bytes] = []
    try:
        for matched in _together(_matches(request, tables), wanted):
            keys, columns = aggregate.segment_groups(matched, wanted)
            groups += map(encode_increments, keys, zip(*columns, strict=True))
            yield
    except _NoTableError:
        return SegmentsAggregated(done=False)
    tested = sum(decode_segment(share.entry).rows for share in request.segments)
    return SegmentsAggregated(done=True, groups=groups, rows_tested=tested)


class _NoTableError(Exception):
    """A segment cannot be read."""


def _matches(request: AggregateSegments, tables: SegmentTables) -> Iterator[Matched]:
    """The matches of each segment of a share.

    Raises:
        _NoTableError: see there.
    """
    matching = import_module("aurora_actors.query.segment_match")
    definition = decode_definition(request.definition)
    predicate = decode_predicate(request.predicate) if request.predicate else None
    read = () if predicate is None else terms_of(predicate)
    kinds = {term.field: field_type(definition, term.field).kind for term in read}
    for share in request.segments:
        segment = decode_segment(share.entry)
        table = tables.table(Path(share.path), segment)
        if table is None:
            raise _NoTableError
        left = left_of(predicate, segment)
        if left is not False:
            gone = BitMap64.deserialize(share.gone)
            yield matching.match_table(table, segment, left, kinds, gone)
