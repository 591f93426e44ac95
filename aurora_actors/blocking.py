"""The database for scripts and threads: the same methods, without ``await``.

``with blocking.open("myapp.db") as db: db.insert_into("users", {"name": "Alice"})``.
Any number of threads may use one database object at once; no thread and no event loop
runs behind it. Each method drives the coroutine of the same name, whose waits block
here, and promises what that one promises.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self, TypeVar, Unpack, overload

from aurora_actors.client.blocking_aql import BlockingAql, BlockingAqlStream
from aurora_actors.client.blocking_grouping import BlockingGroupedQuery
from aurora_actors.client.blocking_indexes import BlockingIndexes
from aurora_actors.client.blocking_jobs import BlockingJobs, BlockingPools
from aurora_actors.client.blocking_query import (
    BlockingQuery,
    BlockingStream,
    refuse_asynchronous,
    run_now,
)
from aurora_actors.client.blocking_schedules import BlockingSchedules
from aurora_actors.client.blocking_tokens import BlockingTokens
from aurora_actors.client.blocking_transaction import (
    BlockingSavepoint,
    BlockingTransaction,
)
from aurora_actors.client.blocking_upkeep import BlockingUpkeep
from aurora_actors.client.blocking_watch import BlockingListener, BlockingWatcher
from aurora_actors.client.builder import asked_of
from aurora_actors.client.database import Aurora as AsyncAurora
from aurora_actors.client.document import Document
from aurora_actors.client.handle import session_of
from aurora_actors.client.opening import Opener, open_blocking
from aurora_actors.client.receipts import Receipt
from aurora_actors.client.settings import Settings, check_settings
from aurora_actors.client.transaction import Transaction
from aurora_actors.client.updates import ChangeType
from aurora_actors.client.watch import OnLag
from aurora_actors.config import AuroraConfig
from aurora_actors.messages.supervision import TreeStatus
from aurora_actors.schema.types import CollectionDefinition, FieldDefinition, FieldType

__all__ = [
    "Aurora",
    "BlockingAqlStream",
    "BlockingGroupedQuery",
    "BlockingListener",
    "BlockingQuery",
    "BlockingSavepoint",
    "BlockingStream",
    "BlockingTransaction",
    "BlockingWatcher",
    "connect",
    "open",
    "with_config",
]

M = TypeVar("M")
T = TypeVar("T")


class Aurora(
    BlockingAql,
    BlockingUpkeep,
    BlockingTokens,
    BlockingIndexes,
    BlockingJobs,
    BlockingPools,
    BlockingSchedules,
):
    """A database for threads; see :class:`aurora_actors.Aurora` for every method."""

    def __init__(
        self,
        config: AuroraConfig,
        *,
        compares: bool,
        opener: Opener = open_blocking,
    ) -> None:
        self._db = AsyncAurora(config, compares=compares, opener=opener)

    @classmethod
    def open(cls, path: str | os.PathLike[str], **settings: Unpack[Settings]) -> Self:
        """The database at ``path``, to be entered with ``with``."""
        check_settings(settings)
        config = AuroraConfig(db_path=os.fspath(path), **settings)
        return cls(config, compares=bool(settings))

    @classmethod
    def with_config(cls, config: AuroraConfig) -> Self:
        """The database that ``config`` describes; a running tree must have the same."""
        return cls(config, compares=True)

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        token: str,
        ca: str | os.PathLike[str] | None = None,
        server_name: str | None = None,
        timeout: float | None = None,
    ) -> Self:
        """The database that is served at ``url``; see :meth:`aurora_actors.Aurora.connect`."""
        # ssl, which takes 10 ms to import, is not everybody's.
        from aurora_actors.client.connecting import remote_openers  # noqa: PLC0415

        _, opener = remote_openers(url, token, ca, server_name, timeout)
        return cls(AuroraConfig(db_path=url), compares=False, opener=opener)

    def __enter__(self) -> Self:
        run_now(self._db.__aenter__())
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the database; the last to leave stops its processes."""
        run_now(self._db.close())

    @property
    def config(self) -> AuroraConfig:
        """The settings in force: the running tree's, once open."""
        return self._db.config

    @property
    def last_write(self) -> Receipt | None:
        """What storage has said of this thread's last write, if anything."""
        return self._db.last_write

    # -------------------------------------------------------------- collections
    def new_collection(
        self,
        collection: str | type,
        fields: Mapping[str, FieldDefinition | FieldType] | None = None,
        *,
        open: bool = False,  # noqa: A002 - the word of the query language
        timeout: float | None = None,
    ) -> bool:
        """Define a collection; returns whether it is new."""
        return run_now(
            self._db.new_collection(collection, fields, open=open, timeout=timeout)
        )

    def list_collections(self, *, timeout: float | None = None) -> list[str]:
        """The names of all collections, sorted."""
        return run_now(self._db.list_collections(timeout=timeout))

    def collection_definition(
        self, collection: str | type, *, timeout: float | None = None
    ) -> CollectionDefinition:
        """The definition of a collection."""
        return run_now(self._db.collection_definition(collection, timeout=timeout))

    def drop_collection(
        self, collection: str | type, *, timeout: float | None = None
    ) -> None:
        """Remove a collection and its documents."""
        run_now(self._db.drop_collection(collection, timeout=timeout))

    # -------------------------------------------------------------- documents
    def insert_into(
        self,
        collection: str | type,
        document: Mapping[str, object] | object,
        *,
        timeout: float | None = None,
    ) -> str:
        """Insert one document and return its id."""
        return run_now(self._db.insert_into(collection, document, timeout=timeout))

    def insert_many(
        self,
        collection: str | type,
        documents: Iterable[object],
        *,
        timeout: float | None = None,
    ) -> list[str]:
        """Insert many documents and return their ids, in order."""
        refuse_asynchronous(documents)
        return run_now(self._db.insert_many(collection, documents, timeout=timeout))

    @overload
    def get_document(
        self, collection: str, document_id: str, *, timeout: float | None = None
    ) -> Document | None: ...
    @overload
    def get_document(
        self, collection: type[M], document_id: str, *, timeout: float | None = None
    ) -> M | None: ...
    def get_document(
        self,
        collection: str | type[M],
        document_id: str,
        *,
        timeout: float | None = None,
    ) -> Document | M | None:
        """The document with this id, or ``None``; a model's instance for a model."""
        db = self._db
        session = db._session  # noqa: SLF001 - one of ours
        is_here = session is not None and not session.is_remote
        if session is not None and is_here and isinstance(collection, str):
            return session.lookup.get(collection, document_id)
        return run_now(db.get_document(collection, document_id, timeout=timeout))

    def update_document(
        self,
        collection: str | type,
        document_id: str,
        patch: Mapping[str, object],
        *,
        timeout: float | None = None,
    ) -> None:
        """Merge ``patch`` into a document."""
        run_now(
            self._db.update_document(collection, document_id, patch, timeout=timeout)
        )

    def replace_document(
        self,
        collection: str | type,
        document_id: str,
        document: Mapping[str, object] | object,
        *,
        timeout: float | None = None,
    ) -> None:
        """Put ``document`` in the place of an existing one, which keeps its id."""
        run_now(
            self._db.replace_document(
                collection, document_id, document, timeout=timeout
            )
        )

    def upsert(
        self,
        collection: str | type,
        document_id: str,
        patch: Mapping[str, object],
        *,
        timeout: float | None = None,
    ) -> None:
        """Merge ``patch`` into the document, or insert what it makes of nothing."""
        run_now(self._db.upsert(collection, document_id, patch, timeout=timeout))

    def delete_document(
        self, collection: str | type, document_id: str, *, timeout: float | None = None
    ) -> bool:
        """Remove a document; returns whether there was one."""
        return run_now(
            self._db.delete_document(collection, document_id, timeout=timeout)
        )

    # -------------------------------------------------------------- queries
    @overload
    def query(self, collection: str) -> BlockingQuery[Document]: ...
    @overload
    def query(self, collection: type[M]) -> BlockingQuery[M]: ...
    def query(
        self, collection: str | type[M]
    ) -> BlockingQuery[Document] | BlockingQuery[M]:
        """A query on a collection, by name or by model class."""
        return BlockingQuery(session_of(self._db), asked_of(collection))

    # -------------------------------------------------------------- transactions
    def transaction(self, *, timeout: float | None = None) -> BlockingTransaction:
        """A transaction: ``with db.transaction() as tx``."""
        return BlockingTransaction(self._db.transaction(timeout=timeout))

    def run_transaction(
        self,
        function: Callable[[BlockingTransaction], T],
        retries: int = 5,
        *,
        timeout: float | None = None,
    ) -> T:
        """Run ``function(tx)`` in a transaction, again after a conflict."""

        async def run(transaction: Transaction) -> T:
            return function(BlockingTransaction(transaction))

        return run_now(self._db.run_transaction(run, retries, timeout=timeout))

    # -------------------------------------------------------------- listening
    def listen(
        self,
        collection: str | type,
        *,
        types: Iterable[ChangeType] | None = None,
        fields: Iterable[str] | None = None,
        since: str | None = None,
        on_lag: OnLag = "raise",
    ) -> BlockingListener:
        """The changes of one collection: ``with db.listen("orders") as events``."""
        return BlockingListener(
            self._db.listen(
                collection, types=types, fields=fields, since=since, on_lag=on_lag
            )
        )

    def listen_all(
        self,
        *,
        types: Iterable[ChangeType] | None = None,
        since: str | None = None,
        on_lag: OnLag = "raise",
    ) -> BlockingListener:
        """The changes of all collections, their creation and removal included."""
        return BlockingListener(
            self._db.listen_all(types=types, since=since, on_lag=on_lag)
        )

    # -------------------------------------------------------------- housekeeping
    def stats(
        self, *, timeout: float | None = None
    ) -> dict[str, dict[str, int | float]]:
        """The counters of storage and of each query executor, by actor."""
        return run_now(self._db.stats(timeout=timeout))

    def wait_indexed(self, *, timeout: float | None = None) -> int:
        """Wait until the indexes have all that is committed now; returns their LSN."""
        return run_now(self._db.wait_indexed(timeout=timeout))

    def status(self, *, timeout: float | None = None) -> TreeStatus:
        """The processes of the database: state, restarts, memory."""
        return run_now(self._db.status(timeout=timeout))

    def checkpoint(self, *, timeout: float | None = None) -> int:
        """Sync the data file and trim the log behind it; returns the LSN reached."""
        return run_now(self._db.checkpoint(timeout=timeout))

    def sync(self, *, timeout: float | None = None) -> int:
        """Make all that was acknowledged survive power loss; returns its LSN."""
        return run_now(self._db.sync(timeout=timeout))


def open(path: str | os.PathLike[str], **settings: Unpack[Settings]) -> Aurora:  # noqa: A001
    """The database at ``path``, to be entered with ``with``.

    Starts the database's processes, or joins those that run. Without settings a running
    tree is taken as it is.

    Raises:
        ConfigError: a setting is unknown or out of range; on entering, the running
            tree has other settings.
    """
    return Aurora.open(path, **settings)


def with_config(config: AuroraConfig) -> Aurora:
    """The database that ``config`` describes; a running tree must have the same."""
    return Aurora.with_config(config)


def connect(
    url: str,
    *,
    token: str,
    ca: str | os.PathLike[str] | None = None,
    server_name: str | None = None,
    timeout: float | None = None,
) -> Aurora:
    """The database that is served at ``url``; see :meth:`aurora_actors.Aurora.connect`."""
    return Aurora.connect(
        url, token=token, ca=ca, server_name=server_name, timeout=timeout
    )
