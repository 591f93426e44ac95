"""Many deletions at once: marked, hidden from everybody, and taken out afterwards."""

from __future__ import annotations

import struct

import pytest

from aurora_actors.errors import ConflictError, CorruptionError
from aurora_actors.indexing.net_changes import net_changes
from aurora_actors.messages.base import Failure
from aurora_actors.messages.storage import (
    ChangeMatching,
    Commit,
    DropCollection,
    RangeRead,
    Written,
)
from aurora_actors.schema.record import record_id
from aurora_actors.storage.engine import Engine
from aurora_actors.storage.findings import Findings
from aurora_actors.storage.layout import DATA_FILE, META_FORMAT
from aurora_actors.storage.repair import repair_database
from aurora_actors.storage.verify import check_tables
from aurora_actors.storage.verify_files import check_database

COUNT = 600
GONE = range(0, COUNT, 2)


def name(number: int) -> str:
    return f"d{number:04d}"


def fields(number: int) -> dict[str, object]:
    return {"email": f"{number}@x", "age": number}


def mark(users, rows=None, *, since=None):
    """Delete every other document, by a statement."""
    request = ChangeMatching(
        client="",
        client_request_id=0,
        collection="users",
        rows=[number + 1 for number in GONE] if rows is None else rows,
        snapshot_lsn=users.engine.lsn if since is None else since,
        predicate=b"age>999",
        patch=None,
    )
    return users.one(request)


def test_a_few_marked_deletions_are_to_be_read_in_the_log(database):
    database.open(mark_from=2)
    database.define()
    database.insert(**{name(n): fields(n) for n in range(4)})
    assert isinstance(mark(database, [1, 3]), Written)
    assert database.engine.take_newest() == []


@pytest.fixture
def marked(database):
    """600 documents, every other one marked."""
    database.open(mark_from=2)
    database.define()
    database.insert(**{name(n): fields(n) for n in range(COUNT)})
    reply = mark(database)
    assert isinstance(reply, Written)
    assert reply.affected == len(GONE)
    assert database.engine._store.catalog.marks
    return database


def sound(users) -> dict[str, dict[str, object]]:
    """All documents, of tables in which nothing is wrong."""
    with users.reader() as reader, reader.snapshot() as snap:
        found = Findings()
        check_tables(snap.txn, snap._tables, found)
        assert not found.kept, found.kept
    return users.documents()


def reclaim(users) -> int:
    """Take everything out; returns how many steps that took."""
    steps = 0
    while users.engine._reclaimer.has_work:
        users.engine.background()
        steps += 1
        sound(users)
    return steps


def expected() -> dict[str, dict[str, object]]:
    return {name(n): fields(n) for n in range(COUNT) if n not in GONE}


def test_nobody_sees_them_in_whatever_way(marked):
    assert sound(marked) == expected()
    with marked.reader() as reader:
        with reader.snapshot() as snap:
            info = snap.collection("users")
            assert info.count == COUNT - len(GONE)
            rows = list(range(1, COUNT + 1))
            left = [row for row in rows if row - 1 not in GONE]
            assert [row for row, _ in snap.get_rows(info, rows)] == left
            assert len(snap.get_records(info, rows)) == len(left)
            assert len(snap.get_records(info, rows[:10])) == 5
            assert snap.get(info, name(2)) is None
            assert snap.get_row(info, 3) is None
            assert snap.row_of(info, name(2)) is None
            assert snap.lookup_unique(info, "email", "2@x") is None
            assert snap.open_cursor(info) is None
            for descending in (False, True):
                found = snap.rows_by_id(info, descending=descending)
                assert sorted(row for _, row in found) == left
        for _ in range(2):  # the second time the catalog is known
            assert reader.record("users", name(2)) is None
            assert reader.record("users", name(3)) is not None
            assert reader.unique_record("users", "email", "2@x") is None
            assert reader.unique_record("users", "email", "3@x")


def test_they_are_taken_out_in_steps_and_the_changes_keep_the_documents(marked):
    def deletions():
        with marked.reader() as reader, reader.snapshot() as snap:
            return [
                (change.lsn, change.kind, change.id, bytes(change.old or change.new))
                for change in snap.changes(1)
            ]

    before = deletions()
    assert [record_id(old) for _, _, _, old in before[COUNT:]] == list(map(name, GONE))
    assert reclaim(marked) > 1
    assert deletions() == before
    with marked.reader() as reader, reader.snapshot() as snap:
        assert snap.collection("users").marked is None
        for table in (snap._tables.docs, snap._tables.ids, snap._tables.unique):
            assert snap.txn.stat(table)["entries"] == COUNT - len(GONE)


def test_ids_and_values_are_free_at_once(marked, requests):
    again = {name(n): fields(n) for n in (0, 2, 4)}
    assert isinstance(marked.insert(**again), Written)
    taken = marked.one(requests.update(name(1), email="6@x"))
    assert isinstance(taken, Written)
    refused = [
        marked.insert(**{name(0): {}}),
        marked.insert(new={"email": "0@x"}),
        marked.one(requests.update(name(8), age=1)),
    ]
    assert [type(reply) for reply in refused] == [Failure] * 3
    both = marked.ask(requests.delete(name(6)), requests.update(name(3), age=0))
    assert [reply.affected for reply in both] == [0, 1]
    wanted = {**expected(), **again}
    wanted[name(1)] = {"email": "6@x", "age": 1}
    wanted[name(3)] = {"email": "3@x", "age": 0}
    assert sound(marked) == wanted
    reclaim(marked)
    assert sound(marked) == wanted


def test_a_crash_in_between_changes_nothing(marked):
    marked.engine.background()
    marked.crash(mark_from=2)
    assert sound(marked) == expected()
    marked.engine.background()
    marked.engine.close()
    marked.open(mark_from=2)
    reclaim(marked)
    assert sound(marked) == expected()


