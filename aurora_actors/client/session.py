"""What an open database consists of on the client's side.

A :class:`Session` joins the shell, which asks the actors, and the reader, which sees
the data itself; the public classes are written over it. It belongs to the process and
the loop or threads that opened it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TypeAlias, TypeVar

from aurora_actors.client.aql_local import LocalTexts
from aurora_actors.client.document import Document
from aurora_actors.client.lookup import Lookup
from aurora_actors.client.shell import Shell
from aurora_actors.client.transaction_state import TransactionSpace
from aurora_actors.config import AuroraConfig
from aurora_actors.errors import CollectionNotFoundError
from aurora_actors.indexing.reader import IndexReader
from aurora_actors.schema.types import CollectionDefinition
from aurora_actors.storage.reader import CollectionInfo, DataReader

__all__ = ["IndexStates", "Session", "new_client_name"]

T = TypeVar("T")

IndexStates: TypeAlias = dict[tuple[str, ...], tuple[bool, bool, int]]
"""Of each index by its fields: is it ready, of bitmaps, and its entries."""

_CLOSE_MARGIN_S = 5.0


def new_client_name() -> str:
    """A mailbox name that nobody else has."""
    return f"c-{secrets.token_hex(8)}"


class Session:
    """The parts of one open database.

    Attributes:
        cancel_point: As the shell's.
        shell: Asks the actors.
        reader: Reads the data in this process.
        config: The settings in force.
        index: Reads indexes in this process.
        lookup: Runs short plans in this process.
        texts: The AQL texts that this process answers.
        transactions: Begins transactions in this process.
    """

    is_remote = False
    """Whether there is no map to read in."""

    __slots__ = (
        "cancel_point",
        "config",
        "index",
        "lookup",
        "reader",
        "shell",
        "texts",
        "transactions",
    )

    def __init__(self, shell: Shell, reader: DataReader, config: AuroraConfig) -> None:
        self.cancel_point = shell.cancel_point
        self.shell = shell
        self.reader = reader
        self.config = config
        self.index = IndexReader.open(
            config.path, max_size_gb=config.max_size_gb, max_readers=config.max_readers
        )
        self.lookup = Lookup(reader, self.index)
        self.texts = LocalTexts()
        self.transactions = TransactionSpace(reader, config)

    # -------------------------------------------------------------- reading
    async def document(
        self, collection: str, document_id: str, timeout: float | None = None
    ) -> Document | None:
        """The document with this id."""
        return self.lookup.get(collection, document_id)

    async def resolved(self, make: Callable[[], T]) -> T:
        """The outcome of ``make``, which may look up records."""
        return make()

    async def all_records(self, collection: str) -> list[bytes]:
        """Every record of a small collection; none when there is no such collection."""
        with self.reader.snapshot() as snapshot:
            try:
                info = snapshot.known(collection)
            except CollectionNotFoundError:
                return []
            return [bytes(record) for _, record in snapshot.scan(info)]

    async def tokens(self, timeout: float | None = None) -> list[Document]:
        """What is kept of each token, without the hashes."""
        return self.lookup.tokens()

    async def collections(self, timeout: float | None = None) -> list[CollectionInfo]:
        """All collections."""
        with self.reader.snapshot() as snapshot:
            return list(snapshot.collections())

    async def collection(
        self, name: str, timeout: float | None = None
    ) -> CollectionInfo:
        """One collection.

        Raises:
            CollectionNotFoundError: there is none of this name.
        """
        with self.reader.snapshot() as snapshot:
            return snapshot.known(name)

    async def definition(
        self, name: str, timeout: float | None = None
    ) -> CollectionDefinition:
        """The definition of one collection.

        Raises:
            CollectionNotFoundError: there is none of this name.
        """
        return self.reader.definition(name)

    async def index_states(self, info: CollectionInfo) -> IndexStates:
        """Of each index by its fields: is it ready, of bitmaps, and its entries."""
        return self.lookup.index_states(info.id)

    async def close(self) -> None:
        """Leave the tree, wait for its end if we were the last, free everything."""
        self.transactions.close()
        try:
            await self.shell.close(self.config.shutdown_grace_s + _CLOSE_MARGIN_S)
        finally:
            self.index.close()
            self.reader.close()
