"""G1: whoever is killed, whenever: what was answered is there, and nothing is by halves."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults.kill_rounds import Trees
from support import Figures, first_seed

pytestmark = [pytest.mark.processes, pytest.mark.faults]


def test_nothing_answered_is_lost_whoever_is_killed(tmp_path: Path) -> None:
    Trees(tmp_path, first_seed(), rounds_each=4).run(10)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_nothing_answered_is_lost_in_500_rounds(
    tmp_path: Path, figures: Figures
) -> None:
    figures.add(Trees(tmp_path, first_seed()).run(500))
