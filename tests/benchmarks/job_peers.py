"""Other job queues, when they are installed: huey, arq and dramatiq.

Each gets four workers and stores where it does not sync each job, as ours does by
default: SQLite with a write-ahead log, and a Redis server of its own with an append-only
file that is synced each second. The server listens on a socket in the benchmark's
directory and ends with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import psutil

WORKERS = 4
HERE = Path(__file__).parent


class Peer(NamedTuple):
    """A queue, seen from an application.

    Attributes:
        name: For people.
        kind: How ``job_apps`` knows it.
        place: Where it stores.
        command: Starts workers.
        processes: How often that is to be started.
        enqueue: Enqueues jobs that do nothing; the number.
        concurrent: The same from 64 tasks at once, where there is such.
        remaining: How many jobs wait.
        stamp: Enqueues one job and returns when it began.
    """

    name: str
    kind: str
    place: str
    command: list[str]
    processes: int
    enqueue: Callable[[int], None]
    concurrent: Callable[[int], None] | None
    remaining: Callable[[], int]
    stamp: Callable[[], float]


@contextlib.contextmanager
def redis_server(directory: Path) -> Iterator[str | None]:
    """A Redis server of one's own; its address, or ``None`` where there is none."""
    binary = shutil.which("redis-server")
    if binary is None or find_spec("redis") is None:
        yield None
        return
    socket = directory / "redis.sock"
    options = f"--port 0 --unixsocket {socket} --dir {directory} --save"
    more = "--appendonly yes --appendfsync everysec"
    command = [binary, *options.split(), "", *more.split()]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            until(socket.exists, "the Redis server listens")
            yield f"unix://{socket}"
        finally:
            server.terminate()


@contextlib.contextmanager
def workers(peer: Peer) -> Iterator[None]:
    """Four workers of a queue."""
    environment = {
        **os.environ,
        "BENCH_QUEUE": f"{peer.kind}={peer.place}",
        "PYTHONPATH": str(HERE),
    }
    command = [str(Path(sys.executable).with_name(peer.command[0])), *peer.command[1:]]
    running = [
        subprocess.Popen(
            command,
            env=environment,
            cwd=HERE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(peer.processes)
    ]
    try:
        yield
    finally:
        for process in running:
            family = [*psutil.Process(process.pid).children(recursive=True)]
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
            process.wait()
            for each in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()


def until(
    condition: Callable[[], object], what: str, deadline_s: float = 120.0
) -> None:
    """Wait for a condition; looks rarely enough to cost the queues little."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.01)


def peers(directory: Path, redis_url: str | None) -> Iterator[Peer]:
    """The queues that are installed."""
    if find_spec("huey") is not None:
        yield _huey("huey, SQLite", "huey_sqlite", str(directory / "huey.db"))
        if redis_url is not None:
            yield _huey("huey, Redis", "huey_redis", redis_url)
    if redis_url is not None and find_spec("arq") is not None:
        yield _arq(redis_url)
    if redis_url is not None and find_spec("dramatiq") is not None:
        yield _dramatiq(redis_url)


def _app(kind: str, place: str) -> Any:
    os.environ["BENCH_QUEUE"] = f"{kind}={place}"
    sys.modules.pop("job_apps", None)
    return import_module("job_apps")


def _huey(name: str, kind: str, place: str) -> Peer:
    app = _app(kind, place)

    def enqueue(count: int) -> None:
        for _ in range(count):
            app.huey_noop()

    def stamp() -> float:
        return float(app.huey_stamp().get(blocking=True, backoff=1.0, max_delay=0.002))

    options = f"job_apps.huey -w {WORKERS} -k process -q -d 0.005 -m 0.005 -n"
    command = ["huey_consumer", *options.split()]
    remaining = app.huey.pending_count
    return Peer(name, kind, place, command, 1, enqueue, None, remaining, stamp)


def _dramatiq(url: str) -> Peer:
    app = _app("dramatiq", url)
    store = import_module("redis").Redis.from_url(url)

    def enqueue(count: int) -> None:
        for _ in range(count):
            app.dramatiq_noop.send()

    def stamp() -> float:
        app.dramatiq_stamp.send()
        return float(store.blpop("stamps", 30)[1])

    options = f"job_apps --processes {WORKERS} --threads 1"
    command = ["dramatiq", *options.split()]
    return Peer(
        "dramatiq, Redis",
        "dramatiq",
        url,
        command,
        1,
        enqueue,
        None,
        lambda: int(store.hlen("dramatiq:default.msgs")),
        stamp,
    )


def _arq(url: str) -> Peer:
    _app("arq", url)
    store = import_module("redis").Redis.from_url(url)
    connections = import_module("arq.connections")
    settings = connections.RedisSettings(unix_socket_path=url.removeprefix("unix://"))
    runner = asyncio.Runner()
    pool = runner.run(connections.create_pool(settings))

    async def in_turn(count: int) -> None:
        for _ in range(count):
            await pool.enqueue_job("arq_noop")

    async def at_once(count: int) -> None:
        await asyncio.gather(*(in_turn(count // 64) for _ in range(64)))

    def stamp() -> float:
        runner.run(pool.enqueue_job("arq_stamp"))
        return float(store.blpop("stamps", 30)[1])

    return Peer(
        "arq, Redis",
        "arq",
        url,
        ["arq", "job_apps.ArqWorker"],
        WORKERS,
        lambda count: runner.run(in_turn(count)),
        lambda count: runner.run(at_once(count)),
        lambda: int(store.zcard("arq:queue")),
        stamp,
    )
