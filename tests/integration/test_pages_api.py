"""Pages through the whole tree, while other clients insert, change and remove."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio
from support import no_process_left

from aurora_actors import (
    Aurora,
    FieldDefinition,
    FieldType,
    InvalidFilterError,
    UsageError,
    blocking,
    field,
)

pytestmark = pytest.mark.processes

FIELDS = {
    "age": FieldDefinition(FieldType.INT, indexed=True),
    "name": FieldDefinition(FieldType.STRING),
}


def person(number: int) -> dict[str, object]:
    age = None if number % 11 == 0 else number % 40
    return {"id": f"k{number}", "age": age, "name": f"n{number % 3}"}


@pytest.mark.parametrize("backwards", [False, True])
def test_pages_neither_skip_nor_repeat_while_others_write(
    tmp_path: Path, backwards: bool
):
    rng = random.Random(backwards)

    async def main() -> None:
        async with Aurora.open(tmp_path / "p.db") as db, trio.open_nursery() as nursery:
            await db.new_collection("people", FIELDS)
            await db.insert_many("people", [person(n) for n in range(1500)])
            steady = [f"k{n}" for n in range(0, 1500, 2)]

            async def write() -> None:
                number = 10_000
                while True:
                    number += 1
                    await db.insert_into("people", person(number))
                    await db.delete_document("people", f"k{rng.randrange(750) * 2 + 1}")
                    await db.upsert(
                        "people",
                        f"k{rng.randrange(750) * 2 + 1}",
                        {"age": rng.randrange(40)},
                    )

            nursery.start_soon(write)
            for query in (
                db.query("people").order_by("age", ascending=False).order_by("name"),
                db.query("people").order_by("age"),
                db.query("people"),
            ):
                found = await walk(query, backwards=backwards)
                kept = [name for name in found if name in set(steady)]
                assert sorted(kept) == sorted(steady)
                whole = [person.id for person in await query.order_by("id").collect()]
                assert kept == [name for name in whole if name in set(steady)]
            nursery.cancel_scope.cancel()

    trio.run(main)
    no_process_left(tmp_path / "p.db")


async def walk(query, *, backwards: bool) -> list[str]:
    found: list[str] = []
    page = await (query.page(last=97) if backwards else query.page(first=97))
    while True:
        names = [person.id for person in page]
        found = names + found if backwards else found + names
        info = page.page_info
        if backwards:
            if not info.has_previous_page:
                return found
            page = await query.page(last=97, before=info.start_cursor)
        else:
            if not info.has_next_page:
                return found
            page = await query.page(first=97, after=info.end_cursor)


def test_pages_have_edges_and_know_their_neighbours(tmp_path: Path):
    with blocking.open(tmp_path / "p.db", query_executors=1) as db:
        db.new_collection("people", FIELDS)
        db.insert_many("people", [person(n) for n in range(30)])
        query = db.query("people").filter(field("age") > 10).order_by("age")
        first = query.page(first=4)
        assert [edge.node["age"] for edge in first.edges] == [12, 13, 14, 15]
        assert not first.page_info.has_previous_page
        assert first.page_info.start_cursor == first.edges[0].cursor
        rest = query.page(after=first.page_info.end_cursor)
        assert [*first, *rest] == query.collect()
        assert not rest.page_info.has_next_page
        assert query.after(first.edges[1].cursor).limit(2).collect() == first.nodes[2:]
        assert query.before(first.edges[2].cursor).collect() == first.nodes[:2]
        assert query.after("k12").before("k16").select("age").page().nodes[0].data == {
            "age": 13
        }
        empty = query.page(first=0)
        assert len(empty) == 0
        assert (empty.page_info.end_cursor, empty.page_info.has_next_page) == (
            None,
            True,
        )
        other = db.query("people").order_by("name")
        with pytest.raises(InvalidFilterError, match="another order"):
            other.page(after=first.page_info.end_cursor)
        for wrong in ({"first": 2, "last": 2}, {"first": -1}):
            with pytest.raises(UsageError):
                query.page(**wrong)
        with pytest.raises(UsageError, match="instead of limit"):
            query.limit(3).page()
        with db.transaction() as tx:
            tx.insert_into("people", {"id": "k15a", "age": 15})
            page = tx.query("people").order_by("age").page(first=2, after="k15")
            assert page.nodes[0].id == "k15a"
    no_process_left(tmp_path / "p.db")


def test_a_page_by_an_index_reads_about_what_it_gives(tmp_path: Path):
    with blocking.open(tmp_path / "p.db", query_executors=1) as db:
        db.new_collection("people", {"n": FieldDefinition(FieldType.INT, indexed=True)})
        db.insert_many("people", ({"n": n} for n in range(20_000)))
        db.wait_indexed(timeout=60)
        query = db.query("people").order_by("n")
        middle = query.offset(10_000).limit(1).collect()[0]
        plan = query.after(middle.id).limit(10).explain()
        assert (plan.access, plan.index_field) == ("index_order", "n")
        assert plan.rows_read <= 20
        plan = db.query("people").after(middle.id).limit(10).explain()
        assert (plan.access, plan.where, plan.rows_read) == (
            "index_order",
            "caller",
            10,
        )
    no_process_left(tmp_path / "p.db")
