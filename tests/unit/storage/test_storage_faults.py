from __future__ import annotations

import errno
import os
from functools import partial

import pytest

from aurora_actors.config import DurabilityMode
from aurora_actors.errors import CorruptionError, StorageFullError, UnavailableError
from aurora_actors.schema.values import encode_document


class Killed(BaseException):
    """Stands for a signal that no handler sees."""


def test_a_crash_between_log_and_commit_keeps_the_write_and_its_outcome(
    users, requests
):
    users.insert(a={"email": "a"})
    insert = users.call(requests.insert(b={"email": "b"}))
    refused = users.call(requests.insert(c={"email": "b"}))

    def kill():
        raise Killed

    users.files.after_write = kill
    with pytest.raises(Killed):
        users.engine.execute([insert, refused])
    users.crash()
    assert users.engine.statistics()["replayed_frames"] == 1
    assert users.documents() == {"a": {"email": "a"}, "b": {"email": "b"}}
    replies = users.engine.execute([insert, refused])
    assert (replies[0].lsn, replies[0].affected) == (3, 1)
    assert replies[1].code == "data.unique_violation"
    assert len(users.documents()) == 2


def test_a_crash_before_the_frame_is_whole_leaves_nothing(users, requests):
    users.insert(a={})
    call = users.call(requests.insert(b={}))
    users.files.write_at_most = 20

    def kill(fd, data, offset):
        os.pwrite(fd, data[:20], offset)
        raise Killed

    users.files.write, plain = kill, users.files.write
    with pytest.raises(Killed):
        users.engine.execute([call])
    users.files.write_at_most = None
    users.files.write = plain
    users.crash()
    assert users.documents() == {"a": {}}
    assert users.engine.execute([call])[0].affected == 1
    assert users.engine.timeline == 1


def test_replay_of_every_kind_of_change_gives_the_same_bytes(users, requests):
    """Commits are lost, the log is kept: LMDB is put back to its checkpoint."""
    users.engine.checkpoint()
    users.insert(a={"email": "a"}, b={"email": "b"}, c={"email": "c", "rank": 1})
    users.ask(
        requests.update("a", email="z"),
        requests.delete("b"),
        requests.insert(d={"email": "b"}),
        requests.update("d", rank=2.5),
    )
    users.engine.sync()
    with users.reader() as reader, reader.snapshot() as snap:
        before = [(c.lsn, c.kind, c.row, *map(_copy, c[4:])) for c in snap.changes(0)]
    documents = users.documents()
    users.crash(boot="another")
    assert users.engine.statistics()["replayed_frames"] == 2
    assert users.documents() == documents
    with users.reader() as reader, reader.snapshot() as snap:
        after = [(c.lsn, c.kind, c.row, *map(_copy, c[4:])) for c in snap.changes(0)]
        assert snap.timeline == 2
    assert after == before


def _copy(record):
    return None if record is None else bytes(record)


def test_after_power_loss_the_timeline_goes_up_unless_nothing_can_be_lost(database):
    database.open(boot="one")
    database.define()
    database.crash(boot="two")
    assert database.engine.timeline == 2
    database.engine.close()
    database.open(boot="three")
    assert database.engine.timeline == 2
    database.crash(boot="three")
    assert database.engine.timeline == 2
    database.engine.close()
    database.open(boot="three", durability_mode=DurabilityMode.STRICT)
    database.insert(a={})
    database.crash(boot="four", durability_mode=DurabilityMode.STRICT)
    assert (database.engine.timeline, database.engine.lsn) == (2, 2)


def test_a_full_disk_refuses_writes_until_there_is_room(users, requests):
    users.insert(a={})
    users.files.fail["write"] = (0, errno.ENOSPC)
    replies = users.ask(requests.insert(b={}), requests.insert(c={}))
    assert {reply.code for reply in replies} == {"unavailable.storage_full"}
    assert users.documents() == {"a": {}}
    users.files.fail.clear()
    assert users.insert(b={}).lsn == 3
    users.crash()
    assert users.documents() == {"a": {}, "b": {}}


def test_a_refusal_for_want_of_room_is_not_remembered(users, requests):
    call = users.call(requests.insert(b={}))
    users.files.fail["write"] = (0, errno.ENOSPC)
    assert users.engine.execute([call])[0].code == "unavailable.storage_full"
    users.files.fail.clear()
    assert users.engine.execute([call])[0].affected == 1


def test_a_log_that_cannot_be_cut_back_stops_the_engine(users):
    users.files.write_at_most = 5
    users.files.fail = {"write": (1, errno.ENOSPC), "truncate": (0, errno.EIO)}
    with pytest.raises(UnavailableError):
        users.insert(b={})
    users.files.fail.clear()
    users.files.write_at_most = None
    with pytest.raises(UnavailableError, match="restart the database"):
        users.insert(b={})
    users.crash()
    assert users.insert(b={}).lsn == 2


def test_a_full_map_refuses_writes_but_not_reads(database, requests):
    database.open(map_size=1 << 20)
    database.define()
    number = 0
    while True:
        number += 1
        reply = database.insert(**{f"d{number}": {"name": "x" * 2000}})
        if getattr(reply, "code", "") == "unavailable.storage_full":
            break
        assert number < 1000
    assert "max_size_gb" in reply.message
    assert len(database.documents()) == number - 1
    lsn = database.engine.lsn
    replies = database.ask(requests.insert(y={"name": "y" * 300_000}))
    assert replies[0].code == "unavailable.storage_full"
    database.crash(map_size=8 << 20)
    assert database.engine.lsn == lsn
    assert database.insert(more={"name": "x" * 2000}).lsn == lsn + 1


