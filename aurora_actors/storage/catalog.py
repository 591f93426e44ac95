"""The collections of a database, and the numbers that name its state.

The catalog is kept in ``meta``: storage holds all of it in memory and writes what a
batch changes in that batch's transaction; readers load it again when its version has
changed. Keys and values, numbers big-endian:

=================== ==========================================================
``format``          u32, :data:`~aurora_actors.storage.layout.FORMAT_VERSION`
``uuid``            16 bytes, made with the database
``state``           LSN u64, timeline u32, catalog version u64
``tree``            the tree run that ``requests`` belongs to, UTF-8
``next_collection`` u32, the id the next collection gets
``c`` + id u32      LSN of the creation u64, encoded definition
``n`` + id u32      next row id u64, number of documents u64
``d`` + id u32      LSN of the removal u64; its documents are still to be reclaimed
``x`` + ...         see ``storage.marking``
=================== ==========================================================
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Final, NamedTuple

from aurora_actors.errors import (
    CollectionNotFoundError,
    CorruptionError,
    PermissionDeniedError,
)
from aurora_actors.schema.defaults import Defaults
from aurora_actors.schema.types import CollectionDefinition, decode_definition
from aurora_actors.schema.validation import DocumentValidator
from aurora_actors.storage.environment import Table, Transaction
from aurora_actors.storage.layout import (
    FORMAT_VERSION,
    META_COLLECTION,
    META_COUNTERS,
    META_DROPPED,
    META_FORMAT,
    META_NEXT_COLLECTION,
    META_STATE,
    META_UUID,
    collection_prefix,
    field_prefix,
)
from aurora_actors.storage.marking import BitMap64, Marked, all_marked, read_marks

__all__ = [
    "Catalog",
    "Collection",
    "Counters",
    "State",
    "catalog_version",
    "collection_missing",
    "counters_key",
    "definition_key",
    "dropped_key",
    "hidden_from_all",
    "pack_counters",
    "pack_definition",
    "pack_state",
    "read_counters",
    "read_definitions",
    "read_dropped",
    "read_state",
    "read_uuid",
]

_STATE: Final = struct.Struct(">QIQ")
_COUNTERS: Final = struct.Struct(">QQ")
_U32: Final = struct.Struct(">I")
_U64: Final = struct.Struct(">Q")


class State(NamedTuple):
    """What names a state of the database."""

    lsn: int
    timeline: int
    catalog_version: int


class Counters(NamedTuple):
    """The numbers of one collection that inserts and deletes move."""

    next_row: int
    documents: int


class Collection:
    """One collection as storage works with it; immutable but for its counters.

    Attributes:
        id: Its number, never used for another one.
        definition: Its fields.
        created_lsn: The change that made it.
        validator: Checks documents against the definition.
        defaults: What new documents get.
        prefix: What its keys begin with.
        unique: The key prefix of each unique field, by field name.
    """

    __slots__ = (
        "created_lsn",
        "defaults",
        "definition",
        "id",
        "prefix",
        "unique",
        "validator",
    )

    def __init__(
        self, collection_id: int, definition: CollectionDefinition, created_lsn: int
    ) -> None:
        self.id = collection_id
        self.definition = definition
        self.created_lsn = created_lsn
        self.validator = DocumentValidator(definition)
        self.defaults = Defaults(definition)
        self.prefix = collection_prefix(collection_id)
        self.unique = {
            name: field_prefix(collection_id, number)
            for number, (name, field) in enumerate(definition.fields.items())
            if field.unique
        }

    @property
    def name(self) -> str:
        """The collection's name."""
        return self.definition.name


class Catalog:
    """All collections by name and by id, with their counters.

    Its dictionaries are changed by ``storage.writeset`` alone, which can undo it.
    """

    def __init__(self) -> None:
        self.by_name: dict[str, Collection] = {}
        self.by_id: dict[int, Collection] = {}
        self.counters: dict[int, Counters] = {}
        self.dropped: dict[int, int] = {}
        self.marks: Marked = {}
        self.marked: dict[bytes, BitMap64] = {}
        self.numbers = {"next_collection": 1, "version": 0}

    @classmethod
    def load(cls, txn: Transaction, meta: Table) -> Catalog:
        """Read the whole catalog.

        Raises:
            CorruptionError: an entry cannot be understood.
        """
        catalog = cls()
        for number, created, encoded in read_definitions(txn, meta):
            collection = Collection(number, decode_definition(encoded), created)
            catalog.by_name[collection.name] = collection
            catalog.by_id[number] = collection
            catalog.counters[number] = read_counters(txn, meta, number)
        catalog.dropped.update(read_dropped(txn, meta))
        catalog.marks.update(read_marks(txn, meta))
        for number, rows in all_marked(catalog.marks.items()).items():
            catalog.marked[collection_prefix(number)] = rows
        following = txn.get(META_NEXT_COLLECTION, db=meta)
        if following is not None:
            catalog.numbers["next_collection"] = _U32.unpack(following)[0]
        catalog.numbers["version"] = read_state(txn, meta).catalog_version
        return catalog

    def find(self, name: str) -> Collection:
        """The collection called ``name``.

        Raises:
            CollectionNotFoundError: there is none.
        """
        collection = self.by_name.get(name)
        if collection is None:
            raise collection_missing(name, self.by_name)
        return collection

    @property
    def documents(self) -> int:
        """The number of documents in all collections."""
        return sum(counters.documents for counters in self.counters.values())


