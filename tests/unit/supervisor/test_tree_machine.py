"""The supervisor's state machine, without a process."""

from __future__ import annotations

import math
import signal
from typing import NamedTuple

import msgspec
import pytest
from aurora_supervisor.child import (
    Announce,
    AskToStop,
    Finished,
    Fork,
    Lost,
    Signal,
    Started,
    StartZygote,
    State,
    Stopping,
    Timing,
)
from aurora_supervisor.machine import TreeMachine
from aurora_supervisor.policy import RestartPolicy
from hypothesis import given, settings, strategies as st

from aurora_actors.errors import (
    CorruptionError,
    TreeDownError,
    UnavailableError,
    UsageError,
)
from aurora_actors.messages.base import Failure
from aurora_actors.messages.supervision import (
    ActorGroup,
    AskRestart,
    Heartbeat,
    Ready,
    StartFailed,
)

KILL, TERM = signal.SIGKILL, signal.SIGTERM
TIMING = Timing(hang_timeout_s=2.0, start_timeout_s=5.0)


class Plan(NamedTuple):
    name: str
    order: int
    entry: str = "module:main"
    grace_s: float = 3.0


class Rig:
    """A machine with a clock, and processes that exist only as numbers."""

    def __init__(self, *plans: Plan, max_restarts: int = 5) -> None:
        self.machine = TreeMachine(plans, RestartPolicy(max_restarts, 60.0), TIMING)
        self.now = 100.0
        self.pid = 1000
        self.done: list[object] = []

    def take(self, instructions):
        self.done.extend(instructions)
        return list(instructions)

    def begin(self):
        return self.take(self.machine.zygote_started(self.now))

    def fork(self, name: str) -> int:
        self.pid += 1
        incarnation = self.machine.children[name].incarnation
        self.take(self.machine.forked(self.now, name, incarnation, self.pid))
        return self.pid

    def ready(self, name: str):
        child = self.machine.children[name]
        notice = Ready(pid=child.pid, incarnation=child.incarnation)
        return self.take(self.machine.ready(self.now, name, notice))

    def up(self, name: str) -> int:
        pid = self.fork(name)
        self.ready(name)
        return pid

    def exit(self, pid: int, status: int = -9, words: str = ""):
        return self.take(self.machine.exited(self.now, pid, status, words))

    def beat(self, name: str) -> None:
        child = self.machine.children[name]
        notice = Heartbeat(pid=child.pid, incarnation=child.incarnation)
        self.take(self.machine.heartbeat(self.now, name, notice))

    def at(self, seconds: float, *, beating: tuple[str, ...] = ()):
        """Let time go by, a tick each 0.25 s; returns what was done meanwhile."""
        end, found = self.now + seconds, []
        while self.now < end:
            self.now = min(end, self.now + 0.25)
            for name in beating:
                self.beat(name)
            found += self.take(self.machine.tick(self.now))
        return found

    def state(self, name: str) -> State:
        return self.machine.children[name].state


def running(**options) -> tuple[Rig, int, int, int]:
    rig = Rig(Plan("b", 20), Plan("a", 0), Plan("c", 20), **options)
    rig.begin()
    a, b, c = (rig.up(name) for name in ("a", "b", "c"))
    rig.done.clear()
    return rig, a, b, c


# ------------------------------------------------------------------ start
def test_actors_start_when_all_of_a_lower_order_are_ready():
    rig = Rig(Plan("b", 20), Plan("a", 0), Plan("c", 20))
    assert rig.begin() == [Fork("a", 1)]
    rig.fork("a")
    assert rig.ready("a") == [Announce("a", 1), Fork("b", 1), Fork("c", 1)]
    rig.up("b")
    rig.fork("c")
    assert rig.ready("c") == [Announce("c", 1), Started()]


def test_nothing_is_forked_before_there_is_a_zygote():
    rig = Rig(Plan("a", 0))
    assert rig.at(1.0) == []
    assert rig.machine.due(rig.now) == math.inf


def test_ready_may_arrive_before_the_zygotes_notice_of_the_fork():
    rig = Rig(Plan("a", 0))
    rig.begin()
    instructions = rig.take(
        rig.machine.ready(rig.now, "a", Ready(pid=77, incarnation=1))
    )
    assert instructions == [Announce("a", 1), Started()]
    rig.take(rig.machine.forked(rig.now, "a", 1, 77))
    assert rig.machine.name_of(77) == "a"


