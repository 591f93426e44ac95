"""Histograms of durations and sizes, as processes keep them and their heartbeats tell them.

A histogram is a handful of counters: how many durations were at most so long, for bounds
a factor of 2 to 2.5 apart, or how many batches were at most so large. Flattened into the counters of an actor it reads::

    commit_seconds_bucket:0.001   how many took 1 ms at most
    commit_seconds_bucket:+Inf    how many there were
    commit_seconds_sum            the seconds of all together
    commit_seconds_count          how many there were

which is what Prometheus calls a histogram; the gateway makes labels of what stands behind
the colons. Nothing is listed before the first duration. Pure; for one thread at a time.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Final

__all__ = ["BOUNDS", "SIZES", "Histogram", "quantile"]

BOUNDS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0),
)
"""The upper bounds of the buckets, in seconds."""

SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
"""The upper bounds of the buckets for sizes of batches."""


def _labels(bounds: Sequence[float]) -> list[str]:
    return [*(f"{bound:g}" for bound in bounds), "+Inf"]


class Histogram:
    """How long something took, each time; or how large it was.

    Args:
        name: What is measured, ending in ``_seconds`` when that is how long.
        bounds: The upper bounds of the buckets.
    """

    __slots__ = ("_bounds", "_counts", "_keys", "_name", "_sum")

    def __init__(self, name: str, bounds: Sequence[float] = BOUNDS) -> None:
        self._name = name
        self._bounds = bounds
        self._keys = [f"{name}_bucket:{label}" for label in _labels(bounds)]
        self._counts = [0] * len(self._keys)
        self._sum = 0.0

    def record(self, value: float) -> None:
        """Count one duration in seconds, or one size."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def statistics(self) -> dict[str, int | float]:
        """The histogram as counters; nothing while nothing was counted."""
        reached = list(accumulate(self._counts))
        if not reached[-1]:
            return {}
        return {
            **dict(zip(self._keys, reached, strict=True)),
            f"{self._name}_sum": self._sum,
            f"{self._name}_count": reached[-1],
        }


def quantile(values: Mapping[str, float], name: str, share: float) -> float | None:
    """A duration that ``share`` of those in a flattened histogram did not exceed.

    The upper bound of the bucket it lies in; ``None`` when there is no such histogram.
    """
    total = values.get(f"{name}_count", 0)
    if not total:
        return None
    for label, bound in zip(_labels(BOUNDS), (*BOUNDS, math.inf), strict=True):
        if values.get(f"{name}_bucket:{label}", 0) >= share * total:
            return bound
    return math.inf
