"""Handlers that worker processes of the tests import."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from pathlib import Path

import trio

from aurora_actors import Increment, JobContext, job


@job("add")
async def add(_context: JobContext, a: int, b: int = 1) -> int:
    """Return a sum."""
    return a + b


@job("nothing")
async def nothing(_context: JobContext) -> None:
    """Do nothing."""


@job("plain")
def plain(context: JobContext, text: str) -> dict[str, object]:
    """Print, and say where it runs."""
    print(text)
    print('{"level": "INFO", "message": "looks like a record"}', file=sys.stderr)
    return {
        "thread": threading.current_thread() is not threading.main_thread(),
        "database": type(context.db).__module__,
        "attempt": context.attempt,
    }


@job("under_asyncio")
async def under_asyncio(context: JobContext) -> str:
    """Need asyncio's loop, and read through the database in it."""
    await asyncio.sleep(0)
    await context.db.list_collections()
    return type(asyncio.get_running_loop()).__module__


@job("under_trio", runtime="trio")
async def under_trio(context: JobContext) -> list[str]:
    """Need trio's loop, and read through the database in it."""
    await trio.lowlevel.checkpoint()
    names: list[str] = await context.db.list_collections()
    return names


@job("count")
async def count(context: JobContext, name: str) -> None:
    """Add 1 to a counter and end, both or neither."""
    async with context.db.transaction() as tx:
        await tx.upsert("counters", name, {"value": Increment(1)})
        await tx.complete_job(context, "counted")


@job("mark")
def mark(context: JobContext, folder: str) -> int:
    """Leave a file for this attempt."""
    (Path(folder) / f"{context.job_id}.{context.attempt}").touch()
    return context.attempt


@job("hold")
def hold(context: JobContext, folder: str) -> int:
    """Say which process has the job, and wait until the test lets go."""
    there = Path(folder)
    (there / f"{context.job_id}.{context.attempt}").write_text(str(os.getpid()))
    while not (there / "go").exists():
        threading.Event().wait(0.01)
    return context.attempt


@job("fail")
async def fail(_context: JobContext, message: str = "no good") -> None:
    """Raise."""
    raise ValueError(message)


@job("fail_until")
def fail_until(context: JobContext, attempt: int) -> int:
    """Raise in the first attempts."""
    if context.attempt < attempt:
        raise RuntimeError(f"attempt {context.attempt}")
    return context.attempt


@job("unserialisable")
def unserialisable(_context: JobContext) -> object:
    """Return what no document can hold."""
    return object()


@job("exit")
def exit_(_context: JobContext) -> None:
    """End the process."""
    os._exit(3)


@job("sys_exit")
def sys_exit(_context: JobContext) -> None:
    """Try to end the process the polite way."""
    sys.exit("bye")


@job("kill_self")
async def kill_self(_context: JobContext) -> None:
    """Die as if by the kernel's hand."""
    os.kill(os.getpid(), signal.SIGKILL)


@job("spin")
def spin(_context: JobContext, seconds: float = 1e9) -> str:
    """Keep a core busy with Python."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "done"


@job("block")
def block(_context: JobContext) -> None:
    """Wait in C code, for ever."""
    threading.Lock().acquire()
    threading.Event().wait()


@job("sleep", runtime="trio")
async def sleep(_context: JobContext, seconds: float, result: str = "slept") -> str:
    """Wait."""
    await trio.sleep(seconds)
    return result


@job("work")
def work(context: JobContext) -> str:
    """Say how far it is."""
    _ = context.progress(0.25, "a quarter")
    while not context.is_cancelled:
        _ = context.heartbeat()
        threading.Event().wait(0.01)
    return "stopped"


@job("read")
def read(context: JobContext) -> object:
    """Read the payload from the context."""
    return context.job.payload["text"]


def unmarked(_context: JobContext, n: int = 0) -> int:
    """Have no decorator."""
    return -n
