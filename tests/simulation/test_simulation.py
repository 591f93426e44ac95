from __future__ import annotations

import os

import pytest
from simulation.history import Violation
from simulation.simulate import simulate
from simulation.world import Faults

from aurora_actors.storage.outcomes import Outcomes
from aurora_actors.storage.writeset import WriteSet

pytestmark = pytest.mark.faults

FIRST = int(os.environ.get("SEED", "1"))


def test_no_history_breaks_a_promise() -> None:
    storage_crashes = 0
    for seed in range(FIRST, FIRST + 40):
        try:
            world = simulate(seed)
        except BaseException as exc:
            exc.add_note(f"seed {seed}: make simulate SEED={seed} ROUNDS=1")
            raise
        storage_crashes += world.faults.crashes.get("storage", 0)
    assert storage_crashes > 20, "the histories have become too tame to mean anything"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_history_of_ten_thousand_breaks_a_promise() -> None:
    for seed in range(FIRST, FIRST + 10_000):
        try:
            simulate(seed)
        except BaseException as exc:
            exc.add_note(f"seed {seed}: make simulate SEED={seed} ROUNDS=1")
            raise


def test_a_storage_that_forgets_outcomes_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Outcomes, "find", lambda *_: None)
    with pytest.raises(Violation):
        for seed in range(60):
            simulate(seed, Faults(before_replies=0.1))


def test_a_storage_that_checks_no_unique_value_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(WriteSet, "unique_row", lambda *_: None)
    monkeypatch.setattr(WriteSet, "any_unique", lambda *_: None)
    with pytest.raises(Violation):
        for seed in range(60):
            simulate(seed, Faults())
