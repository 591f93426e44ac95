"""The commit log as the engine sees it: a seam with several possible implementations.

The log makes acknowledged batches durable and nothing else: readers never look at it.
A batch's frame is appended before the batch is committed to LMDB; applying a frame is
deterministic, so that any process that has a log's frames has the database.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from aurora_actors.meters import Histogram
from aurora_actors.storage.frames import Frame

__all__ = ["CommitLog"]


class CommitLog(Protocol):
    """An ordered log of batches. ``sync`` and ``trim`` may run in another thread."""

    @property
    def last_lsn(self) -> int:
        """The last change in the log."""
        ...

    @property
    def synced_lsn(self) -> int:
        """The last change known to survive power loss."""
        ...

    @property
    def sync_times(self) -> Histogram:
        """How long the syncs took that had something to do."""
        ...

    @property
    def size_bytes(self) -> int:
        """The bytes of all frames still kept."""
        ...

    def append(
        self, expected_lsn: int, last_lsn: int, timeline: int, payload: bytes
    ) -> None:
        """Append the frame of the changes after ``expected_lsn`` up to ``last_lsn``.

        Raises:
            ConflictError: the log's last LSN is not ``expected_lsn``: somebody else
                has appended, or this writer is not the one it thinks it is.
            StorageFullError: no room; the log is as it was before.
        """
        ...

    def withdraw(self, lsn: int) -> None:
        """Take back the last frame, which nobody has been told of, down to ``lsn``.

        Raises:
            UnavailableError: it cannot be taken back; the writer has to stop.
        """
        ...

    def read(self, after_lsn: int) -> Iterator[Frame]:
        """The frames with changes after ``after_lsn``, in order.

        Raises:
            CorruptionError: the log begins later than that.
        """
        ...

    def sync(self) -> int:
        """Make all that was appended survive power loss; returns the LSN reached."""
        ...

    def trim(self, lsn: int) -> None:
        """Forget what is not needed once everything up to ``lsn`` is safe elsewhere."""
        ...

    def restart(self, lsn: int) -> None:
        """Forget everything; the next frame follows ``lsn``."""
        ...

    def close(self) -> None:
        """Release what the log holds open, without syncing."""
        ...
