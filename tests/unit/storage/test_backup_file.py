"""Backups: whole, verified, and refused when a single byte of them is another."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest

from aurora_actors.errors import CorruptionError, UnavailableError, UsageError
from aurora_actors.storage.backup import back_up, read_manifest, verify_backup
from aurora_actors.storage.backup_format import BackupReader, write_backup_file
from aurora_actors.storage.checkpoint import boot_id
from aurora_actors.storage.layout import CHECKPOINT_FILE, DATA_FILE, WAL_DIRECTORY
from aurora_actors.storage.reports import BackupManifest
from aurora_actors.storage.restore import restore_backup
from aurora_actors.storage.verify_files import check_database


@pytest.fixture
def filled(database):
    """A database with some history, opened in this run of the machine."""
    database.open(boot=boot_id())
    database.define()
    for number in range(60):
        database.insert(
            **{f"u{number}": {"name": "n" * number, "email": f"{number}@x.io"}}
        )
    return database


def restored_documents(path: Path, database):
    other = type(database)(path).open(boot=boot_id())
    try:
        return other.documents(), other.engine.lsn, other.engine.timeline
    finally:
        other.engine.close()


def test_a_restored_backup_is_the_database_at_the_backups_lsn(filled, tmp_path):
    before = filled.documents()
    report = back_up(filled.path, tmp_path / "a.backup")
    filled.insert(later={"name": "later"})
    assert report.manifest.collections == {"users": 60}
    assert report.manifest.lsn == filled.engine.lsn - 1
    restore_backup(tmp_path / "a.backup", tmp_path / "restored.db")
    documents, lsn, timeline = restored_documents(tmp_path / "restored.db", filled)
    assert documents == before
    assert lsn == report.manifest.lsn
    assert timeline > filled.engine.timeline + 1_000_000


def test_a_restored_database_passes_the_check_and_has_private_files(filled, tmp_path):
    back_up(filled.path, tmp_path / "a.backup")
    restore_backup(tmp_path / "a.backup", tmp_path / "restored.db")
    report = check_database(tmp_path / "restored.db")
    assert report.ok, report.findings
    assert report.documents == 60
    for name in (DATA_FILE, CHECKPOINT_FILE):
        assert (tmp_path / "restored.db" / name).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "restored.db").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a.backup").stat().st_mode & 0o777 == 0o600


def test_two_restores_of_one_backup_are_two_histories(filled, tmp_path, monkeypatch):
    back_up(filled.path, tmp_path / "a.backup")
    timelines = []
    for number in range(2):
        target = tmp_path / f"{number}.db"
        clock = 2_000_000_000 + number
        monkeypatch.setattr(
            "aurora_actors.storage.restore.time.time", lambda c=clock: c
        )
        restore_backup(tmp_path / "a.backup", target)
        timelines.append(check_database(target).timeline)
    assert timelines == [2_000_000_000, 2_000_000_001]


def test_a_backup_leaves_nothing_else_behind(filled, tmp_path):
    (tmp_path / "out").mkdir()
    for _ in range(2):
        back_up(filled.path, tmp_path / "out" / "a.backup", overwrite=True)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["a.backup"]


def refuse_changed_bytes(filled, directory, places, bits):
    """Flip bits of a backup, one at a time: each has to be refused, and nothing made."""
    file, target = directory / "a.backup", directory / "never.db"
    back_up(filled.path, file)
    whole = file.read_bytes()
    count = 0
    for at in places(len(whole)):
        for bit in bits(at):
            changed = bytes([whole[at] ^ (1 << bit)])
            file.write_bytes(whole[:at] + changed + whole[at + 1 :])
            with pytest.raises(CorruptionError):
                restore_backup(file, target)
            count += 1
    assert not target.exists()
    file.write_bytes(whole)
    verify_backup(file)
    return count, len(whole)


def test_a_changed_byte_is_refused(filled, tmp_path):
    # All kinds of places: header, manifest, frames, data, trailer.
    def places(length):
        data = random.Random(7).sample(range(400, length - 60), 40)
        return (*range(0, 400, 7), *data, *range(length - 60, length, 3))

    refuse_changed_bytes(filled, tmp_path, places, lambda at: [at % 8])


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_a_changed_bit_anywhere_is_refused(filled, tmp_path, figures):
    count, length = refuse_changed_bytes(filled, tmp_path, range, lambda _: range(8))
    figures.add(
        f"backup: {count:,} of {count:,} flipped bits of {length:,} bytes refused"
    )


def test_a_backup_that_is_cut_or_continued_is_refused(filled, tmp_path):
    file = tmp_path / "a.backup"
    back_up(filled.path, file)
    whole = file.read_bytes()
    lengths = [0, 1, 15, 16, 100, len(whole) // 2, len(whole) - 57, len(whole) - 1]
    for length in lengths:
        file.write_bytes(whole[:length])
        with pytest.raises(CorruptionError, match=r"empty|cut short|damaged"):
            verify_backup(file)
    file.write_bytes(whole + b"\0")
    with pytest.raises(CorruptionError, match="behind its end"):
        verify_backup(file)


def test_what_is_no_backup_is_refused(filled, tmp_path):
    for name in (DATA_FILE, CHECKPOINT_FILE):
        with pytest.raises(CorruptionError, match="no backup"):
            restore_backup(filled.path / name, tmp_path / "never.db")
    with pytest.raises(UnavailableError):
        restore_backup(tmp_path / "missing", tmp_path / "never.db")
    assert not (tmp_path / "never.db").exists()


def test_frames_of_another_backup_are_not_taken():
    def made(data: bytes, lsn: int) -> bytes:
        manifest = BackupManifest(
            database_format=1,
            uuid="00" * 16,
            lsn=lsn,
            timeline=1,
            created_at="2026-01-01T00:00:00+00:00",
            collections={},
            documents=0,
            data_bytes=len(data),
        )
        file = io.BytesIO()
        list(write_backup_file(file, manifest, [data]))
        return file.getvalue()

    first, second = made(b"x" * 100, 1), made(b"x" * 100, 2)
    assert len(first) == len(second)
    frame = first.index(b"AUBF")
    mixed = first[:frame] + second[frame:]
    with pytest.raises(CorruptionError, match="frame 0 is damaged"):
        list(BackupReader(io.BytesIO(mixed), "mixed").pieces())
    assert b"".join(BackupReader(io.BytesIO(first), "first").pieces()) == b"x" * 100


def test_restore_refuses_a_target_that_holds_something(filled, tmp_path):
    file = tmp_path / "a.backup"
    back_up(filled.path, file)
    with pytest.raises(UsageError, match="not empty"):
        restore_backup(file, filled.path)
    with pytest.raises(UsageError, match="no directory"):
        restore_backup(file, file)
    with pytest.raises(UsageError, match="does not exist"):
        restore_backup(file, tmp_path / "a" / "b")
    (tmp_path / "empty").mkdir()
    restore_backup(file, tmp_path / "empty")
    assert check_database(tmp_path / "empty").ok


def test_a_backup_does_not_replace_a_file_unasked(filled, tmp_path):
    file = tmp_path / "a.backup"
    file.write_bytes(b"precious")
    with pytest.raises(UsageError, match="exists already"):
        back_up(filled.path, file)
    assert file.read_bytes() == b"precious"
    back_up(filled.path, file, overwrite=True)
    assert read_manifest(file).documents == 60


def test_a_damaged_database_has_no_backup(filled, tmp_path):
    with filled.engine._store.writing() as txn:
        tables = filled.engine._store.tables
        cursor = txn.cursor(tables.ids)
        assert cursor.first()
        cursor.delete()
    with pytest.raises(CorruptionError, match="has no entry"):
        back_up(filled.path, tmp_path / "a.backup")
    assert not list(tmp_path.glob("a.backup*"))


def test_a_backup_that_fails_half_way_leaves_the_old_one(filled, tmp_path, monkeypatch):
    file = tmp_path / "a.backup"
    back_up(filled.path, file)
    before = file.read_bytes()

    def fail(*_):
        raise CorruptionError("not now")

    monkeypatch.setattr("aurora_actors.storage.backup.verify_backup", fail)
    with pytest.raises(CorruptionError, match="not now"):
        back_up(filled.path, file, overwrite=True)
    assert file.read_bytes() == before
    assert [each.name for each in tmp_path.glob("a.backup*")] == ["a.backup"]


def test_a_backup_of_nothing_says_so(tmp_path):
    with pytest.raises(UnavailableError, match="no database"):
        back_up(tmp_path / "nowhere", tmp_path / "a.backup")
    assert not (tmp_path / "nowhere").exists()


def test_the_log_is_empty_after_a_restore(filled, tmp_path):
    back_up(filled.path, tmp_path / "a.backup")
    restore_backup(tmp_path / "a.backup", tmp_path / "restored.db")
    assert not list((tmp_path / "restored.db" / WAL_DIRECTORY).iterdir())
