"""Indexes made and removed while the collection is written and asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from support import no_process_left

from aurora_actors import (
    Aurora,
    CollectionExistsError,
    FieldDefinition,
    FieldType,
    InvalidFilterError,
    UsageError,
    ValidationError,
    blocking,
    field,
)

pytestmark = pytest.mark.processes

F = FieldDefinition
FIELDS = {
    "role": F(FieldType.STRING),
    "age": F(FieldType.INT, indexed=True),
    "email": F(FieldType.STRING, unique=True),
    "tags": F(FieldType.array(FieldType.INT)),
    "address": F(FieldType.object({"city": F(FieldType.STRING)})),
}


def person(number: int) -> dict[str, object]:
    return {
        "role": f"r{number % 5}",
        "age": number % 90,
        "email": f"{number}@x.io",
        "tags": [number % 7],
        "address": {"city": f"c{number % 300}"},
    }


def test_an_index_is_made_used_listed_and_removed(tmp_path: Path):
    with blocking.open(tmp_path / "i.db", query_executors=1) as db:
        db.new_collection("people", FIELDS)
        db.insert_many("people", (person(n) for n in range(5000)))
        query = db.query("people").filter(
            (field("role") == "r3") & (field("age") >= 80)
        )
        ordered = query.order_by("age", ascending=False).limit(5)
        expected = sorted(each.id for each in query.collect())
        first = ordered.collect()
        assert db.create_index("people", "role", "age")
        assert sorted(each.id for each in query.collect()) == expected
        assert not db.create_index("people", "role", "age")
        assert db.create_index("people", "address.city")
        assert db.create_index("people", "tags")
        assert not db.create_index("people", "age")
        db.wait_indexed(timeout=60)
        found = {each.fields: each for each in db.list_indexes("people")}
        assert found.keys() == {
            ("email",),
            ("age",),
            ("role", "age"),
            ("address.city",),
            ("tags",),
        }
        assert all(each.is_ready for each in found.values())
        assert found["email",].kind == "unique"
        assert found["age",].is_declared
        assert not found["role", "age"].is_declared
        assert found["role", "age"].entries == 5000
        assert sorted(each.id for each in query.collect()) == expected
        plan = ordered.explain()
        assert (plan.access, plan.index_field) == ("index_order", "role, age")
        assert plan.rows_read <= 5
        assert ordered.collect() == first
        city = db.query("people").filter(field("address.city") == "c7")
        assert city.explain().index_field == "address.city"
        # Declaring the same again is nothing new; the indexes stay.
        assert not db.new_collection("people", FIELDS)
        with pytest.raises(CollectionExistsError):
            db.new_collection("people", {**FIELDS, "age": F(FieldType.INT)})
        assert db.drop_index("people", "role", "age")
        assert not db.drop_index("people", "role", "age")
        db.wait_indexed(timeout=60)
        assert ordered.collect() == first
        assert ordered.explain().index_field != "role, age"
        with pytest.raises(UsageError, match="declaration"):
            db.drop_index("people", "age")
    with blocking.open(tmp_path / "i.db") as db:
        assert ("tags",) in [each.fields for each in db.list_indexes("people")]
        assert city_count(db) == 17
    no_process_left(tmp_path / "i.db")


def test_few_equal_values_come_in_order_and_no_more_than_asked_for(database):
    database.new_collection("few", FIELDS)
    database.create_index("few", "role")
    some = [{"role": "x", "age": n // 40, "email": f"{99 - n}"} for n in range(80)]
    database.insert_many("few", some)
    database.wait_indexed(timeout=60)
    for condition in (field("age") == 1, field("role") == "x"):
        few = database.query("few").filter(condition)
        number = len(few.collect())
        assert number in {40, 80}
        emails = [str(99 - n) for n in range(80 - number, 80)]
        assert [each["email"] for each in few.collect()] == emails
        assert [each["email"] for each in few.limit(2).collect()] == emails[:2]
        first = few.order_by("email").limit(3)
        assert [each["email"] for each in first.collect()] == sorted(emails)[:3]
        assert few.order_by("email").first_one()["email"] == min(emails)
        assert few.limit(1).one()["email"] == emails[0]
        with pytest.raises(InvalidFilterError, match="nothing"):
            few.order_by("nothing").collect()


def city_count(db: blocking.Aurora) -> int:
    return db.query("people").filter(field("address.city") == "c7").count()


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (("rol",), "needs a field 'rol'"),
        (("role", "role"), "different"),
        (("role", "tags"), "array"),
        (("address.town",), "address.town"),
        (("id",), "id"),
        (("age.x",), "age.x"),
        (tuple(f"f{n}" for n in range(9)), "1 to 8"),
    ],
)
def test_an_index_that_makes_no_sense_is_refused(database, names, match):
    with pytest.raises(ValidationError, match=match):
        database.create_index("people", *names)
    assert len(database.list_indexes("people")) == 2


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    path = tmp_path_factory.mktemp("refused") / "i.db"
    with blocking.open(path, query_executors=1) as db:
        db.new_collection("people", FIELDS)
        with pytest.raises(UsageError):
            db.create_index("people")
        yield db


def test_answers_are_exact_while_indexes_come_and_go(tmp_path: Path):
    async def main() -> None:
        async with Aurora.open(tmp_path / "i.db", query_executors=1) as db:
            await db.new_collection("people", FIELDS)
            model = {}
            query = db.query("people").filter(field("role") == "r2")

            async def write() -> None:
                for number in range(400):
                    document = person(number)
                    key = await db.insert_into("people", document)
                    model[key] = document["role"]
                    if number % 3 == 0:
                        await db.update_document("people", key, {"role": "r2"})
                        model[key] = "r2"

            async def reindex() -> None:
                while True:
                    await db.create_index("people", "role")
                    await trio.sleep(0.02)
                    await db.drop_index("people", "role")

            async def ask() -> None:
                while True:
                    before = {key for key, role in model.items() if role == "r2"}
                    found = {each.id for each in await query.collect()}
                    assert before <= found

            async with trio.open_nursery() as nursery:
                nursery.start_soon(reindex)
                nursery.start_soon(ask)
                await write()
                nursery.cancel_scope.cancel()
            await db.create_index("people", "role")
            await db.wait_indexed(timeout=60)
            found = {each.id for each in await query.collect()}
            assert found == {key for key, role in model.items() if role == "r2"}

    trio.run(main)
    no_process_left(tmp_path / "i.db")
