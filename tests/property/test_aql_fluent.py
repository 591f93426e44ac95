"""AQL and the fluent API are two ways to say one thing: the same random query, asked in
both, of real flights, has the same answer. Values come written out or as variables."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from flights import FLIGHTS, Flight, all_flights, some_flights
from support import first_seed, no_process_left

from aurora_actors import (
    Avg,
    Count,
    CountDistinct,
    Max,
    Min,
    QueryResult,
    StdDev,
    Sum,
    blocking,
    field,
)
from aurora_actors.query.filters import Filter

pytestmark = pytest.mark.processes

TEXTS = {
    "carrier": ["UA", "AA", "B6", "OO", "X"],
    "origin": ["EWR", "JFK", "LGA"],
    "dest": ["IAH", "MIA", "LEX", "SEA"],
    "tailnum": ["N14228", "N", "N3"],
}
NUMBERS = {
    "month": (0, 13),
    "dep_delay": (-20, 200),
    "distance": (80, 3000),
    "hour": (0, 24),
    "air_time": (20, 400),
}
FIELDS = ["id", *TEXTS, *NUMBERS, "time_hour", "speed"]
START = datetime(2013, 1, 1, tzinfo=UTC)


class Both(NamedTuple):
    """One condition in both ways."""

    text: str
    filter: Filter


class Asker:
    """Makes random queries.

    Attributes:
        variables: What the texts made so far use.
        most: The limit of documents that are not limited otherwise.
    """

    def __init__(self, rng: random.Random, most: int | None) -> None:
        self.rng = rng
        self.most = most
        self.variables: dict[str, object] = {}

    def written(self, value: object) -> str:
        """A value as AQL, or as a variable."""
        if self.rng.random() < 0.2:
            name = f"v{len(self.variables)}"
            self.variables[name] = value
            return f"${name}"
        if isinstance(value, list):
            return f"[{' '.join(self.written(item) for item in value)}]"
        if isinstance(value, datetime):
            return f'"{value.isoformat()}"'
        return json.dumps(value)

    # -------------------------------------------------------------- conditions
    def value(self, name: str) -> Any:
        if name in TEXTS:
            return self.rng.choice(TEXTS[name])
        if name == "time_hour":
            return START + timedelta(hours=self.rng.randrange(8760))
        return self.rng.randrange(*NUMBERS[name])

    def term(self) -> Both:
        rng = self.rng
        name = rng.choice([*TEXTS, *NUMBERS, "time_hour"])
        one, two, three = (self.value(name) for _ in range(3))
        here = field(name)
        low, high = sorted([one, two])
        ways: list[tuple[str, object, Callable[[], Filter]]] = [
            ("eq", one, lambda: here == one),
            ("ne", one, lambda: here != one),
            ("in", [one, two, three], lambda: here.in_([one, two, three])),
            ("nin", [one, two], lambda: here.not_in([one, two])),
            ("isNull", True, here.is_null),
            ("isNotNull", True, here.is_not_null),
            ("isNull", False, here.is_not_null),
            ("gt", one, lambda: here > one),
            ("gte", one, lambda: here >= one),
            ("lt", one, lambda: here < one),
            ("lte", one, lambda: here <= one),
            ("between", [low, high], lambda: here.between(low, high)),
        ]
        if name in TEXTS:
            part = one[: rng.randint(1, len(one))]
            ways += [
                ("contains", part, lambda: here.contains(part)),
                ("startsWith", part, lambda: here.starts_with(part)),
                ("endsWith", part, lambda: here.ends_with(part)),
                ("matches", f"^{part}.", lambda: here.matches(f"^{part}.")),
            ]
        op, operand, make = rng.choice(ways)
        if op == "eq" and rng.random() < 0.5:
            return Both(f"{{{name}: {self.written(operand)}}}", make())
        return Both(f"{{{name}: {{{op}: {self.written(operand)}}}}}", make())

    def condition(self, depth: int = 2) -> Both:
        way = self.rng.randrange(6) if depth else 0
        if way < 3:
            return self.term()
        if way == 3:
            inner = self.condition(depth - 1)
            return Both(f"{{not: {inner.text}}}", ~inner.filter)
        parts = [self.condition(depth - 1) for _ in range(self.rng.randint(1, 3))]
        joined = parts[0].filter
        for part in parts[1:]:
            joined = joined & part.filter if way == 4 else joined | part.filter
        word = "and" if way == 4 else "or"
        return Both(f"{{{word}: [{' '.join(part.text for part in parts)}]}}", joined)

    # -------------------------------------------------------------- queries
    def documents(self, query: Any) -> tuple[str, Callable[[], object]]:
        """Documents: ordered, limited, with only some of their fields."""
        rng = self.rng
        where = self.condition()
        names = sorted({"id", *rng.sample(FIELDS[1:], rng.randint(1, 5))})
        keys = [(name, rng.random() < 0.5) for name in rng.sample(FIELDS, rng.randint(0, 2))]  # fmt: skip
        keys.append(("id", True))
        order = " ".join(f"{name}: {'ASC' if up else 'DESC'}" for name, up in dict(keys).items())  # fmt: skip
        limit, offset = rng.choice([self.most, 0, 1, 50]), rng.choice([0, 0, 3])
        window = "" if limit is None else f"limit: {self.written(limit)}"
        text = f"{{ flights(where: {where.text} orderBy: {{{order}}} {window} offset: {offset}) {{ {' '.join(names)} }} }}"  # fmt: skip
        asked = query.filter(where.filter).select(*[n for n in names if n != "id"])
        for name, up in dict(keys).items():
            asked = asked.order_by(name, ascending=up)
        if limit is not None:
            asked = asked.limit(limit)
        asked = asked.offset(offset)

        def rows() -> object:
            return [
                {name: each.id if name == "id" else each.get(name) for name in names}
                for each in asked.collect()
            ]

        return text, rows

    def totals(self, query: Any) -> tuple[str, Callable[[], object]]:
        """Aggregates of what matches."""
        where = self.condition()
        name = self.rng.choice([*NUMBERS, "speed"])
        text = f"""{{ flights(where: {where.text}) {{ aggregate {{ count  sum(field: {name})
            avg(field: "{name}")  min(field: {name})  max(field: {name})  stddev(field: {name})
            distinct(field: carrier) }} }} }}"""
        asked = query.filter(where.filter)

        def totals() -> object:
            found = asked.aggregate(
                count=Count(), sum=Sum(name), avg=Avg(name), min=Min(name),
                max=Max(name), stddev=StdDev(name), distinct=CountDistinct("carrier"),
            )  # fmt: skip
            return {"aggregate": found}

        return text, totals

    def groups(self, query: Any) -> tuple[str, Callable[[], object]]:
        """Groups with a count and a maximum."""
        where = self.condition()
        key = self.rng.choice([*TEXTS, "month", "hour"])
        text = f"""{{ flights(where: {where.text}) {{ groupBy(field: {key}) {{
            key  count  aggregate {{ max(field: distance) }} }} }} }}"""
        asked = query.filter(where.filter).group_by(key)

        def groups() -> object:
            return {
                "groupBy": [
                    {"key": g.key, "count": g["n"], "aggregate": {"max": g["m"]}}
                    for g in asked.aggregate(n=Count(), m=Max("distance"))
                ]
            }

        return text, groups

    def pages(self, query: Any) -> tuple[str, Callable[[], object]]:
        """The second page of three."""
        where = self.condition(1)
        key = self.rng.choice([*NUMBERS, "carrier"])
        first = query.filter(where.filter).order_by(key)
        page = first.page(first=3)
        after = page.page_info.end_cursor
        behind = "" if after is None else f'after: "{after}"'
        text = f"""{{ flights(where: {where.text} orderBy: {{{key}: ASC}} first: 3 {behind}) {{
            edges {{ node {{ id }} cursor }} totalCount }} }}"""

        def second() -> object:
            edges = first.page(first=3, after=after).edges
            return {
                "totalCount": first.count(),
                "edges": [
                    {"node": {"id": edge.node.id}, "cursor": edge.cursor}
                    for edge in edges
                ],
            }

        return text, second


def compare(directory: Path, flights: list[Flight], rounds: int, seed: int) -> None:
    rng = random.Random(seed)
    with blocking.open(directory / "db", request_timeout_s=600.0) as db:
        db.new_collection("flights", FLIGHTS)
        db.insert_many("flights", flights)
        query = db.query("flights")
        for number in range(rounds):
            if number == rounds // 2:
                db.wait_indexed(timeout=600)
            asker = Asker(rng, None if len(flights) < 10_000 else 2_000)
            way = rng.choice(
                [asker.documents, asker.documents, asker.totals, asker.groups, asker.pages]
            )  # fmt: skip
            text, ask = way(query)
            expected = ask()
            result = db.execute(text, asker.variables)
            assert isinstance(result, QueryResult)
            assert result.value == expected, (seed, number, text, asker.variables)
    no_process_left(directory / "db")


def test_aql_and_the_fluent_api_answer_alike(tmp_path):
    compare(tmp_path, some_flights(), 40, first_seed())


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_aql_and_the_fluent_api_answer_alike_about_all_flights(tmp_path):
    flights = all_flights()
    compare(tmp_path, flights, 300, random.randrange(2**32))
