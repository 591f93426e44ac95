from __future__ import annotations

import threading

import pytest

from aurora_actors.config import ColdStoreMode, DurabilityMode
from aurora_actors.errors import LaggedError, UnavailableError
from aurora_actors.messages.base import Failure
from aurora_actors.messages.storage import (
    ChangeMatching,
    CollectionDefined,
    DefineCollection,
    DropCollection,
    InsertDocuments,
    ReplaceDocument,
    UpsertDocument,
    Written,
)
from aurora_actors.schema.patch import Increment, encode_patch
from aurora_actors.schema.types import CollectionDefinition, encode_definition
from aurora_actors.schema.values import encode_document
from aurora_actors.storage.changes import ChangeKind
from aurora_actors.storage.engine import StorageCall


def codes(replies):
    return [getattr(reply, "code", "done") for reply in replies]


def dump(database):
    with database.reader() as reader, reader.snapshot() as snap:
        tables = snap._tables._asdict()
        tables.pop("requests")
        return {
            name: [(bytes(k), bytes(v)) for k, v in snap.txn.cursor(table)]
            for name, table in tables.items()
        }


def test_inserted_documents_can_be_read_at_their_lsn(users):
    reply = users.insert(a={"name": "A", "email": "a@x"}, b={"name": "B"})
    assert reply == Written(lsn=3, synced=False, affected=2)
    assert users.documents() == {"a": {"name": "A", "email": "a@x"}, "b": {"name": "B"}}


def test_the_same_definition_again_changes_nothing(users):
    assert users.define() == CollectionDefined(created=False, lsn=1)
    other = CollectionDefinition("users", {})
    reply = users.one(DefineCollection(definition=encode_definition(other)))
    assert reply.code == "usage.collection_exists"


def test_an_unknown_collection_is_named_with_the_nearest_one(users):
    reply = users.one(
        InsertDocuments(collection="user", ids=["a"], documents=[b"\x80"])
    )
    assert reply.code == "usage.collection_not_found"
    assert "did you mean 'users'?" in reply.message


@pytest.mark.parametrize(
    ("documents", "code", "context"),
    [
        ({"c": {"email": "a@x"}}, "data.unique_violation", {"field": "email"}),
        ({"c": {"email": "n"}, "d": {"email": "n"}}, "data.unique_violation", {}),
        ({"c": {"rank": 7}}, "data.unique_violation", {"field": "rank"}),
        ({"a": {}}, "data.unique_violation", {"field": "id", "value": "a"}),
        ({"c": {}, "d": {"nam": "typo"}}, "data.validation", {"path": "nam"}),
        ({"c": {}, "x\n": {}}, "data.validation", {"path": "id"}),
        ({"c": {}, "": {}}, "data.validation", {"path": "id"}),
    ],
)
def test_a_refused_insert_leaves_no_trace(users, documents, code, context):
    users.insert(a={"email": "a@x", "rank": 7.0})
    before = dump(users)
    reply = users.insert(**{"new": {"email": "new"}, **documents})
    assert reply.code == code
    assert context.items() <= reply.context.items()
    assert dump(users) == before
    assert users.insert(new={"email": "new"}).affected == 1


def test_ids_twice_in_one_request_are_refused(users):
    document = encode_document({})
    reply = users.one(
        InsertDocuments(collection="users", ids=["a", "a"], documents=[document] * 2)
    )
    assert (reply.code, reply.context["value"]) == ("data.unique_violation", "a")


def test_a_failing_request_does_not_harm_its_neighbours_in_the_batch(users, requests):
    replies = users.ask(
        requests.insert(a={"email": "1"}),
        requests.insert(b={"email": "2"}, c={"email": "1"}),
        requests.insert(d={"email": "2"}),
        requests.update("a", email="2"),
        requests.delete("a"),
        requests.insert(e={"email": "1"}),
        requests.update("e", age="not a number"),
    )
    assert codes(replies) == [
        "done",
        "data.unique_violation",
        "done",
        "data.unique_violation",
        "done",
        "done",
        "data.validation",
    ]
    assert [r.lsn for r in replies if isinstance(r, Written)] == [2, 3, 4, 5]
    assert users.documents() == {"d": {"email": "2"}, "e": {"email": "1"}}