def test_a_lost_data_file_state_is_made_again_from_the_log(marked):
    lsn = marked.engine.lsn
    marked.crash(mark_from=2)
    assert marked.engine.lsn == lsn
    assert sound(marked) == expected()


def test_statements_that_follow_find_only_what_is_left(marked):
    since = marked.engine.lsn - len(GONE)
    again = mark(marked, since=since)  # planned before the first one took effect
    assert again.affected == 0
    stale = mark(marked)
    assert isinstance(stale, Failure)
    assert stale.code == ConflictError.code
    rest = [row for row in range(1, COUNT + 1) if row - 1 not in GONE]
    assert mark(marked, rest).affected == len(rest)
    assert sound(marked) == {}
    reclaim(marked)
    assert sound(marked) == {}


def test_few_are_taken_out_at_once(marked):
    marked.crash(mark_from=1000)
    reclaim(marked)
    assert mark(marked, [2]).affected == 1
    assert not marked.engine._reclaimer.has_work


def test_a_dropped_collection_takes_its_marks_along(marked):
    marked.one(DropCollection(collection="users"))
    assert not marked.engine._store.catalog.marks
    marked.define()
    marked.insert(**{name(0): fields(0)})
    assert sound(marked) == {name(0): fields(0)}
    reclaim(marked)
    assert sound(marked) == {name(0): fields(0)}


def test_a_refused_batch_leaves_no_mark(marked, monkeypatch):
    reclaim(marked)
    rest = [row for row in range(1, COUNT + 1) if row - 1 not in GONE]

    def fail(*_):
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "_append", fail)
        with pytest.raises(RuntimeError):
            mark(marked, rest)
    assert not marked.engine._store.catalog.marks
    assert sound(marked) == expected()
    assert mark(marked, rest).affected == len(rest)


@pytest.mark.parametrize("taken_out", [False, True])
def test_an_index_that_follows_sees_what_it_would_see_anyway(marked, taken_out):
    if taken_out:
        reclaim(marked)
    first, last = 1, marked.engine.lsn
    with marked.reader() as reader, reader.snapshot() as snap:
        info = snap.collection("users")

        def net(after, upto):
            _, found = net_changes(snap, [info], after, upto - after)
            return {
                each.row: (each.old is not None, each.new is not None)
                for each in found.get(info.id, [])
            }

        inserted = net(first, first + COUNT)
        assert inserted == dict.fromkeys(range(1, COUNT + 1), (False, True))
        gone = {number + 1 for number in GONE}
        assert net(first + COUNT, last) == dict.fromkeys(gone, (True, False))
        assert {row: ends[1] for row, ends in net(first, last).items()} == {
            row: row not in gone for row in range(1, COUNT + 1)
        }
        assert not any(old for old, _ in net(first, last).values())


@pytest.mark.parametrize("taken_out", [False, True])
@pytest.mark.parametrize(("bound", "conflicts"), [(10, True), (COUNT, False)])
def test_a_transaction_that_has_read_one_of_them_conflicts(
    marked, taken_out, bound, conflicts
):
    if taken_out:
        reclaim(marked)
    commit = Commit(
        snapshot_lsn=1 + COUNT,
        points=[],
        ranges=[RangeRead(collection="users", predicate=b"age>%d" % bound)],
        operations=[],
    )
    assert isinstance(marked.one(commit), Failure) is conflicts


def test_a_compaction_waits_until_they_are_out(marked):
    marked.engine.start_compaction()
    assert marked.engine._reclaimer.has_work
    outcomes = []

    def done():
        outcomes.append(marked.engine.take_compaction())
        return outcomes[-1] is not None

    marked.turn_until(done)
    assert not marked.engine._reclaimer.has_work
    assert marked.engine.statistics()["generation"] == 1
    assert sound(marked) == expected()


def test_none_are_marked_while_the_file_is_compacted(marked):
    marked.engine.start_compaction()
    rest = [row for row in range(1, COUNT + 1) if row - 1 not in GONE]
    assert mark(marked, rest).affected == len(rest)
    assert len(marked.engine._store.catalog.marks) == 1
    assert sound(marked) == {}


def test_a_repair_leaves_them_out(marked):
    marked.engine.close()
    assert check_database(marked.path).ok
    report = repair_database(marked.path, progress=lambda *_: None)
    assert report.collections == {"users": COUNT - len(GONE)}
    assert check_database(marked.path).ok
    marked.open()
    assert sound(marked) == expected()


def test_a_check_finds_marks_that_cannot_be(marked):
    store = marked.engine._store
    key = b"x" + struct.pack(">IQ", 77, 1)
    with store.writing() as txn:
        (value,) = (v for k, v in txn.cursor(store.tables.meta) if k[:1] == b"x")
        txn.put(key, value, db=store.tables.meta)
    with marked.reader() as reader, reader.snapshot() as snap:
        found = Findings()
        check_tables(snap.txn, snap._tables, found)
        assert any("collection 77" in each.message for each in found.kept)


def test_a_mark_that_cannot_be_read_is_damage(marked):
    store = marked.engine._store
    with store.writing() as txn:
        key = b"x" + struct.pack(">IQ", 1, 1)
        txn.put(key, b"nonsense", db=store.tables.meta)
    with pytest.raises(CorruptionError, match="cannot be read"):
        marked.crash()


def test_a_file_of_another_format_is_refused(marked):
    store = marked.engine._store
    with store.writing() as txn:
        txn.put(META_FORMAT, struct.pack(">I", 1), db=store.tables.meta)
    with pytest.raises(CorruptionError, match="has format 1; this version reads 2"):
        marked.crash()
    assert (marked.path / DATA_FILE).exists()