def test_a_start_that_an_actor_refuses_stops_the_tree_with_the_actors_own_reason():
    rig = Rig(Plan("a", 0), Plan("b", 1))
    rig.begin()
    pid = rig.up("a")
    refused = rig.fork("b")
    failure = Failure.of(CorruptionError("damaged", file="wal"), "b")
    notice = StartFailed(pid=refused, incarnation=1, failure=failure)
    assert rig.take(rig.machine.start_failed(rig.now, "b", notice)) == [
        Stopping(failure),
        Signal("b", refused, TERM),
    ]
    assert rig.exit(refused, -15) == [AskToStop("a", 3.0)]
    assert rig.exit(pid, 0) == [Finished()]
    assert rig.machine.failure == failure
    assert not rig.machine.started


def test_an_actor_that_ends_three_times_before_it_is_ready_fails_the_start():
    rig = Rig(Plan("a", 0))
    rig.begin()
    for attempt in (1, 2, 3):
        rig.at(0.5)
        assert rig.machine.children["a"].incarnation == attempt
        rig.exit(rig.fork("a"), 1, "ImportError: no module")
    assert rig.machine.finished
    failure = rig.machine.failure
    assert failure is not None
    assert failure.code == UnavailableError.code
    assert "a ended with status 1 (ImportError: no module)" in failure.message


def test_an_actor_that_is_not_ready_in_time_is_killed_and_tried_again():
    rig = Rig(Plan("a", 0))
    rig.begin()
    pid = rig.fork("a")
    assert rig.at(4.75) == []
    assert rig.at(0.25) == [Signal("a", pid, KILL)]
    assert rig.exit(pid) == [Fork("a", 2)]


def test_heartbeats_during_a_long_start_extend_the_time_it_may_take():
    rig = Rig(Plan("a", 0))
    rig.begin()
    rig.fork("a")
    assert rig.at(60.0, beating=("a",)) == []


# ------------------------------------------------------------------ restart
def test_only_the_actor_that_ended_is_started_again_and_at_once():
    rig, pid, *_ = running()
    assert rig.exit(pid) == [Fork("a", 2)]
    assert rig.state("b") is State.READY
    rig.fork("a")
    assert rig.ready("a") == [Announce("a", 2)]


def test_an_actor_waits_for_a_lower_order_that_is_being_restarted():
    rig, a, b, _ = running()
    rig.exit(a)
    assert rig.exit(b) == []
    rig.fork("a")
    assert rig.ready("a") == [Announce("a", 2), Fork("b", 2)]


def test_a_delayed_restart_is_due_at_its_time_and_not_before():
    rig, _, b, _ = running()
    rig.exit(b)
    rig.exit(rig.fork("b"))
    assert rig.state("b") is State.BACKOFF
    assert rig.machine.due(rig.now) == pytest.approx(rig.now + 0.05)
    rig.now += 0.06
    assert rig.take(rig.machine.tick(rig.now)) == [Fork("b", 3)]


def test_a_child_that_waits_for_another_asks_for_no_tick():
    rig, a, b, c = running()
    for pid in (b, c):
        rig.exit(pid)
    for name in ("b", "c"):
        rig.up(name)
    rig.exit(a)
    rig.fork("a")
    rig.exit(rig.machine.children["b"].pid)
    rig.now += 1.0
    assert rig.state("b") is State.BACKOFF
    assert rig.machine.due(rig.now) > rig.now


def test_too_many_restarts_take_the_tree_down_in_order():
    rig, a, *_ = running(max_restarts=2)
    for _ in range(2):
        rig.exit(a)
        rig.at(2.0, beating=("b", "c"))
        a = rig.up("a")
        rig.at(2.0, beating=("a", "b", "c"))
    instructions = rig.exit(a)
    assert isinstance(instructions[0], Stopping)
    assert instructions[1:] == [AskToStop("b", 3.0), AskToStop("c", 3.0)]
    failure = rig.machine.failure
    assert failure is not None
    assert failure.code == TreeDownError.code
    assert failure.context == {"actor": "a"}
    assert "a ended by SIGKILL" in failure.message


def test_a_message_of_a_dead_incarnation_is_ignored():
    rig, pid, *_ = running()
    rig.exit(pid)
    rig.fork("a")
    late = Ready(pid=pid, incarnation=1)
    assert rig.take(rig.machine.ready(rig.now, "a", late)) == []
    assert rig.state("a") is State.STARTING


def test_an_unknown_process_or_sender_changes_nothing():
    rig, *_ = running()
    assert rig.exit(1) == []
    beat = Heartbeat(pid=1, incarnation=1)
    assert rig.take(rig.machine.heartbeat(rig.now, "nobody", beat)) == []


