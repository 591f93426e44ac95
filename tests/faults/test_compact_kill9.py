"""kill -9 on storage at random moments of compactions: nothing is lost, nobody is stale.

A writer inserts, and reads each of its writes back at once; meanwhile the data file is
compacted again and again and storage is killed at random. At the end every acknowledged
document must be there, and the check must find no fault.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import pytest
from support import no_process_left, wait_until

from aurora_actors import blocking
from aurora_actors.errors import UnavailableError

pytestmark = [pytest.mark.processes, pytest.mark.faults]


class Writer(threading.Thread):
    """Inserts and reads back until told to stop."""

    def __init__(self, db: blocking.Aurora) -> None:
        super().__init__(daemon=True)
        self.db = db
        self.stopping = threading.Event()
        self.count = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stopping.is_set():
                name = f"w{self.count}"
                self.db.insert_into("rows", {"id": name, "n": self.count})
                found = self.db.get_document("rows", name)
                assert found is not None, name
                assert found["n"] == self.count
                self.count += 1
        except BaseException as exc:
            self.error = exc


def storage_pid(db: blocking.Aurora) -> int:
    (storage,) = (a for a in db.status().actors if a.name == "storage")
    return storage.pid if storage.state == "ready" else 0


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def rounds(path, seed: int, count: int) -> None:
    chance = random.Random(seed)
    outcomes = {"compacted": 0, "failed": 0}
    settings = {"query_executors": 1, "max_restarts": 10 * count}
    with blocking.open(path, **settings) as db:
        db.new_collection("rows", open=True)
        db.insert_many("rows", ({"id": f"b{n}", "x": "y" * 500} for n in range(5_000)))
        writer = Writer(db)
        writer.start()
        for _ in range(count):
            pid = wait_until(lambda: storage_pid(db), "storage is ready")
            timer = threading.Timer(chance.random() * 0.3, kill, [pid])
            timer.start()
            try:
                db.compact(timeout=30)
                outcomes["compacted"] += 1
            except UnavailableError:
                outcomes["failed"] += 1
            timer.join()
        writer.stopping.set()
        writer.join(60)
        assert writer.error is None, (seed, writer.error)
        assert db.query("rows").count() == 5_000 + writer.count, seed
        restarts = {a.name: a.restarts for a in db.status().actors}["storage"]
        assert restarts >= count // 2
        sys.stdout.write(
            f"seed {seed}: {outcomes}, {restarts} restarts, {writer.count} writes\n"
        )
    no_process_left(path)
    assert len(list(path.glob("data*.mdb"))) == 1
    command = [sys.executable, "-m", "aurora_actors.cli.main", "check", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (seed, done.stdout)


def test_compactions_survive_kills(tmp_path):
    rounds(tmp_path / "killed.db", seed=1, count=5)


@pytest.mark.slow
def test_compactions_survive_100_kills(tmp_path):
    seed = int(os.environ.get("SEED", "1000"))
    rounds(tmp_path / "killed.db", seed=seed, count=100)
