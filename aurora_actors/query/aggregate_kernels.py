"""Exact sums, extremes and squares of whole Arrow arrays.

The only modules that use pyarrow for aggregates are this one and ``aggregate_columns``;
executors import them with the first aggregate over columns.

Floats are summed without rounding by *extraction* (S. M. Rump, T. Ogita, S. Oishi,
Accurate Floating-Point Summation, 2008): adding and subtracting a large power of two
cuts all values at one bit; the upper parts add up exactly in any order, and the lower
parts are at least 2**30 times smaller. Two or three rounds leave nothing. So whole
arrays, and whole groups of them, are summed by Arrow's plain kernels, and the result is
that of :class:`~aurora_actors.query.aggregate_exact.ExactSum`.
"""

from __future__ import annotations

from math import frexp, ldexp
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from aurora_actors.query.aggregate_exact import LARGEST_FLOAT, SPLITTER

__all__ = [
    "Array",
    "bounds",
    "extracted",
    "float_squares",
    "integer_halves",
    "integer_squares",
    "joined",
    "sums_fit",
]

Array: TypeAlias = Any

_HALF: Final = 32
_LOW: Final = pa.scalar((1 << _HALF) - 1, pa.int64())
_SHIFT: Final = pa.scalar(_HALF, pa.int64())
_LIMIT: Final = 1 << 63
_SQUARE: Final = (1 << 31) - 1
_SIGN: Final = -(1 << 63)
# Of what is below LARGEST_FLOAT no square, rounded, comes near this.
_LARGEST_SQUARE: Final = 2.0**990


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


def integer_squares(values: Array, low: int, high: int) -> Array | None:
    """The squares; ``None`` where they do not fit."""
    if max(-low, high) > _SQUARE:
        return None
    return pc.multiply(values, values)


def extracted(values: Array, largest: float) -> list[Array] | None:
    """Arrays whose sums are exact, and add up to the sum of the floats in ``values``.

    ``None`` for values that are too large; ``largest`` is the largest size of one.
    """
    return _extracted(values, largest, LARGEST_FLOAT)


def _extracted(values: Array, largest: float, limit: float) -> list[Array] | None:
    if largest >= limit:
        return None
    bits = (len(values) + 2).bit_length()
    parts: list[Array] = []
    while largest:
        cut = pa.scalar(ldexp(1.0, frexp(largest)[1] + bits), pa.float64())
        upper = pc.subtract(pc.add(values, cut), cut)
        parts.append(upper)
        values = pc.subtract(values, upper)
        largest = _largest(values)
    return parts


def _largest(values: Array) -> float:
    low, high = _float_bounds(values)
    return 0.0 if low is None or high is None else max(-low, high)


def float_squares(values: Array, largest: float) -> list[Array] | None:
    """Like :func:`extracted`, for the squares of ``values``."""
    if largest >= LARGEST_FLOAT:
        return None
    scaled = pc.multiply(values, SPLITTER)
    upper = pc.subtract(scaled, pc.subtract(scaled, values))
    lower = pc.subtract(values, upper)
    twice = pc.multiply(pc.multiply(upper, 2.0), lower)
    parts: list[Array] = []
    for squares in (pc.multiply(upper, upper), twice, pc.multiply(lower, lower)):
        parts += _extracted(squares, _largest(squares), _LARGEST_SQUARE) or []
    return parts
