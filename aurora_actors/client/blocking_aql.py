"""AQL for threads; a part of the facade.

Each method promises what the one of the same name of :class:`aurora_actors.Aurora`
promises.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

from aurora_actors.client.aql_migrating import MigrationProgress
from aurora_actors.client.aql_results import ExecutionResult, MigrationResult
from aurora_actors.client.aql_stream import AqlStream, SubscriptionEvent
from aurora_actors.client.database import Aurora
from aurora_actors.client.driving import run_now
from aurora_actors.client.updates import Update
from aurora_actors.client.watch import OnLag
from aurora_actors.errors import TimeoutError_
from aurora_actors.query.plan import Plan

__all__ = ["BlockingAql", "BlockingAqlStream"]


class BlockingAqlStream(Iterator["SubscriptionEvent | Update"]):
    """The events of a subscription, to be read by one thread at a time."""

    def __init__(self, stream: AqlStream) -> None:
        self._stream = stream

    def __enter__(self) -> Self:
        run_now(self._stream.open())
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it at the dispatcher, too; closing again does nothing."""
        run_now(self._stream.aclose())

    def __next__(self) -> SubscriptionEvent | Update:
        try:
            return run_now(self._stream.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def next(self, timeout: float) -> SubscriptionEvent | Update:
        """The next event, waiting for it at most ``timeout`` seconds.

        Raises:
            TimeoutError_: there was none; nothing is lost.
        """
        self._stream.wait_at_most(timeout)
        try:
            return next(self)
        except TimeoutError_:
            raise TimeoutError_(f"no event within {timeout:g} s") from None
        finally:
            self._stream.wait_at_most(None)

    @property
    def token(self) -> str | None:
        """The place right behind the last event that was given."""
        return self._stream.token

    @property
    def lsn(self) -> int:
        """Up to where everything has come to this process."""
        return self._stream.lsn


class BlockingAql:
    """The base of the blocking database class."""

    _db: Aurora

    def execute(
        self,
        text: str,
        variables: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
    ) -> ExecutionResult:
        """Run an AQL text."""
        return run_now(self._db.execute(text, variables, timeout=timeout))

    def explain(
        self,
        text: str,
        variables: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
    ) -> Plan | list[Plan]:
        """Run the queries of a text and tell how."""
        return run_now(self._db.explain(text, variables, timeout=timeout))

    def migrate(
        self,
        source: str | os.PathLike[str],
        *,
        progress: MigrationProgress | None = None,
        timeout: float | None = None,
    ) -> MigrationResult:
        """Apply a ``migrate`` block: what is applied already is skipped."""
        return run_now(self._db.migrate(source, progress=progress, timeout=timeout))

    def stream(
        self,
        text: str,
        variables: Mapping[str, object] | None = None,
        *,
        since: str | None = None,
        on_lag: OnLag = "coalesce",
    ) -> BlockingAqlStream:
        """The events of a subscription: ``with db.stream(text) as events``."""
        return BlockingAqlStream(
            self._db.stream(text, variables, since=since, on_lag=on_lag)
        )
