"""Coalescing against the difference of states."""

from __future__ import annotations

from hypothesis import given, strategies as st

from aurora_actors.messages.reactive import LiveEvent, LiveKind
from aurora_actors.reactive.coalesce import Coalescer, event_size
from aurora_actors.schema.record import pack_record, record_body
from aurora_actors.schema.values import encode_document


def record(lsn, value):
    return pack_record(lsn, "x", encode_document({"v": value}))


def content(found):
    return None if found is None else record_body(found)


@given(
    st.dictionaries(st.integers(1, 4), st.integers(0, 2)),
    st.lists(st.tuples(st.integers(1, 4), st.one_of(st.none(), st.integers(0, 2)))),
)
def test_the_last_state_wins_and_what_comes_to_nothing_is_not_told(begin, steps):
    state = {row: record(row, value) for row, value in begin.items()}
    before = dict(state)
    coalescer = Coalescer()
    for lsn, (row, value) in enumerate(steps, 10):
        old = state.pop(row, None)
        new = None if value is None else record(lsn, value)
        if new is not None:
            state[row] = new
        if old is None and new is None:
            continue
        kind = LiveKind.MODIFIED
        if old is None:
            kind = LiveKind.ADDED
        elif new is None:
            kind = LiveKind.REMOVED
        coalescer.extend([LiveEvent(kind, lsn, row, old, new)])
    assert coalescer.size == sum(map(event_size, coalescer._events.values()))
    told: dict[int, LiveEvent] = {}
    for found in coalescer.take(99):
        assert found.lsn == 99
        assert found.row not in told
        told[found.row] = found
    assert list(told) == sorted(told)
    for row in range(1, 5):
        old, new = before.get(row), state.get(row)
        event: LiveEvent | None = told.get(row)
        if old is None or new is None:
            assert (event is None) == (old is new)
        elif event is None:
            assert record_body(old) == record_body(new)
        if event is not None:
            # A version between may have been the same but for its number.
            assert [*map(content, (event.old, event.new))] == [
                content(old),
                content(new),
            ]
    assert not coalescer
    assert coalescer.size == 0
