"""The transactions that are open in one database object: begun, limited, ended.

A transaction keeps its snapshot, and with it old pages of the data file, until it ends.
It ends with its block, with its time limit, or with the database object. The limit is
looked at whenever the transaction is used, and for all others whenever one begins.
Thread-safe, so that what closes a snapshot never meets one that reads it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from types import TracebackType
from typing import TypeVar

from aurora_actors.config import AuroraConfig
from aurora_actors.errors import AuroraError, TimeoutError_, UsageError
from aurora_actors.query.transaction import TransactionView, compile_encoded
from aurora_actors.storage.catalog import Collection
from aurora_actors.storage.operations import Operations
from aurora_actors.storage.reader import DataReader

__all__ = ["OpenTransaction", "TransactionSpace"]

T = TypeVar("T")


class OpenTransaction:
    """One open transaction: ``with it as view`` for whatever takes no time.

    Attributes:
        deadline: When it is ended, on the monotonic clock.
    """

    __slots__ = ("_is_reserved", "_limit_s", "_lock", "_space", "_view", "deadline")

    def __init__(
        self, view: TransactionView, space: TransactionSpace, limit_s: float
    ) -> None:
        self.deadline = time.monotonic() + limit_s
        self._limit_s = limit_s
        self._view: TransactionView | None = view
        self._space = space
        self._lock = Lock()
        self._is_reserved = False

    def __enter__(self) -> TransactionView:
        self._lock.acquire()
        try:
            return self._checked(self._is_reserved)
        except BaseException:
            self._lock.release()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def _checked(self, is_reserved: bool = False) -> TransactionView:
        if time.monotonic() > self.deadline:
            self._close()
            raise self._overdue()
        if self._view is None:
            raise UsageError("the transaction has ended; begin another one")
        if is_reserved:
            raise UsageError(
                "the transaction is in the middle of a change that another task makes; "
                "a transaction is for one task at a time"
            )
        return self._view

    def _overdue(self) -> AuroraError:
        return TimeoutError_(
            f"the transaction was open for more than {self._limit_s:g} s and has been "
            "rolled back; make it shorter, or set transaction_timeout_s higher"
        )

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """For a change in several steps: nobody else may use it until the last."""
        with self:
            self._is_reserved = True
        try:
            yield
        finally:
            self._is_reserved = False

    def advance(self, steps: Iterator[T]) -> T:
        """Take the next step of something begun with the view.

        Raises:
            StopIteration: that was the last one.
            UsageError: the transaction has ended meanwhile.
            TimeoutError_: its time is over.
        """
        with self._lock:
            self._checked()
            return next(steps)

    def end(self) -> None:
        """Let go of the snapshot; what was written comes to nothing, unless sent."""
        with self._lock:
            self._close()

    def end_if_overdue(self, now: float) -> None:
        """End it if its time is over and nobody is using it at this moment."""
        if now > self.deadline and self._lock.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._lock.release()

    def _close(self) -> None:
        view, self._view = self._view, None
        if view is not None:
            self._space.forget(self)
            view.close()


class TransactionSpace:
    """Begins transactions for one database object.

    Args:
        reader: The data.
        config: The limits in force.
    """

    def __init__(self, reader: DataReader, config: AuroraConfig) -> None:
        self._reader = reader
        self._config = config
        self._operations = Operations(config, compile_encoded)
        self._collections: dict[int, Collection] = {}
        # A dictionary for its order; each operation on it is atomic.
        self._open: dict[OpenTransaction, None] = {}

    def begin(self, timeout: float | None) -> OpenTransaction:
        """Begin a transaction on the present state.

        Args:
            timeout: Its time limit, if less than ``transaction_timeout_s``.

        Raises:
            UnavailableError: the data cannot be read now.
        """
        now = time.monotonic()
        for other in list(self._open):
            other.end_if_overdue(now)
        config = self._config
        limit = config.transaction_timeout_s
        snapshot = self._reader.snapshot()
        try:
            view = TransactionView(
                snapshot,
                self._operations,
                self._collections,
                max_bytes=config.max_transaction_bytes,
            )
        except BaseException:
            snapshot.close()
            raise
        opened = OpenTransaction(
            view, self, limit if timeout is None else min(timeout, limit)
        )
        self._open[opened] = None
        return opened

    def forget(self, ended: OpenTransaction) -> None:
        """The transaction has ended."""
        self._open.pop(ended, None)

    def close(self) -> None:
        """End all transactions."""
        for each in list(self._open):
            each.end()
