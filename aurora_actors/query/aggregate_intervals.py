"""Intervals of time as group keys: the beginning of the interval a moment is in.

Intervals are counted from 1970-01-01T00:00Z, those of whole weeks from a Monday, so
that ``"1d"`` gives days in UTC and ``"1w"`` ISO weeks. A Date is the midnight it begins
with, in UTC. What is neither has no interval: null. Pure; used wherever queries run.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final

from aurora_actors.errors import InvalidFilterError

__all__ = ["DAY_S", "bucket_of", "date_of", "interval_seconds", "moment_of", "origin_s"]

DAY_S: Final = 86_400
_WEEK_S: Final = 7 * DAY_S
_MONDAY_S: Final = 4 * DAY_S
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_MICROSECOND: Final = timedelta(microseconds=1)
_FIRST: Final = datetime.min.replace(tzinfo=UTC)

_INTERVAL: Final = re.compile(r"([1-9][0-9]{0,6})([smhdw])\Z")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": DAY_S, "w": _WEEK_S}


def interval_seconds(text: str) -> int:
    """A span of time such as ``"15m"``, in seconds.

    Raises:
        InvalidFilterError: it is none.
    """
    match = _INTERVAL.match(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidFilterError(
            f'{text!r} is no interval: write a number and s, m, h, d or w, as in "15m"'
        )
    return int(match[1]) * _SECONDS[match[2]]


def origin_s(interval_s: int) -> int:
    """A second, counted from 1970, at which an interval begins."""
    return 0 if interval_s % _WEEK_S else _MONDAY_S


@lru_cache(maxsize=8192)
def moment_of(micros: int) -> datetime:
    """The moment so many microseconds after 1970 began; not before the year 1."""
    try:
        return _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return _FIRST


def date_of(days: int) -> date:
    """The date so many days after 1970-01-01; not before the year 1."""
    return date.fromordinal(max(1, days + _EPOCH_DAY))


def bucket_of(value: object, interval_s: int) -> object:
    """The beginning of the interval that a moment is in; null for anything else."""
    origin = origin_s(interval_s)
    if isinstance(value, datetime):
        micros = (value - _EPOCH) // _MICROSECOND
        step, start = interval_s * 1_000_000, origin * 1_000_000
        return moment_of(start + (micros - start) // step * step)
    if type(value) is date and not interval_s % DAY_S:
        days = value.toordinal() - _EPOCH_DAY
        step, start = interval_s // DAY_S, origin // DAY_S
        return date_of(start + (days - start) // step * step)
    return None
