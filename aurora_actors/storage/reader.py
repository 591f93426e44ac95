"""Opening a database for reading, in any process.

LMDB allows one open environment per process and file, so the readers of one path share
it and the last one closes it. A forked child must not use its parent's: it is refused.
A data file that power loss may have left as a mixture of pages is refused until its
storage process has recovered it.

The data file can be replaced while it is read (``storage.compaction``). Its last commit
says so, so that whoever begins a snapshot of it looks at the checkpoint and goes on with
the file that it names; snapshots that are open go on with the old one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Final, Self

import lmdb

from aurora_actors.errors import (
    CorruptionError,
    DataError,
    UnavailableError,
    UsageError,
)
from aurora_actors.schema.types import HIDDEN, CollectionDefinition
from aurora_actors.storage.catalog import (
    catalog_version,
    hidden_from_all,
    read_uuid,
)
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
from aurora_actors.storage.forks import process
from aurora_actors.storage.generations import current_data_file, data_file_name
from aurora_actors.storage.layout import (
    CHECKPOINT_FILE,
    DATA_FILE,
    LONGEST_WHOLE,
    META_STATE,
    TEXT_TAG,
    value_key,
)
from aurora_actors.storage.recovery import check_length
from aurora_actors.storage.sharing import (
    Known,
    SharedEnvironment,
    acquire,
    is_open,
    release,
)
from aurora_actors.storage.snapshot import CollectionInfo, Snapshot

__all__ = ["UNSURE", "CollectionInfo", "DataReader", "Snapshot", "Unsure"]

_ATTEMPTS: Final = 5
_SHORT_TEXT: Final = LONGEST_WHOLE // 4


class DataReader:
    """Read access to one database; make it with :meth:`open`. Any thread may use it."""

    def __init__(self, opener: Callable[[], SharedEnvironment]) -> None:
        self._opener = opener
        self._moving = Lock()
        shared = opener()
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

        def opener() -> SharedEnvironment:
            present = boot_id() if boot is None else boot
            return _acquire(resolved, present, max_size_gb << 30, max_readers)

        return cls(opener)

    def snapshot(self, *, copies: bool = False) -> Snapshot:
        """Begin a snapshot of the present state; end it with ``with`` or ``close()``.

        Args:
            copies: Give records as ``bytes``, which is faster for few.

        Raises:
            UsageError: the reader is closed, or was opened before a fork.
            OverloadedError: all reader slots of the database are in use.
        """
        shared = self._shared
        if shared is None:
            raise UsageError("this reader is closed")
        if process.pid != self._pid:
            raise UsageError("a reader cannot be used after a fork; open another one")
        try:
            txn = _begin(shared, copies=copies)
        except lmdb.Error as exc:
            txn = _begin_again(shared, exc, copies=copies)
        snapshot = Snapshot(txn, shared.tables, shared.cache)
        try:
            if snapshot.catalog_version != shared.settled:
                return self._settle(shared, snapshot, copies=copies)
        except BaseException:
            snapshot.close()
            raise
        return snapshot

    def _settle(
        self, shared: SharedEnvironment, snapshot: Snapshot, *, copies: bool
    ) -> Snapshot:
        """Make sure that a snapshot is of the current data file, or begin another."""
        if not snapshot.may_have_moved():
            shared.settled = snapshot.catalog_version
            return snapshot
        with self._moving:
            if self._shared is shared:
                current = self._opener()
                if current is shared:
                    # About to be replaced: until then nothing newer is to be had.
                    release(current)
                    return snapshot
                self._shared = current
                release(shared)
        snapshot.close()
        return self.snapshot(copies=copies)

    def copy_snapshot(self, snapshot: Snapshot, fd: int) -> None:
        """Write the data file as ``snapshot`` sees it, without free pages, to ``fd``.

        For a reader that no other thread uses.

        Raises:
            UsageError: the reader is closed.
            StorageFullError: no room where ``fd`` is.
        """
        if self._shared is None:
            raise UsageError("this reader is closed")
        env = self._shared.env
        with lmdb_errors(env.path()):
            env.copyfd(fd, compact=True, txn=snapshot.txn)

    def record(
        self, collection: str, document_id: str, *, hidden: bool = False
    ) -> bytes | None:
        """The record of one document in the present state, or ``None``.

        The same as from a snapshot of its own in a third of the time: nothing is made
        that one read does not need, and the catalog is trusted while its version is.

        Args:
            collection: The collection.
            document_id: The document's id.
            hidden: Also read what is shown to nobody.

        Raises:
            CollectionNotFoundError: there is no such collection.
            PermissionDeniedError: its documents are shown to nobody.
            UsageError: as for :meth:`snapshot`.
            OverloadedError: as for :meth:`snapshot`.
        """
        shared = self._shared
        if not hidden and collection in HIDDEN:
            raise hidden_from_all(collection)
        if shared is not None and process.pid == self._pid:
            try:
                return _read_record(shared, collection, document_id)
            except (_Unsure, lmdb.Error, UnicodeEncodeError):
                pass  # the long way knows what it is
        with self.snapshot() as snapshot:
            record = snapshot.get(snapshot.known(collection), document_id)
            return None if record is None else bytes(record)

    def definition(self, collection: str) -> CollectionDefinition:
        """The present definition of a collection, quickly.

        Raises:
            CollectionNotFoundError: there is no such collection.
            UsageError: as for :meth:`snapshot`.
            OverloadedError: as for :meth:`snapshot`.
        """
        shared = self._shared
        if shared is not None and process.pid == self._pid:
            info = shared.cache.by_name.get(collection)
            if info is not None:
                with suppress(_Unsure, lmdb.Error):
                    _check_catalog(shared)
                    return info.definition
        with self.snapshot() as snapshot:
            return snapshot.known(collection).definition

    def unique_record(
        self, collection: str, field: str, value: object, version: int | None = None
    ) -> bytes | Unsure | None:
        """As :meth:`record`, for the document that has ``value`` in a unique field.

        What is out of the ordinary (another field, a value that has no key, a catalog
        that has changed) is :data:`UNSURE`: a snapshot tells.

        Args:
            collection: The collection.
            field: The field.
            value: The value.
            version: The catalog's version that this is asked of, if of one alone.
        """
        shared = self._shared
        if shared is None or process.pid != self._pid or collection in HIDDEN:
            return UNSURE
        info = shared.known[2].get(collection)
        if info is not None and field not in info.unique:
            return UNSURE
        try:
            if type(value) is str and len(value) <= _SHORT_TEXT:
                key = TEXT_TAG + value.encode()  # what value_key would give
            else:
                key = value_key(value)
            return _read_unique(shared, collection, field, key, version)
        except (_Unsure, lmdb.Error, ValueError, DataError):
            return UNSURE

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


class Unsure(Enum):
    """That the short way to a document does not know."""

    UNSURE = "unsure"


UNSURE: Final = Unsure.UNSURE


class _Unsure(Exception):  # noqa: N818 - a signal within this module
    """The catalog has changed since it was read."""


def _check_catalog(shared: SharedEnvironment) -> None:
    txn = shared.env.begin()
    try:
        state = txn.get(META_STATE, None, shared.tables.meta)
    finally:
        txn.abort()
    if state is None or catalog_version(state) != shared.cache.version:
        raise _Unsure


def _read_record(
    shared: SharedEnvironment, collection: str, document_id: str
) -> bytes | None:
    txn = shared.env.begin()
    try:
        number, _, catalog = shared.known
        if txn.id() != number:
            _, _, catalog = _present_catalog(shared, txn)
        info = catalog[collection]
        prefix = info.prefix
        get, tables = txn.get, shared.tables
        row = get(prefix + document_id.encode(), None, tables.ids)
        if info.marked is not None and row and info.hides(row):
            return None
        found: bytes | None = row and get(prefix + row, None, tables.docs)
    except KeyError:
        raise _Unsure from None
    else:
        return found
    finally:
        txn.abort()


def _read_unique(
    shared: SharedEnvironment,
    collection: str,
    field: str,
    key: bytes,
    asked_version: int | None,
) -> bytes | None:
    txn = shared.env.begin()
    try:
        number, version, catalog = shared.known
        if txn.id() != number:
            _, version, catalog = _present_catalog(shared, txn)
        if asked_version is not None and asked_version != version:
            raise _Unsure
        info = catalog[collection]
        get, tables = txn.get, shared.tables
        row = get(info.unique[field] + key, None, tables.unique)
        if info.marked is not None and row and info.hides(row):
            return None
        found: bytes | None = row and get(info.prefix + row, None, tables.docs)
    except KeyError:
        raise _Unsure from None
    else:
        return found
    finally:
        txn.abort()


def _present_catalog(shared: SharedEnvironment, txn: Transaction) -> Known:
    """The catalog of a state, if it is the one that is remembered.

    Raises:
        _Unsure: it is another, or the file is being replaced.
    """
    cache = shared.cache
    version, catalog = cache.version, cache.by_name
    state = txn.get(META_STATE, None, shared.tables.meta)
    # Asked again behind the catalog: another thread may have read a newer one.
    if state is None or not catalog_version(state) == version == cache.version:
        raise _Unsure
    shared.known = known = (txn.id(), version, catalog)
    return known


def _acquire(
    path: Path, boot: str, map_size: int, max_readers: int
) -> SharedEnvironment:
    """Open the data file that the checkpoint names, or share it if it is open."""
    for attempt in range(_ATTEMPTS):
        generation = _current_generation(path, boot)
        data_path = path / data_file_name(generation)

        def opener(data_path: Path = data_path) -> tuple[Environment, Tables]:
            return _open_readonly(data_path, map_size, max_readers)

        try:
            return acquire(path, opener, writer=False, generation=generation)
        except UnavailableError:
            # Unless it has just been replaced, and its file removed.
            if attempt + 1 == _ATTEMPTS or generation == _current_generation(
                path, boot
            ):
                raise
    raise AssertionError  # the loop has returned or raised


def _current_generation(path: Path, boot: str) -> int:
    """Which data file to read.

    A data file that power loss may have left as a mixture of pages is refused.
    """
    checkpoint = load_checkpoint(path / CHECKPOINT_FILE, Files())
    if checkpoint is None:
        if not (path / DATA_FILE).exists():
            raise UnavailableError(f"there is no database at {path}", path=str(path))
        raise CorruptionError(
            f"{path / CHECKPOINT_FILE} is missing", file=str(path / CHECKPOINT_FILE)
        )
    recovered = is_open(path) or checkpoint.clean or not checkpoint.guarded
    if checkpoint.boot_id != boot and not recovered:
        raise UnavailableError(
            f"{path} was not closed before the machine stopped; it can be read when "
            "its storage process has recovered it",
            path=str(path),
        )
    data_path = current_data_file(path, checkpoint)
    if data_path.exists():
        check_length(data_path, checkpoint)
    return checkpoint.generation


def _open_readonly(
    data_path: Path, map_size: int, max_readers: int
) -> tuple[Environment, Tables]:
    env = open_environment(
        data_path, map_size=map_size, max_readers=max_readers, readonly=True
    )
    try:
        tables = open_tables(env)
        with lmdb_errors(data_path), env.begin() as txn:
            read_uuid(txn, tables.meta)
    except BaseException:
        env.close()
        raise
    return env, tables


def _begin(shared: SharedEnvironment, *, copies: bool) -> Transaction:
    return shared.env.begin() if copies else shared.env.begin(buffers=True)


def _begin_again(
    shared: SharedEnvironment, error: lmdb.Error, *, copies: bool
) -> Transaction:
    """Begin once more after removing what kept us out: dead readers, an old map."""
    try:
        if isinstance(error, lmdb.MapResizedError):
            shared.env.set_mapsize(0)
        elif isinstance(error, lmdb.ReadersFullError):
            shared.env.reader_check()
        else:
            raise translate_lmdb(error, str(shared.path)) from error
        return _begin(shared, copies=copies)
    except lmdb.Error as exc:
        raise translate_lmdb(exc, str(shared.path)) from exc
