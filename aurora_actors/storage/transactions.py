"""Carrying out a transaction in the storage process: compare, then apply, all or none.

Synchronous and deterministic. What a transaction has read is compared inside the write
transaction that has its effect, so nothing can come in between: transactions are
serialisable in the order of their LSNs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aurora_actors.errors import AuroraError, ConflictError, LimitExceededError
from aurora_actors.messages.base import Failure, Message
from aurora_actors.messages.storage import (
    CollectionDefined,
    Commit,
    Committed,
    DeleteDocument,
    InsertDocuments,
    Operation,
    Part,
    ReplaceDocument,
    UpdateDocument,
    UpsertDocument,
    Written,
)
from aurora_actors.storage.conflicts import BatchPresent, Validation
from aurora_actors.storage.writeset import WriteSet

__all__ = [
    "apply_commit",
    "check_transaction_size",
    "commit_size",
    "is_conflict",
    "operation_size",
    "point_size",
    "request_weight",
]

_OVERHEAD: Final = 32
_PER_DOCUMENT: Final = 16


def apply_commit(
    batch: WriteSet,
    commit: Commit,
    *,
    apply: Callable[[WriteSet, Operation], Message],
    compile_predicate: Callable[[bytes], Callable[[dict[str, object], str], bool]],
    max_bytes: int,
    synced: bool,
) -> Committed:
    """Apply a transaction to the batch; the caller undoes it when it raises.

    Args:
        batch: The state it is compared with and applied to.
        commit: The transaction.
        apply: Applies one operation.
        compile_predicate: Makes a function of an encoded predicate.
        max_bytes: How large a transaction may be.
        synced: What the reply says.

    Raises:
        ConflictError: something the transaction has read has changed.
        LimitExceededError: it is too large.
        AuroraError: one of its operations is refused; the context says which.
    """
    check_transaction_size(commit_size(commit), max_bytes)
    Validation(BatchPresent(batch), commit, compile_predicate).check()
    start = batch.lsn
    affected: list[int] = []
    for number, operation in enumerate(commit.operations):
        try:
            affected.append(_affected(apply(batch, operation)))
        except AuroraError as exc:
            exc.context["operation"] = number
            raise
    lsn = batch.lsn if batch.lsn > start else 0
    return Committed(lsn=lsn, synced=synced, affected=affected, note=commit.note)


def _affected(reply: Message) -> int:
    if isinstance(reply, Written):
        return reply.affected
    return int(isinstance(reply, CollectionDefined) and reply.created)


def is_conflict(reply: Message) -> bool:
    """Whether a reply says that something has changed that was read."""
    return isinstance(reply, Failure) and reply.code == ConflictError.code


# ------------------------------------------------------------------ size
def request_weight(request: Operation) -> tuple[int, int]:
    """What a request adds to a batch: about how many documents, and how many bytes."""
    if type(request) is InsertDocuments:
        documents = request.documents
        size = len(documents[0]) if len(documents) == 1 else sum(map(len, documents))
        return len(request.ids), size
    if isinstance(request, Commit):
        weights = [request_weight(each) for each in request.operations]
        return 1 + sum(each[0] for each in weights), sum(each[1] for each in weights)
    return 1, 0


def check_transaction_size(size: int, limit: int) -> None:
    """Refuse a transaction that is too large.

    Raises:
        LimitExceededError: it is.
    """
    if size > limit:
        raise LimitExceededError(
            f"a transaction of {size:,} bytes; max_transaction_bytes is {limit:,}: "
            "split it, or read with queries instead of document by document",
            limit="max_transaction_bytes",
        )


def commit_size(commit: Commit) -> int:
    """About how many bytes a transaction takes on the wire."""
    size = sum(map(operation_size, commit.operations))
    size += sum(point_size(point.id) for point in commit.points)
    return size + sum(_OVERHEAD + len(each.predicate) for each in commit.ranges)


def point_size(document_id: str) -> int:
    """About how many bytes the reading of one document takes."""
    return _PER_DOCUMENT + len(document_id)


def operation_size(operation: Part) -> int:
    """About how many bytes one operation takes."""
    match operation:
        case InsertDocuments(ids=ids, documents=documents):
            return sum(map(len, documents)) + sum(map(len, ids)) + 16 * len(ids)
        case UpdateDocument(patch=patch) | UpsertDocument(patch=patch):
            return _OVERHEAD + len(operation.id) + len(patch)
        case ReplaceDocument(document=document):
            return _OVERHEAD + len(operation.id) + len(document)
        case DeleteDocument():
            return _OVERHEAD + len(operation.id)
        case _:
            return 8 * _OVERHEAD
