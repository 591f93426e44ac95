"""The hot cache: exact answers, bounded memory, an effect one can see."""

from __future__ import annotations

from typing import Any

import pytest
from unit.query.library import THINGS, Library, everything, ids, spec

from aurora_actors.config import EvictionPolicy
from aurora_actors.messages.query import ResultMode
from aurora_actors.messages.storage import DropCollection
from aurora_actors.query.cache import BLOCK_ROWS, DocumentCache
from aurora_actors.query.execute import explain_query, run_query
from aurora_actors.query.filters import field

MANY = 2 * BLOCK_ROWS + 100
OLD = field("n") >= 5


@pytest.fixture
def cache() -> DocumentCache:
    return DocumentCache(64 << 20, EvictionPolicy.LRU)


def fill(library: Library, count: int, collection: str = "things") -> None:
    for at in range(0, count, 4000):
        numbers = range(at, min(count, at + 4000))
        library.insert(collection, {f"{n:06}": {"n": n, "m": n % 7} for n in numbers})


def found(library: Library, cache: DocumentCache | None, **more: Any) -> list[str]:
    with library.snapshot() as snapshot:
        query = spec("things", OLD, **more)
        return ids(everything(run_query(snapshot, query, cache=cache).steps()))


def name(library: Library, cache: DocumentCache, *conditions: Any) -> str:
    with library.snapshot() as snapshot:
        query = spec("things", *conditions or [OLD], mode=ResultMode.COUNT)
        return explain_query(snapshot, query, cache=cache).steps[0].name


def test_columns_are_kept_from_the_second_scan_on(
    library: Library, cache: DocumentCache
) -> None:
    fill(library, MANY)
    assert name(library, cache) == "document scan"
    assert cache.statistics()["cache_bytes"] == 0
    assert name(library, cache) == "scan of cached columns"
    assert cache.statistics()["cache_misses"] == 3
    assert name(library, cache) == "scan of cached columns"
    after = cache.statistics()
    assert (after["cache_hits"], after["cache_blocks"]) == (3, 3)
    assert 0 < after["cache_bytes"] < MANY * 200


def test_another_field_is_added_to_the_same_blocks(
    library: Library, cache: DocumentCache
) -> None:
    fill(library, 100)
    other = field("m") == 3
    for condition in (OLD, OLD, other, other, OLD & other):
        name(library, cache, condition)
    assert cache.statistics()["cache_blocks"] == 1
    assert name(library, cache, OLD & other) == "scan of cached columns"
    assert cache.statistics()["cache_hits"] >= 2


def test_what_needs_the_id_or_no_field_is_not_cached(
    library: Library, cache: DocumentCache
) -> None:
    fill(library, 100)
    for _ in range(3):
        assert name(library, cache, field("id") > "0") == "document scan"
    assert cache.statistics()["cache_blocks"] == 0


def test_answers_follow_every_change(library: Library, cache: DocumentCache) -> None:
    fill(library, MANY)
    for _ in range(3):
        assert found(library, cache) == found(library, None)
    library.replace("things", "000007", {"n": 1})
    library.replace("things", "000001", {"n": 500, "m": 1})
    library.delete("things", "000020")
    library.delete("things", f"{MANY - 1:06}")
    library.insert("things", {"new": {"n": 9}, "newer": {"m": 9}})
    expected = found(library, None)
    assert "000007" not in expected
    assert "new" in expected
    assert found(library, cache) == expected
    assert cache.statistics()["cache_patched"] == 2
    for order in (["n"], ["-n", "m"]):
        assert found(library, cache, order=order, limit=30) == found(
            library, None, order=order, limit=30
        )
    fill_more = {f"z{n:05}": {"n": n} for n in range(BLOCK_ROWS)}
    library.insert("things", fill_more)
    assert found(library, cache) == found(library, None)


def test_changes_of_other_collections_leave_the_blocks(
    library: Library, cache: DocumentCache
) -> None:
    fill(library, 100)
    for _ in range(2):
        found(library, cache)
    library.insert("users", {"u": {"name": "U"}})
    found(library, cache)
    after = cache.statistics()
    assert (after["cache_patched"], after["cache_hits"]) == (0, 1)


