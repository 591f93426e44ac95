"""Repair keeps all that is intact, reports the rest, and destroys nothing."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

import pytest

from aurora_actors.errors import CorruptionError, UnavailableError
from aurora_actors.location import try_lock
from aurora_actors.schema.record import pack_record
from aurora_actors.schema.types import CollectionDefinition
from aurora_actors.schema.values import encode_document
from aurora_actors.storage.checkpoint import boot_id
from aurora_actors.storage.layout import (
    CHECKPOINT_FILE,
    DATA_FILE,
    REPAIR_READY,
    REPAIR_SCRATCH,
    WAL_DIRECTORY,
)
from aurora_actors.storage.repair import repair_database
from aurora_actors.storage.verify_files import check_database


def quiet(_phase: str, _done: int, _total: int) -> None:
    return None


def repaired(path: Path):
    report = repair_database(path, progress=quiet)
    check = check_database(path)
    assert check.ok, check.findings
    assert check.collections == report.collections
    return report


@pytest.fixture
def filled(database, requests):
    database.open(boot=boot_id())
    database.define()
    for number in range(30):
        document = {"name": f"n{number}", "email": f"{number}@x.io"}
        database.insert(**{f"u{number}": document})
    database.define(CollectionDefinition("other", {}, open=True))
    database.insert("other", x={"any": [1, 2]})
    database.one(requests.update("u1", age=4))
    database.one(requests.delete("u2"))
    return database


def tamper(database, table, key, value) -> None:
    store = database.engine._store
    handle = getattr(store.tables, table)
    with store.writing() as txn:
        if value is None:
            assert txn.delete(key, db=handle)
        else:
            txn.put(key, value, db=handle)


def reopened(database):
    return database.open(boot=boot_id())


def test_a_sound_database_is_the_same_after_a_repair(filled):
    before = filled.documents(), filled.documents("other")
    lsn, timeline = filled.engine.lsn, filled.engine.timeline
    filled.engine.close()
    report = repaired(filled.path)
    assert not report.counts
    assert (report.documents, report.rejected) == (30, 0)
    reopened(filled)
    assert (filled.documents(), filled.documents("other")) == before
    assert filled.engine.lsn == lsn
    assert filled.engine.timeline > timeline
    filled.insert(new={"name": "n"})
    assert "new" in filled.documents()


def test_everything_derived_is_made_anew(filled):
    before = filled.documents()
    store = filled.engine._store
    with store.writing() as txn:
        txn.drop(store.tables.ids, delete=False)
        txn.drop(store.tables.unique, delete=False)
        txn.put(
            b"n" + struct.pack(">I", 1), struct.pack(">QQ", 1, 99), db=store.tables.meta
        )
    filled.engine.close()
    assert not check_database(filled.path).ok
    repaired(filled.path)
    reopened(filled)
    assert filled.documents() == before
    reply = filled.insert(again={"name": "n", "email": "5@x.io"})
    assert reply.code == "data.unique_violation"


def test_frames_that_the_data_file_has_not_are_applied(filled, tmp_path):
    """As if the machine had lost the data file's last pages, and an old copy is left."""
    filled.engine.checkpoint()
    old = tmp_path / "old.mdb"
    old.write_bytes((filled.path / DATA_FILE).read_bytes())
    filled.insert(late={"name": "late"})
    filled.define(CollectionDefinition("third", {}, open=True))
    filled.insert("third", t={"n": 1})
    before = filled.documents()
    filled.engine.abandon()
    shutil.copyfile(old, filled.path / DATA_FILE)
    report = repaired(filled.path)
    assert report.frames == 3
    reopened(filled)
    assert filled.documents() == before
    assert filled.documents("third") == {"t": {"n": 1}}


def test_what_stands_behind_damage_in_the_log_is_reported(filled, tmp_path):
    filled.engine.checkpoint()
    old = tmp_path / "old.mdb"
    old.write_bytes((filled.path / DATA_FILE).read_bytes())
    for name in ("p", "q", "r"):
        filled.insert(**{name: {"name": name}})
    filled.engine.abandon()
    shutil.copyfile(old, filled.path / DATA_FILE)
    (segment,) = (filled.path / WAL_DIRECTORY).iterdir()
    data = bytearray(segment.read_bytes())
    frames = [at for at in range(len(data)) if data[at : at + 4] == b"AFR1"]
    data[frames[-2] + 60] ^= 1
    segment.write_bytes(data)
    report = repaired(filled.path)
    assert report.counts == {"log": 1}
    assert "not applied" in report.findings[0].message
    reopened(filled)
    assert "p" in filled.documents()
    assert "r" not in filled.documents()
    assert (Path(report.kept) / WAL_DIRECTORY / segment.name).read_bytes() == data


def test_documents_that_cannot_be_taken_over_are_reported_and_kept(filled):
    body = encode_document({"name": "Eve", "email": "5@x.io"})
    key = struct.Struct(">IQ").pack
    tamper(filled, "docs", key(1, 1), b"\xff" * 4)
    tamper(filled, "docs", key(1, 77), pack_record(9, "u5", body))
    tamper(filled, "docs", key(1, 78), pack_record(9, "eve", body))
    filled.engine.close()
    report = repaired(filled.path)
    assert report.rejected == 3
    assert report.documents == 29
    assert len((Path(report.kept) / "rejected.jsonl").read_text().splitlines()) == 3
    reopened(filled)
    assert "u0" not in filled.documents()
    assert filled.documents()["u5"]["name"] == "n5"
    # A row's number is not given again.
    filled.insert(new={"name": "new"})
    with filled.reader() as reader, reader.snapshot() as snapshot:
        assert snapshot.row_of(snapshot.collection("users"), "new") == 79


