"""SQLite is the oracle: real flights, the same questions, the same answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from flights import FLIGHTS, QUESTIONS, Flight, all_flights, some_flights, sqlite
from support import no_process_left, wait_until

from aurora_actors import Count, Sum, blocking

pytestmark = pytest.mark.processes


def compare_with_sqlite(directory: Path, flights: list[Flight]) -> None:
    with (
        closing(sqlite(directory / "flights.sqlite", flights)) as oracle,
        blocking.open(directory / "db") as db,
    ):
        db.new_collection("flights", FLIGHTS)
        db.insert_many("flights", flights)
        ours = db.query("flights")
        for columns_only in (False, True):
            if columns_only:
                wait_until(
                    lambda: has_followed(db, len(flights)), "indexes follow", 120
                )
            for question in QUESTIONS:
                expected = oracle.execute(question.sql).fetchall()
                found = question.ask(ours)
                assert found, question.title
                width = len(found[0])
                expected = [row[:width] for row in expected]
                assert alike(found, expected), question.title
    no_process_left(directory / "db")


def has_followed(db: blocking.Aurora, count: int) -> bool:
    """Whether aggregates come from columns, and nothing is read from documents."""
    plan = db.query("flights").group_by("tailnum").explain(n=Count(), s=Sum("hour"))
    steps = [step.name for step in plan.steps]
    return plan.access == "column_scan" and "aggregate documents" not in steps


def alike(found: object, expected: object) -> bool:
    if isinstance(found, Sequence) and not isinstance(found, str):
        return (
            isinstance(expected, Sequence)
            and len(found) == len(expected)
            and all(map(alike, found, expected))
        )
    if isinstance(found, float) and isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9)
    return found == expected


def test_some_flights_are_answered_as_sqlite_does(tmp_path):
    compare_with_sqlite(tmp_path, some_flights())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_flights_are_answered_as_sqlite_does(tmp_path):
    flights = all_flights()
    assert len(flights) == 336_776
    compare_with_sqlite(tmp_path, flights)
