"""Opening ``index.mdb``, and its entries that name a state.

The index builder opens it for writing, every other process for reading; LMDB allows one
open environment per process and file. Like ``data.mdb`` it is opened without LMDB's own
syncs: checkpoints make it safe (see ``storage.checkpoint``).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Final, NamedTuple

import lmdb
import msgspec

from aurora_actors.errors import CorruptionError
from aurora_actors.indexing.layout import (
    FORMAT_VERSION,
    META_FORMAT,
    META_PART,
    META_PROGRESS,
    META_STATE,
    META_UUID,
    TABLES,
    IndexState,
    Part,
    Progress,
    part_key,
    unpack_progress,
    unpack_state,
)
from aurora_actors.storage.environment import (
    Environment,
    Table,
    Transaction,
    lmdb_errors,
    translate_lmdb,
)

__all__ = [
    "Environment",
    "IndexTables",
    "Table",
    "Transaction",
    "decode_part",
    "encode_part",
    "open_index_environment",
    "open_index_tables",
    "read_index_state",
    "read_parts",
    "read_progress",
    "write_identity",
]

_U32: Final = struct.Struct(">I")
_VERSIONED: Final = hasattr(lmdb.Environment, "lib_version")


class IndexTables(NamedTuple):
    """The handles of the named databases."""

    meta: Table
    entries: Table
    bitmaps: Table


def open_index_environment(
    path: Path, *, map_size: int, max_readers: int, readonly: bool = False
) -> Environment:
    """Open ``index.mdb``; the builder makes it if it is missing.

    Raises:
        CorruptionError: the file is not one of LMDB's, or is damaged.
        UnavailableError: the file cannot be opened now.
    """
    fresh = not readonly and not path.exists()
    options: dict[str, Any] = {"lib_version": 0} if fresh and _VERSIONED else {}
    with lmdb_errors(path):
        return lmdb.open(
            str(path),
            map_size=map_size,
            subdir=False,
            readonly=readonly,
            metasync=False,
            sync=False,
            mode=0o600,
            readahead=True,
            max_readers=max_readers,
            max_dbs=len(TABLES) + 2,
            max_spare_txns=4,
            **options,
        )


def open_index_tables(env: Environment, *, create: bool = False) -> IndexTables:
    """Open the named databases.

    Raises:
        CorruptionError: one is missing or of another kind.
    """
    try:
        meta = env.open_db(b"meta", create=create)
        entries = env.open_db(
            b"entries", create=create, dupsort=True, dupfixed=True, integerdup=True
        )
        bitmaps = env.open_db(b"bitmaps", create=create)
    except lmdb.NotFoundError as exc:
        raise CorruptionError(
            f"{env.path()} has not the tables of an index", file=env.path()
        ) from exc
    except lmdb.Error as exc:
        raise translate_lmdb(exc, env.path()) from exc
    return IndexTables(meta, entries, bitmaps)


# ------------------------------------------------------------------ entries of meta
def write_identity(txn: Transaction, meta: Table, uuid: bytes) -> None:
    """Say that this file is ours, and whose derived data it has."""
    txn.put(META_FORMAT, _U32.pack(FORMAT_VERSION), db=meta)
    txn.put(META_UUID, uuid, db=meta)


def read_index_state(txn: Transaction, meta: Table) -> tuple[bytes, IndexState]:
    """The uuid of the database and the state the derived data is at.

    Raises:
        CorruptionError: they are missing, or of another format.
    """
    version, uuid = txn.get(META_FORMAT, db=meta), txn.get(META_UUID, db=meta)
    state = txn.get(META_STATE, db=meta)
    if version != _U32.pack(FORMAT_VERSION) or uuid is None or state is None:
        raise CorruptionError("the index file is not one this version reads")
    try:
        return bytes(uuid), unpack_state(state)
    except struct.error as exc:
        raise CorruptionError("the index file's state is damaged") from exc


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Part)


def encode_part(part: Part) -> bytes:
    """The entry of a part."""
    return _encoder.encode(part)


def decode_part(value: bytes) -> Part:
    """Read the entry of a part.

    Raises:
        CorruptionError: it is damaged.
    """
    try:
        return _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise CorruptionError(f"an index file's part is damaged: {exc}") from exc


def read_parts(txn: Transaction, meta: Table) -> list[Part]:
    """All parts, by number."""
    cursor = txn.cursor(meta)
    parts = []
    found = cursor.set_range(META_PART)
    while found and cursor.key()[:1] == META_PART:
        if len(cursor.key()) == 5:
            parts.append(decode_part(bytes(cursor.value())))
        found = cursor.next()
    return parts


def read_progress(txn: Transaction, meta: Table, part: int) -> Progress:
    """The numbers of a part.

    Raises:
        CorruptionError: they are missing or damaged.
    """
    value = txn.get(part_key(META_PROGRESS, part), db=meta)
    try:
        return unpack_progress(value)
    except (struct.error, TypeError, ValueError) as exc:
        raise CorruptionError(f"part {part} of the index file is damaged") from exc