def test_requests_of_a_batch_see_what_those_before_them_did(database, requests):
    database.open()
    definition = encode_definition(CollectionDefinition("users", {}, open=True))
    replies = database.ask(
        requests.insert(a={}),
        DefineCollection(definition=definition),
        requests.insert(a={"n": 1}),
        requests.update("a", n=Increment(5)),
        DropCollection(collection="users"),
        requests.insert(b={}),
        DefineCollection(definition=definition),
        requests.insert(a={"again": True}),
    )
    assert codes(replies).count("done") == 6
    assert database.documents() == {"a": {"again": True}}


def test_an_unexpected_error_is_the_failing_requests_alone(users, requests):
    bad = requests.update("a", age=1)
    users.engine._runner._operations._apply[type(bad)] = lambda *_: 1 / 0
    replies = users.ask(requests.insert(a={}), bad)
    assert codes(replies) == ["done", "internal"]
    assert users.documents() == {"a": {}}


def test_update_replace_upsert_and_delete(users, requests):
    users.insert(a={"name": "A", "email": "a", "age": 1})
    assert users.one(requests.update("a", age=Increment(2), email="b")).lsn == 3
    assert users.documents()["a"] == {"name": "A", "email": "b", "age": 3}
    assert users.one(requests.update("a", age=3)) == Written(
        lsn=0, synced=False, affected=1
    )
    assert users.one(requests.update("zz", age=3)).code == "usage.not_found"
    body = encode_document({"email": "c"})
    replace = ReplaceDocument(collection="users", id="a", document=body)
    assert users.one(replace).lsn == 4
    upsert = UpsertDocument(
        collection="users", id="u", patch=encode_patch({"age": Increment(1)})
    )
    assert users.ask(upsert, upsert)[1].lsn == 6
    assert users.documents() == {"a": {"email": "c"}, "u": {"age": 2}}
    assert users.one(requests.delete("a")).affected == 1
    assert users.one(requests.delete("a")).affected == 0
    assert users.documents() == {"u": {"age": 2}}


def matching(users, rows, lsn, patch=None, exact=False):
    users.numbers += 1
    return users.one(
        ChangeMatching(
            client="client",
            client_request_id=users.numbers,
            collection="users",
            rows=rows,
            snapshot_lsn=lsn,
            predicate=b"age>10",
            patch=None if patch is None else encode_patch(patch),
            exact=exact,
        )
    )


def test_a_statement_changes_all_it_means_or_nothing(users):
    users.insert(a={"age": 11}, b={"age": 2**63 - 1}, c={"age": 13, "email": "c"})
    before, lsn = users.documents(), users.engine.lsn
    refused = matching(users, [1, 2, 3], lsn, {"age": Increment(1)})
    assert isinstance(refused, Failure)
    taken = matching(users, [1, 2, 3], lsn, {"email": "c"})
    assert taken.code == "data.unique_violation"
    assert (users.documents(), users.engine.lsn) == (before, lsn)
    same = matching(users, [3], lsn, {"email": "c"})
    assert (same.affected, same.lsn) == (1, 0)
    partly = matching(users, [1, 2, 3], lsn, {"age": 13})
    assert (partly.affected, partly.lsn) == (3, lsn + 2)
    nothing = matching(users, [1, 2, 3], lsn + 2, {"age": 13})
    assert (nothing.affected, nothing.lsn) == (3, 0)
    assert [each["age"] for each in users.documents().values()] == [13, 13, 13]


def test_rows_changed_since_the_snapshot_are_checked_again(users, requests):
    users.insert(a={"age": 11}, b={"age": 12}, c={"age": 1}, d={"age": 2})
    lsn = users.engine.lsn
    users.ask(
        requests.update("a", age=5),
        requests.update("c", age=50),
        requests.insert(e={"age": 60}, f={"age": 6}),
    )
    reply = matching(users, [1, 2], lsn, {"name": "old"})
    assert reply.affected == 3
    named = [name for name, fields in users.documents().items() if "name" in fields]
    assert named == ["b", "c", "e"]


def test_a_statement_on_an_unchanged_collection_trusts_its_rows(users):
    users.insert(a={"age": 11}, b={"age": 12}, c={"age": 1})
    assert matching(users, [1, 2], users.engine.lsn).affected == 2
    assert list(users.documents()) == ["c"]


