"""Executors are killed while they answer: the right answer, or one retriable error."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from support import first_seed, no_process_left

from aurora_actors import (
    Aurora,
    Avg,
    Count,
    FieldDefinition as F,
    FieldType as T,
    Sum,
    UnavailableError,
    field,
)

pytestmark = [pytest.mark.processes, pytest.mark.faults]

COUNT = 6000
FIELDS = {
    "role": F(T.STRING, indexed=True),
    "age": F(T.INT, indexed=True),
    "score": F(T.FLOAT),
    "extra": F(T.ANY),
}
Ask = Callable[[], Awaitable[object]]


def person(number: int) -> dict[str, object]:
    return {
        "id": f"k{number:05}",
        "role": f"r{number % 8}",
        "age": number % 90,
        "score": number % 1000 / 4,
        "extra": {"n": number % 13},
    }


def questions(db: Aurora) -> list[Ask]:
    """Ways through indexes, columns and documents, short and long results."""
    people = db.query("people")
    scanned = people.filter(field("extra.n") == 5)

    async def ids() -> object:
        return [each.id for each in await scanned.collect()]

    async def sorted_ids() -> object:
        ordered = people.filter(field("score") > 200).order_by("score").order_by("age")
        return [each.id for each in await ordered.select("age").collect()]

    async def streamed() -> object:
        return [each.id async for each in people.stream()]

    async def grouped() -> object:
        groups = await people.group_by("role").aggregate(n=Count(), a=Avg("score"))
        return [(group.key, group["n"], group["a"]) for group in groups]

    async def paged() -> object:
        page = await people.filter(field("extra.n") > 3).order_by("score").page(20)
        return [each.id for each in page.nodes]

    async def text() -> object:
        result = await db.execute(
            'query { people(where: {role: {eq: "r3"}, score: {gt: 100}}) { id } }'
        )
        return [each.id for each in result.documents]

    return [
        ids,
        sorted_ids,
        streamed,
        grouped,
        paged,
        text,
        scanned.count,
        lambda: people.filter(field("score") >= 100).aggregate(s=Sum("age")),
        lambda: people.distinct("age"),
    ]


async def ask_on(
    ask: Ask, right: object, outcomes: dict[str, int], limiter: trio.CapacityLimiter
) -> None:
    """Ask again and again; every answer is right, every error may be tried again."""
    while True:
        async with limiter:
            try:
                assert await ask() == right
            except UnavailableError as error:
                outcomes["errors" if error.retryable else "final errors"] += 1
            else:
                outcomes["answers"] += 1


async def kill_some(
    db: Aurora, kills: int, rng: random.Random, outcomes: dict[str, int]
) -> None:
    """Kill executors in the middle of things, each time some have been answered."""
    for _ in range(kills):
        with trio.fail_after(60):
            pid = await running_pid(db, f"query_executor-{rng.randrange(2)}")
            enough = outcomes["answers"] + 3
            while outcomes["answers"] < enough:
                await trio.sleep(0.005)
        await trio.sleep(rng.random() * 0.03)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def running_pid(db: Aurora, name: str) -> int:
    while True:
        for actor in (await db.status()).actors:
            if actor.name == name and actor.state == "ready" and actor.pid:
                return actor.pid
        await trio.sleep(0.005)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_executors_give_no_wrong_answer(tmp_path: Path, kills: int):
    rng = random.Random(first_seed())
    outcomes = {"answers": 0, "errors": 0, "final errors": 0}

    async def main() -> None:
        options = {"query_executors": 2, "max_restarts": 1000}
        async with Aurora.open(tmp_path / "k.db", **options) as db:
            await db.new_collection("people", FIELDS)
            await db.insert_many("people", map(person, range(COUNT)))
            await db.wait_indexed(timeout=60)
            asks = questions(db)
            right = [await ask() for ask in asks]
            limiter = trio.CapacityLimiter(4)
            async with trio.open_nursery() as nursery:
                for ask, answer in zip(asks, right, strict=True):
                    nursery.start_soon(ask_on, ask, answer, outcomes, limiter)
                await kill_some(db, kills, rng, outcomes)
                nursery.cancel_scope.cancel()
            # All of it is answered once nobody is killed any more.
            assert [await ask() for ask in asks] == right

    trio.run(main)
    assert outcomes["answers"] >= 3 * kills
    assert not outcomes["final errors"]
    # A question has one error at most for each kill.
    assert outcomes["errors"] <= 9 * kills
    no_process_left(tmp_path / "k.db")