def test_a_fork_that_fails_is_tried_again():
    rig = Rig(Plan("a", 0))
    rig.begin()
    again = rig.take(rig.machine.fork_failed(rig.now, "a", 1, "fork failed: EAGAIN"))
    assert again == [Fork("a", 2)]


# ------------------------------------------------------------------ hanging
def test_an_actor_without_heartbeats_is_killed_and_restarted():
    rig, _, pid, _ = running()
    found = rig.at(2.0, beating=("a", "c"))
    assert found == [Signal("b", pid, KILL)]
    assert rig.at(1.0, beating=("a", "c")) == []
    assert rig.exit(pid) == [Fork("b", 2)]


def test_an_actor_stopped_by_a_signal_is_killed_after_300_ms():
    rig, _, pid, _ = running()
    rig.take(rig.machine.halted(rig.now, pid, stopped=True))
    assert rig.machine.due(rig.now) == pytest.approx(rig.now + 0.3)
    assert rig.at(0.25) == []
    assert rig.at(0.05) == [Signal("b", pid, KILL)]


def test_an_actor_that_is_continued_in_time_lives_on():
    rig, _, pid, _ = running()
    rig.take(rig.machine.halted(rig.now, pid, stopped=True))
    rig.at(0.25)
    rig.take(rig.machine.halted(rig.now, pid, stopped=False))
    assert rig.at(5.0, beating=("a", "b", "c")) == []


def test_a_supervisor_that_was_held_up_itself_blames_nobody():
    rig, *_ = running()
    rig.take(rig.machine.tick(rig.now))
    rig.now += 3600.0
    assert rig.take(rig.machine.tick(rig.now)) == []


def test_delays_of_the_supervisor_count_for_nobody_however_many_they_are():
    rig, a, b, c = running()
    rig.take(rig.machine.tick(rig.now))
    for _ in range(7):
        rig.now += 1.0
        assert rig.take(rig.machine.tick(rig.now)) == []
    # Eight ticks without a delay make up the two seconds that one may be silent.
    rig.now += 1.0
    killed = rig.take(rig.machine.tick(rig.now))
    assert killed == [
        Signal(name, pid, signal.SIGKILL)
        for name, pid in zip("abc", (a, b, c), strict=True)
    ]


def test_a_delay_of_the_supervisor_is_no_part_of_the_time_to_stop():
    rig, *_ = running()
    rig.take(rig.machine.tick(rig.now))
    rig.take(rig.machine.stop(rig.now))
    rig.now += 60.0
    assert rig.take(rig.machine.tick(rig.now)) == []
    assert rig.at(2.5, beating=("a",)) == []
    terminated = rig.at(0.5, beating=("a",))
    assert {(each.name, each.number) for each in terminated} == {
        ("b", signal.SIGTERM),
        ("c", signal.SIGTERM),
    }


# ------------------------------------------------------------------ stop
def test_the_tree_stops_in_the_reverse_order():
    rig, a, b, c = running()
    assert rig.take(rig.machine.stop(rig.now)) == [
        Stopping(None),
        AskToStop("b", 3.0),
        AskToStop("c", 3.0),
    ]
    assert rig.exit(b, 0) == []
    assert rig.exit(c, 0) == [AskToStop("a", 3.0)]
    assert rig.exit(a, 0) == [Finished()]
    assert rig.machine.failure is None


def test_an_actor_that_does_not_stop_gets_sigterm_and_then_sigkill():
    rig, _, b, c = running()
    rig.take(rig.machine.stop(rig.now))
    rig.exit(c, 0)
    assert rig.at(2.75, beating=("a",)) == []
    assert rig.at(0.25, beating=("a",)) == [Signal("b", b, TERM)]
    assert rig.at(1.75, beating=("a",)) == []
    assert rig.at(0.25, beating=("a",)) == [Signal("b", b, KILL)]


def test_an_actor_that_crashes_while_the_tree_stops_is_not_restarted():
    rig, a, b, c = running()
    rig.take(rig.machine.stop(rig.now))
    rig.exit(a)
    rig.exit(b)
    assert rig.exit(c) == [Finished()]


def test_an_actor_forked_while_the_tree_stops_is_killed():
    rig = Rig(Plan("a", 0))
    rig.begin()
    rig.take(rig.machine.stop(rig.now))
    pid = rig.fork("a")
    assert rig.done[-1] == Signal("a", pid, KILL)
    assert rig.exit(pid) == [Finished()]


def test_a_tree_without_processes_is_finished_at_once():
    rig = Rig(Plan("a", 0))
    assert rig.take(rig.machine.stop(rig.now)) == [Stopping(None), Finished()]


def test_a_second_stop_changes_nothing():
    rig, *_ = running()
    rig.take(rig.machine.stop(rig.now))
    assert rig.take(rig.machine.stop(rig.now)) == []


