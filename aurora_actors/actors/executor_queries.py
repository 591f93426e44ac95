"""The queries of an executor: each begins at once, and goes on in a task if it takes long.

Most queries take about as long as a task takes to be started and waited for, so the first
steps of each are taken where its request is read (:meth:`Query.advance`), and what is done
by then is answered there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Final

import msgspec
import trio

from aurora_actors.messages.query import (
    QueryRequest,
    ResultChunk,
    RunQuery,
    decode_query_request,
)
from aurora_actors.messages.shares import AggregateSegments
from aurora_actors.query.aggregate import Aggregation
from aurora_actors.query.execute import Execution
from aurora_actors.query.indexed import IndexedReader, Pair
from aurora_actors.query.prepared import Prepared

__all__ = ["TURN_S", "Query", "Requests"]

TURN_S: Final = 0.004
"""After so long others have their turn; a step may take a few milliseconds more."""

_MOST_KNOWN: Final = 256
_LONGEST_KNOWN: Final = 1024

_Parted = Callable[[Aggregation], Sequence[AggregateSegments]]


class Requests:
    """Decodes requests, and knows again queries that have been asked before."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[RunQuery, Prepared]] = {}

    def decode(self, body: msgspec.Raw) -> tuple[QueryRequest, Prepared | None]:
        """A request, and if it is a query what is known of it.

        Raises:
            DecodeError: it is none.
        """
        data = bytes(body)
        known = self._known.get(data)
        if known is not None:
            return known
        request = decode_query_request(data)
        if not isinstance(request, RunQuery):
            return request, None
        known = request, Prepared(request.query, request.group)
        if len(data) <= _LONGEST_KNOWN:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[data] = known
        return known


class Query:
    """A query under way, on a snapshot of its own.

    Args:
        prepared: What is asked.

    Attributes:
        shares: What was given away: to be asked of others before :meth:`advance`.
        ready: The chunk that is to be sent before it can go on.
    """

    __slots__ = (
        "_execution",
        "_held",
        "_number",
        "_pair",
        "_prepared",
        "_steps",
        "ready",
        "shares",
    )

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._pair: Pair | None = None
        self._execution: Execution | Aggregation | None = None
        self._steps: Generator[list[bytes]] | None = None
        self._held: list[bytes] = []
        self._number = 0
        self.shares: Sequence[AggregateSegments] = ()
        self.ready: ResultChunk | None = None

    def begin(self, reader: IndexedReader, parted: _Parted) -> None:
        """Take a snapshot, check and plan.

        Args:
            reader: Gives the snapshot.
            parted: Gives parts of a large aggregation away.

        Raises:
            AuroraError: the query makes no sense.
        """
        self._pair = pair = reader.snapshot()
        self._execution = execution = self._prepared.begin(pair.snapshot, pair.aids)
        self._steps = execution.steps()
        if isinstance(execution, Aggregation):
            self.shares = parted(execution)

    @property
    def execution(self) -> Execution | Aggregation:
        """How it is run, once it has begun."""
        assert self._execution is not None  # noqa: S101 - see begin
        return self._execution

    @property
    def has_begun(self) -> bool:
        """Whether :meth:`begin` was called."""
        return self._pair is not None

    @property
    def is_answered(self) -> bool:
        """Whether nothing but the last chunk is left."""
        return self.ready is not None and self.ready.final

    def advance(self, until: float) -> None:
        """Take steps until a chunk is ready, or that time has come.

        Raises:
            AuroraError: see ``Execution.steps``.
        """
        if self.ready is not None:
            return
        for records in self._steps or ():
            if records:
                full, self._held = self._held, records
                if full:
                    self.ready = self._chunk(full, final=False)
                    return
            if trio.current_time() >= until:
                return
        # Only now is it known which chunk is the last.
        self.ready = self._chunk(self._held, final=True)

    def take(self) -> ResultChunk:
        """The chunk that is ready, to be sent now."""
        chunk, self.ready = self.ready, None
        assert chunk is not None  # noqa: S101 - whoever takes it has looked
        return chunk

    def _chunk(self, records: list[bytes], *, final: bool) -> ResultChunk:
        number, self._number = self._number, self._number + 1
        assert self._pair is not None  # noqa: S101 - see begin
        lsn, count = self._pair.snapshot.lsn, self.execution.count
        return ResultChunk(
            records=records, number=number, final=final, lsn=lsn, count=count
        )

    def close(self) -> None:
        """Give it up, or end it, and its snapshot with it."""
        try:
            if self._steps is not None:
                self._steps.close()
        finally:
            if self._pair is not None:
                self._pair.close()
