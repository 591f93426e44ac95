"""What the public API needs from the world: ask an actor, wait for the answer.

Two shells implement it over the same protocol: :mod:`.async_shell` for event loops and
:mod:`.blocking_shell` for threads. The coroutines of the latter never suspend, so the
blocking facade can drive the whole API with a single ``send``.

Timeouts are seconds; ``None`` takes ``request_timeout_s`` of the configuration. A call
that is cancelled or times out is forgotten: a write may still happen, a query is
cancelled at its executor.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from aurora_actors.client.feeds import Reader
from aurora_actors.client.protocol import ClientProtocol
from aurora_actors.client.requests import Call, Reply, ResultStream, Streamed
from aurora_actors.messages.base import Message
from aurora_actors.messages.query import ResultChunk
from aurora_actors.messages.supervision import ReadStatus, ScaleGroup

__all__ = ["Shell"]

R = TypeVar("R")


class Shell(Protocol):
    """Requests and replies for one open database.

    Attributes:
        cancel_point: See :class:`aurora_actors.client.loops.Driver`.
        executors: The mailboxes of the query executors.
        identity: Stands for the shell where that must not be kept alive.
    """

    identity: object
    cancel_point: Callable[[], Awaitable[None]] | None
    executors: list[str]

    async def call(
        self,
        destination: str,
        message: Message,
        timeout: float | None = None,
        size: int = 512,
    ) -> Reply:
        """Ask and wait; an error that comes back is raised."""
        ...

    def submit(
        self,
        destination: str,
        message: Message,
        timeout: float | None = None,
        size: int = 512,
    ) -> Call:
        """Ask without waiting; the answer is had from :meth:`result`."""
        ...

    async def result(self, call: Call) -> Reply:
        """Wait for what was submitted."""
        ...

    async def wait(self, reader: Reader, timeout: float | None = None) -> None:
        """Wait until there is news; a cancellation changes nothing.

        Raises:
            TimeoutError_: there was none in time; nothing has changed.
        """
        ...

    def take(self, reader: Reader) -> Sequence[Any] | None:
        """What comes next for a reader; see ``client.live.LiveFeeds.take``."""
        ...

    def on_core(self, action: Callable[[ClientProtocol], R]) -> R:
        """Change the protocol's state, and send what that gives rise to."""
        ...

    def abandon(self, pending: Call | ResultStream) -> None:
        """Forget a request."""
        ...

    async def gather(
        self, query: Streamed, timeout: float | None = None
    ) -> list[ResultChunk]:
        """Run a query on an executor and wait for its whole result."""
        ...

    def open_stream(self, query: Streamed) -> ResultStream:
        """Start a query whose chunks are had from :meth:`next_chunk`."""
        ...

    async def next_chunk(
        self, stream: ResultStream, timeout: float | None = None
    ) -> ResultChunk | None:
        """Wait for the next chunk; ``None`` after the last."""
        ...

    def drop_stream(self, stream: ResultStream) -> None:
        """Give up a stream from anywhere, even from a finaliser."""
        ...

    async def ask_tree(
        self, request: ReadStatus | ScaleGroup, timeout: float | None
    ) -> Reply:
        """Ask the supervisor."""
        ...

    def pick_executor(self) -> str:
        """The query executor with the least under way for this client."""
        ...

    async def breathe(self) -> None:
        """In the middle of long work: let others have their turn."""
        ...

    async def pause(self, seconds: float) -> None:
        """Wait, without asking anybody."""
        ...

    async def close(self, within_s: float) -> None:
        """Fail what is pending and leave the tree; waits for it if it ends."""
        ...
