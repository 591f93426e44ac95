"""Exact sums and bounds of whole Arrow arrays.

Used by the index builder, which keeps them of each segment, and by executors for what
is not kept. Knows pyarrow, so it is imported when ``indexing.arrow`` is.

Floats are summed without rounding by *extraction* (S. M. Rump, T. Ogita, S. Oishi,
Accurate Floating-Point Summation, 2008): adding and subtracting a large power of two
cuts all values at one bit; the upper parts add up exactly in any order, and the lower
parts are at least 2**30 times smaller. Two or three rounds leave nothing. So whole
arrays, and whole groups of them, are summed by Arrow's plain kernels, and the result is
the exact sum of the values, rounded once.
"""

from __future__ import annotations

from math import frexp, ldexp
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from aurora_actors.indexing.segments import LARGEST_SUMMED

__all__ = [
    "bounds",
    "extracted",
    "float_parts",
    "integer_halves",
    "integer_total",
    "joined",
    "largest_size",
    "sums_fit",
]

Array: TypeAlias = Any

_HALF: Final = 32
_LOW: Final = pa.scalar((1 << _HALF) - 1, pa.int64())
_SHIFT: Final = pa.scalar(_HALF, pa.int64())
_LIMIT: Final = 1 << 63
_SIGN: Final = -(1 << 63)
_MOST_PARTS: Final = 16


def bounds(values: Array) -> tuple[Any, Any]:
    """The least and the greatest value that is not null; ``None`` twice of none."""
    if pa.types.is_float64(values.type):
        return _float_bounds(values)
    found = pc.min_max(values)
    return found["min"].as_py(), found["max"].as_py()


def _float_bounds(values: Array) -> tuple[float | None, float | None]:
    # Arrow's own comparison of floats minds NaN, which no document has, and takes ten
    # times as long as that of integers. Bits of floats order as the floats do, but for
    # the negative ones, which order the other way round.
    found = pc.min_max(values.view(pa.int64()))
    low, high = found["min"].as_py(), found["max"].as_py()
    if low is None:
        return None, None
    if low < 0 <= high:
        low = pc.max(values.view(pa.uint64())).as_py() + 2 * _SIGN
    elif low < 0:
        low, high = high, low
    pair = pa.array([low, high], pa.int64()).view(pa.float64())
    return pair[0].as_py() + 0.0, pair[1].as_py() + 0.0


def sums_fit(low: int | None, high: int | None, count: int) -> bool:
    """Whether any sum of ``count`` integers between these is one of 64 bits."""
    if low is None or high is None:
        return True
    return max(-low, high) * count < _LIMIT


def integer_halves(values: Array) -> tuple[Array, Array]:
    """The upper and the lower 32 bits: whatever is summed of them fits."""
    return pc.shift_right(values, _SHIFT), pc.bit_wise_and(values, _LOW)


def joined(high: int | None, low: int | None) -> int:
    """A sum of integers, of the sums of their halves."""
    return ((high or 0) << _HALF) + (low or 0)


def integer_total(values: Array, low: int | None, high: int | None) -> int:
    """The sum of integers between these."""
    if sums_fit(low, high, len(values)):
        return pc.sum(values).as_py() or 0
    upper, lower = integer_halves(values)
    return joined(pc.sum(upper).as_py(), pc.sum(lower).as_py())


# ------------------------------------------------------------------ floats
def largest_size(low: float | None, high: float | None) -> float:
    """The largest size of a number between these."""
    return 0.0 if low is None or high is None else max(-low, high)


def extracted(
    values: Array, largest: float, limit: float = LARGEST_SUMMED
) -> list[Array] | None:
    """Arrays whose sums are exact, and add up to the sum of the floats in ``values``.

    Args:
        values: The floats.
        largest: The largest size of one.
        limit: Of values that reach it, there are none, and ``None`` is returned.
    """
    if largest >= limit:
        return None
    bits = (len(values) + 2).bit_length()
    parts: list[Array] = []
    while largest:
        cut = pa.scalar(ldexp(1.0, frexp(largest)[1] + bits), pa.float64())
        upper = pc.subtract(pc.add(values, cut), cut)
        parts.append(upper)
        values = pc.subtract(values, upper)
        largest = largest_size(*_float_bounds(values))
    return parts


def float_parts(
    values: Array, low: float | None, high: float | None
) -> tuple[float, ...] | None:
    """A few floats with the exact sum of floats between these; ``None`` if there are none."""
    arrays = extracted(values, largest_size(low, high))
    if arrays is None or len(arrays) > _MOST_PARTS:
        return None
    return tuple([pc.sum(part).as_py() for part in arrays])
