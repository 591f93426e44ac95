"""What storage has said of the last write of a task or thread.

Kept by the context of whoever awaited the write, so that concurrent tasks and threads do
not see each other's. Noted by the shells, read by ``Aurora.last_write``.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final, NamedTuple, TypeVar

from aurora_actors.client.requests import Reply
from aurora_actors.messages.storage import Committed, Written

__all__ = ["Receipt", "last_receipt", "noted"]

ReplyT = TypeVar("ReplyT", bound=Reply)


class Receipt(NamedTuple):
    """An acknowledged write.

    Attributes:
        lsn: The last change it made; 0 when it changed nothing.
        synced: Whether it survives power loss already; with ``wal`` that comes within
            ``wal_sync_interval_ms``, or with ``db.sync()``.
    """

    lsn: int
    synced: bool


_ACKNOWLEDGED: Final = (Written, Committed)
_last: Final[ContextVar[tuple[object, Written | Committed] | None]] = ContextVar(
    "aurora_last_write", default=None
)


def noted(owner: object, reply: ReplyT) -> ReplyT:
    """Note a reply if it acknowledges a write; returns it.

    Args:
        owner: A token of the shell that got it, which the context may keep alive.
        reply: The reply.
    """
    if isinstance(reply, _ACKNOWLEDGED):
        _last.set((owner, reply))
    return reply


def last_receipt(owner: object) -> Receipt | None:
    """What was noted last in this context, if it was for ``owner``."""
    found = _last.get()
    if found is None or found[0] is not owner:
        return None
    return Receipt(found[1].lsn, found[1].synced)
