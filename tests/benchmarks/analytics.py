"""Filters, aggregates and groups beside SQLite and DuckDB, in one run.

``python tests/benchmarks/analytics.py`` prints the tables of docs/benchmarks.md, and
with ``--write`` puts them there. The questions about flights are those of
``tests/flights.py``; the others are asked of made-up users, of which there are 100,000
and a million. All three databases answer the same question from one process, with all
results as Python values; SQLite has typed columns, the same indexes, and WAL. Each
question is asked *in turns*, each answer after those of the others, and *in a row*, a
block of answers by one database before the next. ``ROUNDS=n`` asks n times, or n times in
each of three blocks, of which the median counts.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import duckdb
from flights import FLIGHTS, INDEXED, QUESTIONS, all_flights, sqlite
from limits import sample_document
from workloads import USERS

from aurora_actors import Avg, Count, Max, Min, Sum, blocking, field

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- {} -->", "<!-- end of {} -->"
ROUNDS = int(os.environ.get("ROUNDS", "15"))
BLOCKS, BLOCK_S, LEAST = 3, 0.5, 3

Ask = Callable[[], object]
Columns = dict[str, str]

USER_COLUMNS: Columns = {
    "email": "text",
    "age": "integer",
    "role": "text",
    "active": "boolean",
    "score": "double",
}


class Times(NamedTuple):
    """Medians in milliseconds of one way of asking."""

    ours: float
    sqlite: float
    duckdb: float

    def cells(self) -> str:
        """A part of a table's line."""
        return (
            f"{self.ours:.1f} | {self.sqlite:.1f} | {self.duckdb:.1f} "
            f"| {self.sqlite / self.ours:.1f} | {self.duckdb / self.ours:.1f}"
        )


class Measured(NamedTuple):
    """A question asked in both ways."""

    title: str
    in_turns: Times
    in_a_row: Times

    def row(self) -> str:
        """A line of a table."""
        return f"| {self.title} | {self.in_turns.cells()} | {self.in_a_row.cells()} |"


HEAD = [
    "| question |"
    + "".join(
        f" {way}: ours, ms | SQLite | DuckDB | SQLite ÷ ours | DuckDB ÷ ours |"
        for way in ("in turns", "in a row")
    ),
    "| --- |" + " ---: |" * 10,
]


def measure(title: str, asks: Sequence[Ask], rounds: int = ROUNDS) -> Measured:
    """Ask all databases, in turns and then in a row."""
    for ask in asks:
        ask()
    turns = [in_turns(asks, rounds), in_a_row(asks, rounds)]
    return Measured(title, *(Times(*map(statistics.median, each)) for each in turns))


def in_turns(asks: Sequence[Ask], rounds: int) -> list[list[float]]:
    """Ask one after the other, so many times over: each comes after the others' work."""
    samples: list[list[float]] = [[] for _ in asks]
    for _ in range(rounds):
        for ask, own in zip(asks, samples, strict=True):
            own.append(timed(ask))
    return samples


def in_a_row(asks: Sequence[Ask], rounds: int) -> list[list[float]]:
    """Ask each so many times before the next one, in several blocks.

    A block of what takes long is shorter. The first answer of each is not counted.
    """
    samples: list[list[float]] = [[] for _ in asks]
    for _ in range(BLOCKS):
        for ask, own in zip(asks, samples, strict=True):
            ask()
            end = time.perf_counter() + BLOCK_S
            for number in range(rounds):
                if number >= LEAST and time.perf_counter() > end:
                    break
                own.append(timed(ask))
    return samples


def timed(ask: Ask) -> float:
    """The milliseconds of one answer."""
    started = time.perf_counter()
    ask()
    return (time.perf_counter() - started) * 1000


def rows_of(db: Any, sql: str) -> object:
    """All rows that SQL gives."""
    return db.execute(sql).fetchall()


# ------------------------------------------------------------------ databases
@contextmanager
def our_database(
    path: Path, name: str, definition: Any, documents: Iterable[Any], probe: str
) -> Iterator[tuple[blocking.Aurora, float, float]]:
    """A collection whose indexes have caught up; with the seconds both took."""
    with blocking.open(path) as db:
        db.new_collection(name, definition)
        started = time.perf_counter()
        db.insert_many(name, documents)
        inserted = time.perf_counter() - started
        while not has_followed(db, name, probe):
            time.sleep(0.1)
        followed = time.perf_counter() - started - inserted
        yield db, inserted, followed


