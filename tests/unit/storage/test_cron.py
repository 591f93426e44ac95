"""Cron expressions, compared with a walk along the clock on the wall."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings, strategies as st

from aurora_actors.errors import ValidationError
from aurora_actors.storage.jobs.cron import Cron, zone_named

START = datetime(2025, 1, 1, tzinfo=UTC)
END = START + timedelta(days=1_000)
STEP = timedelta(minutes=15)

Fits = Callable[[datetime], bool]

# An expression, whether it is one of fixed times, and what it means.
EXPRESSIONS: list[tuple[str, bool, Fits]] = [
    ("0 3 * * *", True, lambda t: (t.hour, t.minute) == (3, 0)),
    ("30 2 * * *", True, lambda t: (t.hour, t.minute) == (2, 30)),
    ("15 1,2 * * *", True, lambda t: t.hour in {1, 2} and t.minute == 15),
    ("0 0 * * MON", True, lambda t: (t.isoweekday(), t.hour, t.minute) == (1, 0, 0)),
    ("15 0 1 * *", True, lambda t: (t.day, t.hour, t.minute) == (1, 0, 15)),
    ("*/30 1-2 * * *", False, lambda t: t.hour in {1, 2} and t.minute % 30 == 0),
    ("45 */12 * * *", False, lambda t: t.hour % 12 == 0 and t.minute == 45),
]
DENSE: list[tuple[str, bool, Fits]] = [
    ("0 * * * *", False, lambda t: t.minute == 0),
    ("*/15 * * * *", False, lambda t: t.minute % 15 == 0),
    ("0,15,30,45 0-3 * * *", True, lambda t: t.hour <= 3 and t.minute % 15 == 0),
]
# Clocks that change by half an hour; by an hour, at midnight, in the south, never.
ZONES = ["Australia/Lord_Howe"]
MORE_ZONES = [
    "America/New_York",
    "Africa/Cairo",
    "Europe/Berlin",
    "America/Santiago",
    "Asia/Kolkata",
    "Pacific/Chatham",
]


def walk(zone: ZoneInfo) -> list[tuple[datetime, datetime]]:
    """Moments and what the clock on the wall shows."""
    count = (END - START) // STEP
    moments = [START + number * STEP for number in range(count + 1)]
    return [(each, each.astimezone(zone).replace(tzinfo=None)) for each in moments]


def expected(
    walked: list[tuple[datetime, datetime]], fits: Fits, *, is_fixed: bool
) -> list[datetime]:
    """What Debian's cron would do; ticks after the first moment."""
    ticks = []
    furthest = walked[0][1]
    for moment, wall in walked[1:]:
        if not is_fixed:
            due = fits(wall)
        else:
            due = False
            while furthest < wall:  # new on the wall; more than a step after a gap
                furthest += STEP
                due = due or fits(furthest)
        if due:
            ticks.append(moment)
    return ticks


def counted(cron: Cron) -> list[datetime]:
    found, moment = [], START
    while (tick := cron.after(moment)) is not None and tick <= END:
        found.append(tick)
        moment = tick
    return found


def compare(names: list[str], expressions: list[tuple[str, bool, Fits]]) -> None:
    for name in names:
        zone = ZoneInfo(name)
        walked = walk(zone)
        for expression, is_fixed, fits in expressions:
            ticks = counted(Cron(expression, zone))
            assert ticks == expected(walked, fits, is_fixed=is_fixed), (
                name,
                expression,
            )


def test_a_thousand_days_of_changing_clocks_have_exactly_the_ticks_expected() -> None:
    compare(ZONES, EXPRESSIONS)


@pytest.mark.slow
def test_a_thousand_days_in_more_time_zones() -> None:
    compare(MORE_ZONES, EXPRESSIONS)
    compare(ZONES, DENSE)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([*ZONES, *MORE_ZONES]),
    st.sampled_from([expression for expression, _, _ in EXPRESSIONS]),
    st.integers(0, int((END - START).total_seconds() * 1_000_000)),
    st.timedeltas(timedelta(microseconds=1), timedelta(days=3)),
)
def test_ticks_do_not_depend_on_where_counting_begins(zone, expression, start, later):
    cron = Cron(expression, ZoneInfo(zone))
    first = START + timedelta(microseconds=start)
    tick = cron.after(first)
    assert tick > first
    middle = first + later
    if middle < tick:
        assert cron.after(middle) == tick
    else:
        assert cron.after(tick - timedelta(microseconds=1)) == tick


