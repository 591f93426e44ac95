"""Squares of whole Arrow arrays, for deviations.

Of the modules that compute aggregates only ``aggregate_columns`` and those it imports
use pyarrow; executors import them with the first aggregate over columns. How sums are
exact, ``indexing.sums`` says; what it makes is what
:class:`~aurora_actors.query.aggregate_exact.ExactSum` makes.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import pyarrow.compute as pc

from aurora_actors.indexing.sums import bounds, extracted, largest_size
from aurora_actors.query.aggregate_exact import LARGEST_FLOAT, SPLITTER

__all__ = ["Array", "float_squares", "integer_squares"]

Array: TypeAlias = Any

_SQUARE: Final = (1 << 31) - 1
# Of what is below LARGEST_FLOAT no square, rounded, comes near this.
_LARGEST_SQUARE: Final = 2.0**990


def integer_squares(values: Array, low: int, high: int) -> Array | None:
    """The squares; ``None`` where they do not fit."""
    if max(-low, high) > _SQUARE:
        return None
    return pc.multiply(values, values)


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
        largest = largest_size(*bounds(squares))
        parts += extracted(squares, largest, _LARGEST_SQUARE) or []
    return parts
