"""What plans tell, and the bounds of memory and time that a query has."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from support import no_process_left, wait_until

from aurora_actors import (
    Aurora,
    CountDistinct,
    FieldDefinition as F,
    FieldType as T,
    LimitExceededError,
    TimeoutError_,
    blocking,
    field,
)

pytestmark = pytest.mark.processes

FIELDS = {
    "email": F(T.STRING, unique=True),
    "age": F(T.INT, indexed=True),
    "role": F(T.STRING, indexed=True),
    "team": F(T.INT, indexed=True),
    "code": F(T.STRING, indexed=True),
    "score": F(T.FLOAT),
    "tags": F(T.array(T.STRING)),
    "extra": F(T.ANY),
}
COUNT = 8000


def person(number: int) -> dict[str, object]:
    return {
        "email": f"{number}@x.io",
        "age": number * 7919 % 90,
        "role": f"r{number % 8}",
        "team": number % 37,
        "code": f"c{number:07}",
        "score": number * 31 % 1000 / 10,
        "tags": [f"t{number % 5}"],
        "extra": {"n": number % 13},
    }


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A tree of one executor, whose queries may use 1 MiB."""
    path = tmp_path_factory.mktemp("explain") / "e.db"
    with blocking.open(path, query_executors=1, query_memory_mb=1) as db:
        db.new_collection("people", FIELDS)
        db.insert_many("people", map(person, range(COUNT)))
        db.wait_indexed(timeout=60)
        yield path
    no_process_left(path)


@pytest.fixture
def people(path):
    with blocking.open(path, query_executors=1, query_memory_mb=1) as db:
        yield db.query("people")


def names(plan) -> list[str]:
    return [step.name for step in plan.steps]


def test_a_unique_value_is_looked_up_by_the_caller(people):
    query = people.filter(field("email") == "77@x.io")
    plan = query.explain()
    assert (plan.access, plan.index_field) == ("unique_lookup", "email")
    assert (plan.where, plan.rows_read, plan.actual_rows) == ("caller", 1, 1)
    assert names(plan) == ["unique lookup"]
    assert plan.steps[0].milliseconds >= 0


def test_a_range_in_the_order_of_its_index_reads_what_it_gives(people):
    query = people.filter(field("age") > 25).order_by("age", ascending=False)
    plan = query.limit(10).explain()
    assert (plan.access, plan.index_field) == ("index_order", "age")
    assert (plan.where, plan.rows_read, plan.actual_rows) == ("caller", 10, 10)
    assert names(plan) == ["index order", "fetch"]
    assert [step.estimated_rows for step in plan.steps] == [10, 10]
    # A rest of the filter is tested on the way, which takes a few more.
    plan = query.filter(field("role") == "r3").limit(10).explain()
    assert (plan.access, plan.actual_rows) == ("index_order", 10)
    assert 10 <= plan.rows_read < 400


def test_bitmaps_are_intersected_and_counted_without_documents(people):
    both = people.filter((field("role") == "r3") & (field("team") == 5))
    plan = both.explain()
    right = sum(n % 8 == 3 and n % 37 == 5 for n in range(COUNT))
    assert (plan.access, plan.index_field) == ("index", "role; team")
    assert names(plan) == ["bitmap intersection"]
    assert plan.rows_read == plan.actual_rows == right == both.count()
    assert plan.steps[0].rows == right
    assert plan.steps[0].estimated_rows == sum(n % 37 == 5 for n in range(COUNT))
    either = people.filter((field("team") == 6) | (field("team") == 5)).explain()
    assert names(either) == ["bitmap union"]
    few = people.filter(field("code").between("c0000100", "c0000120")).explain()
    assert (names(few), few.where, few.rows_read) == (["index range"], "caller", 21)


def test_columns_are_scanned_where_no_index_helps(people):
    query = people.filter((field("score") > 99) & (field("score") < 99.6))
    plan = query.explain()
    right = sum(99 < n * 31 % 1000 / 10 < 99.6 for n in range(COUNT))
    assert (plan.access, plan.where) == ("column_scan", "executor")
    assert plan.actual_rows == right
    assert COUNT <= plan.rows_read <= COUNT + right
    assert names(plan) == ["column scan"]
    assert plan.steps[0].estimated_rows is not None


def test_documents_are_scanned_where_columns_do_not_reach(people):
    plan = people.filter(field("extra.n") == 3).explain()
    assert (plan.access, plan.where) == ("document_scan", "executor")
    assert plan.rows_read == COUNT
    assert plan.actual_rows == sum(n % 13 == 3 for n in range(COUNT))


def test_a_query_that_takes_too_much_memory_is_refused(people):
    with pytest.raises(LimitExceededError, match="1 MiB a query may use") as caught:
        people.order_by("extra.n").order_by("tags").collect()
    assert not caught.value.retryable
    with pytest.raises(LimitExceededError, match="1 M"):
        people.group_by("email").aggregate(n=CountDistinct("code"))
    assert len(people.order_by("extra.n").order_by("tags").limit(9).collect()) == 9


def test_a_query_ends_at_its_time_limit_and_when_nobody_waits(path: Path):
    async def main() -> None:
        async with Aurora.open(path, query_executors=1, query_memory_mb=1) as db:
            slow = db.query("people").filter(
                field("extra.n").in_([1, 2]) | field("tags").contains_any(["t7"])
            )
            with pytest.raises(TimeoutError_):
                await slow.collect(timeout=0.0001)
            with pytest.raises(TimeoutError_):
                await slow.explain(timeout=0.0001)
            with trio.move_on_after(0.0001) as scope:
                await slow.collect()
            assert scope.cancelled_caught

    trio.run(main)
    with blocking.open(path, query_executors=1, query_memory_mb=1) as db:
        wait_until(
            lambda: db.stats()["query_executor-0"]["running"] == 0,
            "the executor has given up",
        )
