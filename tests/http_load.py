"""Many HTTP clients at once, cheap enough to leave the processors to the server.

Each client is a task with one connection that it keeps, and speaks just enough HTTP/1.1
for answers with a length.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

__all__ = ["Answer", "Client", "Figures", "mixed_load"]


@dataclass
class Answer:
    """A status and a body."""

    status: int
    body: bytes


@dataclass
class Figures:
    """What a load has come to."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    written: set[str] = field(default_factory=set)
    began: float = field(default_factory=time.monotonic)
    ended: float = 0.0

    def rate(self) -> float:
        """Requests by the second."""
        return len(self.seconds) / (self.ended - self.began)

    def percentile(self, share: float) -> float:
        """The time that so large a share of the requests did not exceed."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Client:
    """One connection, made again when it breaks."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        self._stream: trio.SocketStream | None = None
        self._rest = b""

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: str = ""
    ) -> Answer:
        """Send a request and take its answer.

        Raises:
            ConnectionError: the connection broke; the request may have had its effect.
        """
        try:
            if self._stream is None:
                self._rest = b""
                self._stream = await trio.open_tcp_stream("127.0.0.1", self._port)
            head = f"{method} {path} HTTP/1.1\r\n{self._head}{headers}"
            if body:
                head += (
                    f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                )
            await self._stream.send_all(f"{head}\r\n".encode() + body)
            return await self._answer()
        except (OSError, trio.BrokenResourceError) as exc:
            await self.aclose()
            raise ConnectionError(str(exc)) from exc

    async def _answer(self) -> Answer:
        while b"\r\n\r\n" not in self._rest:
            await self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines[1:])
        length = int(fields.get("content-length", "0"))
        while len(self._rest) < length:
            await self._more()
        body, self._rest = self._rest[:length], self._rest[length:]
        if fields.get("connection") == "close":
            await self.aclose()
        return Answer(int(lines[0].split()[1]), body)

    async def _more(self) -> None:
        assert self._stream is not None
        data = await self._stream.receive_some(65_536)
        if not data:
            raise trio.BrokenResourceError("the other side has closed")
        self._rest += data

    async def aclose(self) -> None:
        """Close the connection."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await trio.aclose_forcefully(stream)


async def mixed_load(
    port: int,
    token: str,
    *,
    clients: int,
    seconds: float,
    paths: Callable[[random.Random], tuple[str, str, bytes]],
    survives: bool = False,
    keys: bool = True,
) -> Figures:
    """Let clients send what ``paths`` makes up, until the time is over.

    Args:
        port: Where the server is, on this machine.
        token: Theirs.
        clients: How many.
        seconds: For how long.
        paths: Gives the method, path and body of a request.
        survives: Repeat what broke or was answered 503 or 504, with an idempotency
            key, until it is answered otherwise; else a break is an error.
        keys: Give inserts idempotency keys.
    """
    figures = Figures()
    end = time.monotonic() + seconds

    async def one(number: int) -> None:
        rng, client, count = random.Random(number), Client(port, token), 0
        while time.monotonic() < end:
            method, path, body = paths(rng)
            count += 1
            has_key = keys and method == "POST" and path.endswith("/docs")
            key = f"Idempotency-Key: {number}-{count}\r\n" if has_key else ""
            began = time.monotonic()
            answer = await _answered(
                client, (method, path, body, key), figures, survives
            )
            figures.seconds.append(time.monotonic() - began)
            figures.statuses[answer.status] += 1
            if answer.status == 201:
                figures.written.add(json.loads(answer.body)["id"])
        await client.aclose()

    async with trio.open_nursery() as nursery:
        for number in range(clients):
            nursery.start_soon(one, number)
    figures.ended = time.monotonic()
    return figures


async def _answered(
    client: Client,
    request: tuple[str, str, bytes, str],
    figures: Figures,
    survives: bool,
) -> Answer:
    patience = time.monotonic() + 60.0
    while True:
        try:
            answer = await client.ask(*request)
        except ConnectionError:
            if not survives or time.monotonic() > patience:
                raise
            figures.statuses[0] += 1
        else:
            if not survives or answer.status not in {503, 504}:
                return answer
            if time.monotonic() > patience:
                return answer
            figures.statuses[answer.status] += 1
        await trio.sleep(0.05)
