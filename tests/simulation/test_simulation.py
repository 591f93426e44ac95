from __future__ import annotations

import os

import pytest
from simulation.history import ViolationError
from simulation.simulate import simulate
from simulation.world import Faults

from aurora_actors.storage.outcomes import Outcomes
from aurora_actors.storage.writeset import WriteSet

pytestmark = pytest.mark.faults

FIRST = int(os.environ.get("SEED", "1"))


def simulate_all(seeds: range, faults: Faults | None = None) -> int:
    """Simulate each seed; returns how often storage crashed."""
    crashes = 0
    for seed in seeds:
        try:
            world = simulate(seed, faults)
        except BaseException as exc:
            exc.add_note(f"make simulate SEED={seed} ROUNDS=1")
            raise
        crashes += world.faults.crashes.get("storage", 0)
    return crashes


def test_no_history_breaks_a_promise() -> None:
    storage_crashes = simulate_all(range(FIRST, FIRST + 20))
    assert storage_crashes > 20, "the histories have become too tame to mean anything"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_history_of_ten_thousand_breaks_a_promise() -> None:
    simulate_all(range(FIRST, FIRST + 10_000))


def test_a_storage_that_forgets_outcomes_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Outcomes, "find", lambda *_: None)
    with pytest.raises(ViolationError):
        simulate_all(range(60), Faults(before_replies=0.1))


def test_a_storage_that_checks_no_unique_value_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(WriteSet, "unique_row", lambda *_: None)
    monkeypatch.setattr(WriteSet, "any_unique", lambda *_: None)
    with pytest.raises(ViolationError):
        simulate_all(range(60), Faults())
