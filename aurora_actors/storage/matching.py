"""The rows that a statement over many documents means when it takes effect.

A query executor has found rows that matched at some LSN; by now some of them may have
changed. Those are looked at again, so that the effect is that of running the statement
at the commit. Deterministic; in the storage process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from aurora_actors.errors import ConflictError
from aurora_actors.messages.storage import ChangeMatching
from aurora_actors.schema.record import record_body, record_id
from aurora_actors.schema.values import decode_document
from aurora_actors.storage.catalog import Collection
from aurora_actors.storage.writeset import WriteSet

__all__ = ["CompilePredicate", "Predicate", "matching_rows"]

Predicate: TypeAlias = Callable[[dict[str, object], str], bool]
CompilePredicate: TypeAlias = Callable[[bytes], Predicate]


def matching_rows(
    batch: WriteSet,
    collection: Collection,
    request: ChangeMatching,
    compile_predicate: CompilePredicate,
) -> tuple[list[int], list[bytes]]:
    """The rows the statement means at this point, ascending, and their records.

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
    rows = sorted(set(request.rows) - changed)
    records = batch.records(collection, rows)
    if len(records) != len(rows):
        raise ConflictError(
            f"{collection.name} has no longer all rows of the statement; run it again"
        )
    if not changed:
        return rows, records
    found = dict(zip(rows, records, strict=True))
    matches = compile_predicate(request.predicate)
    for row in changed:
        record = batch.record(collection, row)
        if record is not None and matches(
            decode_document(record_body(record)), record_id(record)
        ):
            found[row] = record
    ordered = sorted(found)
    return ordered, [found[row] for row in ordered]
