"""Which file holds the data: ``data.mdb``, or the one that took its place.

Compaction writes a new data file under the next generation's name and switches to it by
publishing a checkpoint that names it (see ``storage.compaction``); the file ``checkpoint``
is therefore the one place that says which is current. Pure functions over paths.

A name of its own for each generation matters, because LMDB keeps the readers of a file
in a second one beside it: two data files must never share that.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from aurora_actors.storage.checkpoint import Checkpoint
from aurora_actors.storage.layout import DATA_FILE

__all__ = ["current_data_file", "data_file_name", "other_data_files"]

_NAME: Final = re.compile(r"data(?:-([1-9]\d{0,9}))?\.mdb(?:\.new)?(?:-lock)?\Z")


def data_file_name(generation: int) -> str:
    """The name of the data file of a generation: ``data.mdb``, ``data-1.mdb`` and so on."""
    return f"data-{generation}.mdb" if generation else DATA_FILE


def current_data_file(path: Path, checkpoint: Checkpoint | None = None) -> Path:
    """The data file of the database at ``path``, by its checkpoint."""
    return path / data_file_name(checkpoint.generation if checkpoint else 0)


def other_data_files(path: Path, generation: int) -> list[Path]:
    """The data files, lock files and leftovers of other generations."""
    current = data_file_name(generation)
    return [
        file
        for file in path.iterdir()
        if _NAME.match(file.name) and file.name not in {current, f"{current}-lock"}
    ]