def test_an_older_snapshot_gets_its_own_state(
    library: Library, cache: DocumentCache
) -> None:
    fill(library, MANY)
    query = spec("things", OLD)
    with library.snapshot() as before:
        expected = ids(everything(run_query(before, query).steps()))
        for _ in range(2):
            found(library, cache)
        library.replace("things", "000007", {"n": 1})
        library.delete("things", f"{MANY - 1:06}")
        library.insert("things", {"new": {"n": 9}})
        now = found(library, cache)
        assert now != expected
        assert (
            ids(everything(run_query(before, query, cache=cache).steps())) == expected
        )
        assert found(library, cache) == now


def test_a_scan_under_way_is_not_disturbed(
    library: Library, cache: DocumentCache
) -> None:
    fill(library, MANY)
    expected = found(library, None)
    for _ in range(2):
        found(library, cache)
    with library.snapshot() as snapshot:
        steps = run_query(snapshot, spec("things", OLD), cache=cache).steps()
        records = next(steps)
        for number in (10, BLOCK_ROWS + 10, MANY - 1):
            library.delete("things", f"{number:06}")
        assert len(found(library, cache)) == len(expected) - 3
        assert ids(records + everything(steps)) == expected


def test_lost_history_starts_the_blocks_anew(
    library: Library, cache: DocumentCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(library, 100)
    for _ in range(2):
        found(library, cache)
    monkeypatch.setattr("aurora_actors.query.cache._MOST_CHANGES", 0)
    library.delete("things", "000050")
    assert found(library, cache) == found(library, None)
    assert cache.statistics()["cache_patched"] == 0


def test_a_dropped_collection_is_not_mistaken_for_a_new_one(
    library: Library, cache: DocumentCache
) -> None:

    fill(library, 100)
    for _ in range(2):
        found(library, cache)
    library.run(DropCollection(collection="things"))
    library.define(THINGS)
    library.insert("things", {"only": {"n": 7}})
    for _ in range(3):
        assert found(library, cache) == ["only"]


@pytest.mark.parametrize("policy", list(EvictionPolicy))
def test_the_budget_holds(library: Library, policy: EvictionPolicy) -> None:
    cache = DocumentCache(600_000, policy)
    fill(library, 5000)
    library.insert("users", {f"u{n}": {"name": f"{n}" * 50} for n in range(1200)})
    with library.snapshot() as snapshot:
        for _ in range(4):
            for query in (
                spec("things", OLD, mode=ResultMode.COUNT),
                spec("users", field("name") > "5", mode=ResultMode.COUNT),
            ):
                everything(run_query(snapshot, query, cache=cache).steps())
                assert cache.statistics()["cache_bytes"] <= 600_000
    assert cache.statistics()["cache_evictions"] > 0


def test_the_least_used_goes_first_with_lfu(library: Library) -> None:
    fill(library, 4000)
    library.insert("users", {f"u{n}": {"name": "x"} for n in range(3000)})
    often = spec("things", OLD, mode=ResultMode.COUNT)
    once = spec("users", field("name") > "5", mode=ResultMode.COUNT)

    def hits(policy: EvictionPolicy) -> float:
        cache = DocumentCache(500_000, policy)
        before = 0.0
        with library.snapshot() as snapshot:
            for query in [*[often] * 12, once, once, often]:
                before = cache.statistics()["cache_hits"]
                everything(run_query(snapshot, query, cache=cache).steps())
        assert cache.statistics()["cache_evictions"] > 0
        return cache.statistics()["cache_hits"] - before

    assert hits(EvictionPolicy.LFU) == 1
    assert hits(EvictionPolicy.LRU) == 0


def test_a_cache_without_room_keeps_nothing(library: Library) -> None:
    cache = DocumentCache(0, EvictionPolicy.LRU)
    fill(library, 100)
    for _ in range(3):
        assert name(library, cache) == "document scan"
