"""The files of the derived data as the index builder holds them.

Opening brings whatever is on disk to a state that can go on: after power loss the last
checkpoint is restored, as for ``data.mdb``; a file that is damaged, of another format,
of another database or of a history that was cut is thrown away, for the builder to make
all of it anew. One builder at a time, under a lock of its own.

A column file that nothing names any more may still be named by the checkpoint, or be
about to be opened by a reader: it is removed with the checkpoint after next, and not
before :data:`GRACE_S` have passed.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from aurora_actors.config import DurabilityMode
from aurora_actors.errors import AuroraError, CorruptionError, UnavailableError
from aurora_actors.indexing.column_writer import FAN_IN
from aurora_actors.indexing.environment import (
    Environment,
    IndexTables,
    Transaction,
    open_index_environment,
    open_index_tables,
    read_index_state,
    write_identity,
)
from aurora_actors.indexing.index_writer import MOST_BITMAPS
from aurora_actors.indexing.layout import (
    CHECKPOINT_FILE,
    COLUMNS_DIRECTORY,
    INDEX_FILE,
    META_GARBAGE,
    META_SEGMENT,
    META_STATE,
    IndexState,
    pack_state,
)
from aurora_actors.indexing.segments import decode_segment
from aurora_actors.indexing.sharing import SharedIndex, acquire_index, release_index
from aurora_actors.storage.catalog import State
from aurora_actors.storage.checkpoint import (
    Checkpoint,
    Checkpointer,
    Pending,
    boot_id,
    load_checkpoint,
)
from aurora_actors.storage.environment import file_errors, lmdb_errors
from aurora_actors.storage.files import Files, write_all
from aurora_actors.storage.recovery import check_length

__all__ = ["GRACE_S", "IndexStore", "Limits", "Origin", "Settings", "discard_index"]

_log = logging.getLogger(__name__)

GRACE_S: Final = 30.0
_LOCK_FILE: Final = "index.lock"
_SEGMENT_KEY_BYTES: Final = 13


class Origin(NamedTuple):
    """What the derived data is derived from.

    Attributes:
        uuid: The database's.
        timeline: Its history's number.
        lsn: The last change it has.
    """

    uuid: bytes
    timeline: int
    lsn: int


class Limits(NamedTuple):
    """How much is done at a time, and from when on.

    Attributes:
        changes: Changes in one commit.
        documents: Existing documents read in one commit.
        waiting_rows: So many pending rows make a column segment at once.
        idle_rows: So many make one when there is nothing else to do.
        segment_rows: Rows in a new segment.
        bitmaps: Values of an index that are kept as bitmaps.
        fan_in: Column segments of a like size that are merged.
    """

    changes: int = 20_000
    documents: int = 20_000
    waiting_rows: int = 1 << 14
    idle_rows: int = 1 << 10
    segment_rows: int = 1 << 16
    bitmaps: int = MOST_BITMAPS
    fan_in: int = FAN_IN


class Settings(NamedTuple):
    """What a store and its builder are given besides their place.

    Attributes:
        map_size: The largest size of the index file.
        max_readers: As in the database's configuration.
        files: The file system.
        boot: This run of the machine; ``None`` asks the system.
        clock: Seconds, monotonic.
        limits: How much is done at a time.
    """

    map_size: int = 64 << 30
    max_readers: int = 1024
    files: Files = Files()
    boot: str | None = None
    clock: Callable[[], float] = time.monotonic
    limits: Limits = Limits()


def discard_index(path: Path) -> None:
    """Throw the derived data of the database directory ``path`` away."""
    for name in (INDEX_FILE, f"{INDEX_FILE}-lock", CHECKPOINT_FILE):
        with file_errors(path / name):
            (path / name).unlink(missing_ok=True)
    directory = path / COLUMNS_DIRECTORY
    with file_errors(directory):
        for file in directory.glob("*.arrow"):
            file.unlink(missing_ok=True)


class IndexStore:
    """An open ``index.mdb`` and the state it is in.

    Attributes:
        state: The last committed state.
        columns: The directory of the column files.
        limits: How much is done at a time.
        is_new: Nothing has been derived yet.
    """

    def __init__(self, path: Path, origin: Origin, settings: Settings) -> None:
        self.path = path
        self.columns = path / COLUMNS_DIRECTORY
        self.is_new = False
        self._origin = origin
        self._settings = settings
        self.limits = settings.limits
        self._boot = boot_id() if settings.boot is None else settings.boot
        self._open_things = ExitStack()
        self._unsynced: list[Path] = []
        # Garbage by file name: since when, and whether a checkpoint has been
        # published since that no longer names it.
        self._garbage: dict[str, tuple[float, bool]] = {}

    @classmethod
    def open(cls, path: Path, origin: Origin, settings: Settings) -> IndexStore:
        """Open the derived data of the database directory ``path``.

        Raises:
            UnavailableError: another builder is at work, or the system refuses a file.
        """
        store = cls(path, origin, settings)
        with ExitStack() as stack:
            store._open_things = stack
            stack.callback(os.close, _lock(path / _LOCK_FILE))
            with file_errors(store.columns):
                store.columns.mkdir(mode=0o700, exist_ok=True)
            if not store._open_existing():
                store._create()
            store._open_things = stack.pop_all()
        return store

    # -------------------------------------------------------------- opening
    def _open_existing(self) -> bool:
        """Open what is there; false when it is of no use, and gone."""
        with ExitStack() as stack:
            try:
                if not self._restore():
                    return False
                shared = self._acquire(stack)
                with lmdb_errors(shared.path), shared.env.begin() as txn:
                    uuid, self.state = read_index_state(txn, shared.tables.meta)
                    self._check_origin(uuid)
                    self._load_garbage(txn, shared.tables)
                self._take_over(stack, shared)
            except CorruptionError as exc:
                _log.warning(
                    "the derived data is built anew", extra={"reason": exc.message}
                )
                stack.close()
                discard_index(self.path)
                return False
        return True

    def _restore(self) -> bool:
        """Put the last checkpoint back after power loss; false if there is nothing.

        Raises:
            CorruptionError: what is there cannot be used.
        """
        index = self.path / INDEX_FILE
        checkpoint = load_checkpoint(self.path / CHECKPOINT_FILE, self._settings.files)
        if checkpoint is None or not index.exists():
            discard_index(self.path)
            return False
        if checkpoint.uuid != self._origin.uuid:
            raise CorruptionError("the index file is another database's")
        check_length(index, checkpoint)
        rebooted = not self._boot or checkpoint.boot_id != self._boot
        if rebooted and not checkpoint.clean:
            self._put_back(index, checkpoint)
        return True

    def _put_back(self, index: Path, checkpoint: Checkpoint) -> None:
        files = self._settings.files
        with file_errors(index):
            fd = files.open(index)
            try:
                write_all(files, fd, checkpoint.metas, 0)
                files.sync(fd)
            finally:
                files.close(fd)

    def _check_origin(self, uuid: bytes) -> None:
        origin, state = self._origin, self.state
        if uuid != origin.uuid:
            raise CorruptionError("the index file is another database's")
        if state.timeline != origin.timeline or state.lsn > origin.lsn:
            raise CorruptionError(
                f"the index file has LSN {state.lsn} of timeline {state.timeline}, "
                f"the database LSN {origin.lsn} of timeline {origin.timeline}"
            )

    def _acquire(self, stack: ExitStack) -> SharedIndex:
        shared = acquire_index(self.path / INDEX_FILE, self._open_files, writer=True)
        stack.callback(release_index, shared)
        return shared

    def _open_files(self) -> tuple[Environment, IndexTables]:
        env = open_index_environment(
            self.path / INDEX_FILE,
            map_size=self._settings.map_size,
            max_readers=self._settings.max_readers,
        )
        try:
            return env, open_index_tables(env, create=True)
        except BaseException:
            env.close()
            raise

    def _take_over(self, stack: ExitStack, shared: SharedIndex) -> None:
        self.env, self.tables = shared.env, shared.tables
        self._checkpointer = Checkpointer(
            self.env,
            data_path=shared.path,
            path=self.path / CHECKPOINT_FILE,
            files=self._settings.files,
            boot=self._boot,
            uuid=self._origin.uuid,
            durability=DurabilityMode.WAL,
        )
        stack.callback(self._checkpointer.close)
        with lmdb_errors(shared.path):
            self.env.reader_check()
        # A guarded state first: what follows overwrites pages the last one may need.
        self.checkpoint()
        self._open_things.push(stack.pop_all())

    def _create(self) -> None:
        """Begin with nothing, at the database's present LSN."""
        origin = self._origin
        self.is_new = True
        self.state = IndexState(origin.lsn, origin.timeline, 0, 1)
        with ExitStack() as stack:
            shared = self._acquire(stack)
            with lmdb_errors(shared.path), shared.env.begin(write=True) as txn:
                write_identity(txn, shared.tables.meta, origin.uuid)
                txn.put(META_STATE, pack_state(self.state), db=shared.tables.meta)
            self._take_over(stack, shared)

    # -------------------------------------------------------------- transactions
    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """A write transaction: committed at the end, or aborted by an error."""
        with lmdb_errors(self.path / INDEX_FILE):
            txn = self.env.begin(write=True)
            try:
                yield txn
                txn.commit()
            except BaseException:
                txn.abort()
                raise

    def put_state(self, txn: Transaction, state: IndexState) -> None:
        """Make ``state`` the one that ``txn`` leads to."""
        txn.put(META_STATE, pack_state(state), db=self.tables.meta)

    def wrote(self, path: Path) -> None:
        """A column file has been written: it is synced with the next checkpoint."""
        self._unsynced.append(path)

    def clear(self) -> None:
        """Forget everything derived; files become garbage. One transaction."""
        with self.writing() as txn:
            for file in sorted(self.columns.glob("*.arrow")):
                self._garbage.setdefault(file.name, (self._settings.clock(), False))
            uuid = self._origin.uuid
            for table in self.tables:
                txn.drop(table, delete=False)
            write_identity(txn, self.tables.meta, uuid)
            for name in self._garbage:
                txn.put(META_GARBAGE + name.encode(), b"", db=self.tables.meta)
            self.put_state(txn, self.state)

    # -------------------------------------------------------------- garbage
    def _load_garbage(self, txn: Transaction, tables: IndexTables) -> None:
        """Find the files that nothing names, also those a crash left behind."""
        named = set(_segment_files(txn, tables))
        now = self._settings.clock()
        for file in self.columns.glob("*.arrow"):
            if file.name not in named:
                self._garbage[file.name] = (now, False)

    def mark_garbage(self) -> None:
        """Find the files that became garbage in the transaction just committed."""
        with lmdb_errors(self.path / INDEX_FILE), self.env.begin() as txn:
            for name in _garbage_names(txn, self.tables):
                self._garbage.setdefault(name, (self._settings.clock(), False))

    def _remove_garbage(self) -> None:
        """After a checkpoint: remove what the one before no longer named either."""
        now = self._settings.clock()
        removed = []
        for name, (since, published) in self._garbage.items():
            if published and now - since >= GRACE_S:
                with suppress(OSError):
                    (self.columns / name).unlink(missing_ok=True)
                    removed.append(name)
            else:
                self._garbage[name] = (since, True)
        if removed:
            with self.writing() as txn:
                for name in removed:
                    txn.delete(META_GARBAGE + name.encode(), db=self.tables.meta)
                    del self._garbage[name]

    # -------------------------------------------------------------- checkpoints
    @property
    def checkpoint_lsn(self) -> int:
        """The LSN that survives power loss."""
        return self._checkpointer.lsn

    @property
    def size_bytes(self) -> int:
        """How much of the index file is or has been in use."""
        return self._checkpointer.data_bytes

    def begin_checkpoint(self, *, clean: bool = False) -> Pending:
        """Take the state and its guard; call it between two commits."""
        state = State(self.state.lsn, self.state.timeline, self.state.version)
        return self._checkpointer.begin(state, clean=clean)

    def sync_checkpoint(self, pending: Pending) -> None:
        """Sync the files and publish; may run in another thread while commits go on."""
        files, unsynced = self._settings.files, self._unsynced[:]
        for path in unsynced:
            with suppress(FileNotFoundError), file_errors(path):
                fd = files.open(path)
                try:
                    files.sync(fd)
                finally:
                    files.close(fd)
        if unsynced:
            with file_errors(self.columns):
                files.sync_directory(self.columns)
            del self._unsynced[: len(unsynced)]
        self._checkpointer.sync()
        self._checkpointer.publish(pending)

    def finish_checkpoint(self, pending: Pending) -> None:
        """It is published: let go of the state before it, and of old files."""
        self._checkpointer.finish(pending)
        self._remove_garbage()

    def abandon_checkpoint(self, pending: Pending) -> None:
        """It was not published: the one before stays in force."""
        self._checkpointer.abandon(pending)

    def checkpoint(self, *, clean: bool = False) -> None:
        """Do all of it at once."""
        pending = self.begin_checkpoint(clean=clean)
        try:
            self.sync_checkpoint(pending)
        except BaseException:
            self.abandon_checkpoint(pending)
            raise
        self.finish_checkpoint(pending)

    def close(self, *, clean: bool = True) -> None:
        """Close the files; ``clean`` takes a last checkpoint."""
        try:
            if clean:
                with suppress(AuroraError):
                    self.checkpoint(clean=True)
        finally:
            self._open_things.close()


def _lock(path: Path) -> int:
    with file_errors(path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(fd)
        raise UnavailableError(
            f"another index builder holds {path}; wait until it has stopped",
            file=str(path),
        ) from exc
    return fd


def _garbage_names(txn: Transaction, tables: IndexTables) -> Iterator[str]:
    cursor = txn.cursor(tables.meta)
    found = cursor.set_range(META_GARBAGE)
    while found and cursor.key()[:1] == META_GARBAGE:
        yield bytes(cursor.key()[1:]).decode()
        found = cursor.next()


def _segment_files(txn: Transaction, tables: IndexTables) -> Iterator[str]:
    cursor = txn.cursor(tables.meta)
    found = cursor.set_range(META_SEGMENT)
    while found and cursor.key()[:1] == META_SEGMENT:
        if len(cursor.key()) == _SEGMENT_KEY_BYTES:
            yield decode_segment(bytes(cursor.value())).file
        found = cursor.next()
