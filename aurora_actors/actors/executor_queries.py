"""The queries of an executor: each begins at once, and goes on in a task if it takes long.

Most queries take about as long as a task takes to be started and waited for, so the first
steps of each are taken where its request is read (:meth:`Query.advance`), and what is done
by then is answered there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Final

import trio

from aurora_actors.messages.query import Explain, ResultChunk, ResultMode, RunQuery
from aurora_actors.messages.shares import AggregateSegments
from aurora_actors.query.aggregate import Aggregation, run_aggregate, run_count
from aurora_actors.query.choose import Aids
from aurora_actors.query.execute import Execution, run_query
from aurora_actors.query.indexed import IndexedReader
from aurora_actors.storage.reader import Snapshot

__all__ = ["TURN_S", "Query", "begin_execution"]

TURN_S: Final = 0.004
"""After so long others have their turn; a step may take a few milliseconds more."""

_Parted = Callable[[Aggregation], Sequence[AggregateSegments]]


def begin_execution(
    request: RunQuery | Explain, snapshot: Snapshot, aids: Aids
) -> Execution | Aggregation:
    """Check and plan what is asked; nothing is read yet.

    Raises:
        AuroraError: it makes no sense.
    """
    if request.group is not None:
        return run_aggregate(snapshot, request.query, request.group, aids=aids)
    if request.query.mode is ResultMode.COUNT:
        return run_count(snapshot, request.query, aids=aids)
    return run_query(snapshot, request.query, aids=aids)


class Query:
    """A query on a snapshot of its own, which is open until :meth:`close`.

    Args:
        reader: Gives the snapshot.
        request: What is asked.
        parted: Gives parts of a large aggregation away.

    Attributes:
        execution: How it is run.
        shares: What was given away: to be asked of others before :meth:`advance`.
        ready: The chunk that is to be sent before it can go on.

    Raises:
        AuroraError: it makes no sense.
    """

    __slots__ = ("_held", "_number", "_pair", "_steps", "execution", "ready", "shares")

    def __init__(
        self, reader: IndexedReader, request: RunQuery, parted: _Parted
    ) -> None:
        self._pair = reader.snapshot()
        self._held: list[bytes] = []
        self._number = 0
        self._steps: Generator[list[bytes]] | None = None
        self.shares: Sequence[AggregateSegments] = ()
        self.ready: ResultChunk | None = None
        try:
            self.execution = begin_execution(
                request, self._pair.snapshot, self._pair.aids
            )
            if isinstance(self.execution, Aggregation):
                self.shares = parted(self.execution)
        except BaseException:
            self._pair.close()
            raise

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
        if self._steps is None:
            self._steps = self.execution.steps()
        for records in self._steps:
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
            self._pair.close()
