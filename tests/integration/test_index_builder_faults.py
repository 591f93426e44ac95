"""Answers are exact while the index builder is paused, killed, or its files damaged."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest
from processes import kill_actor
from support import first_seed, no_process_left
from unit.query.library import meets, ordered

from aurora_actors import (
    Count,
    FieldDefinition as F,
    FieldType as T,
    Sum,
    blocking,
    field,
)
from aurora_actors.query.filters import Filter

pytestmark = [pytest.mark.processes, pytest.mark.faults]

FIELDS = {
    "role": F(T.STRING, indexed=True),
    "age": F(T.INT, indexed=True),
    "text": F(T.STRING, indexed=True),
    "tags": F(T.array(T.STRING), indexed=True),
    "score": F(T.FLOAT),
}
Model = dict[str, dict[str, object]]


def document(rng: random.Random) -> dict[str, object]:
    """Few values, nulls among them, and texts too long for a key."""
    return {
        "role": rng.choice(["a", "b", "c", None]),
        "age": rng.choice([None, *range(20)]),
        "text": rng.choice(["x", "y"]) * rng.choice([1, 600, 601]),
        "tags": rng.sample(["p", "q", "r", "s"], rng.randrange(3)),
        "score": rng.randrange(100) / 4,
    }


def condition(rng: random.Random) -> Filter:
    some = [
        field("role") == rng.choice(["a", "b", None]),
        field("age") >= rng.randrange(20),
        field("age").between(3, rng.randrange(3, 20)),
        field("text").starts_with("x" * rng.choice([1, 599, 601])),
        field("text") == "y" * rng.choice([1, 600]),
        field("tags").contains(rng.choice(["p", "q"])),
        field("score") < rng.randrange(25),
        field("role").is_not_null(),
    ]
    left, right = rng.sample(some, 2)
    return rng.choice([left, left & right, left | right, ~left])


def change(db: blocking.Aurora, model: Model, rng: random.Random, number: int) -> None:
    """Insert some documents, change one and remove one."""
    new = {f"{number:04}-{n}": document(rng) for n in range(rng.randrange(1, 30))}
    db.insert_many("things", [{"id": name, **fields} for name, fields in new.items()])
    model.update(new)
    one, other = rng.sample(sorted(model), 2)
    model[one] = {**model[one], **document(rng)}
    db.update_document("things", one, model[one])
    db.delete_document("things", other)
    del model[other]


def ask(db: blocking.Aurora, model: Model, rng: random.Random) -> None:
    """One question in several forms, against the model."""
    chosen = condition(rng)
    found = {
        name: fields
        for name, fields in model.items()
        if meets(chosen.predicate, fields, name)
    }
    query = db.query("things").filter(chosen)
    assert query.count() == len(found), chosen
    assert query.exists() == bool(found), chosen
    assert {each.id: each.data for each in query.collect()} == found, chosen
    # Rows are in the order of insertion, and so are the model's.
    skip, most = rng.randrange(4), rng.randrange(1, 9)
    part = list(found)[skip : skip + most]
    assert [e.id for e in query.offset(skip).limit(most).collect()] == part, chosen
    assert [e.id for e in query.select("age").limit(most).stream()] == [*found][:most]
    keys = rng.choice([["age"], ["-age", "role"], ["-score", "text"], ["-text"]])
    for key in keys:
        query = query.order_by(key.removeprefix("-"), not key.startswith("-"))
    expected = ordered(found, keys)
    assert [each.id for each in query.limit(7).collect()] == expected[:7], chosen
    page = query.page(first=5)
    rest = query.page(first=5000, after=page.page_info.end_cursor) if page else []
    assert [each.id for each in [*page, *rest]] == expected, (chosen, keys)
    sums = query.aggregate(n=Count("age"), total=Sum("age"))
    ages = [each["age"] for each in found.values() if isinstance(each["age"], int)]
    assert sums == {"n": len(ages), "total": sum(ages)}, chosen


@pytest.mark.timeout(900)
@pytest.mark.parametrize("rounds", [6, pytest.param(100, marks=pytest.mark.slow)])
def test_answers_follow_a_model_whatever_the_builder_does(tmp_path: Path, rounds: int):
    rng = random.Random(first_seed())
    path = tmp_path / "f.db"
    model: Model = {}
    options = {"query_executors": 1, "max_restarts": 1000}
    with blocking.open(path, **options) as db:
        db.new_collection("things", FIELDS)
        first = {f"first{n:04}": document(rng) for n in range(600)}
        db.insert_many("things", [{"id": name, **each} for name, each in first.items()])
        model.update(first)
        for number in range(rounds):
            match number % 4:
                case 0:
                    kill_actor(db, "index_builder", signal.SIGSTOP)
                case 1:
                    # One that is stopped ends, too.
                    kill_actor(db, "index_builder")
                case 2:
                    db.wait_indexed(timeout=60)
            change(db, model, rng, number)
            for _ in range(3):
                ask(db, model, rng)
        kill_actor(db, "index_builder", signal.SIGCONT)
        db.wait_indexed(timeout=60)
        ask(db, model, rng)
    no_process_left(path)


@pytest.mark.parametrize(
    "damage",
    [
        "head",
        "columns",
        pytest.param("cut", marks=pytest.mark.slow),
        pytest.param("gone", marks=pytest.mark.slow),
    ],
)
def test_damaged_derived_data_is_built_anew(tmp_path: Path, damage: str):
    path = tmp_path / "d.db"
    people = [{"role": f"r{n % 7}", "age": n % 50} for n in range(3000)]
    with blocking.open(path, query_executors=1) as db:
        db.new_collection("things", {"role": FIELDS["role"], "age": F(T.INT)})
        db.insert_many("things", people)
        db.wait_indexed(timeout=60)
    no_process_left(path)
    index = path / "index.mdb"
    match damage:
        case "head":
            with index.open("r+b") as file:
                file.write(random.Random(first_seed()).randbytes(8192))
        case "cut":
            os.truncate(index, index.stat().st_size // 2)
        case "gone":
            index.unlink()
        case _:
            files = list((path / "columns").glob("*.arrow"))
            assert files
            for each in files:
                each.write_bytes(each.read_bytes()[:100])
    with blocking.open(path, query_executors=1) as db:
        query = db.query("things")
        for _ in range(2):
            assert query.filter(field("role") == "r3").count() == 429
            assert query.filter(field("age") == 3).count() == 60
            assert query.aggregate(total=Sum("age")) == {"total": 73_500}
            db.wait_indexed(timeout=60)
        plan = query.filter(field("role") == "r3").explain()
        assert (plan.access, plan.index_field) == ("index", "role")
    no_process_left(path)
