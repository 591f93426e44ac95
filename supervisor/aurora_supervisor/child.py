"""One child of the tree, and the instructions its machine gives.

Pure data and arithmetic on times, used by ``machine`` alone; ``tree`` reads the states
for the status and carries out the instructions.
"""

from __future__ import annotations

import math
import signal
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple, Protocol, TypeAlias

from aurora_actors.messages.base import Failure
from aurora_actors.messages.supervision import ActorGroup, Heartbeat
from aurora_supervisor.policy import ActorExit

__all__ = [
    "Announce",
    "AskToStop",
    "Child",
    "ChildPlan",
    "Finished",
    "Fork",
    "GroupPlan",
    "Instruction",
    "Lost",
    "Signal",
    "StartZygote",
    "Started",
    "State",
    "Stopping",
    "Timing",
]

_KILLED: Final = (signal.SIGKILL, signal.SIGTERM)
_CRASHED: Final = (
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSEGV,
)


class ChildPlan(Protocol):
    """What the supervisor has to know of an actor to run it."""

    @property
    def name(self) -> str:
        """Its mailbox's name."""

    @property
    def entry(self) -> str:
        """``package.module:function``."""

    @property
    def order(self) -> int:
        """Lower orders start first and stop last."""

    @property
    def grace_s(self) -> float:
        """How long it may take to finish when it is told to stop."""


class GroupPlan(NamedTuple):
    """The plan of one actor of a group."""

    name: str
    entry: str
    order: int
    grace_s: float


class State(Enum):
    """The state of a child, as the status shows it."""

    BACKOFF = "backoff"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Timing(NamedTuple):
    """How long the supervisor waits for what."""

    hang_timeout_s: float
    start_timeout_s: float
    term_grace_s: float = 2.0
    halt_grace_s: float = 0.3


# ------------------------------------------------------------------ instructions
@dataclass(frozen=True, slots=True)
class Fork:
    """Have the zygote fork this actor."""

    name: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class Signal:
    """Send a signal to an actor's process."""

    name: str
    pid: int
    number: signal.Signals


@dataclass(frozen=True, slots=True)
class AskToStop:
    """Post ``ShutDown`` to an actor."""

    name: str
    grace_s: float


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell everybody that this actor is ready."""

    name: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class Lost:
    """Tell the actors that the process of one of a group has ended."""

    name: str
    incarnation: int
    cause: str


@dataclass(frozen=True, slots=True)
class StartZygote:
    """Start a new zygote, by exec."""


@dataclass(frozen=True, slots=True)
class Started:
    """All actors are ready for the first time."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """The tree begins to stop; take no more applications."""

    failure: Failure | None


@dataclass(frozen=True, slots=True)
class Finished:
    """No actor is left."""


Instruction: TypeAlias = (
    Fork
    | Signal
    | AskToStop
    | Announce
    | Lost
    | StartZygote
    | Started
    | Stopping
    | Finished
)


# ------------------------------------------------------------------ the child
@dataclass(slots=True)
class Child:
    """One actor: its plan, and the state of its present process.

    Attributes:
        due: When it may start, in ``backoff``.
        deadline: When the next step of the kill ladder is taken, in ``stopping``.
        signed_at: The last sign of life.
        halted_at: Since when it is stopped by a signal.
        doom: Why the supervisor killed it, if it did.
        collateral: Its zygote died, so its end says nothing about itself.
        group: What it is one of, if the tree can do without it.
        retired: It is to end for good.
        exits: For one of a group: how it has ended before.
    """

    plan: ChildPlan
    state: State = State.BACKOFF
    incarnation: int = 0
    pid: int = 0
    due: float = 0.0
    deadline: float = math.inf
    forked_at: float = 0.0
    signed_at: float = 0.0
    halted_at: float | None = None
    doom: str = ""
    terminated: bool = False
    collateral: bool = False
    last_beat: Heartbeat | None = None
    group: ActorGroup | None = None
    retired: bool = False
    exits: deque[ActorExit] = field(default_factory=lambda: deque(maxlen=32))

    @property
    def name(self) -> str:
        """The actor's name."""
        return self.plan.name

    def begin(self, now: float) -> None:
        """Start a new process, of which nothing is known yet."""
        self.state = State.STARTING
        self.incarnation += 1
        self.pid = 0
        self.forked_at = self.signed_at = now
        self.deadline = math.inf
        self.halted_at = None
        self.doom = ""
        self.terminated = False
        self.collateral = False
        self.last_beat = None

    def wait_until(self, due: float) -> None:
        """Let it start again at ``due``."""
        self.state = State.BACKOFF
        self.due = due

    def excuse(self, seconds: float, now: float) -> None:
        """Give it so much more time for whatever is expected of it."""
        self.signed_at = min(now, self.signed_at + seconds)
        if self.halted_at is not None:
            self.halted_at = min(now, self.halted_at + seconds)
        self.deadline += seconds

    def next_due(self, now: float, timing: Timing) -> float:
        """When :meth:`overdue` or a start has something to do."""
        if self.state is State.BACKOFF:
            # One whose time has come waits for another child, not for the clock.
            return self.due if self.due > now else math.inf
        if self.state is State.STOPPED:
            return math.inf
        times = [self.deadline]
        if not self.doom and self.state is not State.STOPPING:
            times.append(self.signed_at + self._patience(timing))
        if not self.doom and self.halted_at is not None:
            times.append(self.halted_at + timing.halt_grace_s)
        return min(times)

    def _patience(self, timing: Timing) -> float:
        if self.state is State.READY:
            return timing.hang_timeout_s
        return timing.start_timeout_s

    def overdue(self, now: float, timing: Timing) -> list[Signal]:
        """What has to be done about it now."""
        if self.state in (State.BACKOFF, State.STOPPED):
            return []
        if self.state is State.STOPPING and now >= self.deadline:
            return self._climb(now, timing)
        reason = self._reason_to_kill(now, timing)
        if not reason:
            return []
        self.doom = reason
        # Without a process id yet, the signal follows when the fork is reported.
        return [Signal(self.name, self.pid, signal.SIGKILL)] if self.pid else []

    def _climb(self, now: float, timing: Timing) -> list[Signal]:
        number = signal.SIGKILL if self.terminated else signal.SIGTERM
        self.terminated = True
        # Repeated after SIGKILL too: the fork itself may have been late.
        self.deadline = now + timing.term_grace_s
        return [Signal(self.name, self.pid, number)] if self.pid else []

    def _reason_to_kill(self, now: float, timing: Timing) -> str:
        if self.doom:
            return ""
        halted_at = self.halted_at
        if halted_at is not None and now >= halted_at + timing.halt_grace_s:
            return "was stopped by a signal and not continued"
        silent_s = now - self.signed_at
        if self.state is State.STOPPING or silent_s < self._patience(timing):
            return ""
        if self.state is State.READY:
            return f"gave no sign of life for {silent_s:.1f} s"
        return f"was not ready after {silent_s:.1f} s"

    def cause_of_death(self, status: int, last_words: str) -> str:
        """How it ended, as part of a sentence."""
        if self.doom:
            return f"{self.name} {self.doom} and was killed"
        if status < 0:
            try:
                how = f"by {signal.Signals(-status).name}"
            except ValueError:
                how = f"by signal {-status}"
        else:
            how = f"with status {status}"
        # Who is killed from outside has had no time for words about it, and those of a
        # crash are many lines.
        spoke = last_words and -status not in (*_KILLED, *_CRASHED)
        words = f" ({last_words})" if spoke else ""
        return f"{self.name} ended {how}{words}"
