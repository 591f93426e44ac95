"""Queries over a real database: results, chunks, steps, release."""

from __future__ import annotations

import gc
import weakref
from typing import Any
from uuid import UUID

import msgspec
import pytest
from unit.query.library import Library, documents, everything, ids, spec

from aurora_actors.config import EvictionPolicy
from aurora_actors.errors import (
    CollectionNotFoundError,
    InvalidFilterError,
    LimitExceededError,
)
from aurora_actors.messages.query import ResultMode
from aurora_actors.query.cache import DocumentCache
from aurora_actors.query.execute import (
    CHUNK_BYTES,
    explain_query,
    matching_rows,
    run_query,
)
from aurora_actors.query.filters import Filter, field
from aurora_actors.query.loops import Want
from aurora_actors.query.plan import Access
from aurora_actors.query.predicate import Or
from aurora_actors.query.scan import Scan
from aurora_actors.schema.record import record_lsn

PEOPLE: dict[str, dict[str, object]] = {
    "d": {"name": "Dora", "email": "d@x.io", "age": 30, "tags": ["a", "b"]},
    "a": {"name": "Alan", "email": "a@x.io", "age": 41, "address": {"city": "Rome"}},
    "c": {"name": "Cleo", "email": "c@x.io", "age": 30, "score": 1.5},
    "b": {"name": "Bert", "email": None},
    "e": {"name": "Emil", "age": 7, "address": {"city": "Oslo", "geo": {"lat": 59.9}}},
}


@pytest.fixture
def people(library: Library) -> Library:
    library.insert("users", PEOPLE)
    # A collection behind it, so that scans could run on into it.
    library.insert("things", {f"t{n}": {"name": "Dora", "age": n} for n in range(50)})
    return library


def run(library: Library, condition: Filter | None = None, **more: Any) -> list[str]:
    with library.snapshot() as snapshot:
        found = run_query(snapshot, spec("users", condition, **more))
        result = ids(everything(found.steps()))
        assert found.count == len(result)
        return result


def number(library: Library, mode: ResultMode, *args: Any, **more: Any) -> int:
    with library.snapshot() as snapshot:
        found = run_query(snapshot, spec("users", *args, mode=mode, **more))
        assert everything(found.steps()) == []
        return found.count


def test_without_an_order_documents_come_as_inserted(people: Library) -> None:
    assert run(people) == ["d", "a", "c", "b", "e"]
    assert run(people, field("age") >= 30) == ["d", "a", "c"]
    assert run(people, offset=1, limit=2) == ["a", "c"]
    assert run(people, field("age") >= 30, offset=2) == ["c"]
    assert run(people, limit=0) == []
    assert run(people, offset=99) == []


def test_an_order_has_ties_by_id_in_both_directions(people: Library) -> None:
    assert run(people, order=["age"]) == ["b", "e", "c", "d", "a"]
    assert run(people, order=["-age"]) == ["a", "c", "d", "e", "b"]
    assert run(people, order=["-age"], limit=2, offset=1) == ["c", "d"]
    assert run(people, order=["-age", "-name"]) == ["a", "d", "c", "e", "b"]
    assert run(people, order=["address.city", "id"]) == ["b", "c", "d", "e", "a"]
    assert run(people, order=["-id"], limit=2) == ["e", "d"]
    assert run(people, field("age") == 30, order=["tags"], limit=0) == []


def test_a_look_up_finds_what_a_scan_finds(people: Library) -> None:
    assert run(people, field("id") == "c") == ["c"]
    assert run(people, field("id") == "nobody") == []
    assert run(people, field("id") == UUID(int=1)) == []
    assert run(people, field("email") == "c@x.io") == ["c"]
    assert run(people, field("email").in_(["e@x.io", "d@x.io", "c@x.io"])) == ["d", "c"]
    assert run(people, (field("email") == "c@x.io") & (field("age") > 30)) == []
    assert run(people, field("email") == None) == ["b", "e"]  # noqa: E711
    assert run(people, field("id").in_(["e", "a", "a"]), order=["-name"]) == ["e", "a"]


