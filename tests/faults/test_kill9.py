"""kill -9 on each process of the tree during load: nothing acknowledged is lost.

A writer in a process of its own records every acknowledgement in a file before it goes
on. After the kill every acknowledged document must be there, whole, and whatever else is
there must be whole too; no process may be left, and the database must open again.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support import no_process_left, python, tree_processes, wait_until

from aurora_actors import blocking

pytestmark = [pytest.mark.processes, pytest.mark.faults]

WRITER = """
import os, sys
import trio
from aurora_actors import Aurora, AuroraConfig, DurabilityMode, TreeDownError

path, acks, mode, total, tasks = sys.argv[1:]
total = int(total)
log = os.open(acks, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

async def main():
    config = AuroraConfig(
        db_path=path, durability_mode=DurabilityMode(mode), query_executors=1
    )
    async with Aurora.with_config(config) as db:
        await db.new_collection("rows", open=True)
        numbers = iter(range(total))

        async def write():
            for number in numbers:
                row = {"number": number, "text": str(number) * 10}
                await db.insert_into("rows", {"id": f"row-{number}", **row})
                os.write(log, f"{number}\\n".encode())
                if number % 10 == 0:
                    await db.query("rows").filter(lambda f: f.eq("number", number)).count()

        async with trio.open_nursery() as nursery:
            for _ in range(int(tasks)):
                nursery.start_soon(write)

try:
    trio.run(main)
except BaseExceptionGroup as group:
    down, other = group.split(TreeDownError)
    if other is not None:
        raise other
    sys.exit(3)
except TreeDownError:
    sys.exit(3)
"""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "load.db"
    yield path
    no_process_left(path)


def acknowledged(acks: Path) -> set[int]:
    text = acks.read_text() if acks.exists() else ""
    return {int(line) for line in text.splitlines()}


def wait_for_load(acks: Path, count: int, writer: subprocess.Popen[str]) -> None:
    def loaded() -> bool:
        if writer.poll() is not None:
            _out, err = writer.communicate()
            raise AssertionError(f"the writer ended with {writer.returncode}: {err}")
        return len(acknowledged(acks)) > count

    wait_until(loaded, f"{count} acknowledged")


def victim_pid(path: Path, name: str) -> int:
    with blocking.open(path) as db:
        status = db.status()
    if name == "supervisor":
        return status.supervisor_pid
    return next(actor.pid for actor in status.actors if actor.name == name)


def check(path: Path, acks: Path) -> None:
    """Everything acknowledged is there, and everything there is whole."""
    with blocking.open(path) as db:
        stored = {}
        for document in db.query("rows").stream():
            number = document["number"]
            assert isinstance(number, int)
            assert document.id == f"row-{number}"
            assert document.data == {"number": number, "text": str(number) * 10}
            stored[number] = document
        assert acknowledged(acks) <= stored.keys()
        assert db.query("rows").count() == len(stored)


@pytest.mark.parametrize("mode", ["wal", "strict", "synchronous"])
@pytest.mark.parametrize("name", ["storage", "query_executor-0"])
def test_killing_an_actor_delays_but_fails_nothing(
    database: Path, tmp_path: Path, name: str, mode: str
) -> None:
    acks, total = tmp_path / "acks", 3000
    with python(WRITER, str(database), str(acks), mode, str(total), "8") as writer:
        for share in (5, 3, 2):
            wait_for_load(acks, total // share, writer)
            os.kill(victim_pid(database, name), signal.SIGKILL)
        _out, err = writer.communicate(timeout=60)
        assert writer.returncode == 0, err
    assert len(acknowledged(acks)) == total
    no_process_left(database)
    check(database, acks)


def test_killing_the_supervisor_ends_the_tree_and_loses_nothing(
    database: Path, tmp_path: Path
) -> None:
    acks = tmp_path / "acks"
    with python(WRITER, str(database), str(acks), "wal", "1000000", "8") as writer:
        wait_for_load(acks, 500, writer)
        os.kill(victim_pid(database, "supervisor"), signal.SIGKILL)
        _out, err = writer.communicate(timeout=30)
        assert writer.returncode == 3, err
    no_process_left(database, 2.0)
    check(database, acks)


def test_killing_the_application_ends_the_tree_and_loses_nothing(
    database: Path, tmp_path: Path
) -> None:
    acks = tmp_path / "acks"
    with python(WRITER, str(database), str(acks), "wal", "1000000", "8") as writer:
        wait_for_load(acks, 500, writer)
        writer.kill()
        writer.wait(10)
    no_process_left(database, 2.0)
    check(database, acks)


def test_killing_everything_at_once_loses_nothing(
    database: Path, tmp_path: Path
) -> None:
    acks = tmp_path / "acks"
    for _round in range(3):
        already = len(acknowledged(acks))
        # Beyond what was under way when the last round ended: it may be there.
        start = max(acknowledged(acks), default=-1) + 1000
        script = WRITER.replace("range(total)", f"range({start}, total)")
        with python(script, str(database), str(acks), "wal", "1000000", "8") as writer:
            wait_for_load(acks, already + 300, writer)
            for process in [*tree_processes(database), psutil.Process(writer.pid)]:
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
            writer.wait(10)
        no_process_left(database, 2.0)
        check(database, acks)
