"""Writing the data file anew, without free pages, while reads and writes go on.

One compaction, in the storage process. It goes through these steps; only the last one
holds writes up, for milliseconds:

1. *Copy.* In a helper thread, LMDB copies the snapshot at LSN X to the data file of the
   next generation, ``data-<g + 1>.mdb``, and it is synced.
2. *Catch up.* Between commits, the changes after X are read from the change log and
   applied to the new file, some at a time, until few are left; it is synced again.
3. *Switch*, between two commits:

   a. the rest of the changes and the remembered outcomes go to the new file;
   b. a last commit marks the old file as *moved*;
   c. a checkpoint that names the new generation is synced and published. **This rename
      is the switch**: who opens the database before it gets the old file, who opens it
      afterwards the new one; both hold the same state, and the log goes on;
   d. storage goes on with the new file, and the old one's name is removed.

Readers have the old file open. Each snapshot they begin reads the state entry anyway;
the mark has changed the catalog version in it, which makes them look for the mark, and
then at the checkpoint. Before c it still names their file, which has the newest state:
they read it. After c they open the new one. No write is answered between b and the end
of d, so nobody can miss one. Snapshots that are open keep the old file until they end.

A crash before c leaves the old file, whose mark is removed at the next start; one after
it leaves the new file. What is left of the other is removed by recovery. Both files have
a lock file, and therefore a table of readers, of their own.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from aurora_actors.errors import (
    AuroraError,
    CorruptionError,
    InternalError,
    StorageFullError,
    UnavailableError,
)
from aurora_actors.messages.storage import Compacted
from aurora_actors.storage.catalog import (
    Catalog,
    State,
    pack_state,
    read_state,
    read_uuid,
)
from aurora_actors.storage.changes import Change, ChangeKind
from aurora_actors.storage.checkpoint import Checkpointer, load_checkpoint
from aurora_actors.storage.environment import Transaction, file_errors, lmdb_errors
from aurora_actors.storage.generations import data_file_name
from aurora_actors.storage.layout import CHECKPOINT_FILE, META_MOVED, META_STATE
from aurora_actors.storage.replay import replay_effect
from aurora_actors.storage.snapshot import CatalogCache, Snapshot
from aurora_actors.storage.store import Store
from aurora_actors.storage.upkeep import Upkeep
from aurora_actors.storage.writeset import WriteSet

__all__ = ["Compaction", "SwitchFailedError"]

_log = logging.getLogger(__name__)
_HOLD: Final = "compaction"
_STEP: Final = 1_000
_FEW: Final = 500
_MAX_STEPS: Final = 10_000
_SPARE_BYTES: Final = 16 << 20


class SwitchFailedError(UnavailableError):
    """The checkpoint was published, but perhaps not for good: storage has to stop."""


class Compaction:
    """One compaction under way.

    Args:
        store: The open database.
        upkeep: Takes its checkpoints; lends a helper thread.

    Raises:
        StorageFullError: there is no room for a second data file.
    """

    def __init__(self, store: Store, upkeep: Upkeep) -> None:
        self._store = store
        self._upkeep = upkeep
        self._generation = store.generation + 1
        self._path = store.path / data_file_name(self._generation)
        self._before = store.checkpointer.data_bytes
        self._shadow: _Shadow | None = None
        self._steps = 0
        self._synced = False
        self._fd = -1
        _check_room(store)
        self._remove()
        with file_errors(self._path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._fd = os.open(self._path, flags, 0o600)
        with lmdb_errors(store.data_path):
            self._txn = store.env.begin()
        store.history.hold(_HOLD, store.state.lsn)
        self._job: Future[None] | None = upkeep.submit(self._copy)

    @property
    def is_waiting(self) -> bool:
        """Whether a helper thread is at work and nothing else is to be done."""
        return self._job is not None and not self._job.done()

    # -------------------------------------------------------------- in the helper
    def _copy(self) -> None:
        with lmdb_errors(self._path):
            self._store.env.copyfd(self._fd, compact=True, txn=self._txn)
        self._sync()
        with file_errors(self._path):
            # The checkpoint that names the file must not be on the disk before its name.
            self._store.files.sync_directory(self._path.parent)

    def _sync(self) -> None:
        with file_errors(self._path):
            self._store.files.sync(self._fd)

    # -------------------------------------------------------------- between commits
    def step(self) -> Compacted | None:
        """Do some of it; returns the outcome when all is done. Blocks for milliseconds.

        Raises:
            SwitchFailedError: nobody can say which file is the current one after power
                loss; storage has to stop.
            AuroraError: it came to nothing; everything is as before.
        """
        if self.is_waiting:
            return None
        try:
            return self._step()
        except BaseException:
            self.abandon()
            raise

    def _step(self) -> Compacted | None:
        job, self._job = self._job, None
        if job is not None:
            job.result()
        if self._shadow is None:
            self._txn.abort()
            self._shadow = _Shadow(self._store, self._path)
        behind = self._shadow.catch_up(_STEP)
        self._steps += 1
        if behind > _FEW:
            self._synced = False
            if self._steps > _MAX_STEPS:
                raise UnavailableError(
                    "the compaction could not keep up with the writes; try again when "
                    "there are fewer"
                )
        elif not self._synced:
            self._synced = True
            self._job = self._upkeep.submit(self._sync)
        else:
            return self._switch(self._shadow)
        return None

    def _switch(self, shadow: _Shadow) -> Compacted:
        store = self._store
        self._upkeep.finish_checkpoint()
        while shadow.catch_up(_STEP):
            pass
        version = store.catalog.numbers["version"] + 1
        state = State(store.state.lsn, store.state.timeline, version)
        shadow.finish(state)
        checkpointer = store.new_checkpointer(shadow.env, self._generation, shadow.uuid)
        try:
            self._mark(state)
            self._publish(checkpointer, state)
        except BaseException:
            checkpointer.close()
            raise
        after = checkpointer.data_bytes
        try:
            store.switch(shadow.env, shadow.tables, self._generation, checkpointer)
        except Exception as exc:
            # The new file is the current one, whatever happens here.
            raise SwitchFailedError(
                f"going on with {self._path} failed: {exc}; storage has stopped, "
                "restart the database"
            ) from exc
        self._upkeep.use(checkpointer)
        store.history.hold(_HOLD, None)
        self._close_fd()
        _log.info("compacted", extra={"before": self._before, "after": after})
        return Compacted(before_bytes=self._before, after_bytes=after, seconds=0.0)

    def _mark(self, state: State) -> None:
        """Make the readers look at the checkpoint from now on."""
        store = self._store
        with store.writing() as txn:
            mark = data_file_name(self._generation).encode()
            txn.put(META_MOVED, mark, db=store.tables.meta)
            txn.put(META_STATE, pack_state(state), db=store.tables.meta)
        store.catalog.numbers["version"] = state.catalog_version
        store.state = state

    def _publish(self, checkpointer: Checkpointer, state: State) -> None:
        store = self._store
        try:
            checkpointer.take(state)
        except BaseException as exc:
            if self._is_published():
                raise SwitchFailedError(
                    f"switching to {self._path} failed, and nobody can say whether for "
                    f"good: {exc}; storage has stopped, restart the database"
                ) from exc
            with store.writing() as txn:
                txn.delete(META_MOVED, db=store.tables.meta)
            raise

    def _is_published(self) -> bool:
        try:
            found = load_checkpoint(
                self._store.path / CHECKPOINT_FILE, self._store.files
            )
        except AuroraError:
            return True  # it cannot be read: the worse case is assumed
        return found is None or found.generation == self._generation

    # -------------------------------------------------------------- giving up
    def abandon(self) -> None:
        """Undo what has been done; a copy under way is broken off."""
        self._store.history.hold(_HOLD, None)
        if self._job is not None and not self._job.done() and self._shadow is None:
            # The next write of the copy meets a full disk.
            full = os.open("/dev/full", os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(full, self._fd, inheritable=False)
            os.close(full)
        if self._job is not None:
            self._job.exception()
            self._job = None
        if self._shadow is None:
            self._txn.abort()
        elif self._store.generation != self._generation:
            self._shadow.env.close()
        self._close_fd()
        if not self._is_published():
            self._remove()

    def _close_fd(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _remove(self) -> None:
        with file_errors(self._path):
            self._store.files.remove(self._path)
            self._store.files.remove(self._path.with_name(f"{self._path.name}-lock"))


class _Shadow:
    """The new data file, which follows the old one."""

    def __init__(self, store: Store, path: Path) -> None:
        self._store = store
        self._path = path
        self.env, self.tables = store.open_file(path)
        with lmdb_errors(path), self.env.begin() as txn:
            self.state = read_state(txn, self.tables.meta)
            self.catalog = Catalog.load(txn, self.tables.meta)
            self.uuid = read_uuid(txn, self.tables.meta)

    def catch_up(self, limit: int) -> int:
        """Apply up to ``limit`` changes; returns how many are left."""
        store = self._store
        newest = store.state.lsn
        target = min(newest, self.state.lsn + limit)
        if target == self.state.lsn:
            return newest - target
        with self._writing() as txn:
            batch = WriteSet(txn, self.tables, self.catalog, self.state, 0)
            old = store.env.begin(buffers=True)
            with Snapshot(old, store.tables, CatalogCache()) as snapshot:
                for effect in _effects(snapshot.changes(self.state.lsn, target)):
                    _apply(batch, effect)
            _check_reached(batch.lsn, target)
            state = batch.flush()
        self.state = state
        return newest - target

    @contextmanager
    def _writing(self) -> Iterator[Transaction]:
        with lmdb_errors(self._path):
            txn = self.env.begin(write=True)
            try:
                yield txn
                txn.commit()
            except BaseException:
                txn.abort()
                raise

    def finish(self, state: State) -> None:
        """Take over the remembered outcomes, and be in ``state``."""
        store, tables = self._store, self.tables
        with self._writing() as txn:
            txn.drop(tables.requests, delete=False)
            with store.env.begin() as old:
                cursor = txn.cursor(tables.requests)
                cursor.putmulti(old.cursor(store.tables.requests), append=True)
            txn.put(META_STATE, pack_state(state), db=tables.meta)


def _check_reached(lsn: int, target: int) -> None:
    if lsn != target:
        raise InternalError(f"changes up to {target} lead the new data file to {lsn}")


def _apply(batch: WriteSet, effect: list[object]) -> None:
    try:
        replay_effect(batch, effect)
    except (LookupError, TypeError, ValueError) as exc:
        raise CorruptionError(f"the change log does not fit the data: {exc}") from exc


def _effects(changes: Iterator[Change]) -> Iterator[list[object]]:
    """Changes as effects of the commit log; inserts in consecutive rows together."""
    collection = first = 0
    records: list[bytes] = []
    for change in changes:
        if (
            change.kind is ChangeKind.INSERT
            and change.collection == collection
            and change.row == first + len(records)
        ):
            records.append(_bytes(change.new))
            continue
        if records:
            yield [int(ChangeKind.INSERT), collection, first, records]
        collection, records = 0, []
        match change.kind:
            case ChangeKind.INSERT:
                collection, first = change.collection, change.row
                records = [_bytes(change.new)]
            case ChangeKind.UPDATE:
                new = _bytes(change.new)
                yield [int(change.kind), change.collection, change.row, new]
            case ChangeKind.DELETE:
                yield [int(change.kind), change.collection, [change.row]]
            case ChangeKind.DEFINE:
                yield [int(change.kind), change.collection, _bytes(change.new)]
            case ChangeKind.DROP:
                yield [int(change.kind), change.collection]
    if records:
        yield [int(ChangeKind.INSERT), collection, first, records]


def _bytes(record: bytes | memoryview | None) -> bytes:
    return b"" if record is None else bytes(record)


def _check_room(store: Store) -> None:
    room = os.statvfs(store.path)
    free = room.f_bavail * room.f_frsize
    needed = store.used_bytes() + _SPARE_BYTES
    if free < needed:
        raise StorageFullError(
            f"compaction needs {needed:,} bytes for a second data file; the disk has "
            f"{free:,}",
            file=str(store.path),
        )
