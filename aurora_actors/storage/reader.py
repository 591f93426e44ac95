"""Opening a database for reading, in any process.

LMDB allows one open environment per process and file, so the readers of one path share
it and the last one closes it. A forked child must not use its parent's: it is refused.
A data file that power loss may have left as a mixture of pages is refused until its
storage process has recovered it.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

import lmdb

from aurora_actors.errors import CorruptionError, UnavailableError, UsageError
from aurora_actors.storage.catalog import catalog_version, read_uuid
from aurora_actors.storage.checkpoint import boot_id, load_checkpoint
from aurora_actors.storage.environment import (
    Environment,
    Tables,
    Transaction,
    lmdb_errors,
    open_environment,
    open_tables,
    translate_lmdb,
)
from aurora_actors.storage.files import Files
from aurora_actors.storage.layout import CHECKPOINT_FILE, DATA_FILE, META_STATE
from aurora_actors.storage.recovery import check_length
from aurora_actors.storage.sharing import SharedEnvironment, acquire, release
from aurora_actors.storage.snapshot import CollectionInfo, Snapshot

__all__ = ["CollectionInfo", "DataReader", "Snapshot"]


class DataReader:
    """Read access to one database; make it with :meth:`open`. Any thread may use it."""

    def __init__(self, shared: SharedEnvironment) -> None:
        self._shared: SharedEnvironment | None = shared
        self._pid = shared.pid

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        max_size_gb: int = 64,
        max_readers: int = 1024,
        boot: str | None = None,
    ) -> DataReader:
        """Open the database directory ``path`` for reading.

        Args:
            path: The directory.
            max_size_gb: As in the database's configuration.
            max_readers: As in the database's configuration.
            boot: This run of the machine, instead of what the system says.

        Raises:
            UnavailableError: there is no database, or it has to be recovered by its
                storage process before anybody may read it.
            CorruptionError: its files are damaged.
        """
        resolved = Path(path).expanduser().resolve()

        def opener() -> tuple[Environment, Tables]:
            _check_recovered(resolved, boot_id() if boot is None else boot)
            return _open_readonly(resolved, max_size_gb << 30, max_readers)

        return cls(acquire(resolved, opener, writer=False))

    def snapshot(self) -> Snapshot:
        """Begin a snapshot of the present state; end it with ``with`` or ``close()``.

        Raises:
            UsageError: the reader is closed, or was opened before a fork.
            OverloadedError: all reader slots of the database are in use.
        """
        shared = self._shared
        if shared is None:
            raise UsageError("this reader is closed")
        if os.getpid() != self._pid:
            raise UsageError("a reader cannot be used after a fork; open another one")
        try:
            txn = shared.env.begin(buffers=True)
        except lmdb.Error as exc:
            txn = _begin_again(shared, exc)
        return Snapshot(txn, shared.tables, shared.cache)

    def record(self, collection: str, document_id: str) -> bytes | None:
        """The record of one document in the present state, or ``None``.

        The same as from a snapshot of its own in a third of the time: nothing is made
        that one read does not need, and the catalog is trusted while its version is.

        Raises:
            CollectionNotFoundError: there is no such collection.
            UsageError: as for :meth:`snapshot`.
            OverloadedError: as for :meth:`snapshot`.
        """
        shared = self._shared
        if shared is not None and os.getpid() == self._pid:
            info = shared.cache.by_name.get(collection)
            if info is not None:
                try:
                    return _read_record(shared, info, document_id)
                except (_Unsure, lmdb.Error, UnicodeEncodeError):
                    pass  # the long way knows what it is
        with self.snapshot() as snapshot:
            record = snapshot.get(snapshot.find(collection), document_id)
            return None if record is None else bytes(record)

    def close(self) -> None:
        """Let go of the environment; snapshots of this reader must have ended."""
        shared, self._shared = self._shared, None
        if shared is not None:
            release(shared)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Unsure(Exception):  # noqa: N818 - a signal within this module
    """The catalog has changed since it was read."""


def _read_record(
    shared: SharedEnvironment, info: CollectionInfo, document_id: str
) -> bytes | None:
    tables, prefix = shared.tables, info.prefix
    txn = shared.env.begin()
    try:
        get = txn.get
        state = get(META_STATE, None, tables.meta)
        if state is None or catalog_version(state) != shared.cache.version:
            raise _Unsure
        row = get(prefix + document_id.encode(), None, tables.ids)
        if row is None:
            return None
        record: bytes | None = get(prefix + row, None, tables.docs)
        return record
    finally:
        txn.abort()


def _check_recovered(path: Path, boot: str) -> None:
    """Refuse a data file that power loss may have left as a mixture of pages."""
    checkpoint = load_checkpoint(path / CHECKPOINT_FILE, Files())
    if checkpoint is None:
        if not (path / DATA_FILE).exists():
            raise UnavailableError(f"there is no database at {path}", path=str(path))
        raise CorruptionError(
            f"{path / CHECKPOINT_FILE} is missing", file=str(path / CHECKPOINT_FILE)
        )
    if checkpoint.boot_id != boot and checkpoint.guarded and not checkpoint.clean:
        raise UnavailableError(
            f"{path} was not closed before the machine stopped; it can be read when "
            "its storage process has recovered it",
            path=str(path),
        )
    if (path / DATA_FILE).exists():
        check_length(path / DATA_FILE, checkpoint)


def _open_readonly(
    path: Path, map_size: int, max_readers: int
) -> tuple[Environment, Tables]:
    env = open_environment(
        path / DATA_FILE, map_size=map_size, max_readers=max_readers, readonly=True
    )
    try:
        tables = open_tables(env)
        with lmdb_errors(path / DATA_FILE), env.begin() as txn:
            read_uuid(txn, tables.meta)
    except BaseException:
        env.close()
        raise
    return env, tables


def _begin_again(shared: SharedEnvironment, error: lmdb.Error) -> Transaction:
    """Begin once more after removing what kept us out: dead readers, an old map."""
    try:
        if isinstance(error, lmdb.MapResizedError):
            shared.env.set_mapsize(0)
        elif isinstance(error, lmdb.ReadersFullError):
            shared.env.reader_check()
        else:
            raise translate_lmdb(error, str(shared.path)) from error
        return shared.env.begin(buffers=True)
    except lmdb.Error as exc:
        raise translate_lmdb(exc, str(shared.path)) from exc
