"""An engine with a small vocabulary, and a file system that fails on request."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import wait_until

from aurora_actors.config import AuroraConfig
from aurora_actors.messages.base import Message
from aurora_actors.messages.storage import (
    DefineCollection,
    DeleteDocument,
    InsertDocuments,
    Operation,
    UpdateDocument,
)
from aurora_actors.schema.patch import encode_patch
from aurora_actors.schema.record import record_body
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    encode_definition,
)
from aurora_actors.schema.values import decode_document, encode_document
from aurora_actors.storage.engine import Engine, StorageCall
from aurora_actors.storage.files import Files
from aurora_actors.storage.reader import DataReader
from aurora_actors.storage.store import Settings


class FaultyFiles(Files):
    """Fails an operation as told: ``fail["write"] = (countdown, errno)``."""

    def __init__(self) -> None:
        self.fail: dict[str, tuple[int, int]] = {}
        self.calls: list[str] = []
        self.write_at_most: int | None = None
        self.after_write: Callable[[], None] | None = None

    def _count(self, operation: str) -> None:
        self.calls.append(operation)
        if operation in self.fail:
            left, number = self.fail[operation]
            self.fail[operation] = (left - 1, number)
            if left <= 0:
                raise OSError(number, f"injected {errno.errorcode[number]}")

    def write(self, fd, data, offset):
        if self.write_at_most is not None:
            written = super().write(fd, data[: self.write_at_most], offset)
            self._count("write")
            return written
        self._count("write")
        written = super().write(fd, data, offset)
        if self.after_write is not None:
            self.after_write()
        return written

    def truncate(self, fd, length):
        self._count("truncate")
        super().truncate(fd, length)

    def sync(self, fd):
        self._count("sync")
        super().sync(fd)

    def rename(self, source, target):
        self._count("rename")
        super().rename(source, target)


USERS = CollectionDefinition(
    "users",
    {
        "name": FieldDefinition(FieldType.STRING),
        "email": FieldDefinition(FieldType.STRING, unique=True),
        "age": FieldDefinition(FieldType.INT),
        "rank": FieldDefinition(FieldType.FLOAT, unique=True),
    },
)


def _compile(predicate: bytes) -> Callable[[dict[str, object], str], bool]:
    """Predicates of these tests are ``b"age>n"``."""
    bound = int(predicate.removeprefix(b"age>"))
    return lambda fields, _id: int(str(fields.get("age") or 0)) > bound


class Database:
    """One engine and its reader, driven one request at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = FaultyFiles()
        self.numbers = 0
        self.now = 0.0
        self.wall = 1e9
        self.engine: Engine = None  # type: ignore[assignment]

    def open(
        self,
        tree: str = "tree",
        *,
        boot="boot",
        map_size=64 << 20,
        mark_from=1000,
        **config,
    ):
        self.engine = Engine.open(
            AuroraConfig(db_path=str(self.path), **config),
            compile_predicate=_compile,
            tree_id=tree,
            settings=Settings(
                files=self.files, boot=boot, map_size=map_size, mark_from=mark_from
            ),
            clock=lambda: self.now,
            wall=lambda: self.wall,
        )
        return self

    def turn_until(self, condition):
        """Do background work until ``condition()`` is true, within ten seconds."""

        def turn():
            self.engine.background()
            return condition()

        wait_until(turn, "the background work is done", 10.0)

    def crash(self, **options):
        """Stop without any last words and open again."""
        self.engine.abandon()
        self.files.fail.clear()
        self.files.after_write = None
        return self.open(**options)

    def call(self, request: Operation) -> StorageCall:
        self.numbers += 1
        return StorageCall("client", self.numbers, 0, request)

    def ask(self, *requests: Operation) -> list[Message]:
        return self.engine.execute([self.call(request) for request in requests])

    def one(self, request: Operation):
        return self.ask(request)[0]

    def define(self, definition: CollectionDefinition = USERS):
        return self.one(DefineCollection(definition=encode_definition(definition)))

    def insert(self, collection: str = "users", /, **documents: dict[str, object]):
        return self.one(insertion(collection, **documents))

    def documents(self, collection: str = "users"):
        """All documents, after checking that the tables agree with each other."""
        with self.reader() as reader, reader.snapshot() as snap:
            return audited(snap, collection)

    def reader(self) -> DataReader:
        return DataReader.open(self.path, boot="boot")


def insertion(collection: str = "users", /, **documents: dict[str, object]):
    return InsertDocuments(
        collection=collection,
        ids=list(documents),
        documents=[encode_document(fields) for fields in documents.values()],
    )


def audited(snap, collection):
    info = snap.collection(collection)
    found = {}
    for row, record in snap.scan(info):
        name = bytes(record[13 : 13 + record[8]]).decode()
        fields = decode_document(record_body(record))
        assert snap.row_of(info, name) == row
        assert snap.get(info, name) == record
        for field, declared in info.definition.fields.items():
            if declared.unique and fields.get(field) is not None:
                assert snap.lookup_unique(info, field, fields[field]) == row
        found[name] = fields
    assert info.count == len(found)
    for table in ("ids", "unique"):
        cursor = snap.txn.cursor(getattr(snap._tables, table))
        keys = [key for key, _ in cursor if bytes(key[:4]) == info.prefix]
        expected = len(found)
        if table == "unique":
            unique = [n for n, f in info.definition.fields.items() if f.unique]
            expected = sum(
                fields.get(name) is not None
                for fields in found.values()
                for name in unique
            )
        assert info.marked or len(keys) == expected, table
    return found


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    base = Database(tmp_path / "test.db")
    yield base
    if base.engine is not None:
        base.files.fail.clear()
        base.files.after_write = None
        base.engine.abandon()


@pytest.fixture
def users(database: Database) -> Database:
    database.open()
    database.define()
    return database


@pytest.fixture
def requests():
    """Makers of requests, by name."""

    class Requests:
        insert = staticmethod(insertion)

        @staticmethod
        def update(document_id, **changes):
            return UpdateDocument(
                collection="users", id=document_id, patch=encode_patch(changes)
            )

        @staticmethod
        def delete(document_id):
            return DeleteDocument(collection="users", id=document_id)

    return Requests