def test_an_exact_statement_conflicts_with_any_change_and_may_run_again(users):
    users.insert(a={"age": 11})
    lsn = users.engine.lsn
    users.insert(b={"age": 12})
    assert matching(users, [1], lsn, exact=True).code == "data.conflict"
    users.numbers -= 2  # the executor runs it again for the same request
    assert matching(users, [1], users.engine.lsn, exact=True).affected == 1


def test_a_statement_from_before_the_collection_was_made_anew_conflicts(users):
    users.insert(a={"age": 11})
    lsn = users.engine.lsn
    users.one(DropCollection(collection="users"))
    users.define()
    assert matching(users, [1], lsn).code == "data.conflict"


def test_a_repeated_statement_gets_its_clients_first_outcome(users):
    users.insert(a={"age": 11}, b={"age": 12})
    first = matching(users, [1], users.engine.lsn)
    users.numbers -= 2
    assert matching(users, [2], users.engine.lsn) == first
    assert list(users.documents()) == ["b"]


def test_a_repeated_request_gets_the_first_outcome(users, requests):
    call = users.call(requests.insert(a={"email": "x"}))
    refused = users.call(requests.insert(b={"email": "x"}))
    first = users.engine.execute([call, call, refused])
    assert first[0] == first[1]
    users.one(requests.delete("a"))
    assert users.engine.execute([call, refused]) == [first[0], first[2]]
    users.crash()
    assert users.engine.execute([refused, call]) == [first[2], first[0]]
    assert users.documents() == {}
    assert users.engine.statistics()["duplicate_requests"] == 2


def test_another_run_of_the_tree_remembers_nothing(users, requests):
    call = users.call(requests.insert(a={}))
    users.engine.execute([call])
    users.crash(tree="another")
    assert users.engine.execute([call])[0].code == "data.unique_violation"


def test_outcomes_below_the_floor_are_forgotten(users, requests):
    for number in range(1, 301):
        users.engine.execute(
            [StorageCall("c", number, number, requests.insert(**{f"d{number}": {}}))]
        )
    assert users.engine.statistics()["remembered_outcomes"] < 70
    users.crash()
    assert users.engine.statistics()["remembered_outcomes"] < 140


def test_outcomes_of_a_client_that_is_gone_are_forgotten(users, requests):
    users.insert(a={})
    users.engine.forget_client("client")
    assert users.engine.statistics()["remembered_outcomes"] == 0
    users.numbers = 0
    assert users.insert(b={}).affected == 1


def test_requests_without_a_number_are_not_remembered(users, requests):
    call = StorageCall("client", 0, 0, requests.insert(a={}))
    before = users.engine.statistics()["remembered_outcomes"]
    assert codes(users.engine.execute([call, call])) == [
        "done",
        "data.unique_violation",
    ]
    assert users.engine.statistics()["remembered_outcomes"] == before


def test_limits_on_documents_and_requests(database, requests):
    database.open(max_document_bytes=100, max_transaction_bytes=250)
    database.define()
    long = {"name": "x" * 100}
    assert database.insert(a=long).context["limit"] == "max_document_bytes"
    many = {f"d{n}": {"name": "x" * 60} for n in range(5)}
    assert database.insert(**many).context["limit"] == "max_transaction_bytes"
    database.insert(b={"name": "x"})
    assert database.one(requests.update("b", **long)).code == "data.limit_exceeded"


def test_a_batch_is_cut_where_the_write_buffer_is_full(database, requests):
    database.open(write_buffer_size=3)
    database.define()
    before = database.engine.statistics()["commits"]
    database.ask(*[requests.insert(**{f"d{n}": {}}) for n in range(7)])
    assert database.engine.statistics()["commits"] == before + 3


def test_without_write_buffering_each_request_is_a_commit(database, requests):
    database.open(enable_write_buffering=False)
    database.define()
    before = database.engine.statistics()["commits"]
    database.ask(*[requests.insert(**{f"d{n}": {}}) for n in range(4)])
    assert database.engine.statistics()["commits"] == before + 4


