"""Compaction: the same database in a smaller file, whatever happens meanwhile."""

from __future__ import annotations

import errno
import random

import pytest

from aurora_actors.errors import AuroraError, StorageFullError
from aurora_actors.messages.base import Failure
from aurora_actors.messages.storage import Compacted, DropCollection, Written
from aurora_actors.schema.types import CollectionDefinition
from aurora_actors.storage.findings import Findings
from aurora_actors.storage.layout import CHECKPOINT_FILE, DATA_FILE
from aurora_actors.storage.verify import check_tables
from aurora_actors.storage.verify_files import check_database

OPEN = CollectionDefinition("other", {}, open=True)


def compact(database) -> Compacted:
    database.engine.start_compaction()
    return finish(database)


def finish(database, meanwhile=lambda: None):
    while (outcome := database.engine.take_compaction()) is None:
        meanwhile()
        database.engine.background()
    if isinstance(outcome, AuroraError):
        raise outcome
    return outcome


def sound(database) -> None:
    store = database.engine._store
    found = Findings()
    with store.env.begin(buffers=True) as txn:
        check_tables(txn, store.tables, found)
    assert not found.kept


def everything(database):
    """All that can be seen: the state, the documents, the changes."""
    with database.reader() as reader, reader.snapshot() as snap:
        documents = {
            info.name: {row: bytes(record) for row, record in snap.scan(info)}
            for info in snap.collections()
        }
        changes = [
            (c.lsn, c.kind, c.row, c.old and bytes(c.old), c.new and bytes(c.new))
            for c in snap.changes(snap.first_change - 1)
        ]
        return snap.lsn, snap.timeline, snap.uuid, documents, changes


@pytest.fixture
def wasteful(users, requests):
    """A database with many free pages."""
    users.define(OPEN)
    users.insert("other", **{f"o{n}": {"text": "t" * 500} for n in range(4_000)})
    users.insert(a={"name": "Ann", "email": "a@x.io"}, b={"name": "Ben"})
    users.one(requests.update("a", age=4))
    users.one(requests.delete("b"))
    users.one(DropCollection(collection="other"))
    users.define(OPEN)
    users.insert("other", x={"n": 1})
    while users.engine._store.catalog.dropped:
        users.engine.background()
    users.engine.checkpoint()
    return users


def test_the_file_gets_smaller_and_holds_the_same(wasteful):
    before = everything(wasteful)
    outcome = compact(wasteful)
    assert outcome.after_bytes < outcome.before_bytes // 2
    assert everything(wasteful) == before
    sound(wasteful)
    names = {file.name for file in wasteful.path.glob("data*")}
    assert names == {"data-1.mdb", "data-1.mdb-lock"}
    assert wasteful.engine.statistics()["generation"] == 1


def test_writes_go_on_in_the_new_file_and_survive(wasteful, requests):
    for generation in range(1, 4):
        compact(wasteful)
        wasteful.insert(**{f"g{generation}": {"name": "g"}})
        wasteful.one(requests.update("a", age=generation))
        before = everything(wasteful)
        wasteful.crash()
        assert everything(wasteful)[3:] == before[3:]
        wasteful.engine.close()
        assert check_database(wasteful.path, boot="boot").ok
        wasteful.open()
        assert wasteful.engine.statistics()["generation"] == generation
    assert set(wasteful.documents()) == {"a", "g1", "g2", "g3"}


@pytest.mark.parametrize("mode", ["none", "wal", "strict", "synchronous"])
def test_it_works_in_every_durability_mode(database, mode):
    from aurora_actors.config import DurabilityMode

    database.open(durability_mode=DurabilityMode(mode))
    database.define()
    database.insert(a={"name": "a"})
    compact(database)
    database.insert(b={"name": "b"})
    database.engine.close()
    database.open(boot="another boot", durability_mode=DurabilityMode(mode))
    assert set(database.documents()) == {"a", "b"}