def test_a_restart_on_request_is_gentle_and_does_not_count():
    rig, a, *_ = running(max_restarts=1)
    for _ in range(4):
        assert rig.take(rig.machine.restart(rig.now, "a")) == [AskToStop("a", 3.0)]
        assert rig.exit(a, 0)[0] == Fork("a", rig.machine.children["a"].incarnation)
        a = rig.up("a")
    assert not rig.machine.stopping


def test_the_request_to_restart_an_unknown_actor_is_refused():
    rig, *_ = running()
    with pytest.raises(KeyError):
        rig.machine.restart(rig.now, "nobody")


# ------------------------------------------------------------------ the zygote
def test_the_loss_of_the_zygote_starts_everything_again_in_order():
    rig, a, b, c = running()
    assert rig.take(rig.machine.zygote_lost(rig.now)) == [
        Signal("a", a, KILL),
        Signal("b", b, KILL),
        Signal("c", c, KILL),
        StartZygote(),
    ]
    assert rig.begin() == []
    assert rig.exit(b) == []
    assert rig.exit(a) == [Fork("a", 2)]
    assert rig.exit(c) == []
    rig.fork("a")
    assert rig.ready("a") == [Announce("a", 2), Fork("b", 2), Fork("c", 2)]


def test_the_loss_of_the_zygote_counts_as_one_restart():
    rig, *pids = running(max_restarts=1)
    rig.take(rig.machine.zygote_lost(rig.now))
    rig.begin()
    for pid in pids:
        rig.exit(pid)
    assert not rig.machine.stopping


def test_a_zygote_that_is_lost_again_and_again_takes_the_tree_down():
    rig = Rig(Plan("a", 0), max_restarts=2)
    for _ in range(3):
        rig.begin()
        rig.at(2.0)
        rig.take(rig.machine.zygote_lost(rig.now))
    assert rig.machine.finished
    failure = rig.machine.failure
    assert failure is not None
    assert "the zygote ended" in failure.message


def test_the_loss_of_the_zygote_while_the_tree_stops_ends_it():
    rig, *pids = running()
    rig.take(rig.machine.stop(rig.now))
    rig.take(rig.machine.zygote_lost(rig.now))
    for pid in pids:
        rig.exit(pid)
    assert rig.machine.finished
    assert StartZygote() not in rig.done


# ------------------------------------------------------------------ any history
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["fork", "ready", "exit", "halt", "resume", "tick", "zygote", "restart"]
        ),
        st.sampled_from(["a", "b", "c"]),
    ),
    max_size=60,
)


@settings(max_examples=200)
@given(EVENTS)
def test_no_history_leaves_two_processes_for_one_actor_or_a_tree_that_cannot_stop(
    events,
):
    rig = Rig(Plan("b", 20), Plan("a", 0), Plan("c", 20), max_restarts=3)
    world = World(rig)
    world.do(rig.begin())
    for kind, name in events:
        world.happen(kind, name)
    world.do(rig.take(rig.machine.stop(rig.now)))
    for _ in range(200):
        if rig.machine.finished:
            break
        world.happen("fork", "a")
        world.do(rig.at(0.25))
    assert rig.machine.finished
    assert not world.alive


