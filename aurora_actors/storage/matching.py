"""The rows that a statement over many documents means when it takes effect.

A query executor has found rows that matched at some LSN; by now some of them may have
changed. Those are looked at again, so that the effect is that of running the statement
at the commit. Deterministic; in the storage process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from aurora_actors.errors import ConflictError
from aurora_actors.messages.storage import ChangeMatching
from aurora_actors.schema.record import record_body, record_id
from aurora_actors.schema.values import decode_document
from aurora_actors.storage.catalog import Collection
from aurora_actors.storage.writeset import WriteSet

__all__ = ["CompilePredicate", "Predicate", "matching_records", "matching_rows"]

Predicate: TypeAlias = Callable[[dict[str, object], str], bool]
CompilePredicate: TypeAlias = Callable[[bytes], Predicate]


def matching_rows(
    batch: WriteSet,
    collection: Collection,
    request: ChangeMatching,
    compile_predicate: CompilePredicate,
) -> tuple[list[int], dict[int, bytes]]:
    """The rows the statement means at this point, ascending.

    Returns:
        Besides them the records of those that have been looked at again.

    Raises:
        ConflictError: that cannot be told any more; it has to be run again.
    """
    since = request.snapshot_lsn
    oldest = max(batch.first_change - 1, collection.created_lsn)
    if not oldest <= since <= batch.lsn:
        raise ConflictError(
            f"the statement was planned at LSN {since}, which cannot be compared "
            f"with the present {batch.lsn}; run it again"
        )
    changed: set[int] = set()
    if since < batch.lsn:
        changed = batch.changed_rows(collection, since)
    if changed and request.exact:
        raise ConflictError(
            f"{collection.name} has changed since LSN {since}; run it again"
        )
    rows = set(request.rows) - changed
    if not batch.may_exist(collection, rows):
        raise _incomplete(collection)
    found: dict[int, bytes] = {}
    if changed:
        matches = compile_predicate(request.predicate)
        for row in changed:
            record = batch.record(collection, row)
            if record is not None and matches(
                decode_document(record_body(record)), record_id(record)
            ):
                found[row] = record
    return sorted(rows.union(found)), found


def matching_records(
    batch: WriteSet,
    collection: Collection,
    rows: Sequence[int],
    known: Mapping[int, bytes],
) -> list[bytes]:
    """The records of what :func:`matching_rows` has found.

    Raises:
        ConflictError: some of them are not there; the statement has to be run again.
    """
    if not known:
        records = batch.records(collection, rows)
        if len(records) == len(rows):
            return records
        raise _incomplete(collection)
    unread = [row for row in rows if row not in known]
    read = batch.records(collection, unread)
    if len(read) != len(unread):
        raise _incomplete(collection)
    by_row = {**known, **dict(zip(unread, read, strict=True))}
    return [by_row[row] for row in rows]


def _incomplete(collection: Collection) -> ConflictError:
    return ConflictError(
        f"{collection.name} has no longer all rows of the statement; run it again"
    )
