"""The handlers of the job benchmarks: ours, and those of the queues measured beside.

Imported by worker processes. ``BENCH_QUEUE`` says which of the others is meant, and
where its store is; ours needs nothing.
"""

from __future__ import annotations

import os
import time
from typing import Any

from aurora_actors import JobContext, job

WHERE = os.environ.get("BENCH_QUEUE", "")
KIND, _, PLACE = WHERE.partition("=")


@job("noop")
def noop(ctx: JobContext) -> None:
    """Do nothing."""


@job("noop_async")
async def noop_async(ctx: JobContext) -> None:
    """Do nothing, as a task."""


@job("stamp")
def stamp(ctx: JobContext) -> float:
    """When it has begun, on the system's monotonic clock."""
    return time.monotonic()


@job("spin")
def spin(ctx: JobContext, seconds: float) -> None:
    """Use the processor for so long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


if KIND.startswith("huey"):
    from huey import Huey, RedisHuey, SqliteHuey

    huey: Huey = (
        SqliteHuey(filename=PLACE, fsync=False)
        if KIND == "huey_sqlite"
        else RedisHuey(url=PLACE)
    )

    @huey.task()  # type: ignore[untyped-decorator]
    def huey_noop() -> None:
        """Do nothing."""

    @huey.task()  # type: ignore[untyped-decorator]
    def huey_stamp() -> float:
        """When it has begun."""
        return time.monotonic()


if KIND == "dramatiq":
    import dramatiq
    import redis
    from dramatiq.brokers.redis import RedisBroker

    dramatiq.set_broker(RedisBroker(url=PLACE))
    _store = redis.Redis.from_url(PLACE)

    @dramatiq.actor  # type: ignore[untyped-decorator]
    def dramatiq_noop() -> None:
        """Do nothing."""

    @dramatiq.actor  # type: ignore[untyped-decorator]
    def dramatiq_stamp() -> None:
        """Tell when it has begun."""
        _store.rpush("stamps", str(time.monotonic()))


if KIND == "arq":
    from arq.connections import RedisSettings

    async def arq_noop(_: dict[Any, Any]) -> None:
        """Do nothing."""

    async def arq_stamp(ctx: dict[Any, Any]) -> None:
        """Tell when it has begun."""
        await ctx["redis"].rpush("stamps", str(time.monotonic()))

    class ArqWorker:
        """The settings that ``arq`` reads."""

        functions: tuple[Any, ...] = (arq_noop, arq_stamp)
        redis_settings = RedisSettings(unix_socket_path=PLACE.removeprefix("unix://"))
        keep_result = 0
        poll_delay = 0.005
        max_jobs = 10
