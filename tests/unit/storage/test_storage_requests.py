"""Batches of many requests: applied together, with the outcome of one by one."""

from __future__ import annotations

import pytest

from aurora_actors.config import ColdStoreMode
from aurora_actors.messages.storage import (
    DefineCollection,
    InsertDocuments,
    UpdateDocument,
)
from aurora_actors.schema.patch import Increment, encode_patch
from aurora_actors.schema.types import CollectionDefinition, encode_definition

TABLES = ("docs", "ids", "unique", "changes")


def contents(database):
    """All keys and values but those of ``meta``, which has the database's uuid."""
    with database.reader() as reader, reader.snapshot() as snap:
        return {
            name: [
                (bytes(key), bytes(value))
                for key, value in snap.txn.cursor(getattr(snap._tables, name))
            ]
            for name in (*TABLES, "requests")
        }


def test_inserts_of_one_batch_are_stored_as_those_of_many(database, requests):
    def fields(number):
        return {"email": f"{number * 7919 % 100}", "rank": float(number), "age": number}

    batches = {"one": [], "many": []}
    for name, runs in batches.items():
        database.path = database.path.with_name(name)
        database.numbers = 0
        database.open()
        database.define()
        inserts = [requests.insert(**{f"d{n:03}": fields(n)}) for n in range(40)]
        inserts[7] = requests.insert(x=fields(70), y=fields(71))
        size = 1 if name == "one" else 40
        for start in range(0, 40, size):
            database.ask(*inserts[start : start + size])
        runs.append(contents(database))
        database.engine.abandon()
    assert batches["one"] == batches["many"]


def test_a_refused_insert_of_a_run_leaves_the_others_alone(users, requests):
    users.insert(taken={"email": "taken"})
    replies = users.ask(
        requests.insert(a={"email": "a"}),
        requests.insert(b={"email": "b"}),
        requests.insert(c={"email": "taken"}),
        requests.insert(a={"email": "again"}),
        requests.insert(d={"email": "b"}),
        requests.insert(e={"age": "old"}),
        requests.insert(f={"email": "f"}, g={"email": "g"}),
    )
    outcomes = [getattr(reply, "code", "") or reply.lsn for reply in replies]
    assert outcomes == [
        3,
        4,
        "data.unique_violation",
        "data.unique_violation",
        "data.unique_violation",
        "data.validation",
        6,
    ]
    assert sorted(users.documents()) == ["a", "b", "f", "g", "taken"]
    assert users.engine.statistics()["refused_requests"] == 4


def test_a_request_twice_in_one_run_takes_effect_once(users, requests):
    calls = [users.call(requests.insert(**{name: {}})) for name in "abc"]
    replies = users.engine.execute([*calls, calls[1]])
    assert replies[3] == replies[1]
    assert [reply.lsn for reply in users.engine.execute(calls)] == [2, 3, 4]
    assert users.engine.statistics()["duplicate_requests"] == 4


def test_a_run_is_replayed_with_the_outcome_of_each_request(users, requests):
    users.engine.checkpoint()
    calls = [users.call(requests.insert(**{name: {"email": name}})) for name in "abcd"]
    replies = users.engine.execute(calls)
    before = contents(users)
    users.engine.sync()
    users.crash(boot="another", tree="tree")
    assert users.engine.statistics()["replayed_frames"] == 1
    assert contents(users) == before
    assert users.engine.execute(calls) == replies


def test_runs_end_where_the_collection_changes(users, requests):
    other = CollectionDefinition("others", {}, open=True)
    replies = users.ask(
        requests.insert(a={}),
        requests.insert(b={}),
        DefineCollection(definition=encode_definition(other)),
        requests.insert("others", a={}),
        requests.insert("others", b={}),
        requests.insert("nobodys", a={}),
        requests.insert("nobodys", b={}),
        requests.insert(c={}),
        InsertDocuments(collection="users", ids=[], documents=[]),
        InsertDocuments(collection="users", ids=["d"], documents=[]),
    )
    codes = [getattr(reply, "code", "") or reply.lsn for reply in replies]
    missing = "usage.collection_not_found"
    assert codes == [2, 3, 4, 5, 6, missing, missing, 7, 0, "usage"]
    assert sorted(users.documents()) == ["a", "b", "c"]
    assert sorted(users.documents("others")) == ["a", "b"]


