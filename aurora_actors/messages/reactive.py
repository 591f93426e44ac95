"""What the reactive dispatcher is asked, and what it tells its subscribers.

A subscription is named by its client and the request id under which it was asked for.
Everything for it comes in ``LiveChunk`` with that id, numbered from 0, so that a lost
one is noticed. The client grants credit: the dispatcher has at most that many chunks
under way for a subscription, and keeps nothing for a client that does not grant: what
has happened meanwhile is read from the change log when it goes on.

A place in the history is a token (see ``reactive.tokens``). A client that reconnects,
or whose dispatcher was restarted, subscribes again with the last one.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TypeAlias

import msgspec

from aurora_actors.messages.base import Failure, Message
from aurora_actors.messages.query import QuerySpec
from aurora_actors.messages.storage import ReadStatistics, Statistics

__all__ = [
    "ChunkMode",
    "GrantEvents",
    "Listen",
    "LiveChunk",
    "LiveEvent",
    "LiveKind",
    "LiveProgress",
    "ReactiveReply",
    "ReactiveRequest",
    "Subscribed",
    "Unsubscribe",
    "Watch",
    "decode_reactive_request",
]


class Watch(Message, frozen=True, kw_only=True, tag="live.watch"):
    """Follow the result of a query.

    Attributes:
        query: The query; its mode is ``DOCUMENTS``.
        include_initial: Begin with the present result.
        since: Go on behind this token instead.
        coalesces: What is missed is told in its final state, once for each document,
            instead of change by change.
        debounce_s: Look at most once in so many seconds, and coalesce what has
            happened meanwhile; 0 looks at every change.
        credit: Chunks that may be sent at once.
    """

    query: QuerySpec
    include_initial: bool = True
    since: str | None = None
    coalesces: bool = False
    debounce_s: float = 0.0
    credit: int = 8


class Listen(Message, frozen=True, kw_only=True, tag="live.listen"):
    """Follow the changes themselves.

    Attributes:
        collection: Of this collection alone; ``None`` for all.
        kinds: Only these kinds of change; empty for all.
        fields: Only changes of one of these fields; empty for all.
        since: Begin behind this token, not with what happens from now on.
        credit: Chunks that may be sent at once.
    """

    collection: str | None = None
    kinds: list[int] = []
    fields: list[str] = []
    since: str | None = None
    credit: int = 8


class GrantEvents(Message, frozen=True, kw_only=True, tag="live.credit"):
    """Let the subscription send ``chunks`` more."""

    subscription: int
    chunks: int


class Unsubscribe(Message, frozen=True, kw_only=True, tag="live.leave"):
    """End a subscription; nothing more is sent for it."""

    subscription: int


ReactiveRequest: TypeAlias = Watch | Listen | GrantEvents | Unsubscribe | ReadStatistics


class LiveKind(IntEnum):
    """What an event of a live query says."""

    ADDED = 1
    MODIFIED = 2
    REMOVED = 3


class LiveEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One event of a live query, or one change for a listener.

    Attributes:
        kind: A ``LiveKind``, for a listener a ``storage.changes.ChangeKind``.
        lsn: The change it comes from.
        row: The document's row id.
        old: The record before, where there is one.
        new: The record after, where there is one.
        position: For a query with order or limit, the place in the result after this
            event.
        collection: For a listener, the collection's name.
    """

    kind: int
    lsn: int
    row: int
    old: bytes | None = None
    new: bytes | None = None
    position: int | None = None
    collection: str = ""


class ChunkMode(IntEnum):
    """What the events of a chunk are."""

    EXACT = 0
    """Every event after ``base`` up to ``lsn``."""
    COALESCED = 1
    """The difference between the results at ``base`` and at ``lsn``."""
    INITIAL = 2
    """A part of the first result, with corrections of the parts before."""
    INITIAL_END = 3
    """The last such part: the first result is complete, at ``lsn``."""


class LiveChunk(
    Message, frozen=True, kw_only=True, tag="live.chunk", omit_defaults=True
):
    """Events of one subscription, in order.

    Attributes:
        number: 0 for the first chunk, then counting up.
        mode: What the events are.
        base: Nothing is said of changes up to this one...
        lsn: ...and everything about those up to this one.
        timeline: The history the numbers belong to.
        events: The events; the chunk may be without any.
        skipped: So many events of the batch, or of the first change, are left out,
            because the client has seen them.
        lost: History was lost before this chunk: forget what was told before.
        live: The subscription has reached the present.
    """

    number: int
    mode: ChunkMode
    base: int
    lsn: int
    timeline: int
    events: list[LiveEvent] = []
    skipped: int = 0
    lost: bool = False
    live: bool = False


class LiveProgress(Message, frozen=True, kw_only=True, tag="live.progress"):
    """There is nothing more to tell up to ``lsn``, but for those in ``behind``."""

    lsn: int
    timeline: int
    behind: list[int] = []


class Subscribed(Message, frozen=True, kw_only=True, tag="live.subscribed"):
    """The subscription exists; chunks follow.

    Attributes:
        lsn: Where it begins.
        timeline: The history this number belongs to.
    """

    lsn: int
    timeline: int


ReactiveReply: TypeAlias = Subscribed | LiveChunk | LiveProgress | Statistics | Failure

_decoder = msgspec.msgpack.Decoder(ReactiveRequest)


def decode_reactive_request(body: msgspec.Raw | bytes) -> ReactiveRequest:
    """Decode one request; ``msgspec.DecodeError`` when it is none."""
    request: ReactiveRequest = _decoder.decode(body)
    return request
