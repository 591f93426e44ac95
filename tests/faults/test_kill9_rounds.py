"""G1, G9: whoever is killed or stopped, whenever: what was answered is there, once."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults.kill_rounds import STOPPED, Trees
from support import Figures, first_seed

pytestmark = [pytest.mark.processes, pytest.mark.faults]


def test_nothing_answered_is_lost_whoever_is_killed(tmp_path: Path) -> None:
    Trees(tmp_path, first_seed(), rounds_each=3).run(5)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_nothing_answered_is_lost_in_500_rounds(
    tmp_path: Path, figures: Figures
) -> None:
    figures.add("kill -9, " + Trees(tmp_path, first_seed()).run(500))


def test_who_is_stopped_is_replaced(tmp_path: Path) -> None:
    Trees(tmp_path, first_seed(), victims=STOPPED).run(3)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_who_is_stopped_is_replaced_in_100_rounds(
    tmp_path: Path, figures: Figures
) -> None:
    figures.add("SIGSTOP, " + Trees(tmp_path, first_seed(), victims=STOPPED).run(100))
