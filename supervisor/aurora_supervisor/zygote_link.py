"""The supervisor's end of the zygote: requests out, notices in, and its life.

All calls are made in the supervisor's one thread. Requests never block: a zygote that
does not empty its socket is as good as dead and is killed.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec
import trio

from aurora_actors.messages.base import Message
from aurora_actors.messages.supervision import (
    ActorSpec,
    ForkActor,
    KillActor,
    ZygoteNotice,
)
from aurora_supervisor.spawn import ZygoteProcess

__all__ = ["ZygoteLink"]

_MAX_PACKET: Final = 1 << 18
_END_S: Final = 2.0

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ZygoteNotice)


class ZygoteLink:
    """One running zygote."""

    def __init__(self, process: ZygoteProcess) -> None:
        self.pid = process.pid
        self._control = process.control
        self._control.setblocking(False)
        self._ended = False
        self.reaped = trio.Event()

    def fork(self, spec: ActorSpec, log_fd: int, lifeline_fd: int) -> None:
        """Have an actor forked; both descriptors stay the caller's."""
        self._send(ForkActor(spec=spec), (log_fd, lifeline_fd))

    def signal(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to an actor, if it is still there."""
        self._send(KillActor(pid=pid, signal=number))

    def _send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        try:
            socket.send_fds(self._control, [_encoder.encode(message)], descriptors)
        except OSError:
            # Gone, or not reading: the end of its notices says so to everybody.
            self.kill()

    def kill(self) -> None:
        """End it the hard way; its notices end, and it is reaped as any child."""
        if not self.reaped.is_set():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def receive(self) -> list[ZygoteNotice] | None:
        """What it reports, all that is there; ``None`` when it has ended."""
        while not self._ended:
            try:
                await trio.lowlevel.wait_readable(self._control)
            except trio.ClosedResourceError:
                break
            if notices := self.waiting():
                return notices
        return None

    def waiting(self) -> list[ZygoteNotice]:
        """What it has reported and nobody has read yet."""
        notices: list[ZygoteNotice] = []
        while not self._ended:
            try:
                data = self._control.recv(_MAX_PACKET)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if data:
                notices.append(_decoder.decode(data))
            else:
                self._ended = True
        return notices

    async def end(self) -> None:
        """Let it go: it kills what is left and removes the runtime directory."""
        if self._control.fileno() >= 0:
            trio.lowlevel.notify_closing(self._control)
            self._control.close()
        with trio.move_on_after(_END_S, shield=True):
            await self.reaped.wait()
            return
        self.kill()
        with trio.move_on_after(_END_S, shield=True):
            await self.reaped.wait()