def test_count_and_exists(people: Library) -> None:
    count, exists = ResultMode.COUNT, ResultMode.EXISTS
    old = field("age") >= 30
    assert number(people, count) == 5
    assert number(people, count, old) == 3
    assert number(people, count, old, limit=2) == 2
    assert number(people, count, old, offset=2) == 1
    assert number(people, count, limit=0) == 0
    assert number(people, count, offset=9) == 0
    assert number(people, count, field("email") == "a@x.io") == 1
    assert number(people, exists, old) == 1
    assert number(people, exists, field("age") > 99) == 0
    assert number(people, exists, old, offset=3) == 0
    assert number(people, exists, old, limit=0) == 0


def test_a_count_without_a_filter_reads_no_document(people: Library) -> None:
    with people.snapshot() as snapshot:
        query = spec("users", mode=ResultMode.COUNT)
        assert explain_query(snapshot, query).rows_read == 0


def test_exists_stops_early(library: Library) -> None:
    library.insert("things", {f"{n:05}": {"n": n} for n in range(5000)})
    query = spec("things", field("n") >= 0, mode=ResultMode.EXISTS)
    with library.snapshot() as snapshot:
        assert explain_query(snapshot, query).rows_read < 100


def test_records_pass_on_as_they_are(people: Library) -> None:
    with people.snapshot() as snapshot:
        info = snapshot.collection("users")
        record = bytes(snapshot.get(info, "a") or b"")
        found = run_query(snapshot, spec("users", field("id") == "a"))
        assert everything(found.steps()) == [record]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["name", "age"], {"name": "Emil", "age": 7}),
        (["score", "email"], {}),
        (["id"], {}),
        ([], {}),
        (["address.city"], {"address": {"city": "Oslo"}}),
        (["address.geo.lat"], {"address": {"geo": {"lat": 59.9}}}),
        (["address.geo.lat", "address"], {"address": PEOPLE["e"]["address"]}),
        (["address", "address.city"], {"address": PEOPLE["e"]["address"]}),
        (
            ["address.city", "address.geo"],
            {"address": {"city": "Oslo", "geo": {"lat": 59.9}}},
        ),
        (["address.geo.lon"], {}),
    ],
)
def test_selected_fields_keep_their_nesting(
    people: Library, fields: list[str], expected: dict[str, object]
) -> None:
    for order in ([], ["name"]):
        query = spec("users", field("name") == "Emil", fields=fields, order=order)
        with people.snapshot() as snapshot:
            records = everything(run_query(snapshot, query).steps())
            whole = snapshot.get(snapshot.collection("users"), "e")
            assert whole is not None
        assert documents(records) == [expected]
        assert ids(records) == ["e"]
        assert record_lsn(records[0]) == record_lsn(whole)


def test_a_path_into_a_value_that_is_no_object_selects_nothing(
    library: Library,
) -> None:
    library.insert("things", {"x": {"a": 5, "b": None, "c": [{"d": 1}], "e": {}}})
    query = spec("things", fields=["a.b", "b.c", "c.d", "e.f", "zz.y"])
    with library.snapshot() as snapshot:
        assert documents(everything(run_query(snapshot, query).steps())) == [{}]


@pytest.mark.parametrize("name", ['say "x"', "back\\slash", "line\nfeed", "\x00"])
def test_names_that_no_struct_can_have_are_fields_like_others(
    library: Library, name: str
) -> None:
    within = {name: {name: 2}, "plain": 1}
    library.insert("things", {"a": {name: 1}, "b": within, "c": {"plain": 3}})
    nested = f"{name}.{name}"
    for asked, found in (
        (spec("things", field(name) == 1), [{name: 1}]),
        (spec("things", field(nested) >= 2), [within]),
        (spec("things", order=[name], limit=1), [{"plain": 3}]),
        (spec("things", fields=[name]), [{name: 1}, {name: {name: 2}}, {}]),
        (spec("things", fields=[nested, "plain"]), [{}, within, {"plain": 3}]),
    ):
        with library.snapshot() as snapshot:
            assert documents(everything(run_query(snapshot, asked).steps())) == found