def collection_missing(
    name: str, known: Mapping[str, object]
) -> CollectionNotFoundError:
    """The error for a name no collection has, with the nearest that one has."""
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return CollectionNotFoundError(
        f"there is no collection {name[:80]!r}{hint}", collection=name[:80]
    )


def hidden_from_all(name: str) -> PermissionDeniedError:
    """The error for a collection whose documents nobody is shown."""
    return PermissionDeniedError(
        f"the documents of {name} are shown to nobody; list_tokens() tells the rest",
        collection=name,
    )


# ------------------------------------------------------------------ entries of meta
def definition_key(collection: int) -> bytes:
    """The key of a collection's definition."""
    return META_COLLECTION + _U32.pack(collection)


def counters_key(collection: int) -> bytes:
    """The key of a collection's counters."""
    return META_COUNTERS + _U32.pack(collection)


def dropped_key(collection: int) -> bytes:
    """The key that marks a removed collection as still to be reclaimed."""
    return META_DROPPED + _U32.pack(collection)


def pack_state(state: State) -> bytes:
    """Encode the entry ``state``."""
    return _STATE.pack(*state)


def pack_counters(counters: Counters) -> bytes:
    """Encode a collection's counters."""
    return _COUNTERS.pack(*counters)


def pack_definition(created_lsn: int, definition: bytes) -> bytes:
    """Encode a collection's entry."""
    return _U64.pack(created_lsn) + definition


def read_state(txn: Transaction, meta: Table) -> State:
    """Read the entry ``state``, after checking the file's format.

    Raises:
        CorruptionError: it is missing or cannot be understood.
    """
    value = txn.get(META_STATE, db=meta)
    if value is None or len(value) != _STATE.size:
        raise CorruptionError("the data file has no state entry", file="data.mdb")
    return State(*_STATE.unpack(value))


def catalog_version(state: bytes) -> int:
    """Only the catalog's version, of an encoded ``state``: for the shortest reads."""
    return int.from_bytes(state[-8:], "big")


def read_uuid(txn: Transaction, meta: Table) -> bytes:
    """The database's uuid, after checking that this code knows the file's format.

    Raises:
        CorruptionError: the entries are missing, or of another format.
    """
    value, uuid = txn.get(META_FORMAT, db=meta), txn.get(META_UUID, db=meta)
    if value is None or len(value) != 4 or uuid is None:
        raise CorruptionError("the data file has no format entry", file="data.mdb")
    (version,) = _U32.unpack(value)
    if version != FORMAT_VERSION:
        raise CorruptionError(
            f"the data file has format {version}; this version reads {FORMAT_VERSION}",
            file="data.mdb",
        )
    return bytes(uuid)


def read_counters(txn: Transaction, meta: Table, collection: int) -> Counters:
    """The counters of a collection."""
    value = txn.get(counters_key(collection), db=meta)
    return Counters(1, 0) if value is None else Counters(*_COUNTERS.unpack(value))


def read_definitions(txn: Transaction, meta: Table) -> Iterator[tuple[int, int, bytes]]:
    """All collections: id, LSN of the creation, encoded definition."""
    for key, value in _entries(txn, meta, META_COLLECTION):
        yield _U32.unpack_from(key, 1)[0], _U64.unpack_from(value)[0], value[8:]


def read_dropped(txn: Transaction, meta: Table) -> dict[int, int]:
    """The removed collections still to be reclaimed: id and LSN of the removal."""
    return {
        _U32.unpack_from(key, 1)[0]: _U64.unpack(value)[0]
        for key, value in _entries(txn, meta, META_DROPPED)
    }


def _entries(
    txn: Transaction, meta: Table, prefix: bytes
) -> Iterator[tuple[bytes, bytes]]:
    cursor = txn.cursor(meta)
    found = cursor.set_range(prefix)
    while found and bytes(cursor.key()[:1]) == prefix:
        if len(cursor.key()) == 5:
            yield bytes(cursor.key()), bytes(cursor.value())
        found = cursor.next()
