"""What a remote client and the remote gateway say to each other.

The conversation is a TLS stream of frames (see ``messages.framing``), each one tagged
struct. The client begins with :class:`Hello` and is answered by :class:`Welcome` or
:class:`Expelled`. From then on it sends the very envelopes a local client would put into
the mailboxes (:class:`Post`), and gets what comes to its own (:class:`Deliver`), with the
supervisor's notices in between.

What a local client reads in the map itself, a remote one asks the gateway for, in
letters to the mailbox ``remote_gateway``: documents by id, the catalog, and transactions,
which are kept there until they are committed or given up.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from aurora_actors.messages.base import PROTOCOL_VERSION, Failure, Message
from aurora_actors.messages.query import ChangeDocuments, Explain, RunQuery
from aurora_actors.messages.storage import Part
from aurora_actors.messages.supervision import (
    ActorReady,
    Attached,
    Done,
    ReadStatus,
    ScaleGroup,
    TreeStatus,
    TreeStopping,
)

__all__ = [
    "MAX_REMOTE_FRAME_BYTES",
    "REMOTE_GATEWAY",
    "BackupBegun",
    "BackupRead",
    "BeginBackup",
    "BeginTransaction",
    "CatalogEntry",
    "CatalogRead",
    "ChangeInTransaction",
    "Deliver",
    "EndBackup",
    "EndTransaction",
    "Expelled",
    "FromClient",
    "FromGateway",
    "Hello",
    "IndexState",
    "Leave",
    "MarkTransaction",
    "Post",
    "ReadBackup",
    "ReadCatalog",
    "ReadDocument",
    "ReadTokens",
    "RecordsRead",
    "RollBackTransaction",
    "RunInTransaction",
    "TransactionBegun",
    "TransactionEnded",
    "TransactionMarked",
    "Welcome",
    "decode_desk_request",
    "decode_from_client",
    "decode_from_gateway",
]

REMOTE_GATEWAY: Final = "remote_gateway"
MAX_REMOTE_FRAME_BYTES: Final = (128 << 20) + 4096
"""The largest mail there is, with what is around it."""


# ------------------------------------------------------------------ the stream
class Hello(Message, frozen=True, kw_only=True, tag="remote.hello"):
    """The first frame of a client.

    Attributes:
        token: Who it is.
        session: The session it had, when it comes back.
        secret: What it was given to come back with.
    """

    version: int = PROTOCOL_VERSION
    token: str
    session: str = ""
    secret: str = ""


class Welcome(Message, frozen=True, kw_only=True, tag="remote.welcome"):
    """The client is let in.

    Attributes:
        session: Its mailbox name.
        secret: With it the session can be resumed over another connection.
        resumed: It is the session it asked for: nothing of it was forgotten.
        attached: What a local client is told when it attaches.
    """

    version: int = PROTOCOL_VERSION
    session: str
    secret: str
    resumed: bool
    attached: Attached


class Expelled(Message, frozen=True, kw_only=True, tag="remote.expelled"):
    """The client is not let in, or no longer; the connection ends."""

    failure: Failure


class Post(Message, frozen=True, kw_only=True, tag="remote.post"):
    """An envelope of the client's, for the mailbox ``to``."""

    to: str
    data: bytes


class Deliver(Message, frozen=True, kw_only=True, tag="remote.deliver"):
    """An envelope that came to the client's mailbox."""

    data: bytes


class Leave(Message, frozen=True, kw_only=True, tag="remote.leave"):
    """The client is done; its session ends."""


FromClient: TypeAlias = Hello | Post | ReadStatus | ScaleGroup | Leave
FromGateway: TypeAlias = (
    Welcome
    | Expelled
    | Deliver
    | ActorReady
    | TreeStatus
    | Done
    | TreeStopping
    | Failure
)


# ------------------------------------------------------------------ the desk
class ReadDocument(Message, frozen=True, kw_only=True, tag="remote.read_document"):
    """Ask for one document; answered by ``RecordsRead`` with at most one record."""

    collection: str
    id: str
    transaction: int = 0


class RecordsRead(Message, frozen=True, kw_only=True, tag="remote.records"):
    """Encoded records, and for queries in transactions how many were counted."""

    records: list[bytes]
    count: int = 0


class ReadCatalog(Message, frozen=True, kw_only=True, tag="remote.read_catalog"):
    """Ask for one collection or, with an empty name, for all of them."""

    collection: str = ""


