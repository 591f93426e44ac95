"""AQL on the wire: a text with its variables, and the parts of its result.

A text that only reads is asked as a stream of ``ResultChunk`` (see ``messages.query``),
each root field beginning with a chunk that has a ``note``. A text that writes is asked
once, under one number for as long as it takes, and is answered by one ``AqlReply``.
"""

from __future__ import annotations

import msgspec

from aurora_actors.messages.base import Message

__all__ = ["AqlPart", "AqlReply", "ExecuteAql"]


class ExecuteAql(Message, frozen=True, kw_only=True, tag="aql.execute"):
    """Run a text.

    Attributes:
        text: The text.
        variables: Its variables, an encoded document; empty for none.
        seed: What new ids are made of, so that a repeat makes the same ones.
        writes: Whether the asker expects one ``AqlReply``; else it gets chunks.
        explains: Tell how its queries are answered, instead of their results.
        subscribes: Tell what its subscription watches; the asker does that itself.
        migrates: Apply its one ``migrate`` block, and tell meanwhile how far it is. It
            is asked as a stream, and asked again with the same seed when that breaks.
        credit: How many chunks may be under way.
        deadline_s: How long it may take.
    """

    text: str
    variables: bytes = b""
    seed: bytes = b""
    writes: bool = False
    explains: bool = False
    subscribes: bool = False
    migrates: bool = False
    credit: int = 8
    deadline_s: float = 30.0


class AqlPart(msgspec.Struct, frozen=True, array_like=True):
    """A part of a result, as a ``ResultChunk`` has it: a note, and rows."""

    note: bytes
    records: list[bytes]


class AqlReply(Message, frozen=True, kw_only=True, tag="aql.reply"):
    """The whole result of a text, and the LSN it was read or written at."""

    parts: list[AqlPart]
    lsn: int
