"""The payload of a log frame: what a batch did, and doing it again.

A payload is the msgpack array ``[[client, request id, reply, [effect, ...]], ...]``,
one entry for each request of the batch that changed something, in order. Effects are
physical: row ids are fixed and records whole, so that applying them needs neither
clock, nor random numbers, nor the rules that were in force when they were made.

=========================================== =======================================
effect                                      meaning
=========================================== =======================================
``[1, collection, first row, [record...]]`` inserts with consecutive rows and LSNs
``[2, collection, row, record]``            the row's record is now this one
``[3, collection, [row...]]``               deletes with consecutive LSNs
``[4, collection, definition]``             the collection was created, or redefined
``[5, collection]``                         the collection was removed
=========================================== =======================================

LSNs are not repeated: effects follow each other from the frame's first LSN on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from aurora_actors.errors import CorruptionError
from aurora_actors.messages.jobs import JOBS
from aurora_actors.schema.record import record_body, record_lsn
from aurora_actors.schema.types import decode_definition
from aurora_actors.storage.catalog import Collection
from aurora_actors.storage.changes import ChangeKind
from aurora_actors.storage.frames import Frame
from aurora_actors.storage.jobs.records import index_record
from aurora_actors.storage.layout import value_key
from aurora_actors.storage.writeset import WriteSet

__all__ = ["Entry", "decode_payload", "encode_payload", "replay_effect", "replay_frame"]


class Entry(NamedTuple):
    """One request of a batch: who asked, the encoded reply, and its effects."""

    client: str
    request_id: int
    reply: bytes
    effects: Sequence[Sequence[object]]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(
    list[tuple[str, int, bytes, list[list[object]]]]
)


def encode_payload(entries: Sequence[Entry]) -> bytes:
    """Encode what a batch did."""
    return _encoder.encode(entries)


def decode_payload(payload: memoryview | bytes) -> list[Entry]:
    """Decode what a batch did.

    Raises:
        CorruptionError: ``payload`` is none.
    """
    try:
        return [Entry(*entry) for entry in _decoder.decode(payload)]
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise CorruptionError(f"a frame's payload cannot be read: {exc}") from exc


def replay_effect(batch: WriteSet, effect: Sequence[object]) -> None:
    """Do one effect again.

    Raises:
        ValueError: it does not fit the database; so do ``LookupError``, ``TypeError``.
    """
    _replay(batch, effect)


def replay_frame(batch: WriteSet, frame: Frame) -> list[Entry]:
    """Do again what ``frame`` says; returns its entries, for their outcomes.

    Raises:
        CorruptionError: the frame does not fit the database it is applied to.
    """
    try:
        entries = [Entry(*entry) for entry in _decoder.decode(frame.payload)]
        for entry in entries:
            for effect in entry.effects:
                _replay(batch, effect)
    except (msgspec.DecodeError, LookupError, TypeError, ValueError) as exc:
        raise CorruptionError(
            f"the log's changes {frame.first_lsn} to {frame.last_lsn} do not fit the "
            f"database: {exc}",
            offset=frame.offset,
        ) from exc
    if batch.lsn != frame.last_lsn:
        raise CorruptionError(
            f"the log's frame up to LSN {frame.last_lsn} leads to LSN {batch.lsn}",
            offset=frame.offset,
        )
    return entries


def _replay(batch: WriteSet, effect: Sequence[object]) -> None:
    match effect:
        case [ChangeKind.INSERT, int(number), int(first_row), list(records)]:
            _insert(batch, batch.catalog.by_id[number], first_row, records)
        case [ChangeKind.UPDATE, int(number), int(row), bytes(record)]:
            _update(batch, batch.catalog.by_id[number], row, record)
        case [ChangeKind.DELETE, int(number), list(rows)]:
            _delete(batch, batch.catalog.by_id[number], rows)
        case [ChangeKind.DEFINE, int(number), bytes(encoded)]:
            definition = decode_definition(encoded)
            if number in batch.catalog.by_id:
                batch.redefine(number, definition)
            else:
                batch.define(Collection(number, definition, batch.lsn + 1))
        case [ChangeKind.DROP, int(number)]:
            batch.drop(batch.catalog.by_id[number])
        case _:
            raise ValueError(f"unknown effect {effect[:1]}")


def _insert(
    batch: WriteSet, collection: Collection, first_row: int, records: list[bytes]
) -> None:
    if record_lsn(records[0]) != batch.lsn + 1:
        raise ValueError(f"LSN {record_lsn(records[0])} after {batch.lsn}")
    prefix = collection.prefix
    keys = [prefix + record[13 : 13 + record[8]] for record in records]
    unique = [
        (key, at)
        for at, record in enumerate(records)
        for key in _unique_keys(collection, record)
    ]
    row = batch.insert(collection, records, keys, unique)
    if row != first_row:
        raise ValueError(f"row {row} where {first_row} is due")
    if collection.name == JOBS:
        for row, record in enumerate(records, first_row):
            index_record(batch, row, None, record)


def _update(batch: WriteSet, collection: Collection, row: int, new: bytes) -> None:
    old = batch.record(collection, row)
    if old is None:
        raise ValueError(f"there is no row {row} to update")
    before = _unique_keys(collection, old)
    after = _unique_keys(collection, new)
    batch.update(collection, row, old, new, freed=before - after, taken=after - before)
    if collection.name == JOBS:
        index_record(batch, row, old, new)


def _delete(batch: WriteSet, collection: Collection, rows: list[int]) -> None:
    records = batch.records(collection, rows)
    if len(records) != len(rows):
        raise ValueError(f"{len(rows) - len(records)} rows to delete are missing")
    freed = [key for record in records for key in _unique_keys(collection, record)]
    batch.delete(collection, rows, records, freed)
    if collection.name == JOBS:
        for row, record in zip(rows, records, strict=True):
            index_record(batch, row, record, None)


def _unique_keys(collection: Collection, record: bytes) -> set[bytes]:
    if not collection.unique:
        return set()
    values = collection.validator.unique_values(bytes(record_body(record)))
    return {collection.unique[name] + value_key(value) for name, value in values}
