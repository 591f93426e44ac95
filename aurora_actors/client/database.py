"""The database as the caller sees it.

:class:`Aurora` is written once, as coroutines over a shell. Under trio and asyncio they
run as they are; :mod:`aurora_actors.blocking` drives the same coroutines over a shell
whose waits block.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from typing import TypeVar, overload

from aurora_actors.client.aql import AqlHandle
from aurora_actors.client.builder import asked_of
from aurora_actors.client.bulk import insert_many
from aurora_actors.client.document import Document
from aurora_actors.client.encoding import encode, encode_fields, name_of
from aurora_actors.client.feeds import DISPATCHER
from aurora_actors.client.indexes import IndexHandle
from aurora_actors.client.jobs import JobsHandle
from aurora_actors.client.jobs_pools import PoolsHandle
from aurora_actors.client.protocol import STORAGE
from aurora_actors.client.query import Query
from aurora_actors.client.receipts import Receipt, last_receipt
from aurora_actors.client.remote_transaction import RemoteTransaction
from aurora_actors.client.retrying import run_transaction
from aurora_actors.client.schedules import ScheduleHandle
from aurora_actors.client.tokens import TokenHandle
from aurora_actors.client.transaction import Transaction
from aurora_actors.client.upkeep import UpkeepHandle
from aurora_actors.client.watching import ListeningHandle
from aurora_actors.errors import InternalError, UsageError, ValidationError
from aurora_actors.messages.base import Message
from aurora_actors.messages.indexing import AwaitIndexed
from aurora_actors.messages.storage import (
    Checkpoint,
    CollectionDefined,
    DefineCollection,
    DeleteDocument,
    DropCollection,
    InsertDocuments,
    LogSynced,
    ReadStatistics,
    ReplaceDocument,
    Statistics,
    SyncLog,
    UpdateDocument,
    UpsertDocument,
)
from aurora_actors.messages.supervision import ReadStatus, TreeStatus
from aurora_actors.schema.ids import check_id
from aurora_actors.schema.models import definition_of
from aurora_actors.schema.patch import encode_patch
from aurora_actors.schema.types import (
    SYSTEM_PREFIX,
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    check_collection_name,
    encode_definition,
)

__all__ = ["Aurora"]

M = TypeVar("M")
T = TypeVar("T")

INDEX_BUILDER = "index_builder"


class Aurora(
    AqlHandle,
    ListeningHandle,
    UpkeepHandle,
    TokenHandle,
    IndexHandle,
    JobsHandle,
    PoolsHandle,
    ScheduleHandle,
):
    """A database: ``async with Aurora.open("myapp.db") as db``.

    Any number of tasks may use it at once. Every method takes ``timeout`` in seconds
    (default: ``request_timeout_s``) and raises ``TimeoutError_`` when it has passed. A
    call that timed out or was cancelled may still take effect. Once closed, every call
    raises ``UsageError``; when the tree of processes is gone, ``TreeDownError``.
    """

    # -------------------------------------------------------------- collections
    async def new_collection(
        self,
        collection: str | type,
        fields: Mapping[str, FieldDefinition | FieldType] | None = None,
        *,
        open: bool = False,  # noqa: A002 - the word of the query language
        timeout: float | None = None,
    ) -> bool:
        """Define a collection; the same definition again changes nothing.

        Args:
            collection: A name, or a model class, which is name and fields at once.
            fields: The fields by name.
            open: Take fields that are not declared, too.
            timeout: In seconds.

        Returns:
            Whether it is new.

        Raises:
            CollectionExistsError: it exists with another definition.
            ValidationError: the definition makes no sense; has ``path``.
        """
        definition = _definition(collection, fields, is_open=open)
        request = DefineCollection(definition=encode_definition(definition))
        reply = await self._open().shell.call(STORAGE, request, timeout)
        if not isinstance(reply, CollectionDefined):
            raise InternalError(f"a definition was answered by {type(reply).__name__}")
        return reply.created

    async def list_collections(self, *, timeout: float | None = None) -> list[str]:
        """The names of all collections, sorted, without the database's own."""
        found = await self._open().collections(timeout)
        names = [info.definition.name for info in found]
        return sorted(name for name in names if not name.startswith(SYSTEM_PREFIX))

    async def collection_definition(
        self, collection: str | type, *, timeout: float | None = None
    ) -> CollectionDefinition:
        """The definition of a collection.

        Raises:
            CollectionNotFoundError: there is none of this name.
        """
        return await self._open().definition(name_of(collection), timeout)

    async def drop_collection(
        self, collection: str | type, *, timeout: float | None = None
    ) -> None:
        """Remove a collection and its documents.

        Raises:
            CollectionNotFoundError: there is none of this name.
        """
        name = check_collection_name(name_of(collection))
        await self._write(DropCollection(collection=name), timeout)

    # -------------------------------------------------------------- documents
    async def insert_into(
        self,
        collection: str | type,
        document: Mapping[str, object] | object,
        *,
        timeout: float | None = None,
    ) -> str:
        """Insert one document and return its id.

        Args:
            collection: A name or a model class.
            document: The fields, with ``id`` among them to choose the id; or an
                instance of a model.
            timeout: In seconds.

        Raises:
            CollectionNotFoundError: there is no such collection.
            ValidationError: the document does not fit the collection; has ``path``.
            UniqueViolationError: its id or a unique value is taken; has ``field``.
        """
        document_id, body = encode(document)
        request = InsertDocuments(
            collection=name_of(collection), ids=[document_id], documents=[body]
        )
        await self._write(request, timeout, len(body) + 512)
        return document_id

    async def insert_many(
        self,
        collection: str | type,
        documents: Iterable[object] | AsyncIterable[object],
        *,
        timeout: float | None = None,
    ) -> list[str]:
        """Insert many documents and return their ids, in order.

        Takes any iterable or async iterable and keeps only a bounded part in memory.
        Up to ``max_transaction_bytes`` all are inserted or none; what is larger is
        inserted in chunks, each whole or not at all. The context of an error says how
        many documents are ``inserted`` all the same.

        Args:
            collection: A name or a model class.
            documents: As for :meth:`insert_into`.
            timeout: For each chunk, in seconds.
        """
        session = self._open()
        return await insert_many(
            session.shell,
            name_of(collection),
            documents,
            session.config.max_transaction_bytes,
            timeout,
        )

    @overload
    async def get_document(
        self, collection: str, document_id: str, *, timeout: float | None = None
    ) -> Document | None: ...
    @overload
    async def get_document(
        self, collection: type[M], document_id: str, *, timeout: float | None = None
    ) -> M | None: ...
    async def get_document(
        self,
        collection: str | type[M],
        document_id: str,
        *,
        timeout: float | None = None,
    ) -> Document | M | None:
        """The document with this id, or ``None``; a model's instance for a model.

        Reads the data in this process, without a message, unless the database was
        opened with :meth:`connect`.

        Raises:
            CollectionNotFoundError: there is no such collection.
        """
        session = self._session or self._open()
        if session.cancel_point is not None:
            await session.cancel_point()
        if isinstance(collection, str) and not session.is_remote:
            return session.lookup.get(collection, document_id)
        found = await session.document(name_of(collection), document_id, timeout)
        if found is None or isinstance(collection, str):
            return found
        return found.to(collection)

    async def update_document(
        self,
        collection: str | type,
        document_id: str,
        patch: Mapping[str, object],
        *,
        timeout: float | None = None,
    ) -> None:
        """Merge ``patch`` into a document.

        Args:
            collection: A name or a model class.
            document_id: The document.
            patch: New values and modifiers (``Increment(1)``) by field name; a dotted
                name reaches into an object.
            timeout: In seconds.

        Raises:
            NotFoundError: there is no such document.
            ValidationError: the outcome would not fit the collection.
            UniqueViolationError: a unique value is taken.
        """
        encoded = encode_patch(patch)
        request = UpdateDocument(
            collection=name_of(collection), id=check_id(document_id), patch=encoded
        )
        await self._write(request, timeout, len(encoded) + 512)

    async def replace_document(
        self,
        collection: str | type,
        document_id: str,
        document: Mapping[str, object] | object,
        *,
        timeout: float | None = None,
    ) -> None:
        """Put ``document`` in the place of an existing one, which keeps its id.

        Raises:
            NotFoundError: there is no such document.
            ValidationError: ``document`` does not fit the collection.
            UniqueViolationError: a unique value is taken.
        """
        body = encode_fields(document)
        request = ReplaceDocument(
            collection=name_of(collection), id=check_id(document_id), document=body
        )
        await self._write(request, timeout, len(body) + 512)

    async def upsert(
        self,
        collection: str | type,
        document_id: str,
        patch: Mapping[str, object],
        *,
        timeout: float | None = None,
    ) -> None:
        """Merge ``patch`` into the document, or insert what it makes of nothing.

        Raises:
            ValidationError: the outcome would not fit the collection.
            UniqueViolationError: a unique value is taken.
        """
        encoded = encode_patch(patch)
        request = UpsertDocument(
            collection=name_of(collection), id=check_id(document_id), patch=encoded
        )
        await self._write(request, timeout, len(encoded) + 512)

    async def delete_document(
        self, collection: str | type, document_id: str, *, timeout: float | None = None
    ) -> bool:
        """Remove a document; returns whether there was one."""
        request = DeleteDocument(
            collection=name_of(collection), id=check_id(document_id)
        )
        return (await self._write(request, timeout)).affected > 0

    # -------------------------------------------------------------- queries
    @overload
    def query(self, collection: str) -> Query[Document]: ...
    @overload
    def query(self, collection: type[M]) -> Query[M]: ...
    def query(self, collection: str | type[M]) -> Query[Document] | Query[M]:
        """A query on a collection, by name or by model class."""
        return Query(self._open, asked_of(collection))

    # -------------------------------------------------------------- transactions
    def transaction(self, *, timeout: float | None = None) -> Transaction:
        """A transaction: ``async with db.transaction() as tx``.

        Args:
            timeout: Its time limit in seconds, if less than ``transaction_timeout_s``.
        """
        if self._session is not None and self._session.is_remote:
            return RemoteTransaction(self._open, timeout)
        return Transaction(self._open, timeout)

    async def run_transaction(
        self,
        function: Callable[[Transaction], Awaitable[T]],
        retries: int = 5,
        *,
        timeout: float | None = None,
    ) -> T:
        """Run ``function(tx)`` in a transaction, again after a conflict.

        Args:
            function: What to do; it may run several times, and only the last run has
                an effect.
            retries: How often it is run again at most.
            timeout: The time limit of each run, as for :meth:`transaction`.

        Returns:
            What ``function`` has returned.

        Raises:
            ConflictError: there was a conflict each time.
        """
        return await run_transaction(
            lambda: self.transaction(timeout=timeout),
            self._open().shell.pause,
            function,
            retries,
        )

    # -------------------------------------------------------------- housekeeping
    async def stats(
        self, *, timeout: float | None = None
    ) -> dict[str, dict[str, int | float]]:
        """The counters of storage, index builder and query executors, by actor."""
        shell = self._open().shell
        asked = {
            name: shell.submit(name, ReadStatistics(), timeout)
            for name in (STORAGE, INDEX_BUILDER, DISPATCHER, *shell.executors)
        }
        found: dict[str, dict[str, int | float]] = {}
        for name, call in asked.items():
            reply = await shell.result(call)
            if isinstance(reply, Statistics):
                found[name] = reply.values
        return found

    async def status(self, *, timeout: float | None = None) -> TreeStatus:
        """The processes of the database: state, restarts, memory."""
        reply = await self._open().shell.ask_tree(ReadStatus(), timeout)
        if not isinstance(reply, TreeStatus):
            raise InternalError(f"status was answered by {type(reply).__name__}")
        return reply

    async def wait_indexed(self, *, timeout: float | None = None) -> int:
        """Wait until the indexes have all that is committed now; returns their LSN.

        For benchmarks and tests: answers are exact however far the indexes are.
        """
        reply = await self._open().shell.call(INDEX_BUILDER, AwaitIndexed(), timeout)
        if not isinstance(reply, Statistics):
            raise InternalError(f"wait_indexed was answered by {type(reply).__name__}")
        return int(reply.values["lsn"])

    async def checkpoint(self, *, timeout: float | None = None) -> int:
        """Sync the data file and trim the log behind it; returns the LSN reached."""
        return await self._synced(Checkpoint(), timeout)

    async def sync(self, *, timeout: float | None = None) -> int:
        """Make all that was acknowledged survive power loss; returns its LSN."""
        return await self._synced(SyncLog(), timeout)

    @property
    def last_write(self) -> Receipt | None:
        """What storage has said of this task's or thread's last write, if anything.

        Its LSN, and whether it survives power loss already. ``None`` when the task has
        written last through another database object.
        """
        return last_receipt(self._open().shell.identity)

    async def _synced(self, message: Message, timeout: float | None) -> int:
        reply = await self._open().shell.call(STORAGE, message, timeout)
        if not isinstance(reply, LogSynced):
            raise InternalError(f"a sync was answered by {type(reply).__name__}")
        return reply.lsn


def _definition(
    collection: str | type,
    fields: Mapping[str, FieldDefinition | FieldType] | None,
    *,
    is_open: bool,
) -> CollectionDefinition:
    if isinstance(collection, type):
        if fields is not None:
            raise UsageError("a model class brings its fields: give no others")
        found = definition_of(collection)
        check_collection_name(found.name)
        return CollectionDefinition(found.name, found.fields, is_open)
    check_collection_name(collection)
    if not fields and not is_open:
        raise ValidationError(
            f"collection {collection} needs fields, or open=True to take any",
            collection=collection,
        )
    return CollectionDefinition(collection, dict(fields or {}), is_open)  # type: ignore[arg-type]  # types become definitions
