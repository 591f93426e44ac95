"""Having something done by a maintenance process, from threads and event loops.

The process is started, asked and watched here; what it does is in
``aurora_actors.storage.maintenance``. It is killed when the caller gives up, and stops
by itself when the caller's process goes.
"""

from __future__ import annotations

import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import IO, NoReturn, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
import msgspec

from aurora_actors.errors import (
    CorruptionError,
    InternalError,
    TimeoutError_,
    UnavailableError,
)
from aurora_actors.messages.framing import FrameReader, encode_frame
from aurora_actors.storage.reports import Progress
from aurora_actors.storage.tasks import (
    Advanced,
    Failed,
    Finished,
    Notice,
    Task,
    decode_notice,
)

__all__ = ["offload", "run_task", "run_task_blocking"]

T = TypeVar("T")

_READ_BYTES = 65_536
_TAIL_BYTES = 2_000


class _Maintenance:
    """One maintenance process; the methods block, but for :meth:`kill`."""

    def __init__(self, task: Task, inherited: Sequence[int] = ()) -> None:
        self._task = task
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - run() closes it
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "aurora_actors.storage.maintenance"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                pass_fds=inherited,
                bufsize=0,
            )
        except OSError as exc:
            self._errors.close()
            raise UnavailableError(f"no process could be started: {exc}") from exc

    def run(self, timeout_s: float | None, progress: Progress | None) -> bytes:
        """Ask, and wait for the result.

        Raises:
            TimeoutError_: it was not done in time; nothing is left half done.
            CorruptionError: damaged pages have killed the process.
            AuroraError: whatever it reports.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            return self._converse(deadline, progress)
        finally:
            self.kill()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
            self._process.wait()
            self._errors.close()

    def kill(self) -> None:
        """Stop it, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()

    def _converse(self, deadline: float | None, progress: Progress | None) -> bytes:
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 - it was asked for
        try:
            stdin.write(encode_frame(msgspec.msgpack.encode(self._task)))
        except BrokenPipeError:
            self._refuse_death()
        frames = FrameReader()
        while True:
            match self._next(frames, deadline):
                case Finished(result=result):
                    return result
                case Failed(failure=failure):
                    raise failure.error()
                case Advanced(phase=phase, done=done, total=total):
                    if progress is not None:
                        progress(phase, done, total)

    def _next(self, frames: FrameReader, deadline: float | None) -> Notice:
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101 - it was asked for
        # Not select(): the application may have more than 1,024 descriptors.
        ready = select.poll()
        ready.register(stdout, select.POLLIN)
        while (body := frames.next_frame()) is None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not ready.poll(None if left is None else left * 1e3):
                raise TimeoutError_("maintenance did not finish in time")
            data = stdout.read(_READ_BYTES)
            if not data:
                self._refuse_death()
            frames.feed(data)
        return decode_notice(body)

    def _refuse_death(self) -> NoReturn:
        status = self._process.wait()
        if status < 0:
            raise CorruptionError(
                f"reading the database killed the process that did it (signal "
                f"{-status}): its pages are damaged; restore a backup",
                signal=-status,
            )
        size = self._errors.seek(0, 2)
        self._errors.seek(max(0, size - _TAIL_BYTES))
        text = self._errors.read().decode(errors="replace").strip()
        raise InternalError(f"the maintenance process ended with {status}: {text}")


def run_task_blocking(
    task: Task,
    result: type[T],
    timeout: float | None = None,
    progress: Progress | None = None,
    inherited: Sequence[int] = (),
) -> T:
    """Have ``task`` done and wait; for threads."""
    data = _Maintenance(task, inherited).run(timeout, progress)
    return msgspec.msgpack.decode(data, type=result)


async def run_task(
    task: Task,
    result: type[T],
    timeout: float | None = None,
    progress: Progress | None = None,
) -> T:
    """Have ``task`` done and wait; for event loops. Cancelling it stops it."""
    process = await anyio.to_thread.run_sync(_Maintenance, task)

    def tell(phase: str, done: int, total: int) -> None:
        if progress is not None:
            anyio.from_thread.run_sync(progress, phase, done, total)

    try:
        data = await anyio.to_thread.run_sync(
            process.run, timeout, tell, abandon_on_cancel=True
        )
    except BaseException:
        process.kill()
        raise
    return msgspec.msgpack.decode(data, type=result)


async def offload(in_loop: bool, function: Callable[[], T]) -> T:
    """Call something that blocks: in a thread under an event loop, else at once."""
    if not in_loop:
        return function()
    return await anyio.to_thread.run_sync(function)