class ReadTokens(Message, frozen=True, kw_only=True, tag="remote.read_tokens"):
    """Ask for all tokens; answered by ``RecordsRead``, without the hashes."""


class IndexState(msgspec.Struct, frozen=True, array_like=True):
    """An index: its fields, whether it is complete, of bitmaps, and its entries."""

    fields: list[str]
    ready: bool
    is_bitmaps: bool
    entries: int


class CatalogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A collection; ``definition`` is encoded by the schema package."""

    id: int
    definition: bytes
    count: int
    created_lsn: int
    indexes: list[IndexState] = []


class CatalogRead(Message, frozen=True, kw_only=True, tag="remote.catalog"):
    """The collections that were asked for, as far as the asker may see them."""

    collections: list[CatalogEntry]
    lsn: int


class BeginTransaction(Message, frozen=True, kw_only=True, tag="remote.begin"):
    """Begin a transaction on the present state."""

    timeout_s: float | None = None


class TransactionBegun(Message, frozen=True, kw_only=True, tag="remote.begun"):
    """A transaction is kept under ``transaction``."""

    transaction: int
    snapshot_lsn: int


class ChangeInTransaction(Message, frozen=True, kw_only=True, tag="remote.change"):
    """Write in a transaction; answered by ``Written``."""

    transaction: int
    part: Part


class RunInTransaction(Message, frozen=True, kw_only=True, tag="remote.run"):
    """Run a query in a transaction, explain it, or change what it finds."""

    transaction: int
    query: RunQuery | Explain | ChangeDocuments


class MarkTransaction(Message, frozen=True, kw_only=True, tag="remote.mark"):
    """Remember this point of a transaction."""

    transaction: int


class TransactionMarked(Message, frozen=True, kw_only=True, tag="remote.marked"):
    """A point to go back to."""

    mark: int


class RollBackTransaction(Message, frozen=True, kw_only=True, tag="remote.roll_back"):
    """Undo what was written since ``mark``; answered by ``Done``."""

    transaction: int
    mark: int


class EndTransaction(Message, frozen=True, kw_only=True, tag="remote.end"):
    """Let a transaction go; with ``commits`` the asker gets what storage is to do."""

    transaction: int
    commits: bool


class TransactionEnded(Message, frozen=True, kw_only=True, tag="remote.ended"):
    """An encoded ``Commit`` for storage; empty when there is nothing to be done."""

    commit: bytes = b""


class BeginBackup(Message, frozen=True, kw_only=True, tag="remote.begin_backup"):
    """Have a backup taken, to be read in pieces."""


class BackupBegun(Message, frozen=True, kw_only=True, tag="remote.backup_begun"):
    """It has been taken: its length, and its encoded manifest."""

    size: int
    manifest: bytes


class ReadBackup(Message, frozen=True, kw_only=True, tag="remote.read_backup"):
    """Ask for a piece of the backup that was begun last."""

    offset: int
    length: int


class BackupRead(Message, frozen=True, kw_only=True, tag="remote.backup_read"):
    """A piece of it, empty behind its end."""

    data: bytes = b""


class EndBackup(Message, frozen=True, kw_only=True, tag="remote.end_backup"):
    """It has been read, or is not wanted; answered by an empty ``BackupRead``."""


DeskRequest: TypeAlias = (
    ReadDocument
    | ReadCatalog
    | ReadTokens
    | BeginTransaction
    | ChangeInTransaction
    | RunInTransaction
    | MarkTransaction
    | RollBackTransaction
    | EndTransaction
    | BeginBackup
    | ReadBackup
    | EndBackup
)

_from_client = msgspec.msgpack.Decoder(FromClient)
_from_gateway = msgspec.msgpack.Decoder(FromGateway)
_desk = msgspec.msgpack.Decoder(DeskRequest)


def decode_from_client(frame: bytes) -> FromClient:
    """Decode what a client sends; ``msgspec.DecodeError`` when it is nothing."""
    message: FromClient = _from_client.decode(frame)
    return message


def decode_from_gateway(frame: bytes) -> FromGateway:
    """Decode what the gateway sends; ``msgspec.DecodeError`` when it is nothing."""
    message: FromGateway = _from_gateway.decode(frame)
    return message


def decode_desk_request(body: msgspec.Raw | bytes) -> DeskRequest:
    """Decode one request to the gateway; ``msgspec.DecodeError`` when it is none."""
    request: DeskRequest = _desk.decode(body)
    return request
