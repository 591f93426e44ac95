"""Who leaves, or begins anew, between two steps of the dispatcher is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from live_model import Consumer, World, world

from aurora_actors.messages.query import OrderKey, QuerySpec
from aurora_actors.messages.reactive import Watch
from aurora_actors.messages.storage import DeleteDocument, InsertDocuments
from aurora_actors.schema.values import encode_document

FIRST_TWO = QuerySpec(collection="c", order=[OrderKey("n")], limit=2)


def stalled(made: World, debounce_s: float) -> Consumer:
    """A consumer of a query whose window has run short and is to be filled."""
    made.define("c")
    names = [f"d{number:03}" for number in range(60)]
    bodies = [encode_document({"n": number}) for number in range(60)]
    made.must(InsertDocuments(collection="c", ids=names, documents=bodies))
    consumer = Consumer(Watch(query=FIRST_TWO, debounce_s=debounce_s))
    made.subscribe(consumer)
    made.settle()
    for name in names[:50]:
        made.must(DeleteDocument(collection="c", id=name))
    made.hub.advance()
    made.tick()
    assert made.hub.statistics()["behind"] == 1
    return consumer


@pytest.mark.parametrize("debounce_s", [0.0, 0.5])
def test_nothing_is_kept_of_who_leaves_before_its_window_is_filled(
    tmp_path: Path, debounce_s: float
):
    with world(tmp_path / "w.db") as made:
        consumer = stalled(made, debounce_s)
        made.hub.unsubscribe("c", consumer.number)
        made.settle()
        counts = made.hub.statistics()
        assert (counts["subscriptions"], counts["live_queries"]) == (0, 0)


@pytest.mark.parametrize("debounce_s", [0.0, 0.5])
def test_who_begins_anew_before_its_window_is_filled_is_told_once(
    tmp_path: Path, debounce_s: float
):
    with world(tmp_path / "w.db") as made:
        consumer = stalled(made, debounce_s)
        made.hub._desk.timeline += 1  # as if the history had been cut
        made.settle()
        assert consumer.lost == 1
        assert consumer.result() == made.query(FIRST_TWO)
