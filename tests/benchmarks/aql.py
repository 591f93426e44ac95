"""What AQL costs: the front end, the first time and from its cache, and small queries
against the same ones in the fluent API, taken in turns."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio
from limits import Limits
from report import Report, micro, percentile

from aurora_actors import Aurora, FieldDefinition, FieldType
from aurora_actors.aql.cache import CheckedTexts
from aurora_actors.aql.parser import parse
from aurora_actors.aql.validation import validate
from aurora_actors.schema.types import CollectionDefinition

__all__ = ["aql"]

USERS = {
    "username": FieldDefinition(FieldType.STRING, unique=True),
    "email": FieldDefinition(FieldType.STRING),
    "age": FieldDefinition(FieldType.INT, indexed=True),
    "role": FieldDefinition(FieldType.STRING),
    "active": FieldDefinition(FieldType.BOOL),
}
TEXT = """
query {
  users(where: {and: [{role: {eq: "admin"}}, {active: {eq: true}}, {age: {gte: 18}}]},
        orderBy: {age: DESC}, limit: 20, offset: 0) { id username email age }
}
"""
ROUNDS = 400
Ask = Callable[[], Awaitable[object]]


def aql(directory: Path, _limits: Limits, report: Report) -> None:
    """The front end, then queries of one row."""
    _front_end(report)
    trio.run(_small_queries, directory / "aql", report)


def _timed(work: Callable[[int], object]) -> float:
    samples = []
    for number in range(ROUNDS):
        start = time.perf_counter()
        work(number)
        samples.append(time.perf_counter() - start)
    return percentile(samples, 0.5)


def _front_end(report: Report) -> None:
    known = {"users": CollectionDefinition("users", USERS)}
    texts = [TEXT.replace("20", str(20 + n)) for n in range(ROUNDS)]
    parsed = _timed(lambda n: parse(texts[n]))
    checked = _timed(lambda n: validate(parse(texts[n]), known, text=texts[n]))
    cache = CheckedTexts()
    cache.get(TEXT, 1, known)
    cached = _timed(lambda _: cache.get(TEXT, 1, known))
    report.row("AQL: parse", micro(parsed))
    report.row("AQL: parse and validate", micro(checked))
    report.row("AQL: the same, cached", micro(cached), f"1/{checked / cached:.0f}")


async def _small_queries(path: Path, report: Report) -> None:
    async with Aurora.open(path) as db:
        await db.new_collection("users", USERS)
        people = (
            {"username": f"u{n}", "email": f"u{n}@x.io", "age": n % 90, "role": "r"}
            for n in range(2_000)
        )
        ids = await db.insert_many("users", people)
        await db.wait_indexed(timeout=60)
        users: Any = db.query("users")
        by_name = "query ($n: String!) { users(where: {username: {eq: $n}}) { * } }"
        by_id = '{ users(id: "%s") { * } }'.replace("%s", ids[7])
        scanned = '{ users(where: {email: "u1500@x.io"}, limit: 1) { username } }'
        pairs: list[tuple[str, Ask, Ask]] = [
            (
                "by a unique field, with a variable",
                lambda: db.execute(by_name, {"n": "u7"}),
                users.filter(lambda f: f.eq("username", "u7")).collect,
            ),
            (
                "by the id",
                lambda: db.execute(by_id),
                users.filter(lambda f: f.eq("id", ids[7])).collect,
            ),
            (
                "one row of a scan, in an executor",
                lambda: db.execute(scanned),
                users.filter(lambda f: f.eq("email", "u1500@x.io"))
                .limit(1)
                .select("username")
                .collect,
            ),
        ]
        for title, ask, fluent in pairs:
            ours, theirs = await _in_turns(ask, fluent)
            ratio = f"{ours / theirs:.2f} x the fluent query"
            report.row(f"AQL: {title}", micro(ours), ratio)


async def _in_turns(one: Ask, other: Ask) -> tuple[float, float]:
    """The middle times of two calls, taken in turns."""
    samples: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS):
        for ask, taken in zip((one, other), samples, strict=True):
            start = time.perf_counter()
            await ask()
            if number > ROUNDS // 10:
                taken.append(time.perf_counter() - start)
    return percentile(samples[0], 0.5), percentile(samples[1], 0.5)
