"""Helpers for the tests of applications that use background jobs.

- :func:`run_inline` calls a handler as a worker would, without a database.
- :func:`drain` runs the jobs that are due in the test's own process, until none is left:
  no pool, no waiting, and a debugger works.
- :func:`fake_clock` sets the time of jobs and schedules, so that a month of nightly runs
  takes a moment.

``drain`` and ``fake_clock`` take the database in either form: with an ``Aurora`` they
are awaited, with a blocking one they are not.
"""

from __future__ import annotations

from aurora_actors.testing.clock import BlockingFakeClock, FakeClock, fake_clock
from aurora_actors.testing.draining import drain
from aurora_actors.testing.inline import InlineRun, run_inline

__all__ = [
    "BlockingFakeClock",
    "FakeClock",
    "InlineRun",
    "drain",
    "fake_clock",
    "run_inline",
]
