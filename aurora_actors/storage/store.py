"""An open database as the storage process holds it: files, catalog, state.

:meth:`Store.open` brings whatever is on disk to a consistent state (see
``storage.recovery``) and replays the commit log. From then on the store knows how to
begin a batch and how to make its transaction the new state; what a batch consists of,
the log, and when anything is synced is the engine's business.
"""

from __future__ import annotations

import errno
import logging
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import lmdb

from aurora_actors.config import AuroraConfig, ColdStoreMode, DurabilityMode
from aurora_actors.errors import AuroraError, StorageFullError
from aurora_actors.storage.catalog import Catalog, State, read_state, read_uuid
from aurora_actors.storage.checkpoint import Checkpointer, boot_id
from aurora_actors.storage.commitlog import CommitLog
from aurora_actors.storage.environment import (
    Environment,
    Tables,
    Transaction,
    lmdb_errors,
    open_environment,
    open_tables,
    translate_lmdb,
)
from aurora_actors.storage.filelog import FileLog
from aurora_actors.storage.files import Files
from aurora_actors.storage.frames import Frame
from aurora_actors.storage.generations import data_file_name
from aurora_actors.storage.history import History
from aurora_actors.storage.layout import CHECKPOINT_FILE, META_MOVED, WAL_DIRECTORY
from aurora_actors.storage.marking import MARK_FROM
from aurora_actors.storage.origins import note_origins
from aurora_actors.storage.outcomes import Outcomes
from aurora_actors.storage.recovery import (
    history_was_cut,
    lock_writer,
    prepare_data_file,
    prepare_directory,
)
from aurora_actors.storage.replay import replay_frame
from aurora_actors.storage.sharing import acquire, release
from aurora_actors.storage.writeset import WriteSet

__all__ = ["Settings", "Store"]

_log = logging.getLogger(__name__)
_LOGGED: Final = frozenset({DurabilityMode.WAL, DurabilityMode.STRICT})
_REPLAY_BYTES: Final = 32 << 20
_SEGMENT_BYTES: Final = 64 << 20
_NEARLY_FULL: Final = 16 << 20


class Settings(NamedTuple):
    """What an engine is given besides its configuration.

    Attributes:
        files: The file system.
        boot: This run of the machine; ``None`` asks the system.
        map_size: The data file's largest size; ``None`` takes ``max_size_gb``.
        checkpoint_log_bytes: The log's size that makes a checkpoint due.
        mark_from: From how many documents on deletions are marked first.
    """

    files: Files = Files()
    boot: str | None = None
    map_size: int | None = None
    checkpoint_log_bytes: int | None = None
    mark_from: int = MARK_FROM