def test_writes_while_it_runs_are_all_in_the_new_file(wasteful, requests):
    chance = random.Random(1)
    number = 0

    def write():
        nonlocal number
        number += 1
        name = f"w{chance.randrange(40)}"
        wasteful.insert(**{name: {"name": name, "email": f"{name}@x.io"}})
        wasteful.one(requests.update(f"w{chance.randrange(40)}", age=number))
        if number % 3 == 0:
            wasteful.one(requests.delete(f"w{chance.randrange(40)}"))
        if number % 5 == 0:
            wasteful.define(CollectionDefinition(f"c{number}", {}, open=True))
            wasteful.insert(f"c{number}", x={"n": number}, y={"n": 2})
        if number % 15 == 0:
            wasteful.one(DropCollection(collection=f"c{number}"))

    wasteful.engine.start_compaction()
    for _ in range(300):
        write()
    finish(wasteful, write)
    assert number > 300
    sound(wasteful)
    before = everything(wasteful)
    wasteful.crash()
    assert everything(wasteful) == before


def test_a_repeated_request_is_known_in_the_new_file(wasteful):
    from unit.storage.conftest import insertion

    call = wasteful.call(insertion(z={"name": "z"}))
    (first,) = wasteful.engine.execute([call])
    compact(wasteful)
    assert wasteful.engine.execute([call]) == [first]
    wasteful.crash()
    assert wasteful.engine.execute([call]) == [first]


def test_readers_go_on_and_see_what_comes_after(wasteful):
    with wasteful.reader() as reader:
        snapshot = reader.snapshot()
        info = snapshot.collection("users")
        record = snapshot.get(info, "a")
        assert reader.record("users", "a") == bytes(record)
        compact(wasteful)
        wasteful.insert(new={"name": "new"})
        # The snapshot that was open stays as it was.
        assert snapshot.get(info, "a") == record
        assert snapshot.get(info, "new") is None
        assert reader.record("users", "new") is not None
        with reader.snapshot() as later:
            assert later.lsn == wasteful.engine.lsn
            assert later.get(later.collection("users"), "new") is not None
        snapshot.close()
        wasteful.define(CollectionDefinition("after", {}, open=True))
        assert reader.record("after", "x") is None


def test_a_reader_between_mark_and_switch_sees_the_newest_state(wasteful, monkeypatch):
    seen = []
    with wasteful.reader() as reader:
        compaction = "aurora_actors.storage.compaction.Compaction._publish"
        from aurora_actors.storage.compaction import Compaction

        publish = Compaction._publish

        def look_first(self, checkpointer, state):
            with reader.snapshot() as snapshot:
                seen.append((snapshot.lsn, len(list(snapshot.collections()))))
            assert reader.record("users", "a") is not None
            publish(self, checkpointer, state)

        monkeypatch.setattr(compaction, look_first)
        compact(wasteful)
        assert seen == [(wasteful.engine.lsn, 2)]
        wasteful.define(CollectionDefinition("after", {}, open=True))
        with reader.snapshot() as snapshot:
            assert len(list(snapshot.collections())) == 3


@pytest.mark.parametrize("operation", ["write", "sync", "rename"])
def test_a_failure_at_any_step_leaves_one_whole_database(wasteful, operation, requests):
    before = everything(wasteful)
    for countdown in range(12):
        wasteful.files.fail = {operation: (countdown, errno.EIO)}
        wasteful.engine.start_compaction()
        try:
            finish(wasteful)
        except AuroraError:
            failed = True
        else:
            failed = False
        wasteful.files.fail = {}
        usable = not isinstance(wasteful.one(requests.update("a", age=4)), Failure)
        if not usable:
            wasteful.crash()
        now = everything(wasteful)
        assert now[3]["other"] == before[3]["other"]
        sound(wasteful)
        wasteful.crash()
        sound(wasteful)
        assert everything(wasteful)[3] == now[3]
        if not failed:
            return
    pytest.fail("it never came through")


