"""How much memory values take, roughly: what limits and caches count with.

Pure functions, used wherever queries run.
"""

from __future__ import annotations

from sys import getsizeof

__all__ = ["memory_of"]


def memory_of(value: object) -> int:
    """About how many bytes ``value`` takes, with all it holds."""
    size = getsizeof(value)
    if isinstance(value, (tuple, list)):
        size += sum(map(memory_of, value))
    elif isinstance(value, dict):
        size += sum(map(memory_of, value)) + sum(map(memory_of, value.values()))
    return size