class Store:
    """The open files of one database, and the state they are in.

    Attributes:
        state: The last committed state.
        catalog: Its collections.
        outcomes: The remembered outcomes.
        history: How much of ``changes`` is kept.
        checkpointer: Takes its checkpoints.
        log: The commit log; ``None`` in the durability modes without one.
        generation: Which data file is the current one.
        files: The file system.
        map_size: The data file's largest size.
        mark_from: From how many documents on deletions are marked first.
    """

    def __init__(self, config: AuroraConfig, settings: Settings) -> None:
        self.config = config
        self.path = config.path
        self.generation = 0
        self.replayed_frames = 0
        self.files = settings.files
        self.mark_from = settings.mark_from
        self.map_size = settings.map_size or config.max_size_gb << 30
        self._boot = boot_id() if settings.boot is None else settings.boot
        self._open_things = ExitStack()

    @classmethod
    def open(cls, config: AuroraConfig, settings: Settings, tree_id: str) -> Store:
        """Open the database at ``config.path``, making or recovering it if need be.

        Raises:
            UnavailableError: another process writes it, or its files are refused.
            CorruptionError: its files are damaged.
        """
        store = cls(config, settings)
        prepare_directory(store.path)
        with ExitStack() as stack:
            store._open_things = stack
            stack.callback(os.close, lock_writer(store.path))
            store._open_files()
            store._recover(tree_id)
            store._open_things = stack.pop_all()
        return store

    def _open_files(self) -> None:
        self._found, self._rebooted = prepare_data_file(
            self.path,
            files=self.files,
            boot=self._boot,
            map_size=self.map_size,
            durability=self.config.durability,
        )
        self.generation = self._found.generation
        self._shared = acquire(
            self.path, self._open_environment, writer=True, generation=self.generation
        )
        self._open_things.callback(lambda: release(self._shared))
        self.env, self.tables = self._shared.env, self._shared.tables
        with lmdb_errors(self.data_path):
            self.env.reader_check()
            with self.env.begin() as txn:
                uuid = self._load(txn)
        self._open_log(uuid)

    def _open_environment(self) -> tuple[Environment, Tables]:
        return self.open_file(self.data_path)

    def open_file(self, path: Path) -> tuple[Environment, Tables]:
        """Open a data file of this database for writing."""
        env = open_environment(
            path,
            map_size=self.map_size,
            max_readers=self.config.max_readers,
            sync=self.config.durability is DurabilityMode.SYNCHRONOUS,
        )
        try:
            return env, open_tables(env)
        except BaseException:
            env.close()
            raise

    def _load(self, txn: Transaction) -> bytes:
        tables, config = self.tables, self.config
        uuid = read_uuid(txn, tables.meta)
        self.state = read_state(txn, tables.meta)
        self.catalog = Catalog.load(txn, tables.meta)
        self.outcomes = Outcomes.load(txn, tables.requests)
        self.is_new_tree = False
        self.checkpointer = self.new_checkpointer(self.env, self.generation, uuid)
        self._open_things.callback(self._close_checkpointer)
        self.history = History(
            txn, tables.changes, self.state.lsn, config, lambda: self.checkpointer.lsn
        )
        return uuid

    def _close_checkpointer(self) -> None:
        self.checkpointer.close()  # the one that is in use at the end

    @property
    def data_path(self) -> Path:
        """The current data file."""
        return self.path / data_file_name(self.generation)

    def new_checkpointer(
        self, env: Environment, generation: int, uuid: bytes
    ) -> Checkpointer:
        """What takes checkpoints of one of the data files."""
        return Checkpointer(
            env,
            data_path=self.path / data_file_name(generation),
            path=self.path / CHECKPOINT_FILE,
            files=self.files,
            boot=self._boot,
            uuid=uuid,
            durability=self.config.durability,
            generation=generation,
        )

    def _open_log(self, uuid: bytes) -> None:
        small = self.config.cold_mode is ColdStoreMode.LOW_SPACE
        self._stored_log: CommitLog = FileLog(
            self.path / WAL_DIRECTORY,
            seed=zlib.crc32(uuid),
            files=self.files,
            segment_bytes=_SEGMENT_BYTES // (16 if small else 1),
            after_lsn=self.state.lsn,
            rebooted=self._rebooted,
        )
        self._open_things.callback(self._stored_log.close)
        logged = self.config.durability in _LOGGED
        self.log: CommitLog | None = self._stored_log if logged else None

    # -------------------------------------------------------------- recovery
    def _recover(self, tree_id: str) -> None:
        # A guarded state first: replay overwrites pages that the last one may need.
        self.checkpointer.take(self.state)
        log = self._stored_log
        behind = log.last_lsn > self.state.lsn
        if behind:
            self._replay(log)
        cut = history_was_cut(self._found, rebooted=self._rebooted)
        with self.writing() as txn:
            batch = self.new_batch(txn)
            batch.timeline += cut
            self.is_new_tree = self.outcomes.begin_tree(
                txn, self.tables.meta, self.tables.requests, tree_id
            )
            state = batch.flush()
            # A compaction was cut short before it switched: this is still the file.
            txn.delete(META_MOVED, db=self.tables.meta)
        self.committed(state)
        if behind or cut:
            self.checkpointer.take(self.state)
            _log.warning(
                "recovered after an unclean stop",
                extra={"lsn": state.lsn, "timeline": state.timeline, "cut": cut},
            )
        log.restart(state.lsn)

    def _replay(self, log: CommitLog) -> None:
        frames: list[Frame] = []
        size = 0
        for frame in log.read(self.state.lsn):
            frames.append(frame)
            size += len(frame.payload)
            if size >= _REPLAY_BYTES:
                self._replay_all(frames)
                frames, size = [], 0
        if frames:
            self._replay_all(frames)

    def _replay_all(self, frames: Sequence[Frame]) -> None:
        with self.writing() as txn:
            batch = self.new_batch(txn)
            for frame in frames:
                batch.timeline = max(batch.timeline, frame.timeline)
                entries = replay_frame(batch, frame)
                if self.config.audit_path is not None:
                    first = frame.first_lsn
                    note_origins(txn, self.tables.meta, first - 1, entries, 0)
                for entry in entries:
                    self.outcomes.restore(entry.client, entry.request_id, entry.reply)
            state = self.write(txn, batch)
        self.committed(state)
        self.replayed_frames += len(frames)

    # -------------------------------------------------------------- batches
    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """One write transaction: committed at the end, or aborted by an error."""
        with lmdb_errors(self.data_path):
            txn = self.env.begin(write=True)
            try:
                yield txn
                txn.commit()
            except BaseException:
                txn.abort()
                raise

    @contextmanager
    def changing(self) -> Iterator[WriteSet]:
        """One write set outside of the batches: written at the end, or undone."""
        with ExitStack() as undo:
            with self.writing() as txn:
                batch = self.new_batch(txn)
                undo.callback(batch.rollback, batch.savepoint())
                yield batch
                state = batch.flush()
            undo.pop_all()
        self.state = state

    def begin(self) -> Transaction:
        """Begin a write transaction; the caller commits or aborts it."""
        try:
            return self.env.begin(write=True)
        except lmdb.Error as exc:
            raise translate_lmdb(exc, str(self.data_path)) from exc

    def commit_error(self, exc: lmdb.Error) -> AuroraError:
        """What a failed commit means.

        LMDB reports a write that a full disk cut short as EIO. Where it does not sync,
        no sync can be the cause, and the transaction is undone: not final.
        """
        cut_short = getattr(exc, "code", 0) == errno.EIO
        if cut_short and self.config.durability is not DurabilityMode.SYNCHRONOUS:
            room = os.statvfs(self.path)
            if room.f_bavail * room.f_frsize < _NEARLY_FULL:
                return StorageFullError(
                    f"no room left on the disk for {self.data_path}",
                    file=str(self.data_path),
                )
        return translate_lmdb(exc, str(self.data_path))

    def new_batch(self, txn: Transaction) -> WriteSet:
        """An empty write set over ``txn``, which has just begun."""
        return WriteSet(txn, self.tables, self.catalog, self.state, self.history.first)

    def write(self, txn: Transaction, batch: WriteSet) -> State:
        """Write a batch and its outcomes to ``txn``; returns the state it leads to."""
        written = batch.lsn - self.state.lsn
        state = batch.flush()
        self.outcomes.flush(txn, self.tables.requests)
        self.history.trim(txn, batch.lsn, written)
        return state

    def committed(self, state: State) -> None:
        """The transaction that leads to ``state`` is committed."""
        self.state = state
        self.outcomes.committed()
        self.history.committed()

    def used_bytes(self) -> int:
        """How much of the data file holds something; the rest are free pages."""
        with lmdb_errors(self.data_path), self.env.begin() as txn:
            pages = 2
            for stat in (self.env.stat(), *map(txn.stat, self.tables)):
                pages += stat["branch_pages"] + stat["leaf_pages"]
                pages += stat["overflow_pages"]
        return int(pages * self.env.stat()["psize"])

    def switch(
        self,
        env: Environment,
        tables: Tables,
        generation: int,
        checkpointer: Checkpointer,
    ) -> None:
        """Go on with another data file that holds the same state.

        Its checkpoint has been published; the old file's name is removed, and readers
        that have it open keep it until they look for the new one.
        """
        old_path, old_shared = self.data_path, self._shared
        self._shared = acquire(
            self.path, lambda: (env, tables), writer=True, generation=generation
        )
        self.env, self.tables, self.generation = env, tables, generation
        self.checkpointer.close()
        self.checkpointer = checkpointer
        with lmdb_errors(self.data_path), env.begin() as txn:
            self.history.move(txn, tables.changes, self.state.lsn)
        release(old_shared)
        try:
            self.files.remove(old_path)
            self.files.remove(old_path.with_name(f"{old_path.name}-lock"))
        except OSError as exc:
            # The next start removes it.
            _log.warning("an old data file stays", extra={"error": str(exc)})

    def close(self) -> None:
        """Close everything, without syncing."""
        self._open_things.close()