def has_followed(db: blocking.Aurora, name: str, probe: str) -> bool:
    """Whether aggregates read columns alone."""
    plan = db.query(name).group_by(probe).explain(n=Count())
    names = [step.name for step in plan.steps]
    return plan.access == "column_scan" and "aggregate documents" not in names


def duck(rows: Iterable[dict[str, Any]], name: str, indexed: Iterable[str]) -> Any:
    """The same rows in DuckDB, in memory."""
    import pyarrow as pa

    db = duckdb.connect()
    db.register("given", pa.Table.from_pylist(list(rows)))
    db.execute(f"create table {name} as select * from given")
    for field_name in indexed:
        db.execute(f"create index {name}_{field_name} on {name} ({field_name})")
    return db


def in_utc(flight: dict[str, Any]) -> dict[str, Any]:
    """The same with a moment that DuckDB can give back without ``pytz``."""
    return {**flight, "time_hour": flight["time_hour"].replace(tzinfo=None)}


def user_table(path: Path, rows: Iterable[dict[str, Any]]) -> sqlite3.Connection:
    """Users in SQLite."""
    db = sqlite3.connect(path)
    db.execute("pragma journal_mode = wal")
    kinds = ", ".join(f"{name} {kind}" for name, kind in USER_COLUMNS.items())
    db.execute(f"create table users (id integer primary key, {kinds})")
    marks = ", ".join("?" * len(USER_COLUMNS))
    db.executemany(
        f"insert into users ({', '.join(USER_COLUMNS)}) values ({marks})",
        ([row[name] for name in USER_COLUMNS] for row in rows),
    )
    db.execute("create unique index users_email on users (email)")
    for name in ("age", "role"):
        db.execute(f"create index users_{name} on users ({name})")
    db.commit()
    db.execute("analyze")
    return db


# ------------------------------------------------------------------ workloads
def flights(directory: Path) -> list[str]:
    """Twenty questions about all flights."""
    rows = all_flights()
    lines = list(HEAD)
    with (
        closing(sqlite(directory / "flights.sqlite", rows)) as oracle,
        closing(duck(map(in_utc, rows), "flights", INDEXED)) as other,
        our_database(directory / "flights.db", "flights", FLIGHTS, rows, "tailnum") as (
            db,
            _,
            _,
        ),
    ):
        ours = db.query("flights")
        for question in QUESTIONS:
            sql = question.duckdb or question.sql
            times = measure(
                question.title,
                [
                    partial(question.ask, ours),
                    partial(rows_of, oracle, question.sql),
                    partial(rows_of, other, sql),
                ],
            )
            print(times.row(), flush=True)
            lines.append(times.row())
    return lines


def users(directory: Path, count: int) -> list[str]:
    """Counts, aggregates and groups over made-up users."""
    rows = [sample_document(number) for number in range(count)]
    lines = list(HEAD)
    with (
        closing(user_table(directory / f"{count}.sqlite", rows)) as oracle,
        closing(
            duck(
                ({name: row[name] for name in USER_COLUMNS} for row in rows),
                "users",
                ("age", "role"),
            )
        ) as other,
        our_database(directory / f"{count}.db", "users", USERS, rows, "role") as (
            db,
            inserted,
            followed,
        ),
    ):
        del rows
        ours = db.query("users")
        for title, ask, sql in user_questions(ours):
            times = measure(
                title,
                [ask, partial(rows_of, oracle, sql), partial(rows_of, other, sql)],
            )
            print(times.row(), flush=True)
            lines.append(times.row())
        lines += [
            "",
            f"Inserting them: {count / inserted:,.0f} documents/s acknowledged.",
            f"{followed / inserted:.1f} times as long later indexes had caught up.",
            "",
            *two_processes(directory / f"{count}.db"),
        ]
    return lines