@pytest.mark.parametrize("map_size", [64 << 20, 1 << 30])
def test_single_commits_do_not_make_the_file_grow_without_bound(
    database, requests, map_size
):
    database.open(map_size=map_size, cold_mode=ColdStoreMode.LOW_SPACE)
    database.define()
    largest = 0
    for number in range(4000):
        database.ask(requests.insert(**{f"d{number}": {"email": str(number * 7919)}}))
        if not database.engine.due():
            database.engine.background()
            job = database.engine._upkeep._checkpoint_job
            if job is not None:
                job[1].result(10)
        largest = max(largest, database.engine.statistics()["data_bytes"])
    assert database.engine.statistics()["checkpoints"] > 2
    assert largest < min(200 << 20, map_size)


def update(document_id, collection="users", /, **changes):
    return UpdateDocument(
        collection=collection, id=document_id, patch=encode_patch(changes)
    )


def filled(database, name):
    """A database with the documents d0 to d39."""
    database.path = database.path.with_name(name)
    database.numbers = 0
    database.open()
    database.define()
    database.insert(**{f"d{n}": {"email": f"{n}", "age": n} for n in range(40)})
    return database


def test_updates_of_one_batch_are_stored_as_those_of_many(database):
    updates = [update(f"d{n * 7 % 40}", age=Increment(n)) for n in range(40)]
    updates[3] = update("d21", age=21)  # as it is
    updates[9] = update("d23", name="N")
    outcomes = []
    for name, size in (("one", 1), ("many", 40)):
        users = filled(database, name)
        replies = []
        for again in (updates, updates[::2]):
            for start in range(0, len(again), size):
                replies += users.ask(*again[start : start + size])
        outcomes.append((replies, contents(users), users.documents()))
        users.engine.abandon()
    assert outcomes[0] == outcomes[1]


def test_what_keeps_updates_apart_leaves_the_others_alone(database, requests):
    users = filled(database, "apart")
    start = users.engine.lsn
    replies = users.ask(
        update("d1", age=Increment(1)),
        update("nobody", age=1),
        update("d1", age=Increment(1)),  # again, on what the first has left
        update("d2", email="3"),
        update("d3", email="free"),
        update("d4", email="3"),
        update("d5", age="old"),
        requests.insert(new={"age": 1}),
        update("new", age=Increment(1)),
        update("d6", age=Increment(1)),
        update("d7", "nobodys", age=1),
        update("d8", "nobodys", age=1),
    )
    outcomes = [getattr(reply, "code", "") or reply.lsn - start for reply in replies]
    missing = "usage.collection_not_found"
    assert outcomes == [
        1,
        "usage.not_found",
        2,
        "data.unique_violation",
        3,
        4,
        "data.validation",
        5,
        6,
        7,
        missing,
        missing,
    ]
    found = users.documents()
    assert [found[name]["age"] for name in ("d1", "d5", "new", "d6")] == [3, 5, 2, 7]
    assert (found["d3"]["email"], found["d4"]["email"]) == ("free", "3")


def test_updates_of_a_run_are_replayed_with_the_outcome_of_each_request(database):
    users = filled(database, "replayed")
    users.engine.checkpoint()
    calls = [users.call(update(f"d{n}", age=Increment(1))) for n in range(20)]
    replies = users.engine.execute(calls)
    before = contents(users)
    users.engine.sync()
    users.crash(boot="another", tree="tree")
    assert contents(users) == before
    assert users.engine.execute(calls) == replies
