"""The column library is imported when there are columns, and not before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import trio

from aurora_actors.actors.executor_warming import warm_columns

WARM = """
import sys, trio
from pathlib import Path
from aurora_actors.actors.executor_warming import warm_columns
assert "pyarrow" not in sys.modules
trio.run(warm_columns, Path(sys.argv[1]), 1000)
assert "pyarrow.compute" in sys.modules
"""


def test_columns_of_some_size_are_worth_the_import(tmp_path: Path) -> None:
    (tmp_path / "columns").mkdir()
    for number in range(2):
        (tmp_path / "columns" / f"{number}.arrow").write_bytes(bytes(500))
    subprocess.run([sys.executable, "-c", WARM, str(tmp_path)], check=True)


async def test_small_columns_are_not(tmp_path: Path, autojump_clock: object) -> None:
    with trio.move_on_after(3600) as scope:
        await warm_columns(tmp_path, 1000)
    assert scope.cancelled_caught
    (tmp_path / "columns").mkdir()
    (tmp_path / "columns" / "1.arrow").write_bytes(bytes(999))
    with trio.move_on_after(3600) as scope:
        await warm_columns(tmp_path, 1000)
    assert scope.cancelled_caught
