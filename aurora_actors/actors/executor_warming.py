"""Making an executor ready for scans of columns before the first is asked for.

The column library takes a tenth of a second to import, and tens of megabytes. An
executor of a small database never needs it; of one that has grown, nearly every one
does. So it is imported while nobody waits, once the column files have some size, in a
thread: a query that comes meanwhile has its turns.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Final

import trio

from aurora_actors.indexing.layout import COLUMNS_DIRECTORY

__all__ = ["warm_columns"]

_LOOK_S: Final = 0.5
_WORTH_BYTES: Final = 1 << 20
_MODULES: Final = (
    "aurora_actors.query.column_scan",
    "aurora_actors.query.segment_match",
    "aurora_actors.query.aggregate_columns",
)


async def warm_columns(database: Path, worth_bytes: int = _WORTH_BYTES) -> None:
    """Import what scans columns, as soon as there is something to scan.

    Args:
        database: The database's directory.
        worth_bytes: How large its column files have to be together.
    """
    while True:
        await trio.sleep(_LOOK_S)  # at first, too: others are starting as well
        if _column_bytes(database / COLUMNS_DIRECTORY) >= worth_bytes:
            break
    await trio.to_thread.run_sync(_import_all, abandon_on_cancel=True)


def _column_bytes(directory: Path) -> int:
    try:
        with os.scandir(directory) as files:
            return sum(file.stat().st_size for file in files)
    except OSError:
        return 0  # none yet, or one that has just been replaced


def _import_all() -> None:
    for module in _MODULES:
        import_module(module)
