"""When an actor that ended is started again: a pure function of what has happened.

One for one: only the actor that ended is started again. The first time this happens
at once. An actor that keeps ending soon after its start is started again after a delay
that doubles; the longest delay is such that an actor that ends at once, always,
reaches the limit of restarts within half the window. When more than ``max_restarts``
restarts fall into ``window_s`` the tree gives up, and so it does when an actor ends
:data:`START_ATTEMPTS` times without ever having been ready while the tree starts.
Actors of a group are not counted: the tree can do without them, and those that run the
application's code end for its reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

__all__ = [
    "START_ATTEMPTS",
    "ActorExit",
    "Decision",
    "GiveUp",
    "Restart",
    "RestartPolicy",
    "decide",
    "delay_after",
]

START_ATTEMPTS: Final = 3
_FIRST_DELAY_S: Final = 0.05
_STABLE_S: Final = 1.0


class RestartPolicy(NamedTuple):
    """The limits, from the configuration."""

    max_restarts: int
    window_s: float


class ActorExit(NamedTuple):
    """One process that ended without having been told to.

    Attributes:
        name: The actor.
        at: When, in seconds of a monotonic clock.
        lived_s: How long it had run.
        was_ready: Whether it had said that it is ready.
        cause: How it ended, as part of a sentence: ``storage ended by SIGKILL``.
    """

    name: str
    at: float
    lived_s: float
    was_ready: bool
    cause: str


class Restart(NamedTuple):
    """Start it again after ``delay_s``."""

    delay_s: float


class GiveUp(NamedTuple):
    """Take the tree down; ``reason`` names the cause."""

    reason: str


Decision: TypeAlias = Restart | GiveUp


def decide(
    exits: Sequence[ActorExit], policy: RestartPolicy, *, tree_started: bool
) -> Decision:
    """What to do about the last of ``exits``, which are in order of time.

    Raises:
        ValueError: there is no exit to decide about.
    """
    if not exits:
        raise ValueError("no exit to decide about")
    last = exits[-1]
    own = [entry for entry in exits if entry.name == last.name]
    never_ready = not any(entry.was_ready for entry in own)
    if not tree_started and never_ready and len(own) >= START_ATTEMPTS:
        return GiveUp(
            f"{last.name} was started {len(own)} times and never became ready; "
            f"at last {last.cause}"
        )
    recent = sum(last.at - entry.at <= policy.window_s for entry in exits)
    if recent > policy.max_restarts:
        return GiveUp(
            f"more than {policy.max_restarts} restarts within {policy.window_s:g} s; "
            f"at last {last.cause}"
        )
    return Restart(delay_after(own, policy))


def delay_after(own: Sequence[ActorExit], policy: RestartPolicy) -> float:
    """How long to wait before an actor starts again; ``own`` are its exits so far."""
    quick = 0
    for entry in reversed(own):
        if entry.lived_s >= _STABLE_S or own[-1].at - entry.at > policy.window_s:
            break
        quick += 1
    if quick <= 1:
        return 0.0
    longest = policy.window_s / (2 * policy.max_restarts)
    # The exponent is bounded for the float's sake; the longest delay is far below.
    doubled: float = _FIRST_DELAY_S * 2.0 ** min(quick - 2, 40)
    return min(longest, doubled)
