"""When a cron expression is due, in a time zone, across changes of its clocks.

Parsing and the order of ticks on a clock without time zone are ``cronsim``'s; what a
change of the clocks means is decided here, by the rules of Debian's cron:

- An expression of **fixed times** (neither minute nor hour begins with ``*``) runs once
  for each of its times. What falls into the hour that is left out when clocks go forward
  runs right after it, together; in the hour that comes twice it runs the first time.
- A **wildcard** expression (``*/15 * * * *``, ``0 * * * *``) follows the clock on the
  wall: what falls into the hour left out does not run, in the hour that comes twice it
  runs both times.

The next tick depends on nothing but the expression, the zone and the moment before, so
that ticks are the same however often somebody begins to count. Pure; any process.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from aurora_actors.errors import ValidationError

__all__ = ["Cron", "zone_named"]

_NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_LONGEST: Final = 256
_SECOND: Final = timedelta(seconds=1)
_LAST: Final = datetime(9990, 1, 1)  # noqa: DTZ001 - a time on a wall


@lru_cache(maxsize=256)
def zone_named(name: str) -> ZoneInfo:
    """The time zone called ``name``.

    Raises:
        ValidationError: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise ValidationError(
            f"there is no time zone {name[:80]!r}; it takes a name like 'Europe/Berlin'",
            path="time_zone",
        ) from exc


class Cron:
    """A cron expression in a time zone.

    Five fields (minute, hour, day of month, month, day of week), six with seconds in
    front, or a nickname like ``@daily``.

    Args:
        expression: The expression.
        zone: On whose clocks.

    Raises:
        ValidationError: it is none, or never due.
    """

    def __init__(self, expression: str, zone: ZoneInfo) -> None:
        self._zone = zone
        text = _NICKNAMES.get(expression.strip().lower(), expression)
        fields = text.split()
        if len(text) > _LONGEST or len(fields) not in {5, 6}:
            raise _refused(expression, "it has five fields, or six with seconds")
        self._text = " ".join(fields)
        minute, hour = fields[-5], fields[-4]
        self._is_fixed = not minute.startswith("*") and not hour.startswith("*")
        try:
            first = next(self._walls(datetime(2000, 1, 1)), None)  # noqa: DTZ001
        except (CronSimError, AssertionError, ValueError) as exc:
            raise _refused(expression, str(exc) or "it cannot be read") from exc
        if first is None:
            raise _refused(expression, "no date fits it")

    def after(self, moment: datetime) -> datetime | None:
        """The first tick after ``moment``, in UTC; ``None`` when there is none."""
        local = moment.astimezone(self._zone)
        wall = local.replace(tzinfo=None, fold=0)
        for tick in self._walls(wall):
            found = self._fixed(tick) if self._is_fixed else self._on_wall(tick, moment)
            if found is not None and found > moment:
                return found if self._is_fixed else self._repeated(local, found)
        return None

    def _walls(self, wall: datetime) -> Iterator[datetime]:
        """Ticks after ``wall`` on a clock that knows no time zone."""
        if wall < _LAST:
            yield from CronSim(self._text, wall)

    def _moment(self, wall: datetime, fold: int) -> datetime:
        return wall.replace(tzinfo=self._zone, fold=fold).astimezone(UTC)

    def _exists(self, wall: datetime) -> bool:
        there = self._moment(wall, 0).astimezone(self._zone)
        return there.replace(tzinfo=None, fold=0) == wall

    def _fixed(self, wall: datetime) -> datetime:
        """When a fixed time comes for the first time; a time left out, after the gap."""
        if self._exists(wall):
            return self._moment(wall, 0)
        # With fold=1 a time that is left out is read by the clock after the change,
        # which gives a moment before it; with fold=0 one after it.
        before, after = self._moment(wall, 1), self._moment(wall, 0)
        offset = before.astimezone(self._zone).utcoffset()
        while after - before > _SECOND:
            middle = before + ((after - before) // 2 // _SECOND) * _SECOND
            if middle.astimezone(self._zone).utcoffset() == offset:
                before = middle
            else:
                after = middle
        return after

    def _on_wall(self, wall: datetime, moment: datetime) -> datetime | None:
        """When the clock shows ``wall`` first after ``moment``."""
        if not self._exists(wall):
            return None
        shown = (self._moment(wall, 0), self._moment(wall, 1))
        return next((each for each in shown if each > moment), None)

    def _repeated(self, local: datetime, found: datetime) -> datetime:
        """In an hour that will come again: whether its second time is due earlier.

        ``found`` is the first tick whose time on the wall is later than ``local``'s.
        """
        wall = local.replace(tzinfo=None, fold=0)
        first, second = self._moment(wall, 0), self._moment(wall, 1)
        length = second - first
        if local.fold or length <= timedelta() or found <= second:
            return found
        moment = local.astimezone(UTC)
        for tick in self._walls(wall - length):
            again = self._on_wall(tick, moment)
            if again is not None and again > moment:
                return min(again, found)
        return found


def _refused(expression: str, why: str) -> ValidationError:
    return ValidationError(
        f"the cron expression {expression[:80]!r}: {why}", path="cron"
    )
