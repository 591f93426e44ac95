"""Windows against sorting everything anew."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings, strategies as st

from aurora_actors.messages.query import OrderKey, QuerySpec
from aurora_actors.messages.reactive import LiveEvent, LiveKind
from aurora_actors.reactive.window import Entry, Window, difference, placing
from aurora_actors.schema.record import pack_record
from aurora_actors.schema.values import encode_document


def entry(row: int, value: int, lsn: int) -> Entry:
    return Entry((value, row), row, lsn, b"%d" % lsn)


def fold(rows: list[int], events: list[LiveEvent]) -> None:
    for event in events:
        if event.kind != LiveKind.ADDED:
            rows.remove(event.row)
        else:
            assert event.row not in rows
        if event.kind != LiveKind.REMOVED:
            assert event.position is not None
            assert 0 <= event.position <= len(rows)
            rows.insert(event.position, event.row)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 5),
    st.one_of(st.none(), st.integers(0, 6)),
    st.lists(st.tuples(st.integers(1, 12), st.integers(-1, 8)), max_size=80),
)
def test_the_events_of_each_change_lead_to_the_new_result(offset, limit, steps):
    spec = QuerySpec(collection="c", offset=offset, limit=limit)
    window = Window(spec)
    documents: dict[int, Entry] = {}
    shown: list[int] = []
    for lsn, (row, value) in enumerate(steps, 1):
        new = entry(row, value, lsn) if value >= 0 else None
        if new is None:
            documents.pop(row, None)
        else:
            documents[row] = new
        events = window.apply(lsn, row, new)
        assert not window.is_short
        assert len(events) <= 2
        fold(shown, events)
        stop = None if limit is None else offset + limit
        right = sorted(documents.values())[offset:stop]
        assert shown == [found.row for found in right]
        assert window.visible() == right


def test_a_window_without_reserve_is_short_until_it_is_filled():
    window = Window(QuerySpec(collection="c", limit=3))
    window.fill([entry(row, row, 1) for row in range(4)], complete=False)
    shortness = []
    for lsn, row in ((2, 0), (3, 1)):
        window.apply(lsn, row, None)
        shortness.append(window.is_short)
    window.fill([entry(row, row, 1) for row in (2, 3, 7)], complete=False)
    assert [*shortness, window.is_short] == [False, True, False]


def test_what_falls_behind_all_that_is_known_is_not_taken_for_the_next():
    window = Window(QuerySpec(collection="c", limit=2))
    window.fill([entry(row, row, 1) for row in range(3)], complete=False)
    assert window.apply(2, 9, entry(9, 9, 2)) == []
    window.apply(3, 2, entry(2, 8, 3))
    assert [found.row for found in window.entries] == [0, 1]


def test_a_window_keeps_a_bounded_number_of_documents():
    window = Window(QuerySpec(collection="c", limit=4))
    for row in range(1000):
        window.apply(row + 1, row, entry(row, row, row + 1))
    assert len(window.entries) == window.capacity
    assert len(window._places) == window.capacity
    assert not window.complete


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_difference_leads_from_one_result_to_the_other(data):
    rows = st.lists(st.integers(0, 9), unique=True)
    before = [entry(row, 0, 1) for row in data.draw(rows)]
    kept = {found.row: found for found in before}
    after = []
    # What has not changed keeps its order; the rest goes anywhere.
    for row in data.draw(rows):
        changed = row not in kept or data.draw(st.booleans())
        after.append(entry(row, 0, 2) if changed else kept[row])
    same = [found.row for found in before if found in after]
    places = [at for at, found in enumerate(after) if found.lsn == 1]
    for at, row in zip(places, same, strict=True):
        after[at] = kept[row]
    shown = [found.row for found in before]
    fold(shown, difference(before, after, 5))
    assert shown == [found.row for found in after]


@pytest.mark.parametrize("seed", range(5))
def test_places_order_as_results_do(seed):
    rng = random.Random(seed)
    values = [None, True, 3, 3.0, -1, "a", "b", b"x", [1], {"a": 1}]
    order = [OrderKey("a", ascending=False), OrderKey("b.c")]
    place = placing(order)
    found = []
    for row in range(60):
        fields = {"a": rng.choice(values), "b": {"c": rng.choice(values)}}
        found.append((place(fields, f"d{rng.randrange(9)}", row), row, fields))
    found.sort(key=lambda item: item[0])
    ranks = [item[2]["a"] is None for item in found]
    assert ranks == sorted(ranks)


def test_records_are_what_windows_carry():
    record = pack_record(7, "a", encode_document({"n": 1}))
    found = Entry((1,), 3, 7, record)
    window = Window(QuerySpec(collection="c", limit=1))
    (event,) = window.apply(7, 3, found)
    assert event == LiveEvent(LiveKind.ADDED, 7, 3, None, record, 0)