def test_matching_rows_are_those_of_the_result(people: Library) -> None:
    def rows(condition: Filter | None = None, **more: Any) -> list[str]:
        with people.snapshot() as snapshot:
            info = snapshot.collection("users")
            found = [
                snapshot.get_row(info, row)
                for part in matching_rows(snapshot, spec("users", condition, **more))
                for row in part
            ]
            return ids([bytes(record or b"") for record in found])

    assert rows() == ["d", "a", "c", "b", "e"]
    assert rows(field("age") >= 30) == ["d", "a", "c"]
    assert rows(field("age") >= 30, order=["-age"], limit=2) == ["a", "c"]
    assert rows(field("id").in_(["e", "a"])) == ["a", "e"]
    assert rows(field("age") >= 30, offset=1, limit=1) == ["a"]


def test_chunks_are_bounded_and_steps_frequent(library: Library) -> None:
    body = {"text": "x" * 1000}
    for part in range(10):
        library.insert(
            "things", {f"{part}-{n:04}": {**body, "n": n} for n in range(400)}
        )
    variants: list[dict[str, Any]] = [{}, {"order": ["-n"]}, {"fields": ["text"]}]
    for more in variants:
        with library.snapshot() as snapshot:
            found = run_query(snapshot, spec("things", **more))
            steps = list(found.steps())
        sizes = [sum(map(len, step)) for step in steps]
        assert max(sizes) < CHUNK_BYTES + 2000
        assert sum(map(len, steps)) == found.count == 4000
        assert sum(not step for step in steps) >= 3


def test_large_documents_do_not_pile_up(library: Library) -> None:
    for n in range(40):
        library.insert("things", {f"{n:02}": {"n": n, "blob": b"x" * 300_000}})
    with library.snapshot() as snapshot:
        steps = [s for s in run_query(snapshot, spec("things")).steps() if s]
    assert [len(step) for step in steps] == [1] * 40


@pytest.mark.parametrize("more", [{}, {"order": ["n"]}, {"mode": ResultMode.COUNT}])
def test_closing_the_steps_lets_go_of_the_snapshot(
    library: Library, more: dict[str, Any]
) -> None:
    library.insert("things", {f"{n:05}": {"n": n} for n in range(3000)})
    snapshot = library.snapshot()
    steps = run_query(snapshot, spec("things", field("n") > -1, **more)).steps()
    next(steps)
    steps.close()
    snapshot.close()
    released = weakref.ref(snapshot.txn)
    del snapshot, steps
    gc.collect()
    assert released() is None


def test_a_wrong_count_in_the_catalog_cannot_mix_collections(people: Library) -> None:
    with people.snapshot() as snapshot:
        info = snapshot.collection("users")
        for wrong in (0, 2, 5, 7, 500):
            given = msgspec.structs.replace(info, count=wrong)
            scan = Scan(snapshot, given, Access("document_scan"), None)
            records = [r for batch in scan.batches(Want.RECORD) for r in batch]
            assert ids(records) == list(PEOPLE)  # type: ignore[arg-type]
            assert scan.rows_read == 5


def test_an_empty_collection_has_no_results(library: Library) -> None:
    for collection in ("users", "things"):
        with library.snapshot() as snapshot:
            assert not everything(run_query(snapshot, spec(collection)).steps())
            found = run_query(snapshot, spec(collection, order=["id"]))
            assert not everything(found.steps())


