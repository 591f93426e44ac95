"""What the engine says of its last commit, so that nobody needs to look it up."""

from __future__ import annotations

from itertools import count

import pytest

from aurora_actors.messages.storage import DropCollection
from aurora_actors.storage.changes import carried_change


def said(users, before):
    """The news of the last commit, after checking that the log says the same."""
    news = users.engine.take_newest()
    found = list(map(carried_change, count(before + 1), news))
    assert users.engine.take_newest() == []
    if found:
        with users.reader() as reader, reader.snapshot() as snap:
            assert found == [
                change._replace(
                    old=None if change.old is None else bytes(change.old),
                    new=None if change.new is None else bytes(change.new),
                )
                for change in snap.changes(before)
            ]
            assert found[-1].lsn == snap.lsn
    return found


@pytest.fixture
def three(users):
    users.insert(a={"age": 1}, b={"age": 2}, c={})
    return users


def test_inserts_updates_and_deletes_are_said_as_the_log_has_them(three, requests):
    assert len(said(three, 1)) == 3
    three.ask(
        requests.update("a", age=3),
        requests.insert(d={"age": 4}),
        requests.delete("b"),
        requests.update("c", age=5),
    )
    assert [change.id for change in said(three, 4)] == ["a", "d", "b", "c"]


def test_a_request_that_is_refused_leaves_no_trace(three, requests):
    three.ask(requests.insert(e={}), requests.insert(a={}), requests.insert(f={}))
    assert [change.id for change in said(three, 4)] == ["e", "f"]


def test_what_a_later_change_has_replaced_is_to_be_read(three, requests):
    three.ask(requests.insert(d={"age": 4}), requests.update("d", age=5))
    assert said(three, 4) == []
    three.ask(requests.update("d", age=6), requests.update("d", age=7))
    assert [change.id for change in said(three, 6)] == ["d", "d"]


def test_much_is_to_be_read_and_so_are_collections(three, requests):
    three.ask(requests.insert(**{f"x{number}": {} for number in range(9)}))
    assert said(three, 4) == []
    three.ask(requests.insert(long={"name": "x" * 20_000}))
    assert said(three, 13) == []
    three.ask(DropCollection(collection="users"))
    assert said(three, 14) == []
