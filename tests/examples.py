"""How many examples a property is tried with."""

from __future__ import annotations

from hypothesis import settings

__all__ = ["examples"]

_AT_LEAST = 10


def examples(full: int) -> int:
    """All of them with ``make faults``, which looks for new ones; else two fifths.

    The suite makes the same ones each time.
    """
    if not settings().derandomize:
        return full
    return max(_AT_LEAST, full * 2 // 5)
