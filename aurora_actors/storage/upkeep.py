"""Background work of the engine: log syncs and checkpoints, beside the commits.

The syncs run in helper threads that do nothing but system calls and never hold a lock
that a commit needs; a commit never waits for them. Everything else (beginning and
ending a checkpoint, deciding what is due) happens in the engine's own thread, between
two commits. An error of a sync is final: see :attr:`Upkeep.failure`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from aurora_actors.config import AuroraConfig, ColdStoreMode, DurabilityMode
from aurora_actors.errors import AuroraError, StorageFullError, UnavailableError
from aurora_actors.storage.catalog import State
from aurora_actors.storage.checkpoint import Checkpointer, Pending
from aurora_actors.storage.commitlog import CommitLog

__all__ = ["Upkeep"]

_log = logging.getLogger(__name__)

_CHECKPOINT_LOG_BYTES: Final = 64 << 20
# Each commit writes pages anew, some 18 for one small document, and under a guard LMDB
# reuses none of those that it frees: the file grows with all that is written between
# two checkpoints. So that is limited: to this, or to a quarter of the data file if that
# is more, and to half the room that the file has left, but for the least. Less would
# keep the file smaller, but pages that are used again lie scattered and take more
# writes: with 64 MiB single inserts and updates take 10 to 20 % longer.
_CHECKPOINT_PAGE_BYTES: Final = 256 << 20
_LEAST_PAGE_BYTES: Final = 4 << 20
_PAGE_BYTES: Final = 4096
# How soon to look again while a helper thread is at work.
_POLL_S: Final = 0.02


class Upkeep:
    """Decides when the log is synced and checkpoints are taken, and has it done.

    Args:
        config: Intervals and modes.
        checkpointer: Takes the checkpoints.
        log: The commit log, if this durability mode has one.
        clock: Seconds, monotonic.
        checkpoint_log_bytes: A checkpoint is due when the log has grown by this.
        map_size: The data file's largest size.
    """

    def __init__(
        self,
        config: AuroraConfig,
        checkpointer: Checkpointer,
        log: CommitLog | None,
        clock: Callable[[], float],
        checkpoint_log_bytes: int | None = None,
        map_size: int = 1 << 62,
    ) -> None:
        small = config.cold_mode is ColdStoreMode.LOW_SPACE
        limit = checkpoint_log_bytes or _CHECKPOINT_LOG_BYTES
        self._log_bytes = limit // 4 if small else limit
        self._map_size = map_size
        self._page_bytes = _CHECKPOINT_PAGE_BYTES // (4 if small else 1)
        self._sync_interval = config.wal_sync_interval_ms / 1000
        self._interval = config.checkpoint_interval_ms / 1000
        if config.durability is DurabilityMode.NONE:
            flush = config.write_buffer_flush_interval_ms / 1000
            self._interval = min(self._interval, flush)
        self._durability = config.durability
        self._checkpointer = checkpointer
        self._log = log
        self._clock = clock
        self._pool = ThreadPoolExecutor(3, thread_name_prefix="storage-sync")
        self._sync_job: Future[int] | None = None
        self._checkpoint_job: tuple[Pending, Future[None]] | None = None
        self._last_sync = self._last_checkpoint = clock()
        self._written_bytes = self._covered_bytes = 0
        self.failure: AuroraError | None = None
        self.log_syncs = 0
        self.checkpoints = 0

    def submit(self, work: Callable[[], None]) -> Future[None]:
        """Have something done by a helper thread."""
        return self._pool.submit(work)

    def finish_checkpoint(self) -> None:
        """Wait for the checkpoint that is under way, if one is."""
        self._finish_checkpoint(wait=True)

    def use(self, checkpointer: Checkpointer) -> None:
        """Take the checkpoints of another data file from now on."""
        self._checkpointer = checkpointer
        self._written_bytes = self._covered_bytes = 0
        self._last_checkpoint = self._clock()

    # -------------------------------------------------------------- the log
    def sync_log(self) -> None:
        """Sync the log now, in the caller's thread."""
        if self._log is None:
            return
        try:
            self._log.sync()
        except AuroraError as exc:
            raise self._fail("syncing the commit log", exc) from exc
        self._last_sync = self._clock()
        self.log_syncs += 1

    def _log_due(self, now: float) -> float | None:
        log = self._log
        if log is None or self._durability is not DurabilityMode.WAL:
            return None
        if log.synced_lsn >= log.last_lsn or self._sync_job is not None:
            return None
        return max(0.0, self._last_sync + self._sync_interval - now)

    # -------------------------------------------------------------- checkpoints
    def checkpoint(self, state: State, *, clean: bool = False) -> None:
        """Take a checkpoint now, in the caller's thread."""
        self._finish_checkpoint(wait=True)
        pending = self._begin_checkpoint(state, clean=clean)
        try:
            self._write_checkpoint(pending)
        except BaseException as exc:
            self._checkpointer.abandon(pending)
            if self.failure is not None:
                raise self.failure from exc
            raise
        self._published(pending)

    def _begin_checkpoint(self, state: State, *, clean: bool = False) -> Pending:
        pending = self._checkpointer.begin(state, clean=clean)
        self._covered_bytes = self._written_bytes
        return pending

    def _write_checkpoint(self, pending: Pending) -> None:
        """The slow part; in a helper thread or the caller's."""
        try:
            if self._log is not None:
                self._log.sync()
            self._checkpointer.sync()
        except AuroraError as exc:
            raise self._fail("syncing a checkpoint", exc) from exc
        self._checkpointer.publish(pending)
        if self._log is not None:
            self._log.trim(pending.checkpoint.lsn)

    def _published(self, pending: Pending) -> None:
        self._checkpointer.finish(pending)
        self._last_checkpoint = self._clock()
        self._written_bytes -= self._covered_bytes
        self.checkpoints += 1
        log = self._log
        # Nothing was written meanwhile: the log is not needed at all.
        if (
            log is not None
            and log.last_lsn == pending.checkpoint.lsn
            and (log.size_bytes > self._log_bytes // 8 or pending.checkpoint.clean)
        ):
            log.restart(log.last_lsn)

    def _finish_checkpoint(self, *, wait: bool = False) -> None:
        if self._checkpoint_job is None:
            return
        pending, job = self._checkpoint_job
        if not (wait or job.done()):
            return
        self._checkpoint_job = None
        error = job.exception()
        if error is None:
            self._published(pending)
            return
        self._checkpointer.abandon(pending)
        self._last_checkpoint = self._clock()  # not again at once
        if self.failure is None and not isinstance(error, StorageFullError):
            self._fail("publishing a checkpoint", error)
        _log.error("checkpoint failed", extra={"error": str(error)})

    def wrote(self, pages: int) -> None:
        """A commit has written about so many pages of the data file."""
        self._written_bytes += pages * _PAGE_BYTES

    def _limit(self) -> int:
        """How much may be written before the next checkpoint is due."""
        size = self._checkpointer.data_bytes
        limit = min(max(self._page_bytes, size // 4), (self._map_size - size) // 2)
        return max(limit, _LEAST_PAGE_BYTES)

    def _checkpoint_due(self, now: float, state: State) -> float | None:
        if self._checkpoint_job is not None:
            return None
        # Refused requests have no LSN, but their outcomes take pages, which only
        # another checkpoint makes free.
        if self._written_bytes >= self._limit():
            return 0.0
        if state.lsn == self._checkpointer.lsn:
            return None
        if self._log is not None and self._log.size_bytes >= self._log_bytes:
            return 0.0
        return max(0.0, self._last_checkpoint + self._interval - now)

    # -------------------------------------------------------------- turning
    def poll(self) -> None:
        """Take note of what the helper threads have done; cheap when nothing."""
        if self._sync_job is not None and self._sync_job.done():
            job, self._sync_job = self._sync_job, None
            error = job.exception()
            if error is None:
                self.log_syncs += 1
            elif self.failure is None:
                self._fail("syncing the commit log", error)
        if self._checkpoint_job is not None:
            self._finish_checkpoint()

    def due(self, state: State) -> float:
        """Seconds until :meth:`run` has something to do."""
        now = self._clock()
        waits = [self._log_due(now), self._checkpoint_due(now, state)]
        if self._sync_job is not None or self._checkpoint_job is not None:
            waits.append(_POLL_S)
        return min((wait for wait in waits if wait is not None), default=self._interval)

    def run(self, state: State) -> None:
        """Start what is due; call it between two commits. Does not block."""
        self.poll()
        if self.failure is not None:
            return
        now = self._clock()
        if self._log is not None and self._log_due(now) == 0.0:
            self._last_sync = now
            self._sync_job = self._pool.submit(self._log.sync)
        if self._checkpoint_due(now, state) == 0.0:
            pending = self._begin_checkpoint(state)
            job = self._pool.submit(self._write_checkpoint, pending)
            self._checkpoint_job = (pending, job)

    def _fail(self, doing: str, exc: BaseException) -> AuroraError:
        if self.failure is None:
            self.failure = UnavailableError(
                f"{doing} failed, and what had been written may be lost: {exc}; "
                "storage has stopped, restart the database",
            )
        return self.failure

    def close(self) -> None:
        """Wait for the helper threads and end them."""
        self._finish_checkpoint(wait=True)
        self._pool.shutdown()
        self.poll()