@pytest.mark.parametrize("mode", list(DurabilityMode))
def test_all_modes_survive_the_crash_of_the_process(database, requests, mode):
    database.open(durability_mode=mode)
    database.define()
    reply = database.insert(a={"email": "a"}, b={"email": "b"})
    synced = mode in {DurabilityMode.STRICT, DurabilityMode.SYNCHRONOUS}
    assert reply.synced == synced
    assert database.engine.sync() == 3
    database.one(requests.delete("b"))
    database.crash(durability_mode=mode)
    assert database.documents() == {"a": {"email": "a"}}
    database.engine.close()
    database.open(durability_mode=mode)
    assert database.documents() == {"a": {"email": "a"}}
    assert (database.engine.lsn, database.engine.timeline) == (4, 1)


def test_two_engines_cannot_write_one_database(users):
    with pytest.raises(UnavailableError, match="another process writes"):
        type(users)(users.path).open()


def test_a_closed_engine_refuses(users):
    users.engine.close()
    users.engine.close()
    with pytest.raises(UnavailableError, match="closed"):
        users.insert(a={})
    users.open()


def test_a_dropped_collection_is_reclaimed_in_the_background(users):
    users.insert(**{f"d{n}": {"email": str(n)} for n in range(3000)})
    users.one(DropCollection(collection="users"))
    users.define()
    users.insert(a={"email": "1"})
    assert users.engine.due() == 0
    steps = 0
    while users.engine.due() == 0 and steps < 100:
        users.engine.background()
        steps += 1
    assert 3 < steps < 100
    left = dump(users)
    assert [len(left[name]) for name in ("docs", "ids", "unique")] == [1, 1, 1]
    assert users.documents() == {"a": {"email": "1"}}


def test_reclaiming_goes_on_after_a_crash(users):
    users.insert(**{f"d{n}": {"email": str(n)} for n in range(3000)})
    users.one(DropCollection(collection="users"))
    users.engine.background()
    users.crash()
    while users.engine.due() == 0:
        users.engine.background()
    assert dump(users)["docs"] == []


def test_old_changes_are_trimmed_to_the_retention(database, requests):
    database.open(change_retention=2000, cold_mode=ColdStoreMode.LOW_SPACE)
    database.define()
    for start in range(0, 2000, 100):
        database.insert(**{f"d{n}": {} for n in range(start, start + 100)})
        database.engine.checkpoint()
    first = database.engine.statistics()["first_change"]
    assert 2001 - 200 - 300 <= first <= 2001 - 200 + 1
    with database.reader() as reader, reader.snapshot() as snap:
        assert snap.first_change == first
        assert len(list(snap.changes(first - 1))) == 2001 - first + 1


def test_writers_wait_for_a_consumer_far_behind_but_not_for_one_that_is_stuck(database):
    database.open(change_retention=100)
    database.define()
    engine = database.engine
    assert engine.pause_s(1000) == 0
    engine.hold_changes("index", 0)
    database.insert(**{f"d{n}": {} for n in range(400)})
    assert engine.pause_s(1000) == 0
    database.insert(**{f"e{n}": {} for n in range(200)})
    assert 0 < engine.pause_s(100) < engine.pause_s(1000) < engine.pause_s(10**9) < 1
    engine.hold_changes("index", engine.lsn - 10)
    assert engine.pause_s(1000) == 0
    engine.hold_changes("index", 0)
    database.insert(**{f"f{n}": {} for n in range(600)})
    assert engine.pause_s(1000) == 0
    engine.hold_changes("index", None)


def test_changes_after_the_checkpoint_or_held_by_a_consumer_are_kept(database):
    database.open(change_retention=100)
    database.define()
    database.engine.hold_changes("index", 50)
    for start in range(0, 800, 100):
        database.insert(**{f"d{n}": {} for n in range(start, start + 100)})
    assert database.engine.statistics()["first_change"] == 1  # no checkpoint yet
    database.engine.checkpoint()
    database.insert(**{f"e{n}": {} for n in range(100)})
    assert database.engine.statistics()["first_change"] == 1  # within the slack
    database.engine.hold_changes("index", None)
    database.insert(**{f"f{n}": {} for n in range(100)})
    assert database.engine.statistics()["first_change"] > 200


