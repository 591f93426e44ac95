from __future__ import annotations

import os

import lmdb
import pytest

from aurora_actors.errors import (
    CollectionNotFoundError,
    LaggedError,
    OverloadedError,
    UnavailableError,
    UsageError,
)
from aurora_actors.messages.storage import DropCollection
from aurora_actors.schema.record import record_id, record_lsn
from aurora_actors.schema.types import CollectionDefinition, FieldDefinition, FieldType
from aurora_actors.storage.reader import DataReader, Snapshot


def test_a_snapshot_stays_at_its_lsn(users, requests):
    users.insert(a={"age": 1})
    with users.reader() as reader, reader.snapshot() as snap:
        info = snap.collection("users")
        users.ask(requests.update("a", age=2), requests.insert(b={}))
        assert (snap.lsn, info.count) == (2, 1)
        assert record_lsn(snap.get(info, "a")) == 2
        assert snap.get(info, "b") is None
        with reader.snapshot() as later:
            assert (later.lsn, later.collection("users").count) == (4, 2)
            assert record_lsn(later.get(info, "a")) == 3


def test_documents_are_found_by_id_row_and_unique_value(users):
    users.insert(a={"email": "e", "rank": 5}, b={"rank": 2**53 + 1}, c={})
    with users.reader() as reader, reader.snapshot() as snap:
        info = snap.collection("users")
        assert snap.row_of(info, "b") == 2
        assert snap.row_of(info, "nobody") is None
        assert record_id(snap.get_row(info, 3)) == "c"
        assert snap.get_row(info, 4) is None
        assert [row for row, _ in snap.get_rows(info, [1, 3, 9])] == [1, 3]
        assert snap.lookup_unique(info, "email", "e") == 1
        assert snap.lookup_unique(info, "rank", 5.0) == 1
        assert snap.lookup_unique(info, "rank", 2**53 + 1) == 2
        assert snap.lookup_unique(info, "rank", 2.0**53) is None
        assert snap.lookup_unique(info, "email", None) is None
        assert snap.lookup_unique(info, "email", ["a", "list"]) is None
        with pytest.raises(UsageError, match=r"users\.name is not a unique field"):
            snap.lookup_unique(info, "name", "x")


def test_an_id_longer_than_a_key_is_simply_not_there(users):
    with users.reader() as reader, reader.snapshot() as snap:
        info = snap.collection("users")
        assert snap.get(info, "x" * 3000) is None
        assert snap.row_of(info, "\udc80") is None


def test_a_scan_stays_in_its_collection_and_can_go_on_behind_a_row(users):
    users.define(CollectionDefinition("zoo", {}, open=True))
    users.insert(a={}, b={}, c={})
    users.insert("zoo", z={})
    with users.reader() as reader, reader.snapshot() as snap:
        info = snap.collection("users")
        assert [row for row, _ in snap.scan(info)] == [1, 2, 3]
        assert [row for row, _ in snap.scan(info, 2)] == [3]
        assert list(snap.scan(info, 3)) == []
        assert [record_id(r) for _, r in snap.scan(snap.collection("zoo"))] == ["z"]
        assert [info.name for info in snap.collections()] == ["users", "zoo"]


def test_a_new_catalog_is_seen_and_an_old_snapshot_keeps_its_own(users):
    with users.reader() as reader, reader.snapshot() as old:
        first = old.collection("users")
        users.one(DropCollection(collection="users"))
        users.define(
            CollectionDefinition("users", {"n": FieldDefinition(FieldType.INT)})
        )
        with reader.snapshot() as new:
            assert new.collection("users").id == first.id + 1
        assert old.collection("users").id == first.id
        with reader.snapshot() as new:
            assert list(new.collection("users").definition.fields) == ["n"]


def test_a_missing_collection_is_an_error_with_a_hint(users):
    with (
        users.reader() as reader,
        reader.snapshot() as snap,
        pytest.raises(CollectionNotFoundError, match="did you mean 'users'"),
    ):
        snap.collection("usrs")


def test_changes_that_are_no_longer_kept_are_not_skipped_silently(database):
    database.open(change_retention=100)
    database.define()
    for start in range(0, 600, 100):
        database.insert(**{f"d{n}": {} for n in range(start, start + 100)})
        database.engine.checkpoint()
    with database.reader() as reader, reader.snapshot() as snap:
        assert snap.first_change > 2
        with pytest.raises(LaggedError, match="are kept from"):
            list(snap.changes(1))
        with pytest.raises(LaggedError):
            snap.changed_rows(snap.collection("users"), 1)
        assert len(list(snap.changes(snap.lsn - 5, snap.lsn - 2))) == 3
        assert list(snap.changes(snap.lsn)) == []


def test_changes_of_a_removed_collection_vanish_with_its_documents(users):
    users.insert(a={})
    users.one(DropCollection(collection="users"))
    while users.engine.due() == 0:
        users.engine.background()
    with users.reader() as reader, reader.snapshot() as snap:
        kinds = [change.kind.name for change in snap.changes(0)]
        assert kinds == ["DEFINE", "DROP"]
        assert [change.id for change in snap.changes(0)] == ["", ""]


def test_a_database_can_be_read_when_its_engine_is_closed(users):
    users.insert(a={"age": 1})
    users.engine.close()
    for boot in ("boot", "after a reboot"):
        with (
            DataReader.open(users.path, boot=boot) as reader,
            reader.snapshot() as snap,
        ):
            assert snap.collection("users").count == 1
    users.open()


def test_an_unrecovered_database_cannot_be_read_after_a_reboot(users):
    users.insert(a={})
    users.engine.abandon()
    with pytest.raises(UnavailableError, match="has recovered it"):
        DataReader.open(users.path, boot="another")
    users.open(boot="another")
    with DataReader.open(users.path, boot="another") as reader:
        reader.snapshot().close()


def test_there_must_be_a_database(tmp_path):
    with pytest.raises(UnavailableError, match="no database at"):
        DataReader.open(tmp_path / "nothing")


def test_readers_of_one_path_share_the_environment_until_the_last_closes(users):
    first, second = users.reader(), users.reader()
    first.close()
    first.close()
    with pytest.raises(UsageError, match="closed"):
        first.snapshot()
    second.snapshot().close()
    users.engine.close()
    second.snapshot().close()
    second.close()
    with pytest.raises(lmdb.Error):
        second_env_is_gone(users)
    users.open()


def second_env_is_gone(users):
    lmdb.open(str(users.path / "data.mdb"), subdir=False, readonly=True).close()
    raise lmdb.Error("it could be opened again, so nobody had it open")


def test_a_reader_that_came_first_keeps_a_writer_of_the_same_process_out(users):
    users.engine.close()
    with users.reader(), pytest.raises(UsageError, match="open for reading"):
        users.open()
    users.open()


def test_a_reader_is_refused_in_a_forked_child(users):
    reader = users.reader()
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            reader.snapshot()
        except UsageError as exc:
            os.write(write, exc.message.encode())
        finally:
            os._exit(0)
    os.close(write)
    assert b"after a fork" in os.read(read, 200)
    os.waitpid(child, 0)
    os.close(read)
    reader.close()


def test_too_many_readers_is_a_clear_error(database):
    database.open(max_readers=16)
    database.define()
    with database.reader() as reader:
        snapshots: list[Snapshot] = []
        with pytest.raises(OverloadedError, match="max_readers"):
            snapshots.extend(reader.snapshot() for _ in range(20))
        assert database.insert(a={}).affected == 1
        snapshots.clear()
        reader.snapshot().close()
