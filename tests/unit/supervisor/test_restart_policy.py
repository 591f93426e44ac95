"""The restart policy, a pure function of what has happened."""

from __future__ import annotations

import itertools

import pytest
from aurora_supervisor.policy import (
    START_ATTEMPTS,
    ActorExit,
    GiveUp,
    Restart,
    RestartPolicy,
    decide,
)
from hypothesis import given, strategies as st

POLICY = RestartPolicy(max_restarts=5, window_s=60.0)


def ended(
    at: float, *, name: str = "storage", lived_s: float = 0.1, ready: bool = True
):
    return ActorExit(name, at, lived_s, ready, f"{name} ended by SIGKILL")


def after(*exits: ActorExit, policy: RestartPolicy = POLICY, started: bool = True):
    return decide(exits, policy, tree_started=started)


def test_the_first_exit_restarts_the_actor_at_once():
    assert after(ended(10.0)) == Restart(0.0)


def test_an_actor_that_keeps_ending_quickly_waits_longer_each_time():
    exits = [ended(float(second)) for second in range(5)]
    delays = [after(*exits[:count]) for count in range(1, 6)]
    assert delays == [Restart(d) for d in (0.0, 0.05, 0.1, 0.2, 0.4)]


def test_an_actor_that_ran_for_a_while_restarts_at_once_again():
    exits = [ended(1.0), ended(2.0), ended(9.0, lived_s=7.0)]
    assert after(*exits) == Restart(0.0)


def test_another_actors_trouble_does_not_delay_this_one():
    exits = [ended(1.0, name="b"), ended(1.5, name="b"), ended(2.0, name="a")]
    assert after(*exits) == Restart(0.0)


def test_too_many_restarts_within_the_window_take_the_tree_down_and_name_the_cause():
    exits = [ended(float(second), lived_s=5.0) for second in range(6)]
    assert after(*exits[:5]) == Restart(0.0)
    assert after(*exits) == GiveUp(
        "more than 5 restarts within 60 s; at last storage ended by SIGKILL"
    )


def test_restarts_of_all_actors_count_together():
    exits = [ended(float(i), name=f"actor-{i}", lived_s=5.0) for i in range(6)]
    assert isinstance(after(*exits), GiveUp)


def test_exits_outside_the_window_do_not_count():
    exits = [ended(float(20 * i), lived_s=19.0) for i in range(50)]
    assert after(*exits) == Restart(0.0)


def test_an_actor_that_never_becomes_ready_fails_the_start_of_the_tree():
    exits = [ended(0.1 * i, ready=False) for i in range(START_ATTEMPTS)]
    assert isinstance(after(*exits[:-1], started=False), Restart)
    decision = after(*exits, started=False)
    assert isinstance(decision, GiveUp)
    assert "never became ready" in decision.reason
    assert "SIGKILL" in decision.reason


def test_once_the_tree_has_started_such_an_actor_is_tried_again():
    exits = [ended(0.1 * i, ready=False) for i in range(START_ATTEMPTS)]
    assert isinstance(after(*exits, started=True), Restart)


def test_without_an_exit_there_is_nothing_to_decide():
    with pytest.raises(ValueError, match="no exit"):
        after()


@given(
    max_restarts=st.integers(1, 200),
    window_s=st.floats(0.5, 600.0),
)
def test_an_actor_that_always_ends_at_once_reaches_the_limit_within_the_window(
    max_restarts: int, window_s: float
):
    policy = RestartPolicy(max_restarts, window_s)
    now, exits = 0.0, []
    for _ in itertools.count():
        exits.append(ended(now, lived_s=0.0))
        decision = after(*exits, policy=policy)
        if isinstance(decision, GiveUp):
            break
        now += decision.delay_s
    assert len(exits) == max_restarts + 1
    assert now <= window_s / 2
