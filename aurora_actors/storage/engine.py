"""The storage engine: group commit over LMDB and the commit log.

Owns the database's files; one per database, in the storage process, used from one
thread. A batch of requests becomes one LMDB write transaction and one log frame: each
request is applied to an overlay and leaves no trace when it fails; then the frame is
appended, synced if the durability mode says so, and LMDB commits without a sync.

Invariants: what readers can see is in the log (or needs none); a reply leaves only
when both hold it; every change has its own LSN, without gaps; once a sync has failed,
nothing is accepted any more, because the system may have dropped what it could not
write.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import lmdb

from aurora_actors.config import AuroraConfig, DurabilityMode
from aurora_actors.errors import (
    AuroraError,
    StorageFullError,
    UnavailableError,
    UsageError,
)
from aurora_actors.messages.base import Failure, Message
from aurora_actors.messages.clocks import JobClockSet, SetJobClock
from aurora_actors.messages.jobs import AwaitJob, JobAwaited, JobStatistics
from aurora_actors.messages.storage import Compacted, Written
from aurora_actors.storage.ageing import Ageing
from aurora_actors.storage.compactor import Compactor
from aurora_actors.storage.environment import (
    Transaction,
    lmdb_errors,
    translate_lmdb,
)
from aurora_actors.storage.jobs.changes import Surroundings
from aurora_actors.storage.jobs.desk import Desk
from aurora_actors.storage.jobs.rows import ended_job
from aurora_actors.storage.jobs.service import JobClock, JobService
from aurora_actors.storage.jobs.standing import recall, set_clock
from aurora_actors.storage.operations import CompilePredicate, Operations
from aurora_actors.storage.origins import AUDITOR, Origins
from aurora_actors.storage.outcomes import encode_reply
from aurora_actors.storage.reclaim import Reclaimer
from aurora_actors.storage.replay import Entry, encode_payload
from aurora_actors.storage.requests import ACTOR, RequestRunner, StorageCall
from aurora_actors.storage.space import Space
from aurora_actors.storage.store import Settings, Store
from aurora_actors.storage.transactions import request_weight
from aurora_actors.storage.upkeep import Upkeep
from aurora_actors.storage.writeset import WriteSet

__all__ = ["Engine", "StorageCall"]

_log = logging.getLogger(__name__)
_BATCH_BYTES: Final = 64 << 20
_RECLAIM_AGAIN_S: Final = 1.0
_FEW_CHANGES: Final = 8
_FEW_BYTES: Final = 16 << 10
_NO_REPLY: Final = encode_reply(Written(lsn=0, synced=False, affected=0))


class Engine:
    """One open database; make it with :meth:`open`."""

    def __init__(
        self,
        store: Store,
        operations: Operations,
        upkeep: Upkeep,
        clock: Callable[[], float],
        jobs: JobService,
        wall: Callable[[], float],
        job_clock: JobClock,
    ) -> None:
        self._store = store
        self._runner = RequestRunner(operations, store.outcomes)
        self.jobs = jobs
        self._job_clock = job_clock
        self._upkeep = upkeep
        config = store.config
        self._strict = config.durability is DurabilityMode.STRICT
        self._batch_size = (
            config.write_buffer_size if config.enable_write_buffering else 1
        )
        self._space = Space(store, clock)
        self._compactor = Compactor(store, upkeep, self._space, clock)
        self._ageing = Ageing(store, wall)
        self._clock = clock
        self._reclaimer = Reclaimer(store, clock, upkeep.wrote)
        self._jobs_again = 0.0
        self._origins = (
            Origins(lambda: store.tables.meta, time.time) if config.audit_path else None
        )
        self._failure: AuroraError | None = None
        self._closed = False
        self._batches = self._writes = self._unplaced = 0
        self._newest: WriteSet | None = None

    @classmethod
    def open(
        cls,
        config: AuroraConfig,
        *,
        compile_predicate: CompilePredicate,
        tree_id: str,
        settings: Settings | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> Engine:
        """Open a database, making or recovering it if need be.

        Args:
            config: Its settings.
            compile_predicate: Makes a function of an encoded predicate.
            tree_id: This run of the tree; remembered outcomes of another are dropped.
            settings: What tests replace: file system, boot id, limits.
            clock: Seconds, monotonic; decides when upkeep is due, and when leases and
                attempts of jobs are over.
            wall: Seconds since 1970; the time of jobs, and the age of changes.

        Raises:
            UnavailableError: another process writes the database, or the system
                refuses its files.
            CorruptionError: the files are damaged; the message says which and where.
        """
        settings = settings or Settings()
        store = Store.open(config, settings, tree_id)
        upkeep = Upkeep(
            config,
            store.checkpointer,
            store.log,
            clock,
            settings.checkpoint_log_bytes,
            store.map_size,
        )
        job_clock = JobClock(wall, clock)
        if config.jobs.allow_fake_clock:
            job_clock.stand(recall(store.path))
        now, desk = job_clock.now, Desk(clock)
        operations = Operations(config, compile_predicate)
        around = Surroundings(desk, now, random.random)
        jobs = JobService(config, operations.use_jobs(config, around), desk, now)
        with lmdb_errors(store.data_path), store.env.begin() as txn:
            jobs.load(txn, store.tables, store.catalog, is_new_tree=store.is_new_tree)
        return cls(store, operations, upkeep, clock, jobs, wall, job_clock)

    @property
    def lsn(self) -> int:
        """The last committed change."""
        return self._store.state.lsn

    @property
    def timeline(self) -> int:
        """Counts the times history may have been cut, from 1."""
        return self._store.state.timeline

    # -------------------------------------------------------------- requests
    def execute(self, batch: Sequence[StorageCall]) -> list[Message]:
        """Apply requests in their order, in as few commits as the settings allow.

        Returns:
            A reply to each, in the same order: ``Written``, ``CollectionDefined``, or
            a ``Failure`` of a request that changed nothing. What was acknowledged
            survives what the durability mode says.

        Raises:
            UnavailableError: a sync or commit has failed for good; what became of the
                batch is known after a restart, when the senders repeat it.
        """
        replies: list[Message] = []
        parts = [batch] if len(batch) == 1 else self._parts(batch)
        for part in parts:
            self._check_usable()
            try:
                replies += self._commit(part)
            except StorageFullError as exc:
                replies += self._one_by_one(part, exc)
        return replies

    def _parts(self, batch: Sequence[StorageCall]) -> Iterator[Sequence[StorageCall]]:
        """Cut a batch where it would exceed the write buffer or a frame's size."""
        start = documents = size = 0
        for number, call in enumerate(batch):
            count, more = request_weight(call.request)
            full = documents + count > self._batch_size or size + more > _BATCH_BYTES
            if number > start and full:
                yield batch[start:number]
                start, documents, size = number, 0, 0
            documents += count
            size += more
        if start < len(batch):
            yield batch[start:]

    def _one_by_one(
        self, part: Sequence[StorageCall], error: StorageFullError
    ) -> list[Message]:
        """After a full disk or map: what is small may still fit."""
        if len(part) == 1:
            self._unplaced += 1
            return [Failure.of(error, ACTOR)]
        return self.execute(part[: len(part) // 2]) + self.execute(
            part[len(part) // 2 :]
        )

    def _commit(self, part: Sequence[StorageCall]) -> list[Message]:
        store = self._store
        start = store.state.lsn
        txn = store.begin()
        batch = store.new_batch(txn)
        if not self._compactor.is_wanted:
            batch.mark_from = store.mark_from
        point = batch.savepoint()
        try:
            replies, entries = self._runner.run(batch, part)
            self._run_jobs(batch, entries)
            if batch.lsn == start and not store.outcomes.pending:
                txn.abort()  # only repeats: nothing to write
                self.jobs.committed()
                return replies
            state = store.write(txn, batch)
            if entries:
                if self._origins is not None:
                    self._origins.note(txn, start, entries)
                self._append(start, batch, entries)
            self._finish(txn, start, batch)
        except BaseException as exc:
            txn.abort()
            batch.rollback(point)
            store.outcomes.aborted()
            self.jobs.aborted()
            if isinstance(exc, lmdb.Error):
                raise translate_lmdb(exc, str(store.data_path)) from exc
            raise
        store.committed(state)
        self.jobs.committed()
        self._upkeep.wrote(batch.pages)
        self._batches += 1
        self._writes += state.lsn - start
        self._newest = batch if state.lsn - start <= _FEW_CHANGES else None
        self._raise_floors(part)
        return replies

    def take_newest(self) -> list[bytes]:
        """What the last commit changed, once, if that is little and of documents."""
        newest, self._newest = self._newest, None
        return [] if newest is None else newest.carried(newest.lsn, _FEW_BYTES)

    def _run_jobs(self, batch: WriteSet, entries: list[Entry]) -> None:
        before, start = len(batch.effects), batch.lsn
        self.jobs.run(batch)
        if batch.lsn > start:
            entries.append(Entry(ACTOR, 0, _NO_REPLY, batch.effects[before:]))

    def run_jobs(self) -> None:
        """Do what is due about jobs, if anything is; see ``storage.jobs.service``.

        Raises:
            UnavailableError: a commit has failed for good.
        """
        if self.jobs.due() > 0 or self._clock() < self._jobs_again:
            return
        self._check_usable()
        try:
            self._commit(())
        except StorageFullError:
            _log.warning("no room to go on with jobs")
            self._jobs_again = self._clock() + _RECLAIM_AGAIN_S

    def await_job(
        self, client: str, request_id: int, request: AwaitJob
    ) -> JobAwaited | None:
        """The job if it has ended; else ``None``, and the answer comes when it has.

        Raises:
            NotFoundError: there is no such job.
        """
        store = self._store
        with lmdb_errors(store.data_path), store.env.begin() as txn:
            body = ended_job(txn, store.tables, store.catalog, request.id)
        if body is None:
            self.jobs.await_job(client, request_id, request)
            return None
        return JobAwaited(document=body)

    def set_job_clock(self, request: SetJobClock) -> JobClockSet:
        """Set the clock of jobs and schedules, for a test.

        Raises:
            UsageError: the settings do not allow that.
        """
        if not self._store.config.jobs.allow_fake_clock:
            raise UsageError(
                "the clock of jobs can only be set where the setting "
                "jobs.allow_fake_clock allows it"
            )
        path, clock = self._store.path, self._job_clock
        return set_clock(path, clock, self.jobs, self.run_jobs, request)

    def job_statistics(self) -> JobStatistics:
        """The number of jobs by queue and status."""
        store = self._store
        with lmdb_errors(store.data_path), store.env.begin() as txn:
            return self.jobs.statistics(txn, store.tables)

    def _append(self, start: int, batch: WriteSet, entries: Sequence[Entry]) -> None:
        log = self._store.log
        if log is not None:
            log.append(start, batch.lsn, batch.timeline, encode_payload(entries))

    def _finish(self, txn: Transaction, start: int, batch: WriteSet) -> None:
        """Sync the log if need be and commit; a failure here may take the log back."""
        log = self._store.log
        if log is not None and self._strict and batch.lsn > start:
            self._upkeep.sync_log()
        try:
            txn.commit()
        except BaseException as exc:
            if log is not None and batch.lsn > start:
                log.withdraw(start)
            error = exc
            if isinstance(exc, lmdb.Error):
                error = self._store.commit_error(exc)
            if not isinstance(error, StorageFullError):
                self._failure = error = UnavailableError(
                    f"a commit failed: {exc}; storage has stopped, restart the database"
                )
            raise error from exc

    def _raise_floors(self, part: Sequence[StorageCall]) -> None:
        raise_floor = self._store.outcomes.raise_floor
        if len(part) == 1:
            raise_floor(part[0].client, part[0].floor)
            return
        for client, floor in {call.client: call.floor for call in part}.items():
            raise_floor(client, floor)

    def _check_usable(self) -> None:
        self._upkeep.poll()
        failure = self._failure or self._upkeep.failure or self._compactor.failure
        if failure is not None:
            raise failure
        if self._closed:
            raise UnavailableError("the storage engine is closed")

    # -------------------------------------------------------------- durability
    def sync(self) -> int:
        """Make everything acknowledged survive power loss; returns the LSN reached.

        Raises:
            UnavailableError: the sync failed, now or before.
        """
        self._check_usable()
        if self._store.log is not None:
            self._upkeep.sync_log()
        elif self._store.config.durability is DurabilityMode.NONE:
            self.checkpoint()
        return self.lsn

    def checkpoint(self) -> None:
        """Sync the data file, publish a checkpoint and trim the log; blocks.

        Raises:
            UnavailableError: a sync failed, now or before.
            StorageFullError: no room to publish it; the one before stays in force.
        """
        self._check_usable()
        self._upkeep.checkpoint(self._store.state)

    def due(self) -> float:
        """Seconds until :meth:`background` should be called."""
        waits = [self._upkeep.due(self._store.state), self._space.due()]
        if not self._compactor.is_running:
            waits.append(self._ageing.due())
            if (reclaiming := self._reclaimer.due()) is not None:
                waits.append(reclaiming)
        waits.append(max(self.jobs.due(), self._jobs_again - self._clock()))
        if (compacting := self._compactor.due()) is not None:
            waits.append(compacting)
        return min(waits)

    def background(self) -> None:
        """Do some of what is due; returns within a few milliseconds.

        Log syncs and checkpoints go on in helper threads; see :meth:`due`.

        Raises:
            UnavailableError: a sync has failed; storage has to stop.
        """
        self._check_usable()
        self._upkeep.run(self._store.state)
        self._space.look()
        if not self._compactor.is_running:
            self._ageing.run()
            if (error := self._reclaimer.run()) is not None:
                self._compactor.refuse(error)
        self._compactor.run()
        self.run_jobs()
        self._check_usable()

    def start_compaction(self) -> None:
        """Begin to write the data file anew; :meth:`background` goes on with it.

        Raises:
            StorageFullError: there is no room for a second data file.
        """
        self._check_usable()
        self._compactor.start()

    def take_compaction(self) -> Compacted | AuroraError | None:
        """What the last compaction came to, once it is done."""
        return self._compactor.take_outcome()

    # -------------------------------------------------------------- the rest
    def forget_client(self, client: str) -> None:
        """Drop the remembered outcomes of a client that is gone."""
        self._store.outcomes.forget_client(client)

    def hold_changes(self, consumer: str, lsn: int | None) -> None:
        """Keep the changes after ``lsn`` for a consumer; ``None`` ends that.

        Kept up to ten times ``change_retention``; not remembered over a restart.
        """
        self._store.history.hold(consumer, lsn)
        if self._origins is not None and consumer == AUDITOR and lsn is not None:
            self._origins.done = lsn

    def pause_s(self, written: int) -> float:
        """How long writers are to wait after ``written`` changes; see ``History``."""
        return self._store.history.pause_s(self.lsn, written)

    def statistics(self) -> dict[str, int | float]:
        """Counters since the engine was opened, and sizes as they are."""
        store, upkeep, log = self._store, self._upkeep, self._store.log
        return {
            "lsn": store.state.lsn,
            "timeline": store.state.timeline,
            "commits": self._batches,
            "writes": self._writes,
            "refused_requests": self._runner.refused + self._unplaced,
            "duplicate_requests": self._runner.repeats,
            "remembered_outcomes": len(store.outcomes),
            "replayed_frames": store.replayed_frames,
            "log_bytes": 0 if log is None else log.size_bytes,
            "log_syncs": upkeep.log_syncs,
            "synced_lsn": 0 if log is None else log.synced_lsn,
            "checkpoints": upkeep.checkpoints,
            "checkpoint_lsn": store.checkpointer.lsn,
            "data_bytes": store.checkpointer.data_bytes,
            "documents": store.catalog.documents,
            "collections": len(store.catalog.by_name),
            "first_change": store.history.first,
            "generation": store.generation,
            "compactions": self._compactor.done,
            **self.jobs.counters(),
            **self._space.statistics(),
            **({} if log is None else log.sync_times.statistics()),
        }

    def close(self) -> None:
        """Take a last checkpoint, unless a sync has failed, and close the files."""
        if self._closed:
            return
        self._closed = True
        try:
            self._compactor.abandon()
            self._upkeep.close()
            if self._failure is None and self._upkeep.failure is None:
                self._upkeep.checkpoint(self._store.state, clean=True)
        finally:
            self._store.close()

    def abandon(self) -> None:
        """Close the files as they are, as a crash would leave them (for tests)."""
        self._closed = True
        self._compactor.abandon()
        self._upkeep.close()
        self._store.close()
