"""What query executors ask of each other: parts of one large aggregate.

Column segments are immutable files, so a part needs no snapshot: whoever has the query
says which files, and which of their rows are not to be counted, and the helper answers
with increments (see ``query.aggregate_states``) that are the same as if it had computed
them itself. A helper that cannot, or does not answer, costs time and nothing else.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from aurora_actors.messages.base import Message
from aurora_actors.messages.query import GroupSpec

__all__ = [
    "AggregateSegments",
    "SegmentShare",
    "SegmentsAggregated",
    "decode_share_message",
]


class SegmentShare(msgspec.Struct, frozen=True, array_like=True):
    """One segment to be aggregated.

    Attributes:
        path: Its file.
        entry: What is known of it (see ``indexing.segments``).
        gone: A serialised set of rows to leave out.
    """

    path: str
    entry: bytes
    gone: bytes


class AggregateSegments(Message, frozen=True, kw_only=True, tag="shares.aggregate"):
    """Aggregate the matches in some segments; answered by ``SegmentsAggregated``.

    Attributes:
        definition: The collection's encoded definition.
        predicate: An encoded predicate, or empty.
        group: What is computed.
        segments: Of which segments.
    """

    definition: bytes
    predicate: bytes
    group: GroupSpec
    segments: list[SegmentShare]


class SegmentsAggregated(Message, frozen=True, kw_only=True, tag="shares.aggregated"):
    """The increments of each group, segment by segment.

    Attributes:
        done: Whether all segments could be read; if not, there are no groups.
        groups: Encoded keys with increments (see ``query.group_codec``).
        rows_tested: The rows looked at.
    """

    done: bool
    groups: list[bytes] = []
    rows_tested: int = 0


ShareMessage: TypeAlias = AggregateSegments | SegmentsAggregated

_decoder = msgspec.msgpack.Decoder(ShareMessage)


def decode_share_message(body: msgspec.Raw | bytes) -> ShareMessage:
    """Decode what one executor says to another."""
    message: ShareMessage = _decoder.decode(body)
    return message