def user_questions(users: Any) -> list[tuple[str, Ask, str]]:
    """The questions: title, ours, SQL."""
    both = (field("score") > 1000.0) & (field("active") == True)  # noqa: E712
    return [
        (
            "count, two unindexed fields (W7)",
            users.filter(both).count,
            "select count(*) from users where score > 1000 and active",
        ),
        (
            "sum, avg, min, max of floats (W8)",
            lambda: users.aggregate(
                s=Sum("score"), a=Avg("score"), low=Min("score"), high=Max("score")
            ),
            "select sum(score), avg(score), min(score), max(score) from users",
        ),
        (
            "sum, avg, min, max of ints (W8)",
            lambda: users.aggregate(
                s=Sum("age"), a=Avg("age"), low=Min("age"), high=Max("age")
            ),
            "select sum(age), avg(age), min(age), max(age) from users",
        ),
        (
            "by role: count, avg of floats (W9)",
            lambda: users.group_by("role").aggregate(n=Count(), a=Avg("score")),
            "select role, count(*), avg(score) from users group by role order by role",
        ),
        (
            "by role: count, avg of ints (W9)",
            lambda: users.group_by("role").aggregate(n=Count(), a=Avg("age")),
            "select role, count(*), avg(age) from users group by role order by role",
        ),
        (
            "filtered, by role: count, avg (W9)",
            lambda: (
                users.filter(both).group_by("role").aggregate(n=Count(), a=Avg("score"))
            ),
            (
                "select role, count(*), avg(score) from users "
                "where score > 1000 and active group by role order by role"
            ),
        ),
    ]


# ------------------------------------------------------------------ processes
_CLIENT = """
import sys, time
from aurora_actors import blocking, field
path, seconds = sys.argv[1], float(sys.argv[2])
with blocking.open(path) as db:
    users = db.query("users")
    both = users.filter((field("score") > 1000.0) & (field("active") == True))
    asks = {
        "W5": lambda n: users.filter(field("email") == f"user{n % 90000}@example.com").collect(),
        "W7": lambda n: both.count(),
    }
    ask = asks[sys.argv[3]]
    for number in range(50):
        ask(number)
    print("ready", flush=True)
    sys.stdin.readline()
    end = time.perf_counter() + seconds
    number = 0
    while time.perf_counter() < end:
        ask(number)
        number += 1
    print(number / seconds, flush=True)
"""


def two_processes(path: Path) -> list[str]:
    """How much more two client processes do than one (W17)."""
    lines = [
        "| client processes | one, queries/s | two, queries/s | ratio |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, title in (
        ("W5", "look-up by a unique field"),
        ("W7", "count, two unindexed fields"),
    ):
        one, two = clients(path, name, 1), clients(path, name, 2)
        lines.append(f"| {title} (W17) | {one:,.0f} | {two:,.0f} | {two / one:.2f} |")
        print(lines[-1], flush=True)
    return lines


def clients(path: Path, name: str, count: int, seconds: float = 3.0) -> float:
    """Queries per second of so many processes together."""
    command = [sys.executable, "-c", _CLIENT, str(path), str(seconds), name]
    running = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(count)
    ]
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return sum(float(process.communicate()[0]) for process in running)


# ------------------------------------------------------------------ the page
def put(page: str, name: str, lines: list[str]) -> str:
    """The page with a part of it replaced."""
    begin, end = BEGIN.format(name), END.format(name)
    before, _, rest = page.partition(begin)
    _, _, behind = rest.partition(end)
    return "\n".join([f"{before}{begin}", "", *lines, "", f"{end}{behind}"])


def machine() -> list[str]:
    """What it was measured on."""
    versions = f"SQLite {sqlite3.sqlite_version}, DuckDB {duckdb.__version__}"
    python = f"Python {platform.python_version()}"
    counted = f"medians of {ROUNDS} in turns, of up to {BLOCKS} × {ROUNDS} in a row"
    return [f"{os.cpu_count()} cores, {python}, {versions}; {counted}."]


def main() -> None:
    """Measure what is chosen, all by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="*", choices=["flights", "users", "million", []])
    parser.add_argument("--write", action="store_true", help="to docs/benchmarks.md")
    given = parser.parse_args()
    parts: dict[str, Callable[[Path], list[str]]] = {
        "flights": flights,
        "users": lambda directory: users(directory, 100_000),
        "million": lambda directory: users(directory, 1_000_000),
    }
    with tempfile.TemporaryDirectory(prefix="aurora-bench-") as name:
        for part in given.part or parts:
            lines = [*machine(), "", *parts[part](Path(name))]
            print("\n".join(lines))
            if given.write:
                PAGE.write_text(put(PAGE.read_text(), part, lines))


if __name__ == "__main__":
    main()