def test_sorting_is_bounded_in_memory(library: Library) -> None:
    library.insert(
        "things", {f"{n:05}": {"n": n, "text": f"{n}" * 200} for n in range(6000)}
    )
    query = spec("things", order=["text"])
    with library.snapshot() as snapshot:
        with pytest.raises(LimitExceededError, match="add a limit"):
            everything(run_query(snapshot, query, memory_limit=1 << 20).steps())
        limited = msgspec.structs.replace(query, limit=5)
        found = run_query(snapshot, limited, memory_limit=1 << 20)
        assert len(everything(found.steps())) == 5


def test_a_full_sort_of_many_runs_is_in_order(library: Library) -> None:
    numbers = {f"{n:05}": (n * 7919) % 3001 for n in range(12_000)}
    items = list(numbers.items())
    for at in range(0, len(items), 3000):
        library.insert("things", {i: {"n": n} for i, n in items[at : at + 3000]})
    expected = sorted(numbers, key=lambda i: (-numbers[i], i))
    variants: list[dict[str, Any]] = [
        {},
        {"limit": 9000},
        {"limit": 4000, "offset": 3000},
        {"limit": 7},
    ]
    for more in variants:
        with library.snapshot() as snapshot:
            found = run_query(snapshot, spec("things", order=["-n"], **more))
            result = ids(everything(found.steps()))
        first = more.get("offset", 0)
        assert result == expected[first : first + more.get("limit", 12_000)]


def test_the_plan_tells_how_it_went(people: Library) -> None:
    query = spec("users", field("age") >= 30, order=["age"], limit=2)
    with people.snapshot() as snapshot:
        plan = explain_query(snapshot, query)
    assert (plan.access, plan.actual_rows, plan.rows_read) == ("document_scan", 2, 5)
    assert [(step.name, step.rows) for step in plan.steps] == [
        ("document scan", 3),
        ("sort", 2),
        ("fetch", 2),
    ]
    assert all(step.milliseconds >= 0 for step in plan.steps)
    with people.snapshot() as snapshot:
        plan = explain_query(snapshot, spec("users", field("email") == "a@x.io"))
    assert (plan.access, plan.index_field, plan.rows_read) == (
        "unique_lookup",
        "email",
        1,
    )


def test_a_query_is_refused_before_anything_is_read(people: Library) -> None:
    with people.snapshot() as snapshot:
        with pytest.raises(CollectionNotFoundError, match="did you mean 'users'"):
            run_query(snapshot, spec("user"))
        with pytest.raises(InvalidFilterError, match="did you mean age"):
            run_query(snapshot, spec("users", field("agee") > 1))
        with pytest.raises(InvalidFilterError, match="did you mean age"):
            matching_rows(snapshot, spec("users", field("agee") > 1))
        with pytest.raises(InvalidFilterError, match="not an encoded predicate"):
            run_query(
                snapshot, msgspec.structs.replace(spec("users"), predicate=b"\xc1")
            )


def test_an_impossible_filter_finds_nothing(people: Library) -> None:
    assert run(people, Filter(Or([]))) == []


def test_a_look_up_of_many_values_breathes(library: Library) -> None:
    library.insert("things", {f"{n:05}": {"n": n} for n in range(8000)})
    wanted = field("id").in_([f"{n:05}" for n in range(8000)])
    with library.snapshot() as snapshot:
        found = run_query(snapshot, spec("things", wanted))
        steps = list(found.steps())
    assert found.count == 8000
    assert sum(not step for step in steps) > 3


def test_a_scan_of_cached_columns_lets_go_of_the_snapshot(library: Library) -> None:
    library.insert("things", {f"{n:05}": {"n": n} for n in range(3000)})
    cache = DocumentCache(1 << 20, EvictionPolicy.LRU)
    snapshot = library.snapshot()
    for _ in range(3):
        query = spec("things", field("n") > -1)
        next(run_query(snapshot, query, cache=cache).steps())
    assert cache.statistics()["cache_hits"] > 0
    snapshot.close()
    released = weakref.ref(snapshot.txn)
    del snapshot
    gc.collect()
    assert released() is None
