"""What an open database consists of for a remote client: a shell, and no map.

Everything that a local client reads in the map is asked of the remote gateway or of an
executor. The public classes are the same: they find nothing in the lookup and ask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeVar, cast

import msgspec

from aurora_actors.client.aql_local import LocalTexts
from aurora_actors.client.document import Document, document_of, document_with_id
from aurora_actors.client.lookup import Lookup
from aurora_actors.client.session import IndexStates, Session
from aurora_actors.client.shell import Shell
from aurora_actors.config import AuroraConfig
from aurora_actors.errors import (
    CollectionNotFoundError,
    InternalError,
    UsageError,
    ValidationError,
)
from aurora_actors.messages.query import QuerySpec, RunQuery
from aurora_actors.messages.remote import (
    REMOTE_GATEWAY,
    CatalogEntry,
    CatalogRead,
    ReadCatalog,
    ReadDocument,
    ReadTokens,
    RecordsRead,
)
from aurora_actors.schema.types import CollectionDefinition, decode_definition
from aurora_actors.storage.layout import collection_prefix
from aurora_actors.storage.reader import CollectionInfo

__all__ = ["RemoteSession", "settings_of"]

T = TypeVar("T")

_LEAVE_S = 2.0


class _NoLookup:
    """Finds nothing without asking; see :class:`aurora_actors.client.lookup.Lookup`."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], bytes | None] = {}

    def find_by_key(self, *_: object, **__: object) -> None:
        """Nothing is found here."""

    def find_first(self, *_: object) -> None:
        """Nothing is found here."""

    def find(self, *_: object) -> None:
        """Nothing is found here."""

    def count(self, *_: object) -> None:
        """Nothing is counted here."""

    def record(self, collection: str, document_id: str) -> bytes | None:
        """A record that was asked for before."""
        try:
            return self.known[collection, document_id]
        except KeyError:
            raise UsageError(
                "over a connection this takes the cursor of a page, not an id: ask with "
                "page(), collect() or count()",
                missing=[collection, document_id],
            ) from None


class _NoTexts(LocalTexts):
    """Remembers no texts: none is answered here."""

    def keep(self, text: str, template: object) -> None:
        """Nothing is kept."""


class _NoMap:
    """What cannot be had over a connection."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise UsageError(
            "this reads the database's files and cannot be done over a connection"
        )


class RemoteSession(Session):
    """The parts of a database that is open elsewhere."""

    __slots__ = ("_known",)

    is_remote = True

    def __init__(self, shell: Shell, config: AuroraConfig) -> None:  # other parts
        self.cancel_point = shell.cancel_point
        self.shell = shell
        self.config = config
        self.texts = _NoTexts()
        lookup = _NoLookup()
        self._known = lookup.known
        # Kinds of their own: what they have not is not to be had.
        self.lookup = cast("Lookup", lookup)
        for name in ("reader", "index", "transactions"):
            setattr(self, name, _NoMap())

    async def close(self) -> None:
        """Leave; the database goes on."""
        await self.shell.close(_LEAVE_S)

    # -------------------------------------------------------------- reading
    async def document(
        self, collection: str, document_id: str, timeout: float | None = None
    ) -> Document | None:
        """The document with this id."""
        if not isinstance(document_id, str):
            raise ValidationError(
                f"an id must be text, not {type(document_id).__name__}", path="id"
            )
        record = await self._record(collection, document_id, timeout)
        return None if record is None else document_with_id(document_id, record)

    async def _record(
        self, collection: str, document_id: str, timeout: float | None = None
    ) -> bytes | None:
        request = ReadDocument(collection=collection, id=document_id)
        reply = await self.shell.call(REMOTE_GATEWAY, request, timeout)
        if not isinstance(reply, RecordsRead):
            raise InternalError(f"a read was answered by {type(reply).__name__}")
        return reply.records[0] if reply.records else None

    async def resolved(self, make: Callable[[], T]) -> T:
        """The outcome of ``make``, once the records it needs have been asked for."""
        try:
            while True:
                try:
                    return make()
                except UsageError as exc:
                    missing = exc.context.get("missing")
                    if not isinstance(missing, list):
                        raise
                    collection, document_id = missing
                    found = await self._record(collection, document_id)
                    self._known[collection, document_id] = found
        finally:
            self._known.clear()

    async def all_records(self, collection: str) -> list[bytes]:
        """Every record of a small collection; none when there is no such collection."""
        seconds = self.config.request_timeout_s
        query = RunQuery(query=QuerySpec(collection=collection), deadline_s=seconds)
        try:
            chunks = await self.shell.gather(query)
        except CollectionNotFoundError:
            return []
        return [record for chunk in chunks for record in chunk.records]

    async def tokens(self, timeout: float | None = None) -> list[Document]:
        """What is kept of each token, without the hashes."""
        reply = await self.shell.call(REMOTE_GATEWAY, ReadTokens(), timeout)
        if not isinstance(reply, RecordsRead):
            raise InternalError(f"tokens were answered by {type(reply).__name__}")
        return [document_of(record) for record in reply.records]

    # -------------------------------------------------------------- the catalog
    async def collections(self, timeout: float | None = None) -> list[CollectionInfo]:
        """All collections that may be seen."""
        return [_info(entry) for entry in await self._catalog("", timeout)]

    async def collection(
        self, name: str, timeout: float | None = None
    ) -> CollectionInfo:
        """One collection."""
        return _info((await self._catalog(name, timeout))[0])

    async def definition(
        self, name: str, timeout: float | None = None
    ) -> CollectionDefinition:
        """The definition of one collection."""
        return (await self.collection(name, timeout)).definition

    async def index_states(self, info: CollectionInfo) -> IndexStates:
        """How far the indexes of a collection are."""
        (entry,) = await self._catalog(info.name, None)
        return {
            tuple(state.fields): (state.ready, state.is_bitmaps, state.entries)
            for state in entry.indexes
        }

    async def _catalog(self, name: str, timeout: float | None) -> list[CatalogEntry]:
        request = ReadCatalog(collection=name)
        reply = await self.shell.call(REMOTE_GATEWAY, request, timeout)
        if not isinstance(reply, CatalogRead):
            raise InternalError(f"the catalog was answered by {type(reply).__name__}")
        return reply.collections


def _info(entry: CatalogEntry) -> CollectionInfo:
    return CollectionInfo(
        id=entry.id,
        definition=decode_definition(entry.definition),
        count=entry.count,
        created_lsn=entry.created_lsn,
        prefix=collection_prefix(entry.id),
    )


def settings_of(encoded: bytes) -> AuroraConfig:
    """The settings in force, as the gateway tells them."""
    return msgspec.msgpack.decode(encoded, type=AuroraConfig)
