"""Handlers that worker processes import in tests of schedules."""

from __future__ import annotations

from datetime import datetime

from aurora_actors import JobContext, job


@job("tell_tick")
def tell_tick(ctx: JobContext) -> datetime | None:
    """For which moment it was enqueued."""
    return ctx.job.tick
