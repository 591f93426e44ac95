"""The clock of jobs and schedules, set by tests.

Refused unless the setting ``jobs.allow_fake_clock`` allows it.
"""

from __future__ import annotations

from aurora_actors.messages.base import Message

__all__ = ["JobClockSet", "SetJobClock"]


class SetJobClock(Message, frozen=True, kw_only=True, tag="clocks.set"):
    """Let the clock of jobs stand at a moment, until it is set again.

    Attributes:
        to: Microseconds since 1970; not before where it stands. ``None`` gives it back
            to the system.
        passes: Stop on the way at each tick of a schedule, as if time had passed;
            otherwise ticks in between are missed.
    """

    to: int | None = None
    passes: bool = True


class JobClockSet(Message, frozen=True, kw_only=True, tag="clocks.was_set"):
    """Where the clock stands.

    With ``passes`` this may be before the moment asked for; then it is to be asked
    again, so that storage serves others in between.
    """

    now: int
