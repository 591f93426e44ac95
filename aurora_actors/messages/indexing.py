"""What the index builder is asked; it answers with its ``Statistics``.

Answers of the database never depend on how far the builder is, so nobody needs to ask
but those who want to know: operators, benchmarks, tests.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from aurora_actors.messages.base import Message
from aurora_actors.messages.storage import ReadStatistics

__all__ = ["AwaitIndexed", "IndexingRequest", "decode_indexing_request"]


class AwaitIndexed(Message, frozen=True, kw_only=True, tag="indexing.await"):
    """Answer when all that is committed now is in the indexes and columns.

    The value ``lsn`` of the answer is what the builder has reached by then.
    """


IndexingRequest: TypeAlias = AwaitIndexed | ReadStatistics

_decoder = msgspec.msgpack.Decoder(IndexingRequest)


def decode_indexing_request(body: msgspec.Raw | bytes) -> IndexingRequest:
    """Decode one request; ``msgspec.DecodeError`` when it is none."""
    request: IndexingRequest = _decoder.decode(body)
    return request
