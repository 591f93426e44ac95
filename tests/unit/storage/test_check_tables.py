"""The check finds whatever does not fit, and nothing in a sound database."""

from __future__ import annotations

import struct

import pytest

from aurora_actors.client.document import document_of
from aurora_actors.errors import CorruptionError, UnavailableError
from aurora_actors.messages.storage import DropCollection, ReplaceDocument
from aurora_actors.schema.record import pack_record
from aurora_actors.schema.types import CollectionDefinition
from aurora_actors.schema.values import encode_document
from aurora_actors.storage.findings import Findings
from aurora_actors.storage.layout import CHECKPOINT_FILE, DATA_FILE, WAL_DIRECTORY
from aurora_actors.storage.verify import check_tables
from aurora_actors.storage.verify_files import check_database

U64 = struct.Struct(">Q")


@pytest.fixture
def filled(users, requests):
    users.insert(
        a={"name": "Ann", "email": "a@x.io"},
        b={"name": "Ben", "email": "b@x.io", "rank": 1.5},
        c={"name": "Cyd"},
    )
    users.define(CollectionDefinition("other", {}, open=True))
    users.insert("other", x={"any": [1, 2]})
    users.one(requests.update("a", age=4))
    users.one(requests.update("a", age=5))
    users.one(requests.delete("c"))
    return users


def found_in(database) -> Findings:
    store = database.engine._store
    found = Findings()
    with store.env.begin(buffers=True) as txn:
        check_tables(txn, store.tables, found)
    return found


def tampered(database, table, key, value) -> dict[str, int]:
    store = database.engine._store
    handle = getattr(store.tables, table)
    with store.writing() as txn:
        if value is None:
            assert txn.delete(key, db=handle)
        else:
            txn.put(key, value, db=handle)
    return found_in(database).counts


def row(collection: int, number: int) -> bytes:
    return struct.pack(">IQ", collection, number)


def test_a_sound_database_has_no_findings(filled):
    assert not found_in(filled).kept
    filled.crash()
    assert not found_in(filled).kept


def test_a_database_with_dropped_and_trimmed_history_is_sound(database, requests):
    database.open(change_retention=1)
    database.define()
    database.define(CollectionDefinition("other", {}, open=True))
    for number in range(400):
        database.insert(**{f"u{number}": {"name": "x"}})
        database.insert("other", **{f"o{number}": {"name": "x"}})
        if number % 7 == 0:
            database.engine.checkpoint()
    database.one(DropCollection(collection="other"))
    assert not found_in(database).kept
    while database.engine._store.catalog.dropped:
        database.engine.background()
        assert not found_in(database).kept


@pytest.mark.parametrize(
    ("table", "key", "value", "areas"),
    [
        ("ids", struct.pack(">I", 1) + b"a", None, {"ids"}),
        ("ids", struct.pack(">I", 1) + b"a", U64.pack(2), {"ids"}),
        ("ids", struct.pack(">I", 1) + b"zz", U64.pack(1), {"ids"}),
        ("docs", row(1, 1), None, {"counts", "ids", "unique", "changes"}),
        ("docs", row(1, 2), b"short", {"docs", "unique", "changes", "ids"}),
        ("docs", row(9, 1), b"x" * 20, {"docs"}),
        ("unique", struct.pack(">IH", 1, 1) + b"\x03a@x.io", None, {"unique"}),
        ("unique", struct.pack(">IH", 1, 1) + b"\x03b@x.io", U64.pack(1), {"unique"}),
        ("unique", struct.pack(">IH", 1, 1) + b"\x03zz", U64.pack(1), {"unique"}),
        ("meta", b"n" + struct.pack(">I", 1), struct.pack(">QQ", 4, 7), {"counts"}),
        ("meta", b"n" + struct.pack(">I", 1), struct.pack(">QQ", 2, 2), {"counts"}),
        ("meta", b"next_collection", struct.pack(">I", 2), {"meta"}),
        ("meta", b"c" + struct.pack(">I", 1), b"12345678nonsense", {"meta", "docs"}),
        ("meta", b"uuid", None, {"meta"}),
        ("meta", b"state", b"short", {"meta"}),
        ("changes", U64.pack(3), None, {"changes"}),
        ("changes", U64.pack(100), b"\x01", {"changes"}),
        ("changes", U64.pack(2), b"\x01" + row(1, 1) + U64.pack(4), {"changes"}),
        ("requests", b"client\0" + U64.pack(99), b"nonsense", {"requests"}),
    ],
)
def test_each_kind_of_damage_is_found(filled, table, key, value, areas):
    counts = tampered(filled, table, key, value)
    assert counts, "nothing was found"
    assert set(counts) & areas, counts


