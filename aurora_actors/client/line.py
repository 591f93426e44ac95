"""What carries a client's mail: sockets on this machine, or a stream to another one.

Shells are written over it; see :mod:`.link` and :mod:`.remote_link`.
"""

from __future__ import annotations

from typing import Protocol

from aurora_actors.client.protocol import ClientProtocol
from aurora_actors.client.requests import Call, ResultStream
from aurora_actors.messages.supervision import ReadStatus, ScaleGroup

__all__ = ["Line"]


class Line(Protocol):
    """The way from a client to the actors.

    Attributes:
        core: The protocol's state.
        fd: Readable when :meth:`pump` has something to do.
        executors: The mailboxes of the query executors.
    """

    core: ClientProtocol
    fd: int
    executors: list[str]

    def pick_executor(self) -> str:
        """The query executor with the least under way for this client."""
        ...

    def drop(self, stream: ResultStream) -> None:
        """Abandon a stream with the next :meth:`flush`; safe in a finaliser."""
        ...

    def flush(self) -> None:
        """Send everything that is queued, or keep it until it can be sent."""
        ...

    def ask_tree(self, request: ReadStatus | ScaleGroup, deadline: float) -> Call:
        """Ask the supervisor; it answers in order."""
        ...

    def wait(self, seconds: float) -> None:
        """Block the thread until there is something to do, or for ``seconds``."""
        ...

    def ring(self) -> None:
        """Get a thread out of :meth:`wait`."""
        ...

    def pump(self) -> None:
        """Take everything that has arrived and send what that gives rise to."""
        ...

    def refuse(self) -> None:
        """What is pending fails, and nothing can be asked any more."""
        ...

    def shut(self) -> None:
        """Take part no more; nobody may be waiting for ``fd``."""
        ...

    def leave(self, within_s: float) -> None:
        """After :meth:`shut`: close everything; blocks, no longer than ``within_s``."""
        ...
