"""A storage engine on a small database, for tests that do the same thing many times.

The database has a collection of two documents. Syncs are left out: what is tested with
it are crashes of the process, after which the system still has what was written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from aurora_actors.config import AuroraConfig, DurabilityMode
from aurora_actors.messages.storage import (
    ChangeMatching,
    Commit,
    DefineCollection,
    DeleteDocument,
    DropCollection,
    InsertDocuments,
    Operation,
    PointRead,
    ReplaceDocument,
    UpdateDocument,
    UpsertDocument,
)
from aurora_actors.schema.patch import Increment, encode_patch
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    encode_definition,
)
from aurora_actors.schema.values import encode_document
from aurora_actors.storage.engine import Engine, StorageCall
from aurora_actors.storage.files import Files
from aurora_actors.storage.findings import Findings
from aurora_actors.storage.reader import DataReader
from aurora_actors.storage.store import Settings
from aurora_actors.storage.verify import check_tables

BOOT: Final = "boot"
TREE: Final = "tree"
DEFINITION: Final = CollectionDefinition(
    "users",
    {
        "n": FieldDefinition(FieldType.INT),
        "u": FieldDefinition(FieldType.STRING, unique=True),
    },
)
# All that is stored, by table.
Contents: TypeAlias = dict[str, dict[bytes, bytes]]


class QuickFiles(Files):
    """A file system whose syncs cost nothing."""

    def sync(self, fd: int) -> None:
        """Leave it to the system."""

    def sync_directory(self, path: Path) -> None:
        """Leave it to the system."""


def open_engine(
    path: Path,
    mode: DurabilityMode,
    files: Files | None = None,
    boot: str = BOOT,
    **settings: int,
) -> Engine:
    """Open the database at ``path``; each predicate means everything."""
    return Engine.open(
        AuroraConfig(db_path=str(path), durability_mode=mode, **settings),
        compile_predicate=lambda _: lambda _fields, _id: True,
        tree_id=TREE,
        settings=Settings(files=files or QuickFiles(), boot=boot, map_size=16 << 20),
    )


def call(number: int, request: Operation) -> StorageCall:
    """The ``number``-th request of the only client."""
    return StorageCall("client", number, 0, request)


def insertion(**documents: dict[str, object]) -> InsertDocuments:
    """The request that inserts documents."""
    bodies = [encode_document(fields) for fields in documents.values()]
    return InsertDocuments(collection="users", ids=list(documents), documents=bodies)


def definition() -> DefineCollection:
    """The request that makes the collection."""
    return DefineCollection(definition=encode_definition(DEFINITION))


def make(path: Path, mode: DurabilityMode) -> None:
    """Make the database that the tests begin with."""
    engine = open_engine(path, mode)
    first = insertion(a={"n": 1, "u": "one"}, b={"n": 2})
    engine.execute([call(1, definition())])
    engine.execute([call(2, first)])
    engine.abandon()


# ------------------------------------------------------------------ requests
def _patch(**changes: object) -> bytes:
    return encode_patch(changes)


def _transaction() -> Commit:
    """Reads a document that must not be there; writes two."""
    return Commit(
        snapshot_lsn=1,
        points=[PointRead(collection="users", id="d", lsn=0)],
        ranges=[],
        operations=[
            UpdateDocument(collection="users", id="a", patch=_patch(n=Increment(10))),
            insertion(d={"n": 4, "u": "four"}),
        ],
    )


def _everything(number: int) -> ChangeMatching:
    return ChangeMatching(
        client="client",
        client_request_id=number,
        collection="users",
        rows=[1, 2],
        snapshot_lsn=2,
        predicate=b"",
        patch=_patch(n=Increment(100)),
    )


# Each makes the requests of one batch; the argument is the number of the first.
OPERATIONS: Final[dict[str, Callable[[int], Sequence[Operation]]]] = {
    "insert": lambda _: [insertion(c={"n": 3, "u": "two"})],
    "insert many": lambda _: [
        insertion(d={"n": 5}, e={"n": 6, "u": "five"}),
        insertion(f={"n": 7, "u": "one"}),
    ],
    "increment": lambda _: [
        UpdateDocument(collection="users", id="a", patch=_patch(n=Increment(1)))
    ],
    "upsert": lambda _: [
        UpsertDocument(collection="users", id="c", patch=_patch(n=8, u="two"))
    ],
    "replace": lambda _: [
        ReplaceDocument(
            collection="users", id="b", document=encode_document({"u": "one"})
        )
    ],
    "delete": lambda _: [DeleteDocument(collection="users", id="a")],
    "where": lambda number: [_everything(number)],
    "transaction": lambda _: [_transaction()],
    "recreate": lambda _: [DropCollection(collection="users"), definition()],
}


def calls(name: str, number: int) -> list[StorageCall]:
    """The batch that is the ``number``-th thing done, numbered from 0."""
    first = 10 * (number + 1)
    requests = OPERATIONS[name](first)
    return [call(first + at, request) for at, request in enumerate(requests)]


# ------------------------------------------------------------------ looking
def contents(path: Path, boot: str = BOOT) -> Contents:
    """All that the tables hold, after checking that they agree with each other."""
    with DataReader.open(path, boot=boot) as reader, reader.snapshot() as snapshot:
        found = Findings()
        check_tables(snapshot.txn, snapshot._tables, found)
        assert not found.kept, found.kept
        return {
            name: {bytes(k): bytes(v) for k, v in snapshot.txn.cursor(table)}
            for name, table in snapshot._tables._asdict().items()
        }


def visible(found: Contents) -> Contents:
    """What a reader can see of it: all but the remembered outcomes."""
    return {name: table for name, table in found.items() if name != "requests"}