def test_a_document_that_does_not_fit_is_found(filled):
    record = pack_record(2, "a", encode_document({"name": 5}))
    counts = tampered(filled, "docs", row(1, 1), record)
    assert counts["docs"] == 1


def test_a_document_from_the_future_is_found(filled):
    body = encode_document({"name": "Ann", "email": "a@x.io"})
    counts = tampered(filled, "docs", row(1, 1), pack_record(900, "a", body))
    assert "docs" in counts


def test_a_document_changed_without_a_change_is_found(filled):
    body = encode_document({"name": "Eve", "email": "a@x.io", "age": 5})
    lsn = filled.engine.lsn - 1
    counts = tampered(filled, "docs", row(1, 1), pack_record(lsn, "a", body))
    assert "changes" in counts


def test_findings_are_counted_but_not_all_kept():
    found = Findings()
    for number in range(1_000):
        found.add("docs", f"number {number}")
    assert found.total == 1_000
    assert len(found.kept) == 20


# ------------------------------------------------------------------ directories
@pytest.fixture
def stopped(filled):
    filled.engine.close()
    return filled


def areas(path) -> set[str]:
    return set(check_database(path, boot="boot").counts)


def test_a_directory_is_checked_as_a_whole(stopped):
    report = check_database(stopped.path, boot="boot")
    assert report.ok, report.findings
    assert report.collections == {"other": 1, "users": 2}
    assert report.documents == 3
    assert report.changes == report.lsn


def test_the_log_of_a_crashed_database_is_checked(filled):
    filled.insert(z={"name": "z"})
    filled.engine.abandon()
    report = check_database(filled.path, boot="boot")
    assert report.ok, report.findings
    assert report.frames > 3


def test_a_flipped_bit_in_the_log_is_found(filled):
    for number in range(5):
        filled.insert(**{f"z{number}": {"name": "z"}})
    filled.engine.abandon()
    (segment,) = (filled.path / WAL_DIRECTORY).iterdir()
    data = bytearray(segment.read_bytes())
    data[50] ^= 1
    segment.write_bytes(data)
    report = check_database(filled.path, boot="boot")
    assert report.counts == {"log": 1}
    assert report.findings[0].file == str(segment)
    assert report.findings[0].context["offset"] == 0


def test_a_missing_or_damaged_checkpoint_is_found(stopped):
    file = stopped.path / CHECKPOINT_FILE
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert areas(stopped.path) == {"checkpoint"}
    file.unlink()
    assert areas(stopped.path) == {"checkpoint"}


def test_a_data_file_that_is_cut_or_missing_is_found(stopped):
    file = stopped.path / DATA_FILE
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    assert areas(stopped.path) == {"pages"}
    file.write_bytes(b"no database at all".ljust(len(data)))
    assert areas(stopped.path) == {"pages"}
    file.unlink()
    assert areas(stopped.path) == {"pages"}


def test_a_check_of_nothing_says_so_and_makes_nothing(tmp_path):
    with pytest.raises(UnavailableError, match="no database"):
        check_database(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_database_that_waits_for_recovery_is_not_judged(filled):
    filled.engine.abandon()
    with pytest.raises(UnavailableError, match="open it once"):
        check_database(filled.path, boot="another boot")


def test_a_bit_that_flips_in_a_document_is_noticed_and_kept_from_spreading(
    filled, requests
):
    store = filled.engine._store
    with store.env.begin() as txn:
        record = bytearray(txn.get(row(1, 2), db=store.tables.docs))
    record[record.index(b"Ben")] ^= 1
    assert tampered(filled, "docs", row(1, 2), bytes(record)) == {"docs": 1}

    assert filled.one(requests.update("b", age=7)).code == CorruptionError.code
    with filled.reader() as reader, reader.snapshot() as snapshot:
        damaged = snapshot.get(snapshot.collection("users"), "b")
        with pytest.raises(CorruptionError, match="the document 'b' is damaged"):
            document_of(bytes(damaged))

    body = encode_document({"name": "Ben"})
    whole = ReplaceDocument(collection="users", id="b", document=body)
    assert filled.one(whole).affected == 1
    assert found_in(filled).counts.keys() == {"changes"}, "its old version is history"
