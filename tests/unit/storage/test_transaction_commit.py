"""Commits in the engine: all or nothing, once, and each after the one before it."""

from __future__ import annotations

import pytest
from transacting import LocalDatabase, found, insertion, query, read

from aurora_actors.messages.base import Failure
from aurora_actors.messages.storage import (
    Commit,
    Committed,
    DeleteDocument,
    PointRead,
    RangeRead,
    UpdateDocument,
)
from aurora_actors.query.filters import field
from aurora_actors.query.predicate import encode_predicate
from aurora_actors.schema.patch import Increment, encode_patch
from aurora_actors.storage.engine import StorageCall


@pytest.fixture
def base(tmp_path):
    database = LocalDatabase(tmp_path / "a.db")
    database.define("a")
    database.one(insertion("a", {"x": {"v": 1}, "y": {"v": 2}}))
    yield database
    database.close()


def add(document_id, amount=1):
    patch = encode_patch({"v": Increment(amount)})
    return UpdateDocument(collection="a", id=document_id, patch=patch)


def commit(*operations, points=(), ranges=(), lsn=3, **more):
    return Commit(
        snapshot_lsn=lsn,
        points=list(points),
        ranges=list(ranges),
        operations=list(operations),
        **more,
    )


def values(base):
    return {name: doc["v"] for name, doc in base.documents("a").items()}


def test_a_commit_applies_its_operations_in_order(base):
    reply = base.one(commit(add("x"), insertion("a", {"n": {"v": 5}}), add("n")))
    assert reply == Committed(lsn=6, synced=False, affected=[1, 1, 1])
    assert values(base) == {"x": 2, "y": 2, "n": 6}


def test_a_commit_that_changes_nothing_has_no_lsn(base):
    gone = DeleteDocument(collection="a", id="nobody")
    assert base.one(commit(gone)) == Committed(lsn=0, synced=False, affected=[0])


def test_an_operation_that_is_refused_undoes_those_before_it(base):
    lsn = base.engine.lsn
    (reply,) = base.ask(commit(add("x"), insertion("a", {"y": {}}), add("y")))
    assert isinstance(reply, Failure)
    assert reply.code == "data.unique_violation"
    assert reply.context["operation"] == 1
    assert base.engine.lsn == lsn
    assert values(base) == {"x": 1, "y": 2}


def test_commits_of_one_batch_are_compared_with_those_before_them(base):
    seen = PointRead("a", "x", 2)
    high = RangeRead("a", encode_predicate((field("v") > 100).predicate))
    replies = base.ask(
        commit(add("x"), points=[seen]),
        commit(add("x", 10), points=[seen]),
        commit(add("y", 500), ranges=[high]),
        commit(add("y", 1000), ranges=[high]),
        commit(add("x", 100)),
    )
    assert [type(reply) for reply in replies] == [
        Committed,
        Failure,
        Committed,
        Failure,
        Committed,
    ]
    assert replies[3].context == {"collection": "a", "id": "y", "range": 0}
    assert values(base) == {"x": 102, "y": 502}


def test_a_document_of_the_same_batch_is_a_phantom(base):
    everything = RangeRead("a", b"")
    replies = base.ask(
        insertion("a", {"n": {"v": 1}}),
        DeleteDocument(collection="a", id="n"),
        commit(add("x"), ranges=[everything]),
        insertion("a", {"m": {"v": 1}}),
        commit(add("x"), ranges=[everything]),
    )
    assert isinstance(replies[2], Committed)
    assert isinstance(replies[4], Failure)


def test_a_repeated_commit_gets_the_first_outcome(base):
    call = base.call(commit(add("x")))
    (first,) = base.engine.execute([call])
    assert base.engine.execute([call, call]) == [first, first]
    assert values(base)["x"] == 2


def test_a_commit_is_remembered_over_a_crash(base):
    call = base.call(commit(add("x"), add("y")))
    (first,) = base.engine.execute([call])
    base.crash()
    assert base.engine.execute([call]) == [first]
    assert values(base) == {"x": 2, "y": 3}


def test_a_conflict_is_remembered_so_that_a_repeat_cannot_succeed_after_all(base):
    everything = RangeRead("a", encode_predicate((field("v") > 100).predicate))
    base.one(insertion("a", {"n": {"v": 500}}))
    call = base.call(commit(add("x"), ranges=[everything]))
    (first,) = base.engine.execute([call])
    assert isinstance(first, Failure)
    base.one(DeleteDocument(collection="a", id="n"))
    base.crash()
    assert base.engine.execute([call]) == [first]
    assert values(base)["x"] == 1


def test_a_commit_on_behalf_is_remembered_as_its_clients_request(base):
    request = commit(add("x"), client="c-1", client_request_id=7)
    stale = commit(
        add("x"), points=[PointRead("a", "x", 1)], client="c-1", client_request_id=7
    )
    conflict, done, again = base.engine.execute(
        [StorageCall("c-1", 1, 0, each) for each in (stale, request, request)]
    )
    assert isinstance(conflict, Failure)
    assert again == done
    assert values(base)["x"] == 2


def test_a_snapshot_of_the_future_is_refused(base):
    (reply,) = base.ask(commit(add("x"), lsn=1000))
    assert isinstance(reply, Failure)
    assert "beyond the present 3" in reply.message


def test_a_commit_has_a_largest_size(tmp_path):
    base = LocalDatabase(tmp_path / "small.db", max_transaction_bytes=100)
    base.define("a")
    (reply,) = base.ask(commit(insertion("a", {"n": {"u": "x" * 200}}), lsn=0))
    assert isinstance(reply, Failure)
    assert reply.context["limit"] == "max_transaction_bytes"
    base.close()


def test_a_transaction_is_one_commit_of_the_store(base):
    before = base.engine.statistics()["commits"]
    view = base.begin()
    value = read(view, "a", "x")["v"]
    assert len(found(view, query("a"))) == 2
    for _ in range(value + 3):
        view.apply(add("x"))
    base.commit(view)
    assert base.engine.statistics()["commits"] == before + 1
    base.crash()
    assert values(base)["x"] == 5
