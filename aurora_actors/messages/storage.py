"""What the storage actor is asked, and what it answers.

A mutation is identified by (sender, request id): storage remembers its outcome in the
same transaction as its effect, so that a repeated request is answered, not repeated.
The operations below are requests by themselves and also the parts of ``Commit``.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from aurora_actors.messages.base import Failure, Message
from aurora_actors.messages.clocks import JobClockSet, SetJobClock
from aurora_actors.messages.jobs import (
    AwaitJob,
    Claimed,
    ClaimJobs,
    JobAwaited,
    JobPart,
    JobsEnqueued,
    JobsFinished,
    JobStatistics,
    LeasesRenewed,
    ReadJobStatistics,
    RenewLeases,
)
from aurora_actors.messages.schedules import SchedulePart, SchedulePut

__all__ = [
    "AwaitChanges",
    "ChangeMatching",
    "Checkpoint",
    "CollectionDefined",
    "Commit",
    "Committed",
    "Compact",
    "Compacted",
    "DefineCollection",
    "DeleteDocument",
    "DropCollection",
    "ForgetClient",
    "InsertDocuments",
    "LogAdvanced",
    "LogSynced",
    "Operation",
    "Part",
    "PointRead",
    "RangeRead",
    "ReadStatistics",
    "RedefineCollection",
    "ReplaceDocument",
    "Statistics",
    "StorageReply",
    "StorageRequest",
    "SyncLog",
    "UpdateDocument",
    "UpsertDocument",
    "Written",
    "decode_storage_reply",
    "decode_storage_request",
]


class InsertDocuments(Message, frozen=True, kw_only=True, tag="storage.insert"):
    """Insert documents, all or none; ``ids[i]`` names ``documents[i]``.

    The ids are chosen by the sender, so that a repeat means the same documents.
    """

    collection: str
    ids: list[str]
    documents: list[bytes]


class UpdateDocument(Message, frozen=True, kw_only=True, tag="storage.update"):
    """Apply an encoded patch to one document."""

    collection: str
    id: str
    patch: bytes


class ReplaceDocument(Message, frozen=True, kw_only=True, tag="storage.replace"):
    """Put another document in the place of an existing one."""

    collection: str
    id: str
    document: bytes


class UpsertDocument(Message, frozen=True, kw_only=True, tag="storage.upsert"):
    """Merge ``patch`` into the document, or insert what the patch makes of nothing."""

    collection: str
    id: str
    patch: bytes


class DeleteDocument(Message, frozen=True, kw_only=True, tag="storage.delete"):
    """Remove one document."""

    collection: str
    id: str


class ChangeMatching(Message, frozen=True, kw_only=True, tag="storage.change_matching"):
    """Update or delete what matches ``predicate``; sent by a query executor.

    ``rows`` are the row ids that matched at ``snapshot_lsn``. Storage re-checks rows
    that have changed since, adds rows that match only now, and applies ``patch``
    (``None`` deletes), so that the effect is that of running the statement at the
    commit. With ``exact`` (an order or limit chose the rows) a change of the
    collection since the snapshot is a conflict instead, and the executor runs again.
    ``client`` and ``client_request_id`` name the request that is carried out: its
    outcome is remembered under them, so that a repeat through a restarted executor
    finds it.
    """

    client: str
    client_request_id: int
    collection: str
    rows: list[int]
    snapshot_lsn: int
    predicate: bytes
    patch: bytes | None
    exact: bool = False


class DefineCollection(Message, frozen=True, kw_only=True, tag="storage.define"):
    """Create a collection; the same definition again changes nothing."""

    definition: bytes


class DropCollection(Message, frozen=True, kw_only=True, tag="storage.drop"):
    """Remove a collection with its documents."""

    collection: str


class RedefineCollection(Message, frozen=True, kw_only=True, tag="storage.redefine"):
    """Give a collection another name, further fields, or other indexed ones.

    Its documents stay as they are: what has to be changed in them is done by filling a
    new collection, which then takes the name of the old one. With ``before``, it must
    have that definition until then.
    """

    collection: str
    definition: bytes
    before: bytes = b""


class SyncLog(Message, frozen=True, kw_only=True, tag="storage.sync"):
    """Make everything acknowledged so far survive power loss."""


class Checkpoint(Message, frozen=True, kw_only=True, tag="storage.checkpoint"):
    """Sync the data file and trim the log behind it."""


class Compact(Message, frozen=True, kw_only=True, tag="storage.compact"):
    """Write the data file anew, without free pages; answered when that is done."""


class ReadStatistics(Message, frozen=True, kw_only=True, tag="storage.statistics"):
    """Ask for the actor's counters."""


class ForgetClient(Message, frozen=True, kw_only=True, tag="storage.forget_client"):
    """The client is gone; its remembered outcomes can be dropped."""

    client: str


Part: TypeAlias = (
    InsertDocuments
    | UpdateDocument
    | ReplaceDocument
    | UpsertDocument
    | DeleteDocument
    | ChangeMatching
    | DefineCollection
    | DropCollection
    | RedefineCollection
    | JobPart
)


class PointRead(msgspec.Struct, frozen=True, array_like=True):
    """A transaction read one document: the version that change ``lsn`` wrote.

    ``lsn`` is 0 when there was no document with this id.
    """

    collection: str
    id: str
    lsn: int