def test_what_is_small_fits_although_its_neighbour_does_not(database, requests):
    database.open(map_size=2 << 20)
    database.define()
    big = requests.insert(big={"name": "x" * 4_000_000})
    replies = database.ask(requests.insert(a={}), big, requests.insert(b={}))
    assert [getattr(r, "code", "") for r in replies] == [
        "",
        "unavailable.storage_full",
        "",
    ]
    assert list(database.documents()) == ["a", "b"]


@pytest.mark.parametrize("mode", [DurabilityMode.STRICT, DurabilityMode.WAL])
def test_a_failed_sync_is_final_until_a_restart(database, mode):
    database.open(durability_mode=mode)
    database.define()
    database.insert(a={})
    database.engine.sync()
    database.files.fail["sync"] = (0, errno.EIO)
    if mode is DurabilityMode.WAL:
        database.insert(b={})
    strict = mode is DurabilityMode.STRICT
    syncing = partial(database.insert, b={}) if strict else database.engine.sync
    with pytest.raises(UnavailableError, match="storage has stopped"):
        syncing()
    database.files.fail.clear()
    for refused in (lambda: database.insert(c={}), database.engine.background):
        with pytest.raises(UnavailableError, match="restart the database"):
            refused()
    assert "a" in database.documents()
    database.engine.close()
    database.open(durability_mode=mode)
    assert database.insert(c={}).affected == 1


def test_a_sync_that_fails_in_the_background_stops_the_engine(users):
    users.insert(a={})
    users.files.fail["sync"] = (0, errno.EIO)
    users.now += 1
    with pytest.raises(UnavailableError, match=r"EIO.*storage has stopped"):
        users.turn_until(lambda: False)
    with pytest.raises(UnavailableError, match="storage has stopped"):
        users.insert(b={})


def test_no_room_for_a_checkpoint_keeps_the_one_before(users):
    users.insert(a={})
    users.files.fail["write"] = (0, errno.ENOSPC)
    with pytest.raises(StorageFullError):
        users.engine.checkpoint()
    users.now += 20
    users.engine.background()
    users.turn_until(lambda: users.engine._upkeep._checkpoint_job is None)
    users.files.fail.clear()
    assert users.engine.statistics()["checkpoint_lsn"] == 0
    assert users.insert(b={}).affected == 1
    users.engine.checkpoint()
    assert users.engine.statistics()["checkpoint_lsn"] == 3


def damaged_open(database):
    database.engine.abandon()
    with pytest.raises(CorruptionError) as caught:
        database.open()
    return caught.value


def test_a_cut_data_file_is_noticed_before_it_is_mapped(users):
    users.insert(**{f"d{n}": {"name": "x" * 500} for n in range(100)})
    users.engine.checkpoint()
    data = users.path / "data.mdb"
    users.engine.abandon()
    os.truncate(data, 40_960)
    for opening in (users.open, users.reader):
        with pytest.raises(CorruptionError, match="ends at 40,960 bytes") as caught:
            opening()
        assert caught.value.context["offset"] == 40_960


@pytest.mark.parametrize("position", [0, 5, 9, 30, 60, 4000, -1])
def test_a_damaged_checkpoint_is_noticed(users, position):
    path = users.path / "checkpoint"
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    assert damaged_open(users).context["file"] == str(path)


@pytest.mark.parametrize("length", [0, 10, 50, 4000])
def test_a_cut_checkpoint_is_noticed(users, length):
    os.truncate(users.path / "checkpoint", length)
    assert damaged_open(users).context["file"] == str(users.path / "checkpoint")


@pytest.mark.parametrize("name", ["checkpoint", "data.mdb"])
def test_a_missing_file_is_noticed(users, name):
    users.engine.checkpoint()
    (users.path / name).unlink()
    error = damaged_open(users)
    assert "missing" in error.message
    assert error.context["file"] == str(users.path / name)


def test_a_data_file_that_is_none_is_noticed(users):
    users.engine.abandon()
    data = users.path / "data.mdb"
    data.write_bytes(b"garbage!" * (data.stat().st_size // 8))
    with pytest.raises(CorruptionError, match="damaged"):
        users.open()


def test_making_a_database_can_be_interrupted_anywhere(database):
    for number in range(40):
        database.files.calls.clear()
        database.files.fail = dict.fromkeys(
            ("write", "sync", "rename", "truncate"), (number, errno.EIO)
        )
        try:
            database.open()
        except UnavailableError:
            continue
        break
    database.files.fail.clear()
    if number:
        database.engine.abandon()
        database.open()
    assert database.define().created
    assert number > 2


def test_the_log_of_an_engine_without_one_is_applied_first(users, requests):
    users.insert(a={})

    def kill():
        raise Killed

    users.files.after_write = kill
    with pytest.raises(Killed):
        users.insert(b={})
    users.crash(durability_mode=DurabilityMode.NONE)
    assert list(users.documents()) == ["a", "b"]
    assert list((users.path / "wal").iterdir()) == []
    users.insert(c={})
    users.engine.close()
    users.open()
    assert list(users.documents()) == ["a", "b", "c"]


def test_the_files_are_the_owners_alone(users):
    users.insert(a={})
    assert users.path.stat().st_mode & 0o777 == 0o700
    for path in users.path.rglob("*"):
        expected = 0o700 if path.is_dir() else 0o600
        assert path.stat().st_mode & 0o777 == expected, path


def test_a_large_document_is_kept(users):
    body = {"name": "x" * 3_000_000}
    assert users.insert(a=body).affected == 1
    users.crash(boot="another")
    assert users.documents() == {"a": body}
    assert len(encode_document(body)) > 3_000_000