class World:
    """Obeys the machine's instructions the way processes do."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.alive: dict[int, str] = {}
        self.asked: list[Fork] = []
        self.has_zygote = True

    def do(self, instructions) -> None:
        for instruction in instructions:
            match instruction:
                case Fork():
                    assert self.has_zygote
                    assert instruction.name not in self.alive.values()
                    self.asked.append(instruction)
                case Signal(pid=pid, number=number) if number == KILL:
                    self.end(pid)
                case StartZygote():
                    self.has_zygote = True
                    self.do(self.rig.begin())
                case _:
                    pass

    def end(self, pid: int) -> None:
        if self.alive.pop(pid, None) is not None:
            self.do(self.rig.exit(pid))

    def happen(self, kind: str, name: str) -> None:
        rig = self.rig
        pids = [pid for pid, actor in self.alive.items() if actor == name]
        match kind:
            case "fork" if self.asked:
                fork = self.asked.pop(0)
                rig.pid += 1
                self.alive[rig.pid] = fork.name
                self.do(
                    rig.take(
                        rig.machine.forked(
                            rig.now, fork.name, fork.incarnation, rig.pid
                        )
                    )
                )
            case "ready" if pids:
                self.do(rig.ready(name))
            case "exit" if pids:
                self.end(pids[0])
            case "halt" | "resume" if pids:
                stopped = kind == "halt"
                self.do(rig.take(rig.machine.halted(rig.now, pids[0], stopped=stopped)))
            case "tick":
                self.do(rig.at(0.25))
            case "restart":
                self.do(rig.take(rig.machine.restart(rig.now, name)))
            case "zygote" if self.has_zygote:
                self.has_zygote = False
                self.asked.clear()
                self.do(rig.take(rig.machine.zygote_lost(rig.now)))


# ------------------------------------------------------------------ groups
WORKERS = ActorGroup(name="w", entry="module:work", order=40, grace_s=3.0)


def with_group(count: int = 2) -> Rig:
    rig = Rig(Plan("storage", 0), max_restarts=3)
    rig.begin()
    rig.up("storage")
    rig.take(rig.machine.scale(rig.now, "w", count, WORKERS))
    return rig


def test_a_group_starts_after_the_others_and_nobody_waits_for_it():
    rig = Rig(Plan("storage", 0))
    rig.machine.scale(rig.now, "w", 2, WORKERS)
    assert rig.begin() == [Fork("storage", 1)]
    rig.fork("storage")
    done = rig.ready("storage")
    assert Started() in done
    assert {Fork("w-0", 1), Fork("w-1", 1)} <= set(done)


def test_a_group_grows_and_shrinks():
    rig = with_group(1)
    rig.up("w-0")
    grown = rig.take(rig.machine.scale(rig.now, "w", 3))
    assert grown == [Fork("w-1", 1), Fork("w-2", 1)]
    second, third = rig.up("w-1"), rig.up("w-2")
    shrunk = rig.take(rig.machine.scale(rig.now, "w", 1))
    assert shrunk == [AskToStop("w-1", 3.0), AskToStop("w-2", 3.0)]
    assert isinstance(rig.exit(second, 0)[0], Lost)
    again = rig.take(rig.machine.scale(rig.now, "w", 3))
    assert again == [Fork("w-1", 1)], "one that is on its way out comes back later"
    assert Fork("w-2", 2) in rig.exit(third, 0)
    rig.take(rig.machine.scale(rig.now, "w", 0))
    assert set(rig.machine.children) == {"storage", "w-0", "w-1", "w-2"}


def test_however_often_one_of_a_group_ends_the_tree_goes_on():
    rig = with_group(1)
    for number in range(50):
        pid = rig.up("w-0")
        done = rig.exit(pid, -9)
        assert done[0] == Lost("w-0", number + 1, "w-0 ended by SIGKILL")
        rig.now += 2.0
        rig.take(rig.machine.tick(rig.now))
        assert rig.machine.children["w-0"].state is State.STARTING
    assert not rig.machine.stopping


def test_one_of_a_group_that_cannot_start_is_its_own_concern():
    rig = with_group(1)
    rig.fork("w-0")
    failure = Failure.of(CorruptionError("no"), "w-0")
    rig.machine.start_failed(
        rig.now, "w-0", StartFailed(pid=rig.pid, incarnation=1, failure=failure)
    )
    assert not rig.machine.stopping


def test_an_actor_that_asks_gives_way_in_order():
    rig = with_group(1)
    pid = rig.up("w-0")
    notice = AskRestart(pid=pid, incarnation=1)
    assert rig.take(rig.machine.give_way(rig.now, "w-0", notice)) == [
        AskToStop("w-0", 3.0)
    ]
    assert Fork("w-0", 2) in rig.exit(pid, 0)
    assert rig.take(rig.machine.give_way(rig.now, "w-0", notice)) == [], "long gone"


def test_a_group_stops_before_all_others():
    rig = with_group(1)
    pid = rig.up("w-0")
    assert AskToStop("w-0", 3.0) in rig.take(rig.machine.stop(rig.now))
    assert not any(
        isinstance(each, AskToStop) and each.name == "storage" for each in rig.done
    )
    assert any(
        isinstance(each, AskToStop) and each.name == "storage"
        for each in rig.exit(pid, 0)
    )


def test_a_group_keeps_its_settings_while_it_runs():
    rig = with_group(1)
    pid = rig.up("w-0")
    other = msgspec.structs.replace(WORKERS, arguments=b"other")
    with pytest.raises(UsageError, match="other settings"):
        rig.machine.scale(rig.now, "w", 1, other)
    with pytest.raises(UsageError, match="start it first"):
        rig.machine.scale(rig.now, "unknown", 1)
    rig.take(rig.machine.scale(rig.now, "w", 0))
    rig.exit(pid, 0)
    assert rig.take(rig.machine.scale(rig.now, "w", 1, other)) == [Fork("w-0", 1)]
