"""How much memory values take, roughly: what limits and caches count with.

Pure functions, used wherever queries run.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from sys import getsizeof

__all__ = ["memory_of", "memory_of_all"]


def memory_of(value: object) -> int:
    """About how many bytes ``value`` takes, with all it holds."""
    size = getsizeof(value)
    if isinstance(value, (tuple, list)):
        size += sum(map(memory_of, value))
    elif isinstance(value, dict):
        size += sum(map(memory_of, value)) + sum(map(memory_of, value.values()))
    return size


def memory_of_all(rows: Sequence[tuple[object, ...]]) -> int:
    """The same of many tuples of plain values, that hold nothing."""
    return sum(map(getsizeof, chain(rows, chain.from_iterable(rows))))
