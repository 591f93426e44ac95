"""Room: figures, alarms, and what happens when there is none."""

from __future__ import annotations

import os
import subprocess

import pytest
from support import python

from aurora_actors.messages.base import Failure
from aurora_actors.messages.storage import DropCollection, Written
from aurora_actors.schema.types import CollectionDefinition

OPEN = CollectionDefinition("other", {}, open=True)

# Begins a snapshot of a database, says so, and waits for its end.
READER = """
import sys
from aurora_actors.storage.reader import DataReader
reader = DataReader.open(sys.argv[1], boot="boot")
snapshot = reader.snapshot()
print(snapshot.lsn, flush=True)
sys.stdin.read()
"""


def looked(database) -> dict[str, int | float]:
    database.now += 2
    database.engine.background()
    figures: dict[str, int | float] = database.engine.statistics()
    return figures


def test_a_full_map_refuses_writes_and_goes_on_reading(database):
    database.open(map_size=4 << 20)
    database.define(OPEN)
    number, reply = 0, None
    while not isinstance(reply, Failure):
        number += 1
        reply = database.insert("other", **{f"o{number}": {"text": "t" * 20_000}})
        assert number < 1_000
    assert reply.code == "unavailable.storage_full"
    assert "max_size_gb" in reply.message
    assert reply.error().retryable
    assert len(database.documents("other")) == number - 1
    # A checkpoint lets go of pages, and a removed collection gives its own back.
    reply = None
    for _ in range(20):
        database.engine.checkpoint()
        reply = database.one(DropCollection(collection="other"))
        if isinstance(reply, Written):
            break
    assert isinstance(reply, Written), reply
    for _ in range(50):
        database.now += 2
        database.engine.background()
        database.engine.checkpoint()
    database.define(OPEN)
    assert isinstance(database.insert("other", a={"text": "t"}), Written)
    database.crash(map_size=4 << 20)
    assert set(database.documents("other")) == {"a"}


def test_reclaiming_without_room_waits_instead_of_spinning(users, monkeypatch):
    from aurora_actors.errors import StorageFullError

    def full(*_):
        raise StorageFullError("no room")

    users.one(DropCollection(collection="users"))
    monkeypatch.setattr("aurora_actors.storage.reclaim.reclaim_some", full)
    users.engine.background()
    assert users.engine.due() > 0.1


def test_the_figures_say_how_much_is_used(users):
    before = looked(users)
    users.define(OPEN)
    users.insert("other", **{f"o{n}": {"text": "t" * 1_000} for n in range(2_000)})
    after = looked(users)
    assert after["used_bytes"] > before["used_bytes"] + 2_000_000
    assert after["map_share_used"] == pytest.approx(
        after["used_bytes"] / (64 << 20), abs=1e-6
    )
    assert after["disk_free_bytes"] > 0
    assert after["alarm_map_nearly_full"] == 0
    users.one(DropCollection(collection="other"))
    while users.engine._store.catalog.dropped:
        users.engine.background()
    assert looked(users)["free_bytes"] > 2_000_000


def test_an_alarm_is_raised_and_ends(users, monkeypatch, caplog):
    class Full:
        f_bavail, f_frsize = 100, 4096

    with monkeypatch.context() as patch:
        patch.setattr("aurora_actors.storage.space.os.statvfs", lambda _: Full)
        assert looked(users)["alarm_disk_nearly_full"] == 1
        looked(users)
    assert looked(users)["alarm_disk_nearly_full"] == 0
    assert [record.message for record in caplog.records].count("alarm") == 1


def test_a_nearly_full_map_raises_an_alarm(database):
    database.open(map_size=4 << 20)
    database.define(OPEN)
    for number in range(1_000):
        reply = database.insert("other", **{f"o{number}": {"text": "t" * 3_000}})
        database.engine.checkpoint()
        if isinstance(reply, Failure):
            break
    assert looked(database)["alarm_map_nearly_full"] == 1


@pytest.mark.processes
def test_an_old_snapshot_of_another_process_raises_an_alarm(users):
    with python(READER, str(users.path), stdin=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline()
        assert looked(users)["oldest_snapshot_s"] == 0
        users.now += 400
        assert looked(users)["alarm_old_snapshot"] == 1
        reader.kill()
        reader.wait()
        # The killed process's slot is taken back.
        figures = looked(users)
        assert figures["alarm_old_snapshot"] == 0
        assert figures["stale_readers_cleared"] == 1


@pytest.mark.processes
@pytest.mark.skipif(
    os.geteuid() != 0,
    reason="only root may mount a small disk to fill; the n-th write fails in test_nth_file_operation for everybody",
)
def test_a_full_disk_refuses_writes_and_goes_on_reading(database, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("root, but in a container that may not mount a small disk to fill")
    try:
        database.path = disk / "full.db"
        database.open()
        database.define(OPEN)
        number, reply = 0, None
        while not isinstance(reply, Failure):
            number += 1
            reply = database.insert("other", **{f"o{number}": {"text": "t" * 20_000}})
            assert number < 1_000
        assert reply.code == "unavailable.storage_full", reply
        before = database.documents("other")
        assert len(before) == number - 1
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert isinstance(database.insert("other", more={"text": "t"}), Written)
        database.crash()
        assert database.documents("other") == {**before, "more": {"text": "t"}}
    finally:
        database.engine.abandon()
        database.engine = None
        subprocess.run(["umount", "-l", str(disk)], check=True)
