"""A database in this process alone, for tests of transactions: storage and its readers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from aurora_actors.config import AuroraConfig
from aurora_actors.messages.base import Failure, Message
from aurora_actors.messages.query import QuerySpec
from aurora_actors.messages.storage import (
    Commit,
    Committed,
    DefineCollection,
    InsertDocuments,
    Operation,
    Part,
)
from aurora_actors.query.filters import Filter
from aurora_actors.query.predicate import encode_predicate
from aurora_actors.query.transaction import TransactionView, compile_encoded
from aurora_actors.schema.record import record_id
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    encode_definition,
)
from aurora_actors.schema.values import decode_document, encode_document
from aurora_actors.storage.catalog import Collection
from aurora_actors.storage.engine import Engine, StorageCall
from aurora_actors.storage.operations import Operations
from aurora_actors.storage.reader import DataReader

Documents = dict[str, dict[str, object]]
Fields = Mapping[str, Mapping[str, object]]

FIELDS = {
    "v": FieldDefinition(FieldType.INT),
    "u": FieldDefinition(FieldType.STRING, unique=True),
}


def insertion(collection: str, documents: Fields) -> InsertDocuments:
    """The request that inserts ``documents``."""
    return InsertDocuments(
        collection=collection,
        ids=list(documents),
        documents=[encode_document(fields) for fields in documents.values()],
    )


def query(collection: str, condition: Filter | None = None, **more: Any) -> QuerySpec:
    """A query as data."""
    predicate = b"" if condition is None else encode_predicate(condition.predicate)
    return QuerySpec(collection=collection, predicate=predicate, **more)


def found(view: TransactionView, spec: QuerySpec) -> Documents:
    """The results of a query in a transaction, in order."""
    records = [record for part in view.run(spec).steps() for record in part]
    return {record_id(r): decode_document(r[13 + r[8] :]) for r in records}


def read(view: TransactionView, collection: str, document_id: str) -> Any:
    """The fields of a document in a transaction, or ``None``."""
    record = view.get(collection, document_id)
    return None if record is None else decode_document(record[13 + record[8] :])


def change(view: TransactionView, spec: QuerySpec, patch: bytes | None) -> int:
    """Change or delete what a query finds."""
    steps = view.changing(spec, patch)
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return cast("int", end.value)


class LocalDatabase:
    """An engine and the transactions over it, all in one thread."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.config = AuroraConfig(db_path=str(path), **settings)
        self.engine: Engine = self._open()
        self.reader = DataReader.open(path)
        self.operations = Operations(self.config, compile_encoded)
        self.collections: dict[int, Collection] = {}
        self.numbers = 0

    def _open(self) -> Engine:
        return Engine.open(
            self.config, compile_predicate=compile_encoded, tree_id="tree"
        )

    def define(self, name: str, **fields: FieldDefinition) -> None:
        definition = CollectionDefinition(name, dict(fields or FIELDS), False)
        self.one(DefineCollection(definition=encode_definition(definition)))

    def call(self, request: Operation) -> StorageCall:
        self.numbers += 1
        return StorageCall("client", self.numbers, 0, request)

    def ask(self, *requests: Operation) -> list[Message]:
        return self.engine.execute([self.call(request) for request in requests])

    def one(self, request: Operation) -> Message:
        """The reply to one request; raises what it was refused with."""
        (reply,) = self.ask(request)
        if isinstance(reply, Failure):
            raise reply.error()
        return reply

    def begin(self) -> TransactionView:
        return TransactionView(
            self.reader.snapshot(),
            self.operations,
            self.collections,
            max_bytes=self.config.max_transaction_bytes,
        )

    def commit(self, view: TransactionView) -> Committed:
        """Commit a transaction; raises what it was refused with."""
        request = view.commit()
        view.close()
        return cast("Committed", self.one(request))

    def documents(self, collection: str) -> Documents:
        view = self.begin()
        try:
            return found(view, query(collection))
        finally:
            view.close()

    def crash(self) -> None:
        """Stop without any last words and open again."""
        self.reader.close()
        self.engine.abandon()
        self.engine = self._open()
        self.reader = DataReader.open(self.config.path)

    def close(self) -> None:
        self.reader.close()
        self.engine.close()


__all__ = [
    "FIELDS",
    "Commit",
    "Documents",
    "LocalDatabase",
    "Part",
    "change",
    "found",
    "insertion",
    "query",
    "read",
]
