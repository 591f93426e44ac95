"""The open column files of one process.

A table is mapped, not read: what it takes is page cache, shared with every process that
has it open. Its CRC is checked when it is opened. A file that a later segment has
replaced, or that is damaged, gives no table: its rows are then read from documents.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from pathlib import Path
from typing import Any, Final, TypeAlias

from aurora_actors.errors import AuroraError
from aurora_actors.indexing.segments import Segment

__all__ = ["SegmentTables"]

_log = logging.getLogger(__name__)
_MOST_OPEN: Final = 1024

ArrowTable: TypeAlias = Any


class SegmentTables:
    """Opens segments and keeps them open; for one thread."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[str, int], ArrowTable | None] = OrderedDict()

    def table(self, path: Path, segment: Segment) -> ArrowTable | None:
        """The table of a segment, or ``None`` when it cannot be had."""
        key = (str(path), segment.crc)
        if key in self._open:
            self._open.move_to_end(key)
            return self._open[key]
        # pyarrow takes 0.1 s and 13 MiB: it is imported with the first segment.
        from aurora_actors.indexing import arrow  # noqa: PLC0415

        table: ArrowTable | None = None
        try:
            table = arrow.open_segment_table(path, segment.size, segment.crc)
        except AuroraError as exc:
            _log.warning("a column file is of no use", extra={"reason": exc.message})
        self._open[key] = table
        if len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)
        return table