def after(expression: str, zone: str, moment: str) -> str:
    cron = Cron(expression, ZoneInfo(zone))
    tick = cron.after(datetime.fromisoformat(moment))
    return tick.astimezone(ZoneInfo(zone)).isoformat()


def test_a_time_that_is_left_out_in_spring_runs_right_after_the_change() -> None:
    zone, moment = "America/New_York", "2026-03-07T12:00:00Z"
    assert after("30 2 * * *", zone, moment) == "2026-03-08T03:00:00-04:00"
    assert after("30 2 * * *", zone, "2026-03-08T07:00:00Z").startswith("2026-03-09")


def test_a_time_that_comes_twice_in_autumn_runs_once() -> None:
    zone = "America/New_York"
    once = after("30 1 * * *", zone, "2026-11-01T00:00:00-04:00")
    assert once == "2026-11-01T01:30:00-04:00"
    for moment in (once, "2026-11-01T01:10:00-05:00", "2026-11-01T01:40:00-05:00"):
        assert after("30 1 * * *", zone, moment) == "2026-11-02T01:30:00-05:00"


def test_a_wildcard_runs_both_times_in_autumn_and_not_in_the_gap() -> None:
    zone = "Europe/Berlin"
    ticks, moment = [], "2026-10-25T01:50:00+02:00"
    for _ in range(5):
        moment = after("*/30 2 * * *", zone, moment)
        ticks.append(moment[5:])
    assert ticks == [
        "10-25T02:00:00+02:00",
        "10-25T02:30:00+02:00",
        "10-25T02:00:00+01:00",
        "10-25T02:30:00+01:00",
        "10-26T02:00:00+01:00",
    ]
    assert after("*/30 2 * * *", zone, "2026-03-29T00:00:00Z")[:10] == "2026-03-30"


@pytest.mark.parametrize(
    ("expression", "moment"),
    [
        ("@daily", "2026-01-02T00:00:00+00:00"),
        ("@Hourly", "2026-01-01T13:00:00+00:00"),
        ("@weekly", "2026-01-04T00:00:00+00:00"),
        ("@yearly", "2027-01-01T00:00:00+00:00"),
        ("*/10 * * * * *", "2026-01-01T12:00:10+00:00"),
        ("0 12 L * *", "2026-01-31T12:00:00+00:00"),
        ("0 12 29 2 *", "2028-02-29T12:00:00+00:00"),
        ("0 9 * * FRI#2", "2026-01-09T09:00:00+00:00"),
    ],
)
def test_what_an_expression_may_say(expression: str, moment: str) -> None:
    assert after(expression, "UTC", "2026-01-01T12:00:00Z") == moment


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "* * * *",
        "* * * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "a b c d e",
        "*/0 * * * *",
        "5-1 * * * *",
        "0 0 30 2 *",
        "0 0 31 4,6,9,11 *",
        "* * * * MON#6",
        "@reboot",
        "1,2, * * * *",
        "*" * 300,
        "\u0661 * * * *",
    ],
)
def test_what_is_no_expression_or_never_due_is_refused(expression: str) -> None:
    with pytest.raises(ValidationError, match="cron expression") as caught:
        Cron(expression, ZoneInfo("UTC"))
    assert caught.value.context["path"] == "cron"


@settings(max_examples=150, deadline=None)
@given(st.text("0123456789*/,-#L W@MONA", max_size=24))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    try:
        cron = Cron(text, ZoneInfo("Europe/Berlin"))
    except ValidationError:
        return
    tick = cron.after(START)
    assert tick is None or tick > START


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "UTC\0", "/etc"])
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="no time zone") as caught:
        zone_named(name)
    assert caught.value.context["path"] == "time_zone"
