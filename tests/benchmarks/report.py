"""Collects figures and prints them as one table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from limits import Limits


def percentile(samples: Sequence[float], share: float) -> float:
    """The sample below which ``share`` of all lie."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def micro(seconds: float) -> str:
    """Seconds as a readable number of microseconds."""
    return f"{seconds * 1e6:,.1f} µs"


class Report:
    """Rows of (what, figure, compared with)."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, str]] = []

    def limits(self, limits: Limits) -> None:
        """Show what the machine can do at best."""
        self.row("limit: LMDB get + decode to dict", micro(limits.lmdb_get_s))
        self.row("limit: the same by a field", micro(limits.lmdb_find_s))
        self.row("limit: nng round trip, receive descriptors", micro(limits.nng_s))
        self.row("limit: append 300 B to a file", micro(limits.append_s))
        self.row("limit: the same + fdatasync", micro(limits.fdatasync_s))
        self.row("limit: LMDB commit of one document", micro(limits.commit_s))

    def row(self, what: str, figure: str, compared: str = "") -> None:
        """Add one line."""
        self._rows.append((what, figure, compared))

    def times(self, what: str, samples: Sequence[float], limit: float, of: str) -> None:
        """Add p50 and p99, and the median's ratio to ``limit``."""
        middle = statistics.median(samples)
        figure = f"p50 {micro(middle)}  p99 {micro(percentile(samples, 0.99))}"
        self.row(what, figure, f"{middle / limit:.2f} × {of}")

    def markdown(self) -> list[str]:
        """The table for a page of the documentation."""
        return [
            "| what | figure | compared |",
            "| --- | --- | --- |",
            *(f"| {' | '.join(row)} |" for row in self._rows),
        ]

    def show(self) -> None:
        """Print the table."""
        table = Table("what", "figure", "compared")
        for row in self._rows:
            table.add_row(*row)
        Console(width=120).print(table)
