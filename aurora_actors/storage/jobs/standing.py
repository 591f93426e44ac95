"""The clock of jobs, set by a test; see ``messages.clocks``. Storage process only.

Where it stands is kept in a file of the database directory, so that it stands there still
when storage was killed, or the database closed and opened again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from aurora_actors.errors import UnavailableError, UsageError
from aurora_actors.messages.clocks import JobClockSet, SetJobClock
from aurora_actors.storage.jobs.document import from_micros, to_micros

__all__ = ["recall", "set_clock"]

_FILE: Final = "job-clock"
_AT_ONCE: Final = 200


def recall(path: Path) -> datetime | None:
    """Where the clock of the database at ``path`` stands; ``None`` if it goes."""
    with suppress(FileNotFoundError, ValueError):
        return from_micros(int((path / _FILE).read_text()))
    return None


def _remember(path: Path, moment: datetime | None) -> None:
    file = path / _FILE
    try:
        if moment is None:
            file.unlink(missing_ok=True)
        else:
            fresh = file.with_suffix(".new")
            fresh.write_text(str(to_micros(moment)))
            fresh.replace(file)
    except OSError as exc:
        raise UnavailableError(f"the clock cannot be kept in {file}: {exc}") from exc


class _Clock(Protocol):
    def now(self) -> datetime: ...
    def stand(self, moment: datetime | None) -> None: ...


class _Jobs(Protocol):
    def clock_was_set(self) -> None: ...
    def next_tick(self) -> datetime | None: ...


def set_clock(
    path: Path,
    clock: _Clock,
    jobs: _Jobs,
    run: Callable[[], None],
    request: SetJobClock,
) -> JobClockSet:
    """Set the clock, and do what is due then.

    Args:
        path: The database directory.
        clock: The clock.
        jobs: What goes by it.
        run: Does what is due.
        request: What was asked.

    Raises:
        UsageError: the moment lies before where the clock stands.
        UnavailableError: what is due cannot be done.
    """

    def stand(moment: datetime | None) -> None:
        _remember(path, moment)
        clock.stand(moment)
        jobs.clock_was_set()
        run()

    if request.to is None:
        stand(None)
        return JobClockSet(now=to_micros(clock.now()))
    target = from_micros(request.to)
    if request.passes:
        if target < clock.now():
            raise UsageError(f"the clock stands at {clock.now()}, it does not go back")
        for _ in range(_AT_ONCE):
            tick = jobs.next_tick()
            if tick is None or tick > target:
                break
            stand(max(tick, clock.now()))
            if jobs.next_tick() == tick:
                raise UnavailableError("the jobs of a schedule cannot be enqueued now")
        else:
            return JobClockSet(now=to_micros(clock.now()))
    stand(target)
    return JobClockSet(now=request.to)
