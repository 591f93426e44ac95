"""Aggregates and groups through the whole tree: what the public API gives."""

from __future__ import annotations

import statistics
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from processes import kill_actor
from support import no_process_left, wait_until

from aurora_actors import (
    Aurora,
    Avg,
    Count,
    CountDistinct,
    FieldDefinition,
    FieldType,
    First,
    InvalidFilterError,
    Last,
    Max,
    Min,
    StdDev,
    Sum,
    blocking,
    field,
)
from aurora_actors.indexing.reader import IndexReader

pytestmark = pytest.mark.processes

F = FieldDefinition
START = datetime(2024, 3, 1, tzinfo=UTC)
ORDERS = {
    "user": F(FieldType.STRING),
    "amount": F(FieldType.INT),
    "weight": F(FieldType.FLOAT),
    "at": F(FieldType.DATETIME),
    "day": F(FieldType.DATE),
    "note": F(FieldType.ANY),
    "to": F(FieldType.object({"city": F(FieldType.STRING)})),
}


def order(number: int) -> dict[str, Any]:
    at = START + timedelta(minutes=number)
    return {
        "user": None if number % 50 == 0 else f"u{number % 7}",
        "amount": number % 101 - 20,
        "weight": number / 10,
        "at": at,
        "day": at.date(),
        "note": "odd" if number % 2 else number,
        "to": {"city": ("Bonn", "Köln")[number % 2]},
    }


class Order(msgspec.Struct):
    __collection__ = "orders"
    user: str | None
    amount: int


@pytest.fixture
def path(tmp_path: Path):
    yield tmp_path / "db"
    no_process_left(tmp_path / "db")


def test_blocking_aggregates_groups_and_distinct_values(path):
    rows = [order(number) for number in range(400)]
    amounts = [row["amount"] for row in rows]
    with blocking.open(path) as db:
        db.new_collection("orders", ORDERS)
        db.insert_many("orders", rows)
        orders = db.query("orders")
        found = orders.aggregate(
            n=Count(),
            users=Count("user"),
            total=Sum("amount"),
            mean=Avg("amount"),
            least=Min("at"),
            most=Max("user"),
            spread=StdDev("weight"),
            different=CountDistinct("to.city"),
            first=First("user"),
            last=Last("note"),
        )
        assert found == {
            "n": 400,
            "users": 392,
            "total": sum(amounts),
            "mean": sum(amounts) / 400,
            "least": START,
            "most": "u6",
            "spread": pytest.approx(statistics.stdev(r["weight"] for r in rows)),
            "different": 2,
            "first": "u1",
            "last": "odd",
        }
        groups = (
            orders.filter(field("amount") >= 0)
            .order_by("amount")
            .group_by("user")
            .having(lambda f: f.gt("n", 10))
            .order_by("n", ascending=False)
            .limit(3)
            .nodes(2)
            .aggregate(n=Count(), low=Min("amount"))
        )
        assert len(groups) == 3
        assert groups[0]["n"] >= groups[1]["n"] >= groups[2]["n"] > 10
        for group in groups:
            mine = [r for r in rows if r["user"] == group.key and r["amount"] >= 0]
            assert group["n"] == len(mine)
            assert group.keys == {"user": group.key}
            assert (
                group.nodes[0]["amount"]
                == group["low"]
                == min(row["amount"] for row in mine)
            )
        by_user = orders.group_by("user", "to.city").aggregate(n=Count())
        assert [group.key for group in by_user] == sorted(
            (group.key for group in by_user), key=lambda k: (k[0] is not None, k)
        )
        assert sum(group["n"] for group in by_user) == 400
        assert orders.distinct("user") == [f"u{n}" for n in range(7)]
        assert orders.filter(field("amount") > 1000).distinct("day") == []
        assert db.query(Order).group_by("user").nodes(1).aggregate()[1].nodes == [
            Order(user="u0", amount=-13)
        ]


def test_moments_are_grouped_by_intervals(path):
    with blocking.open(path) as db:
        db.new_collection("orders", ORDERS)
        db.insert_many("orders", [order(number) for number in range(4000)])
        hours = db.query("orders").group_by("at", interval="1h").aggregate(n=Count())
        assert [hour["n"] for hour in hours] == [60] * 66 + [40]
        assert hours[1].key == START + timedelta(hours=1)
        days = db.query("orders").group_by("user", "day", interval="1d")
        assert {group.keys["day"] for group in days.aggregate()} == {
            date(2024, 3, 1),
            date(2024, 3, 2),
            date(2024, 3, 3),
        }
        weeks = db.query("orders").group_by("at", interval={"at": "1w"})
        assert [(g.key.isoweekday(), g["n"]) for g in weeks.aggregate(n=Count())] == [
            (1, 4000)
        ]