@pytest.mark.parametrize("stop", ["copy", "caught up", "marked", "published"])
def test_a_crash_at_any_step_leaves_one_whole_database(wasteful, stop, monkeypatch):
    from aurora_actors.storage.compaction import Compaction
    from aurora_actors.storage.store import Store

    class Stop(BaseException):
        pass

    def crash(*_):
        raise Stop

    owner, name = {
        "copy": (Compaction, "_step"),
        "caught up": (Compaction, "_mark"),
        "marked": (Compaction, "_publish"),
        "published": (Store, "switch"),
    }[stop]
    before = everything(wasteful)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, crash)
        patch.setattr(Compaction, "abandon", lambda self: None)
        wasteful.engine.start_compaction()
        compaction = wasteful.engine._compactor._current
        assert compaction is not None
        with pytest.raises(Stop):
            finish(wasteful)
        if compaction._job is not None:
            compaction._job.exception()
    if compaction._shadow is None:
        compaction._txn.abort()
    compaction._close_fd()
    wasteful.engine._compactor._current = None
    shadow, compaction._shadow = compaction._shadow, None
    del shadow
    wasteful.crash()
    after = everything(wasteful)
    assert after[0] == before[0]
    assert after[3:] == before[3:]
    sound(wasteful)
    assert len(list(wasteful.path.glob("data*.mdb"))) == 1
    wasteful.insert(more={"name": "more"})
    compact(wasteful)
    assert set(wasteful.documents()) == {"a", "more"}


def test_power_loss_after_it_restores_the_new_file(wasteful):
    compact(wasteful)
    wasteful.insert(late={"name": "late"})
    before = everything(wasteful)
    wasteful.crash(boot="another boot")
    assert everything(wasteful)[3] == before[3]
    sound(wasteful)


def test_closing_breaks_a_copy_off(wasteful):
    wasteful.engine.start_compaction()
    wasteful.engine.close()
    assert {f.name for f in wasteful.path.glob("data*.mdb")} == {DATA_FILE}
    wasteful.open()
    sound(wasteful)


def test_without_room_for_a_second_file_it_does_not_begin(wasteful, monkeypatch):
    class Full:
        f_bavail, f_frsize = 10, 4096

    monkeypatch.setattr("aurora_actors.storage.compaction.os.statvfs", lambda _: Full)
    with pytest.raises(StorageFullError, match="second data file"):
        wasteful.engine.start_compaction()
    assert isinstance(wasteful.insert(z={"name": "z"}), Written)


def test_it_starts_by_itself_when_it_is_worth_it(database):
    database.open(compact_interval_mins=1, map_size=256 << 20)
    database.define(OPEN)
    for part in range(4):
        names = [f"o{part}-{n}" for n in range(10_000)]
        reply = database.insert("other", **{name: {"t": "t" * 900} for name in names})
        assert isinstance(reply, Written), reply
    database.one(DropCollection(collection="other"))
    while database.engine._store.catalog.dropped:
        database.engine.background()
        database.now += 0.01
    before = database.engine.statistics()["data_bytes"]
    database.now += 61
    for _ in range(3):
        database.engine.background()
        database.now += 2
    assert database.engine._compactor.is_running or database.engine._compactor.done
    while not database.engine._compactor.done:
        database.engine.background()
    assert database.engine.statistics()["data_bytes"] < before // 2


@pytest.mark.parametrize("setting", [{"auto_compact": False}, {}])
def test_it_does_not_start_by_itself_otherwise(database, setting):
    database.open(compact_interval_mins=1, **setting)
    database.define(OPEN)
    database.insert("other", a={"text": "t"})
    for _ in range(5):
        database.now += 61
        database.engine.background()
    assert database.engine.statistics()["compactions"] == 0
    assert not database.engine._compactor.is_running


def test_a_database_whose_compacted_file_is_gone_is_not_made_anew(wasteful):
    compact(wasteful)
    wasteful.engine.close()
    (wasteful.path / "data-1.mdb").unlink()
    assert (wasteful.path / CHECKPOINT_FILE).exists()
    with pytest.raises(AuroraError, match=r"data-1\.mdb is missing"):
        wasteful.open()
    wasteful.engine = None
    assert not list(wasteful.path.glob("data*.mdb"))