class RangeRead(msgspec.Struct, frozen=True, array_like=True):
    """A transaction read all that matches ``predicate``; an empty one is everything.

    The predicate is encoded by the query package. A collection that was not there has
    been read as empty.
    """

    collection: str
    predicate: bytes


class Commit(Message, frozen=True, kw_only=True, tag="storage.commit"):
    """Apply ``operations`` in their order, all or none, if the reads still hold.

    A point holds when its document is in the version that was seen. A range holds when
    no document that matched at ``snapshot_lsn`` or matches now has changed in between.
    ``client`` and ``client_request_id`` name the request that is carried out, when it
    is somebody else's (see ``ChangeMatching``); a conflict is then not remembered,
    because the sender runs the statement again. ``note`` is given back with the outcome,
    also to a repeat.
    """

    snapshot_lsn: int
    points: list[PointRead]
    ranges: list[RangeRead]
    operations: list[Part]
    client: str = ""
    client_request_id: int = 0
    note: bytes = b""


class AwaitChanges(Message, frozen=True, kw_only=True, tag="storage.await_changes"):
    """Say when there are changes after ``after_lsn``: at once, or with the next commit.

    A follower has one such request at a time; another takes its place. It is lost when
    storage is restarted, and asked again.

    Attributes:
        after_lsn: Up to where the follower knows the log.
        keep: Keep the changes after ``after_lsn`` for this follower, as far as the
            limits of the change log go.
        times: Say it so many times, once for each commit. Who asks for more than
            once is told before the replies leave.
    """

    after_lsn: int
    keep: bool = False
    times: int = 1


Operation: TypeAlias = Part | SchedulePart | Commit
StorageRequest: TypeAlias = (
    Operation
    | SyncLog
    | Checkpoint
    | Compact
    | ReadStatistics
    | ForgetClient
    | AwaitChanges
    | ClaimJobs
    | RenewLeases
    | AwaitJob
    | ReadJobStatistics
    | SetJobClock
)


class Written(Message, frozen=True, kw_only=True, tag="storage.written"):
    """A mutation was applied.

    Attributes:
        lsn: The last change it made; 0 when it changed nothing.
        synced: Whether it survives power loss already.
        affected: The number of documents inserted, changed or removed.
    """

    lsn: int
    synced: bool
    affected: int


class CollectionDefined(Message, frozen=True, kw_only=True, tag="storage.defined"):
    """The collection exists as asked; ``created`` is false when it did before."""

    created: bool
    lsn: int


class Committed(Message, frozen=True, kw_only=True, tag="storage.committed"):
    """A transaction has taken effect.

    Attributes:
        lsn: The last change it made; 0 when it changed nothing.
        synced: Whether it survives power loss already.
        affected: For each operation the number of documents (or collections) inserted,
            changed or removed.
        note: What the request said was to be remembered.
    """

    lsn: int
    synced: bool
    affected: list[int]
    note: bytes = b""


class LogAdvanced(Message, frozen=True, kw_only=True, tag="storage.advanced"):
    """The change log has reached ``lsn``.

    Attributes:
        lsn: The last change.
        at_s: When it was reached, on the monotonic clock that all processes of a
            machine share.
        timeline: The history it belongs to.
        changes: The last changes, of which ``lsn`` is the newest, where they are few
            and small, each as ``storage.changes.carried_change`` reads it. Whoever
            knows all before them need not look into the log.
    """

    lsn: int
    at_s: float = 0.0
    timeline: int = 0
    changes: list[bytes] = []


class LogSynced(Message, frozen=True, kw_only=True, tag="storage.synced"):
    """Everything up to ``lsn`` survives power loss."""

    lsn: int


class Compacted(Message, frozen=True, kw_only=True, tag="storage.compacted"):
    """The data file has been written anew.

    Attributes:
        before_bytes: How long it was.
        after_bytes: How long it is.
        seconds: How long it took; reads went on, and writes but for moments.
    """

    before_bytes: int
    after_bytes: int
    seconds: float


class Statistics(Message, frozen=True, kw_only=True, tag="statistics"):
    """Counters of one actor, by name."""

    values: dict[str, int | float]


StorageReply: TypeAlias = (
    Written
    | Committed
    | CollectionDefined
    | LogSynced
    | LogAdvanced
    | Compacted
    | Statistics
    | JobsEnqueued
    | JobsFinished
    | Claimed
    | LeasesRenewed
    | JobAwaited
    | JobStatistics
    | SchedulePut
    | JobClockSet
    | Failure
)

_decoder = msgspec.msgpack.Decoder(StorageRequest)


def decode_storage_request(body: msgspec.Raw | bytes) -> StorageRequest:
    """Decode one request; ``msgspec.DecodeError`` when it is none."""
    request: StorageRequest = _decoder.decode(body)
    return request


_reply_decoder = msgspec.msgpack.Decoder(StorageReply)


def decode_storage_reply(body: msgspec.Raw | bytes) -> StorageReply:
    """Decode one reply; ``msgspec.DecodeError`` when it is none."""
    reply: StorageReply = _reply_decoder.decode(body)
    return reply
