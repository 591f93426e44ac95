"""Backups and compactions of a database at work: nothing is lost, nobody waits long."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import trio
from support import DEADLINE_S, no_process_left, wait_until

from aurora_actors import Aurora, FieldDefinition, FieldType, blocking
from aurora_actors.errors import CorruptionError, UsageError
from aurora_actors.storage.reader import DataReader

pytestmark = pytest.mark.processes

FIELDS = {
    "n": FieldDefinition(FieldType.INT, nullable=False),
    "email": FieldDefinition(FieldType.STRING, unique=True),
    "text": FieldType.STRING,
}

# Reads the counter again and again; fails when it ever goes back.
WATCHER = """
import sys
from aurora_actors import blocking
last = 0
with blocking.open(sys.argv[1]) as db:
    print("ready", flush=True)
    while True:
        seen = db.get_document("counters", "c")["n"]
        assert seen >= last, (seen, last)
        last = seen
        if seen < 0 or seen >= 10**9:
            break
print(last, flush=True)
"""


class Writer(threading.Thread):
    """Writes until told to stop, and remembers how long the longest write took."""

    def __init__(self, db: blocking.Aurora) -> None:
        super().__init__(daemon=True)
        self.db = db
        self.done = threading.Event()
        self.count = 0
        self.longest = 0.0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.done.is_set():
                start = time.monotonic()
                self.count += 1
                self.write()
                self.longest = max(self.longest, time.monotonic() - start)
        except BaseException as exc:
            self.error = exc

    def write(self) -> None:
        n = self.count
        document = {"id": f"d{n}", "n": n, "email": f"{n}@x.io", "text": "t" * 300}
        self.db.insert_into("things", document)
        if n % 3 == 0:
            self.db.update_document("things", f"d{n}", {"n": -n})
        if n % 5 == 0:
            self.db.delete_document("things", f"d{n - 1}")
        self.db.update_document("counters", "c", {"n": n})
        assert self.db.get_document("counters", "c")["n"] == n

    def stop(self) -> None:
        self.done.set()
        self.join(DEADLINE_S)
        assert not self.is_alive()
        assert self.error is None, self.error


def state_at(path: Path, lsn: int) -> dict[str, tuple[int, bytes]]:
    """The documents at an earlier LSN, by undoing the changes since."""
    with DataReader.open(path) as reader, reader.snapshot() as snapshot:
        info = snapshot.collection("things")
        rows = {row: bytes(record) for row, record in snapshot.scan(info)}
        for change in reversed(list(snapshot.changes(lsn))):
            if change.collection != info.id:
                continue
            if change.old is None:
                del rows[change.row]
            else:
                rows[change.row] = bytes(change.old)
    return rows


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "busy.db"
    with blocking.open(path, query_executors=1) as db:
        db.new_collection("things", FIELDS)
        db.new_collection("counters", open=True)
        db.insert_into("counters", {"id": "c", "n": 0})
        yield db
    no_process_left(path)


def back_up_under_load(database, directory, count):
    """Take backups while a writer writes; each is the state at its LSN."""
    writer = Writer(database)
    writer.start()
    reports = []
    for number in range(count):
        wait_until(lambda n=number: writer.count > 100 * (n + 1), "some writes")
        reports.append(database.backup(directory / f"{number}.backup"))
    writer.stop()
    for number, report in enumerate(reports):
        restored = directory / f"{number}.db"
        blocking.Aurora.restore(report.path, restored)
        lsn = report.manifest.lsn
        expected = state_at(database.config.path, lsn)
        assert state_at(restored, lsn) == expected
        assert report.manifest.collections["things"] == len(expected)
    assert len({report.manifest.lsn for report in reports}) == count
    return writer.count


def test_a_backup_under_load_is_the_state_at_its_lsn(database, tmp_path):
    back_up_under_load(database, tmp_path, 2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_40_backups_under_load_are_the_states_at_their_lsns(
    database, tmp_path, figures
):
    writes = back_up_under_load(database, tmp_path, 40)
    figures.add(
        f"backup: 40 under load, equal to the state at their LSNs; {writes:,} writes"
    )


def test_compaction_under_load_loses_nothing_and_goes_back_for_nobody(database):
    path = str(database.config.path)
    watcher = subprocess.Popen(
        [sys.executable, "-c", WATCHER, path], stdout=subprocess.PIPE, text=True
    )
    assert watcher.stdout is not None
    assert watcher.stdout.readline() == "ready\n"
    writer = Writer(database)
    writer.start()
    for number in range(5):
        wait_until(lambda n=number: writer.count > 60 * (n + 1), "some writes")
        database.compact()
        assert database.query("things").count() > 0
    writer.stop()
    database.update_document("counters", "c", {"n": 10**9})
    assert watcher.communicate(timeout=DEADLINE_S)[0] == f"{10**9}\n"
    assert watcher.returncode == 0
    expected = {
        n for n in range(1, writer.count + 1) if (n + 1) % 5 or n + 1 > writer.count
    }
    found = {abs(doc["n"]) for doc in database.query("things").collect()}
    assert found == expected
    assert database.stats()["storage"]["generation"] == 5
    done = subprocess.run(
        [sys.executable, "-m", "aurora_actors.cli.main", "check", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


async def test_everything_works_from_an_event_loop(tmp_path):
    path = tmp_path / "loop.db"
    phases = set()
    async with Aurora.open(path, query_executors=1) as db:
        await db.new_collection("things", FIELDS)
        await db.insert_many("things", ({"id": f"d{n}", "n": n} for n in range(3_000)))
        report = await db.backup(
            tmp_path / "a.backup", progress=lambda phase, *_: phases.add(phase)
        )
        assert report.manifest.documents == 3_000
        assert phases == {"copying", "compressing", "verifying"}
        with pytest.raises(UsageError, match="exists already"):
            await db.backup(tmp_path / "a.backup")
        exported = await db.export_collection("things", tmp_path / "t.jsonl")
        assert exported.documents == 3_000
        await db.new_collection("copy", open=True)
        imported = await db.import_collection("copy", tmp_path / "t.jsonl")
        assert imported.documents == 3_000
        compacted = await db.compact()
        assert compacted.after_bytes <= compacted.before_bytes
        assert await db.query("copy").count() == 3_000
        with trio.CancelScope() as scope:
            await db.backup(tmp_path / "b.backup", progress=lambda *_: scope.cancel())
        assert scope.cancelled_caught
        assert not (tmp_path / "b.backup").exists()
    await Aurora.restore(tmp_path / "a.backup", tmp_path / "new.db")
    data = bytearray((tmp_path / "a.backup").read_bytes())
    data[-1] ^= 1
    (tmp_path / "a.backup").write_bytes(data)
    with pytest.raises(CorruptionError):
        await Aurora.restore(tmp_path / "a.backup", tmp_path / "newer.db")
    no_process_left(path)
