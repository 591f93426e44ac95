"""The supervisor's brain: what to do about each thing that happens to the tree.

A pure state machine. Each event method takes the present time and returns the
instructions that follow from it; ``tree`` carries them out. It knows no process, no
clock and no socket, and is tested without any.

A child is ``backoff`` (waits until it may start), ``starting`` (forked, not ready),
``ready``, ``stopping`` or ``stopped``. The order of start is one rule: a child is
forked when its time has come and all children of a lower order are ready. It holds for
the first start, for a crash and after the loss of the zygote alike. The order of stop
is the reverse: an order is told to stop when all higher ones have stopped.

Groups of actors come and go while the tree runs. Nobody waits for one of them to be
ready, and however often one ends, the tree goes on.

The kill ladder of a child that is told to stop: ``ShutDown``, its grace, SIGTERM,
``term_grace_s``, SIGKILL. A child that hangs or stays stopped by a signal is killed
without ceremony: it could not answer.
"""

from __future__ import annotations

import logging
import math
import signal
from collections import deque
from collections.abc import Iterable, Sequence

from aurora_actors.errors import TreeDownError, UnavailableError, UsageError
from aurora_actors.messages.base import Failure
from aurora_actors.messages.supervision import (
    ActorGroup,
    AskRestart,
    Heartbeat,
    Ready,
    StartFailed,
)
from aurora_supervisor.child import (
    Announce,
    AskToStop,
    Child,
    ChildPlan,
    Finished,
    Fork,
    GroupPlan,
    Instruction,
    Lost,
    Signal,
    Started,
    StartZygote,
    State,
    Stopping,
    Timing,
)
from aurora_supervisor.policy import (
    ActorExit,
    GiveUp,
    RestartPolicy,
    decide,
    delay_after,
)

__all__ = ["TICK_S", "TreeMachine"]

logger = logging.getLogger(__name__)

TICK_S = 0.25
_ZYGOTE = "zygote"