def test_documents_without_a_definition_are_kept(filled):
    tamper(filled, "meta", b"c" + struct.pack(">I", 2), None)
    store = filled.engine._store
    with store.writing() as txn:
        txn.drop(store.tables.changes, delete=False)
    filled.engine.close()
    report = repaired(filled.path)
    assert report.collections == {"recovered_2": 1, "users": 29}


def test_a_definition_only_the_change_log_has_is_found(filled):
    tamper(filled, "meta", b"c" + struct.pack(">I", 2), None)
    filled.engine.close()
    assert repaired(filled.path).collections == {"other": 1, "users": 29}


def test_the_documents_of_a_dropped_collection_stay_away(filled):
    from aurora_actors.messages.storage import DropCollection

    filled.one(DropCollection(collection="users"))
    filled.engine.close()
    assert repaired(filled.path).collections == {"other": 1}


@pytest.mark.parametrize("damage", ["state", "checkpoint", "both"])
def test_without_state_or_checkpoint_the_documents_tell(filled, damage):
    if damage != "checkpoint":
        tamper(filled, "meta", b"state", b"bad")
    lsn = filled.engine.lsn
    filled.engine.abandon()
    if damage != "state":
        (filled.path / CHECKPOINT_FILE).unlink()
    report = repaired(filled.path)
    assert report.documents == 30
    assert report.lsn >= lsn - 1


def test_a_damaged_page_costs_its_documents_only(filled):
    filled.insert("other", **{f"o{n}": {"text": "t" * 200} for n in range(2_000)})
    filled.engine.close()
    file = filled.path / DATA_FILE
    data = bytearray(file.read_bytes())
    # The page's kind: a leaf of documents becomes something LMDB refuses to read.
    page = next(
        at
        for at in range(40 * 4096, len(data), 4096)
        if b"t" * 200 in data[at : at + 4096] and data[at + 10 : at + 12] == b"\x02\x00"
    )
    data[page + 10 : page + 12] = b"\x00\x00"
    file.write_bytes(data)
    assert not check_database(filled.path).ok
    report = repaired(filled.path)
    assert 1_980 < report.documents < 2_030
    assert report.counts["pages"] == 2
    assert "2,030 documents" in report.findings[-1].message


def test_the_damaged_files_are_kept_as_they_were(filled):
    filled.engine.close()
    before = {
        name: (filled.path / name).read_bytes() for name in (DATA_FILE, CHECKPOINT_FILE)
    }
    kept = Path(repaired(filled.path).kept)
    assert {name: (kept / name).read_bytes() for name in before} == before
    second = Path(repaired(filled.path).kept)
    assert second != kept


def test_a_file_that_is_no_database_is_left_alone(filled):
    filled.engine.close()
    data = b"no database".ljust(1 << 20)
    (filled.path / DATA_FILE).write_bytes(data)
    with pytest.raises(CorruptionError):
        repair_database(filled.path, progress=quiet)
    assert (filled.path / DATA_FILE).read_bytes() == data
    assert not (filled.path / REPAIR_SCRATCH).exists()


def test_a_cut_file_is_left_alone(filled):
    filled.engine.close()
    file = filled.path / DATA_FILE
    data = file.read_bytes()[:8192]
    file.write_bytes(data)
    with pytest.raises(CorruptionError, match="restore a backup"):
        repair_database(filled.path, progress=quiet)
    assert file.read_bytes() == data


def test_a_running_database_is_not_repaired(filled):
    with pytest.raises(UnavailableError, match="another process writes"):
        repair_database(filled.path, progress=quiet)
    filled.engine.close()
    lock = try_lock(filled.path)
    assert lock is not None
    try:
        with pytest.raises(UnavailableError, match="is running"):
            repair_database(filled.path, progress=quiet)
    finally:
        os.close(lock)
    with pytest.raises(UnavailableError, match="no database"):
        repair_database(filled.path / "nowhere", progress=quiet)


@pytest.mark.parametrize("operation", ["rename", "unlink"])
@pytest.mark.parametrize("number", range(6))
def test_a_repair_that_is_cut_short_is_finished_by_the_next(
    filled, monkeypatch, operation, number
):
    before = filled.documents()
    filled.engine.abandon()
    original = getattr(Path, operation)
    left = [number]

    def fail(path, *arguments, **options):
        inside = filled.path in path.parents
        if inside and (filled.path / REPAIR_SCRATCH / REPAIR_READY).exists():
            left[0] -= 1
            if left[0] < 0:
                raise OSError(5, "the machine stops here")
        return original(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, operation, fail)
        try:
            repair_database(filled.path, progress=quiet)
        except UnavailableError:
            with pytest.raises(CorruptionError, match="run `aurora repair` again"):
                reopened(filled)
            assert not check_database(filled.path).ok
    if (filled.path / REPAIR_SCRATCH).exists():
        repaired(filled.path)
    reopened(filled)
    assert filled.documents() == before