def test_changes_beyond_their_age_leave_between_the_commits(database):
    def first():
        return database.engine.statistics()["first_change"]

    def wait(seconds):
        database.wall += seconds
        while database.engine.due() == 0:
            database.engine.background()

    database.open(change_retention_s=100)
    database.define()
    database.insert(a={}, b={}, c={})
    wait(60)
    database.insert(d={}, e={})
    database.engine.checkpoint()
    wait(30)
    assert first() == 1
    wait(20)
    assert first() == 1  # what a note covers is older than a change at most by a note
    wait(60)
    assert first() == 5
    database.insert(f={})
    wait(0)
    database.crash(change_retention_s=100)  # the notes are kept
    wait(45)
    assert first() == 7  # nothing before the checkpoint is needed
    wait(45)
    with database.reader() as reader, reader.snapshot() as snap:
        assert [change.id for change in snap.changes(6)] == ["f"]
    database.engine.checkpoint()
    wait(60)
    assert first() == 8
    with (
        database.reader() as reader,
        reader.snapshot() as snap,
        pytest.raises(LaggedError),
    ):
        list(snap.changes(6))
    assert database.engine.due() > 0


def test_old_changes_that_a_consumer_needs_are_kept(database):
    database.open(change_retention_s=10)
    database.define()
    database.insert(**{f"d{n}": {} for n in range(3000)})
    database.engine.checkpoint()
    database.engine.hold_changes("index", 1000)
    for _ in range(4):
        database.wall += 11
        database.turn_until(lambda: database.engine.due() > 0)
    assert database.engine.statistics()["first_change"] == 1001
    database.engine.hold_changes("index", None)
    database.wall += 11
    database.turn_until(lambda: database.engine.due() > 0)
    assert database.engine.statistics()["first_change"] == 3002


def test_the_wal_is_synced_in_the_background_when_it_is_due(users):
    users.engine.checkpoint()
    users.engine.background()  # the first look at the space left
    users.insert(a={})
    assert users.engine.statistics()["synced_lsn"] < users.engine.lsn
    assert 0 < users.engine.due() <= 0.2
    users.now += 0.2
    assert users.engine.due() == 0
    users.turn_until(
        lambda: users.engine.statistics()["synced_lsn"] == users.engine.lsn
    )
    assert users.engine.due() > 0.2  # the log has nothing left to sync


def test_a_checkpoint_is_taken_in_the_background_when_it_is_due(users):
    users.insert(a={})
    users.now += 10
    users.engine.background()
    users.insert(b={})
    users.turn_until(lambda: users.engine._upkeep._checkpoint_job is None)
    statistics = users.engine.statistics()
    assert (statistics["checkpoints"], statistics["checkpoint_lsn"]) == (1, 2)


def test_a_commit_does_not_wait_for_a_sync_in_the_background(users):
    entered, leave = threading.Event(), threading.Event()
    plain = users.files.sync

    def slow(fd):
        entered.set()
        assert leave.wait(10)
        plain(fd)

    users.insert(a={})
    users.files.sync = slow
    users.now += 10
    users.engine.background()
    assert entered.wait(10)
    users.insert(b={})
    users.engine.background()
    assert users.documents() == {"a": {}, "b": {}}
    users.files.sync = plain
    leave.set()


def test_changes_tell_old_and_new_and_store_each_version_once(users, requests):
    users.insert(a={"age": 1}, b={"age": 2}, c={"age": 3})
    users.ask(
        requests.update("a", age=10),
        requests.delete("b"),
        requests.insert(d={"age": 4}),
        requests.update("d", age=5),
        requests.update("d", age=6),
    )
    with users.reader() as reader, reader.snapshot() as snap:
        changes = list(snap.changes(1))
        assert [c.lsn for c in changes] == list(range(2, 10))
        assert [c.kind.name for c in changes] == [
            *["INSERT"] * 3,
            "UPDATE",
            "DELETE",
            "INSERT",
            "UPDATE",
            "UPDATE",
        ]
        assert [c.id for c in changes] == ["a", "b", "c", "a", "b", "d", "d", "d"]
        versions: dict[int, object] = {}
        for change in changes:
            assert change.old == versions.get(change.row)
            versions[change.row] = change.new
            if change.new is not None:
                assert int.from_bytes(change.new[:8], "big") == change.lsn
        (first,) = snap.changes(0, 1)
        assert first.kind is ChangeKind.DEFINE
        assert snap.changed_rows(snap.collection("users"), 4) == {1, 2, 4}


def test_failures_carry_the_actors_name(users):
    reply = users.insert(a={"age": "x"})
    assert isinstance(reply, Failure)
    assert reply.actor == "storage"