def test_columns_and_documents_give_the_same(path):
    """The second time the answer comes from columns, the first from documents."""
    with blocking.open(path) as db:
        db.new_collection("orders", ORDERS)
        db.insert_many("orders", [order(number) for number in range(6000)])
        grouped = (
            db.query("orders")
            .filter((field("amount") > 0) & (field("to.city") == "Bonn"))
            .group_by("user")
            .nodes(1)
        )
        wanted = {
            "n": Count(),
            "total": Sum("weight"),
            "mean": Avg("weight"),
            "spread": StdDev("amount"),
            "last": Last("at"),
            "cities": CountDistinct("to.city"),
        }
        before = grouped.aggregate(**wanted)
        wait_until(lambda: columns_follow(db, path), "the columns follow")
        plan = grouped.explain(**wanted)
        assert plan.access == "column_scan"
        assert plan.rows_read >= 6000
        assert plan.actual_rows == len(before)
        assert grouped.aggregate(**wanted) == before
        # What changes afterwards is read from its documents.
        (one,) = db.query("orders").filter(field("at") == START).collect()
        db.update_document("orders", one.id, {"user": "new", "weight": 1e300})
        db.query("orders").filter(field("at") > START + timedelta(days=4)).delete()
        found = (
            db.query("orders").group_by("user").aggregate(n=Count(), w=Sum("weight"))
        )
        assert {g.key: g["n"] for g in found if g.key == "new"} == {"new": 1}
        assert [g["w"] for g in found if g.key == "new"] == [1e300]
        assert sum(g["n"] for g in found) == 24 * 60 * 4 + 1


def columns_follow(db, path) -> bool:
    with IndexReader.open(path) as reader:
        snapshot = reader.snapshot()
        if snapshot is None:
            return False
        with snapshot:
            found = [snapshot.columns(number) for number in range(1, 20)]
            return any(
                columns is not None and columns.segments and not columns.document_rows
                for columns in found
            )


def test_a_transaction_aggregates_what_it_has_written(path):
    async def main() -> None:
        async with Aurora.open(path) as db:
            await db.new_collection("orders", ORDERS)
            await db.insert_many("orders", [order(number) for number in range(60)])
            before = await db.query("orders").aggregate(n=Count(), t=Sum("amount"))
            async with db.transaction() as tx:
                await tx.insert_into("orders", {"user": "mine", "amount": 5})
                orders = tx.query("orders")
                found = await orders.aggregate(n=Count(), t=Sum("amount"))
                assert found == {"n": 61, "t": before["t"] + 5}
                groups = await orders.group_by("user").nodes(1).aggregate(n=Count())
                assert {g.key: g["n"] for g in groups}["mine"] == 1
                assert await orders.distinct("user") == sorted(
                    ["mine", *(f"u{n}" for n in range(7))]
                )
                plan = await orders.group_by("user").explain(n=Count())
                assert plan.access == "document_scan"
            after = await db.query("orders").aggregate(n=Count())
            assert after == {"n": 61}

    trio.run(main)


def test_what_makes_no_sense_is_refused(path):
    with blocking.open(path) as db:
        db.new_collection("orders", ORDERS)
        orders = db.query("orders")
        with pytest.raises(InvalidFilterError, match="has no sum"):
            orders.aggregate(t=Sum("user"))
        with pytest.raises(InvalidFilterError, match="did you mean amount"):
            orders.aggregate(t=Sum("amuont"))
        with pytest.raises(InvalidFilterError, match="at least one result"):
            orders.aggregate()
        with pytest.raises(InvalidFilterError, match="function such as"):
            orders.aggregate(t="amount")
        with pytest.raises(InvalidFilterError, match="at least one field"):
            orders.group_by()
        with pytest.raises(InvalidFilterError, match="is no interval"):
            orders.group_by("at", interval="soon")
        with pytest.raises(InvalidFilterError, match="DateTime and Date"):
            orders.group_by("user", interval="1h").aggregate(n=Count())
        with pytest.raises(InvalidFilterError, match="no such field"):
            orders.group_by("user").having(field("m") > 1).aggregate(n=Count())
        with pytest.raises(InvalidFilterError, match="cannot be called"):
            orders.group_by("user").aggregate(key=Count())
        with pytest.raises(InvalidFilterError, match="by 'user' twice"):
            orders.group_by("user", "user").aggregate()
        assert orders.aggregate(n=Count(), t=Sum("amount"), a=Avg("amount")) == {
            "n": 0,
            "t": 0,
            "a": None,
        }
        assert orders.group_by("user").aggregate(n=Count()) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_executors_help_each_other_with_a_large_aggregate(path):
    """The answer is the same with helpers, and when they are killed."""
    count = 600_000
    with blocking.open(path, query_executors=3) as db:
        db.new_collection(
            "orders", {"user": F(FieldType.STRING), "n": F(FieldType.INT)}
        )
        rows = ({"user": f"u{n % 1000}", "n": n} for n in range(count))
        db.insert_many("orders", rows, timeout=120)
        groups = db.query("orders").group_by("user")
        expected = [(f"u{n}", 600, sum(range(n, count, 1000)), n) for n in range(1000)]
        expected.sort()
        wait_until(lambda: columns_follow(db, path), "the columns follow", 120)

        def ask() -> None:
            found = groups.aggregate(n=Count(), total=Sum("n"), first=First("n"))
            assert [(g.key, *g.results.values()) for g in found] == expected

        def helped() -> bool:
            ask()
            found = db.status().actors
            return any(a.values.get("shares_done") for a in found)

        ask()
        wait_until(helped, "executors help", 60)
        for _ in range(10):
            kill_actor(db, "query_executor-1")
            ask()
            wait_until(lambda: len(executors(db)) == 3, "it is back", 60)


def executors(db) -> list[str]:
    actors = db.status().actors
    return [a.name for a in actors if "executor" in a.name and a.state == "ready"]
