"""Sums without rounding: of integers, of floats, and of their squares.

A float is a whole number of units of 2**-1074, so a sum of floats has one exact value,
whatever the order of its terms. It is kept as a few floats that do not overlap (an
*expansion*: J. R. Shewchuk, Adaptive Precision Floating-Point Arithmetic, 1997), beside
a Python integer for all that is whole; only the result is rounded, once. So a sum does
not depend on how documents were found, in which order, or by how many processes. Pure;
used wherever queries run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import fsum, sqrt
from typing import Final

from aurora_actors.errors import LimitExceededError
from aurora_actors.indexing.segments import LARGEST_SUMMED

__all__ = ["LARGEST_FLOAT", "SPLITTER", "ExactSum", "Moments", "condensed"]

LARGEST_FLOAT: Final = LARGEST_SUMMED
"""Floats from here on are taken as the integers they are: squares do not overflow."""
SPLITTER: Final = 134_217_729.0
_EXACT: Final = 1 << 53
_MOST_PARTS: Final = 64


def condensed(values: Iterable[float]) -> list[float]:
    """A few floats with the same exact sum."""
    rest, parts = list(values), []
    while head := fsum(rest):
        parts.append(head)
        rest.append(-head)
    return parts


class ExactSum:
    """A sum of integers and floats.

    Attributes:
        count: How many numbers there are.
        whole: The sum of those that are integers, or as large as integers.
        parts: Floats that make up the rest.
        has_float: Whether a float was among them.
    """

    __slots__ = ("count", "has_float", "parts", "whole")

    def __init__(self) -> None:
        self.count = 0
        self.whole = 0
        self.parts: list[float] = []
        self.has_float = False

    def take(self, values: Iterable[object]) -> None:
        """Add the numbers among ``values``; a bool is none."""
        integers = []
        floats = []
        for value in values:
            kind = type(value)
            if kind is int:
                integers.append(value)
            elif kind is float:
                floats.append(value)
        self.count += len(integers) + len(floats)
        self.whole += sum(integers)  # type: ignore[arg-type]  # integers
        if floats:
            self._take_floats(floats)  # type: ignore[arg-type]  # floats

    def _take_floats(self, floats: list[float]) -> None:
        self.has_float = True
        if max(floats) >= LARGEST_FLOAT or min(floats) <= -LARGEST_FLOAT:
            self.whole += sum(int(v) for v in floats if abs(v) >= LARGEST_FLOAT)
            floats = [v for v in floats if abs(v) < LARGEST_FLOAT]
        self.parts = condensed([*self.parts, *floats])

    def absorb(self, count: int, whole: int, parts: Sequence[float] | None) -> None:
        """Add a sum that was made elsewhere; ``parts`` is ``None`` without floats."""
        self.count += count
        self.whole += whole
        if parts is not None and count:
            self.has_float = True
            self.parts += parts
            if len(self.parts) > _MOST_PARTS:
                self.parts = condensed(self.parts)

    def exact(self) -> Fraction:
        """The sum as it is."""
        return sum(map(Fraction, condensed(self.parts)), Fraction(self.whole))

    def total(self) -> int | float:
        """The sum: an integer if all are, else rounded to a float.

        Raises:
            LimitExceededError: no float is that large.
        """
        if not self.has_float:
            return self.whole
        if abs(self.whole) <= _EXACT:
            return fsum([*self.parts, self.whole]) + 0.0
        return _rounded(self.exact())

    def mean(self) -> float | None:
        """The average; ``None`` of nothing."""
        if not self.count:
            return None
        if not self.has_float:
            return self.whole / self.count
        try:
            # Of the rounded sum, which is the same however it was put together.
            return self.total() / self.count
        except LimitExceededError:
            return _rounded(self.exact() / self.count)


class Moments:
    """What a standard deviation is made of: the sums of numbers and of their squares."""

    __slots__ = ("squares", "sums")

    def __init__(self) -> None:
        self.sums = ExactSum()
        self.squares = ExactSum()

    def take(self, values: Iterable[object]) -> None:
        """Add the numbers among ``values``."""
        numbers = [v for v in values if type(v) is int or type(v) is float]
        self.sums.take(numbers)
        squares: list[object] = []
        for number in numbers:
            if type(number) is float and abs(number) < LARGEST_FLOAT:
                squares += _square(number)
            else:
                squares.append(int(number) ** 2)
        self.squares.take(squares)

    def deviation(self) -> float | None:
        """The sample standard deviation; ``None`` of fewer than two numbers.

        Raises:
            LimitExceededError: no float is that large.
        """
        count = self.sums.count
        if count < 2:
            return None
        if not self.sums.has_float:
            spread = count * self.squares.whole - self.sums.whole**2
            return sqrt(_rounded(Fraction(spread, count * (count - 1))))
        spread_f = count * self.squares.exact() - self.sums.exact() ** 2
        return sqrt(_rounded(max(spread_f, Fraction(0)) / (count * (count - 1))))


def _square(number: float) -> tuple[float, float, float]:
    """Three floats whose sum is the exact square (T. J. Dekker, 1971)."""
    scaled = number * SPLITTER
    high = scaled - (scaled - number)
    low = number - high
    return high * high, 2.0 * high * low, low * low


def _rounded(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        raise LimitExceededError(
            "the result of an aggregate is larger than any Float"
        ) from None