class TreeMachine:
    """The states of all children of one tree."""

    def __init__(
        self, plans: Iterable[ChildPlan], policy: RestartPolicy, timing: Timing
    ) -> None:
        ordered = sorted(plans, key=lambda plan: plan.order)
        self.children = {plan.name: Child(plan) for plan in ordered}
        self.started = False
        self.stopping = False
        self.finished = False
        self.failure: Failure | None = None
        self._groups: dict[str, ActorGroup] = {}
        self._policy = policy
        self._timing = timing
        # Only the window matters, and a decision needs one more than the limit.
        self._exits: deque[ActorExit] = deque(maxlen=policy.max_restarts + 8)
        self._zygote_since: float | None = None
        self._hold_until = 0.0
        self._ticked_at: float | None = None
        self._out: list[Instruction] = []

    # -------------------------------------------------------------- the zygote
    def zygote_started(self, now: float) -> Sequence[Instruction]:
        """A zygote takes requests from now on."""
        self._zygote_since = now
        return self._advance(now)

    def zygote_lost(self, now: float) -> Sequence[Instruction]:
        """The zygote has ended, and every child dies with it.

        The children's own exits are to be reported as they are reaped; none of them
        starts again before its predecessor has been.
        """
        lived_s = now - (self._zygote_since if self._zygote_since is not None else now)
        self._zygote_since = None
        for child in self.children.values():
            child.collateral = True
            if child.pid:
                self._out.append(Signal(child.name, child.pid, signal.SIGKILL))
            elif child.state is State.STARTING:
                child.wait_until(now)
            elif child.state is State.STOPPING:
                child.state = State.STOPPED
        if not self.stopping:
            logger.error("the zygote ended; all actors start again")
            exit_ = ActorExit(_ZYGOTE, now, lived_s, True, "the zygote ended")
            self._hold_until = now + self._delay_or_give_up(exit_, now)
        if not self.stopping:
            self._out.append(StartZygote())
        return self._advance(now)

    # -------------------------------------------------------------- processes
    def forked(
        self, now: float, name: str, incarnation: int, pid: int
    ) -> Sequence[Instruction]:
        """The process of a ``Fork`` exists."""
        child = self.children[name]
        if child.incarnation == incarnation and child.pid == 0:
            child.pid = pid
            if child.state is State.STOPPING or child.doom:
                self._out.append(Signal(name, pid, signal.SIGKILL))
        return self._advance(now)

    def fork_failed(
        self, now: float, name: str, incarnation: int, reason: str
    ) -> Sequence[Instruction]:
        """A ``Fork`` came to nothing."""
        child = self.children[name]
        if child.incarnation == incarnation and child.pid == 0:
            self._ended(child, now, f"{name} was not forked ({reason})")
        return self._advance(now)

    def exited(
        self, now: float, pid: int, status: int, last_words: str = ""
    ) -> Sequence[Instruction]:
        """A process has ended and was reaped; ``status`` is negative for a signal."""
        child = self._by_pid(pid)
        if child is not None:
            cause = child.cause_of_death(status, last_words)
            self._ended(child, now, cause)
        return self._advance(now)

    def halted(self, now: float, pid: int, *, stopped: bool) -> Sequence[Instruction]:
        """A process was stopped by a signal such as SIGSTOP, or continued."""
        child = self._by_pid(pid)
        if child is not None:
            child.halted_at = now if stopped else None
            child.signed_at = now
        return self._advance(now)

    # -------------------------------------------------------------- what actors say
    def ready(self, now: float, name: str, notice: Ready) -> Sequence[Instruction]:
        """An actor serves its mailbox."""
        child = self._speaker(name, notice.incarnation)
        if child is not None and child.state is State.STARTING:
            child.state = State.READY
            child.pid = notice.pid
            child.signed_at = now
            logger.info(
                "actor ready",
                extra={
                    "actor": name,
                    "incarnation": child.incarnation,
                    "pid": notice.pid,
                    "after_ms": round(1000 * (now - child.forked_at), 1),
                },
            )
            self._out.append(Announce(name, child.incarnation))
        return self._advance(now)

    def heartbeat(
        self, now: float, name: str, notice: Heartbeat
    ) -> Sequence[Instruction]:
        """An actor's loop turns; while it starts, this extends its time."""
        child = self._speaker(name, notice.incarnation)
        if child is not None:
            child.signed_at = now
            child.last_beat = notice
        return ()

    def start_failed(
        self, now: float, name: str, notice: StartFailed
    ) -> Sequence[Instruction]:
        """An actor cannot start, and says that trying again would not help."""
        child = self._speaker(name, notice.incarnation)
        if child is not None and not self.stopping and child.group is None:
            child.pid = notice.pid
            self._begin_stop(notice.failure)
        return self._advance(now)

    def give_way(
        self, now: float, name: str, notice: AskRestart
    ) -> Sequence[Instruction]:
        """An actor wants to be replaced by a fresh process."""
        child = self._speaker(name, notice.incarnation)
        if child is not None and child.state is State.READY:
            return self.restart(now, name)
        return self._advance(now)

    # -------------------------------------------------------------- commands
    def restart(self, now: float, name: str) -> Sequence[Instruction]:
        """Stop one actor in order and start it again, without counting it.

        Raises:
            KeyError: no actor has this name.
        """
        child = self.children[name]
        if not self.stopping:
            if child.state in (State.READY, State.STARTING):
                self._tell_to_stop(child, now)
            elif child.state is State.BACKOFF:
                child.due = now
        return self._advance(now)

    def change_policy(self, policy: RestartPolicy) -> None:
        """Judge exits by ``policy`` from now on."""
        self._policy = policy
        self._exits = deque(self._exits, maxlen=policy.max_restarts + 8)

    def scale(
        self, now: float, name: str, count: int, group: ActorGroup | None = None
    ) -> Sequence[Instruction]:
        """Have ``count`` actors of a group from now on.

        Raises:
            UsageError: the group is not known, or has actors and other arguments.
        """
        known = self._groups.get(name)
        if group is not None and known != group:
            if known is not None and self._is_other(known, group):
                raise UsageError(
                    f"{name} runs with other settings; stop it first", group=name
                )
            known = group
        if known is None:
            raise UsageError(f"there is no {name} to scale; start it first", group=name)
        self._groups[name] = known
        if not self.stopping:
            self._retire(now, name, count)
            for number in range(count):
                self._enlist(now, f"{name}-{number}", known)
        return self._advance(now)

    def _is_other(self, known: ActorGroup, group: ActorGroup) -> bool:
        """Whether actors run that another description would not fit."""
        if (known.entry, known.arguments) == (group.entry, group.arguments):
            return False
        children = self.children.values()
        return any(child.group is known and not child.retired for child in children)

    def _retire(self, now: float, name: str, count: int) -> None:
        for child in self.children.values():
            if child.group is None or child.group.name != name:
                continue
            if int(child.name.rpartition("-")[2]) >= count and not child.retired:
                child.retired = True
                if child.state in (State.READY, State.STARTING):
                    self._tell_to_stop(child, now)

    def _enlist(self, now: float, name: str, group: ActorGroup) -> None:
        child = self.children.get(name)
        if child is not None:
            if child.group is None:
                raise UsageError(f"an actor is called {name}", group=group.name)
            child.retired = False
            child.group = group
            return
        plan = GroupPlan(name, group.entry, group.order, group.grace_s)
        children = [*self.children.values(), Child(plan, due=now, group=group)]
        children.sort(key=lambda each: each.plan.order)
        self.children = {each.name: each for each in children}

    def stop(self, now: float, failure: Failure | None = None) -> Sequence[Instruction]:
        """Stop the whole tree in order; ``failure`` is why, unless it was asked to."""
        if not self.stopping:
            self._begin_stop(failure)
        return self._advance(now)

    # -------------------------------------------------------------- time
    def tick(self, now: float) -> Sequence[Instruction]:
        """Do what is due; to be called at least every ``TICK_S``."""
        late_s = 0.0 if self._ticked_at is None else now - self._ticked_at - TICK_S
        if late_s > 0.0:
            # This process itself was held up: what the actors said meanwhile has not
            # been read yet, so the time counts for nobody.
            for child in self.children.values():
                child.excuse(late_s, now)
        self._ticked_at = now
        for child in self.children.values():
            self._out.extend(child.overdue(now, self._timing))
        return self._advance(now)

    def due(self, now: float) -> float:
        """The time of the next thing to do, infinite when only events lead on."""
        children = self.children.values()
        return min(
            (child.next_due(now, self._timing) for child in children),
            default=math.inf,
        )

    def pids(self) -> list[int]:
        """The processes that are not known to have ended."""
        return [child.pid for child in self.children.values() if child.pid]

    def name_of(self, pid: int) -> str:
        """The actor whose process this is; empty when it is none's."""
        child = self._by_pid(pid)
        return child.name if child is not None else ""

    # -------------------------------------------------------------- inside
    def _by_pid(self, pid: int) -> Child | None:
        for child in self.children.values():
            if pid and child.pid == pid:
                return child
        return None

    def _speaker(self, name: str, incarnation: int) -> Child | None:
        # What a process said before it died may arrive after its successor's start.
        child = self.children.get(name)
        if child is None or child.incarnation != incarnation:
            return None
        return child

    def _ended(self, child: Child, now: float, cause: str) -> None:
        lived_s, was_ready = now - child.forked_at, child.state is State.READY
        told, collateral = child.state is State.STOPPING, child.collateral
        child.pid = 0
        if child.group is not None:
            self._out.append(Lost(child.name, child.incarnation, cause))
        if self.stopping:
            child.state = State.STOPPED
            return
        child.wait_until(max(now, self._hold_until) if collateral else now)
        if told or collateral:
            return
        logger.error("actor ended", extra={"actor": child.name, "cause": cause})
        exit_ = ActorExit(child.name, now, lived_s, was_ready, cause)
        if child.group is not None:
            child.exits.append(exit_)
            child.due = now + delay_after(child.exits, self._policy)
        else:
            child.due = now + self._delay_or_give_up(exit_, now)

    def _delay_or_give_up(self, exit_: ActorExit, now: float) -> float:
        self._exits.append(exit_)
        exits = list(self._exits)
        decision = decide(exits, self._policy, tree_started=self.started)
        if isinstance(decision, GiveUp):
            # A start that failed is not worth an opener's immediate second try.
            kind = TreeDownError if self.started else UnavailableError
            error = kind(f"the tree gave up: {decision.reason}", actor=exit_.name)
            self._begin_stop(Failure.of(error, "supervisor"))
            return 0.0
        return decision.delay_s

    def _begin_stop(self, failure: Failure | None) -> None:
        self.stopping = True
        self.failure = failure
        if failure is not None:
            logger.critical("the tree stops", extra={"cause": failure.message})
        self._out.append(Stopping(failure))

    def _tell_to_stop(self, child: Child, now: float) -> None:
        if child.state is State.READY:
            child.deadline = now + child.plan.grace_s
            self._out.append(AskToStop(child.name, child.plan.grace_s))
        else:
            # It does not read its mailbox yet, so the ladder begins one step higher.
            child.deadline = now + self._timing.term_grace_s
            child.terminated = True
            if child.pid:
                self._out.append(Signal(child.name, child.pid, signal.SIGTERM))
        child.state = State.STOPPING

    def _advance(self, now: float) -> Sequence[Instruction]:
        if self.stopping:
            self._advance_stop(now)
        elif self._zygote_since is not None:
            self._advance_start(now)
        for child in [c for c in self.children.values() if c.retired]:
            if child.state in (State.BACKOFF, State.STOPPED):
                del self.children[child.name]
        out, self._out = self._out, []
        return out

    def _advance_start(self, now: float) -> None:
        unready = math.inf
        for child in self.children.values():
            if child.plan.order > unready:
                return
            if child.state is State.BACKOFF and child.due <= now and not child.retired:
                child.begin(now)
                self._out.append(Fork(child.name, child.incarnation))
            if child.group is not None:
                continue  # nobody waits for it
            if child.state is not State.READY or child.collateral:
                unready = child.plan.order
        if not self.started and unready == math.inf:
            self.started = True
            self._out.append(Started())

    def _advance_stop(self, now: float) -> None:
        for child in self.children.values():
            if child.state is State.BACKOFF:
                child.state = State.STOPPED
        left = [c for c in self.children.values() if c.state is not State.STOPPED]
        highest = max((child.plan.order for child in left), default=None)
        for child in left:
            if child.plan.order == highest and child.state is not State.STOPPING:
                self._tell_to_stop(child, now)
        if not left and not self.finished:
            self.finished = True
            self._out.append(Finished())
