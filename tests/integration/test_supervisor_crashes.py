"""What happens to a tree of real processes when parts of it are killed or stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from supervised import (
    ACTORS,
    TREE,
    Supervised,
    actor,
    next_ready,
    read_status,
    rest_of,
    standalone,
    tree,
)
from support import DEADLINE_S, tree_processes, wait_until

from aurora_actors.client.launch import TreeConnection, open_tree
from aurora_actors.errors import TreeDownError
from aurora_actors.location import read_published
from aurora_actors.messages.supervision import TreeStopping

__all__ = ["tree"]

pytestmark = [pytest.mark.processes, pytest.mark.faults]


def ended(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def pids(connection: TreeConnection) -> dict[str, int]:
    return {entry.name: entry.pid for entry in read_status(connection).actors}


# ------------------------------------------------------------------ actors
@pytest.mark.parametrize("name", sorted(ACTORS))
def test_a_killed_actor_is_back_and_alone(tree: Supervised, name: str):
    with tree.open() as application:
        before = pids(application)
        os.kill(before[name], signal.SIGKILL)
        assert next_ready(application, name) == 2
        after = pids(application)
        assert after[name] != before[name]
        assert {k: v for k, v in after.items() if k != name} == {
            k: v for k, v in before.items() if k != name
        }
        assert f"{name} ended by SIGKILL" in tree.log()
        application.leave(DEADLINE_S)


def test_where_an_actor_was_when_a_library_crashed_is_in_the_log(tree: Supervised):
    with tree.open() as application:
        os.kill(pids(application)["first"], signal.SIGABRT)
        assert next_ready(application, "first") == 2
        log = tree.log()
        assert "first ended by SIGABRT" in log
        assert "first: Fatal Python error: Aborted\n" in log
        assert "small_tree.py" in log
        application.leave(DEADLINE_S)


def test_a_stopped_actor_is_killed_and_restarted(tree: Supervised):
    with tree.open() as application:
        pid = pids(application)["first"]
        os.kill(pid, signal.SIGSTOP)
        start = time.monotonic()
        assert next_ready(application, "first") == 2
        assert time.monotonic() - start > 0.25
        assert ended(pid)
        assert "was stopped by a signal and not continued" in tree.log()
        application.leave(DEADLINE_S)


def test_a_stopped_actor_that_is_continued_at_once_goes_on(tree: Supervised):
    with tree.open() as application:
        pid = wait_until(
            lambda: stopped_briefly(pids(application)["first"]), "three brief stops"
        )
        os.kill(pids(application)["second-0"], signal.SIGKILL)
        next_ready(application, "second-0")
        assert pids(application)["first"] == pid
        application.leave(DEADLINE_S)


def stopped_briefly(pid: int) -> int:
    """Stop and continue an actor three times.

    Gives its number, or 0 if this process was held up and a stop became a long one.
    """
    process = psutil.Process(pid)
    for _ in range(3):
        began = time.monotonic()
        with suppress(psutil.NoSuchProcess):
            process.suspend()
            wait_until(lambda: process.status() == psutil.STATUS_STOPPED, "stopped")
            process.resume()
        if time.monotonic() - began > 0.2:
            return 0
    return pid


def test_a_hung_actor_is_killed_and_restarted(tree: Supervised):
    with tree.open(hang_timeout_ms=1000) as application:
        wait_until(lambda: actor(application, "first").lsn, "a heartbeat")
        os.kill(pids(application)["first"], signal.SIGUSR1)
        assert next_ready(application, "first") == 2
        assert "first gave no sign of life for" in tree.log()
        application.leave(DEADLINE_S)


def test_what_an_actor_had_started_dies_with_it(tree: Supervised):
    tree.behave("second-0", "child")
    with tree.open() as application:
        (child,) = psutil.Process(pids(application)["second-0"]).children()
        os.kill(pids(application)["second-0"], signal.SIGKILL)
        wait_until(lambda: ended(child.pid), "the actor's child has ended")
        next_ready(application, "second-0")
        (child,) = psutil.Process(pids(application)["second-0"]).children()
        os.kill(tree.zygote(), signal.SIGKILL)
        wait_until(lambda: ended(child.pid), "the orphan's child has ended")
        # Until the supervisor has noticed, it shows what was.
        wait_until(lambda: actor(application, "second-0").restarts == 2, "noticed")
        next_ready_of_any(application, ACTORS)
        (child,) = psutil.Process(pids(application)["second-0"]).children()
        application.leave(DEADLINE_S)
        wait_until(lambda: ended(child.pid), "the child has ended with its actor")


def next_ready_of_any(connection: TreeConnection, names: set[str]) -> None:
    wait_until(
        lambda: all(
            entry.state == "ready"
            for entry in read_status(connection).actors
            if entry.name in names
        ),
        f"{names} ready",
    )


def test_too_many_crashes_take_the_tree_down_with_the_cause(tree: Supervised):
    with tree.open(max_restarts=2) as application:
        for incarnation in (2, 3):
            os.kill(pids(application)["first"], signal.SIGKILL)
            assert next_ready(application, "first") == incarnation
        os.kill(pids(application)["first"], signal.SIGKILL)
        (notice,) = (n for n in rest_of(application) if isinstance(n, TreeStopping))
        assert notice.failure is not None
        assert notice.failure.code == TreeDownError.code
        assert notice.failure.message == (
            "the tree gave up: more than 2 restarts within 60 s; "
            "at last first ended by SIGKILL"
        )
        tree.nothing_left()


def test_an_actor_that_refuses_its_restart_takes_the_tree_down(tree: Supervised):
    with tree.open() as application:
        tree.behave("first", "refuse")
        os.kill(pids(application)["first"], signal.SIGKILL)
        (notice,) = (n for n in rest_of(application) if isinstance(n, TreeStopping))
        assert notice.failure is not None
        assert notice.failure.message == "the log is damaged"


def test_an_actor_deaf_to_orders_is_killed_in_the_end(tree: Supervised):
    tree.behave("second-1", "deaf")
    with tree.open(shutdown_grace_s=0.2) as application:
        pid = pids(application)["second-1"]
        application.leave(DEADLINE_S)
        assert ended(pid)
    tree.nothing_left()


# ------------------------------------------------------------------ the zygote
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_tree_survives_the_loss_of_its_zygote(tree: Supervised, number: int):
    with tree.open() as application:
        before, zygote = pids(application), tree.zygote()
        os.kill(zygote, number)
        wait_until(lambda: ended(zygote), "the zygote has ended")
        wait_until(
            lambda: {a.restarts for a in read_status(application).actors} == {1},
            "all actors restarted",
        )
        next_ready_of_any(application, ACTORS)
        assert all(ended(pid) for pid in before.values())
        assert tree.zygote() != zygote
        started = [line for line in tree.notes() if line.endswith(" 2")]
        assert started[0] == "start first 2"
        os.kill(pids(application)["second-0"], signal.SIGKILL)
        assert next_ready(application, "second-0") == 3
        application.leave(DEADLINE_S)


def test_the_zygote_ignores_the_signals_meant_for_the_supervisor(tree: Supervised):
    with tree.open() as application:
        before = pids(application)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(tree.zygote(), number)
        os.kill(before["first"], signal.SIGKILL)
        next_ready(application, "first")
        assert pids(application)["second-0"] == before["second-0"]
        application.leave(DEADLINE_S)


# ------------------------------------------------------------------ the supervisor
@pytest.mark.parametrize("stopped_first", ["nobody", "an actor", "the zygote"])
def test_nothing_survives_a_killed_supervisor(tree: Supervised, stopped_first: str):
    with tree.open() as application:
        everyone = [process.pid for process in tree.processes()]
        if stopped_first == "an actor":
            os.kill(pids(application)["second-0"], signal.SIGSTOP)
        elif stopped_first == "the zygote":
            os.kill(tree.zygote(), signal.SIGSTOP)
        os.kill(application.attached.supervisor_pid, signal.SIGKILL)
        rest_of(application)
        wait_until(lambda: all(map(ended, everyone)), "all have ended")
        tree.nothing_left()
    assert read_published(tree.path) is not None
    with tree.open() as application:
        application.leave(DEADLINE_S)


def test_remains_of_a_supervisor_killed_with_its_zygote_are_cleared(tree: Supervised):
    with tree.open() as application:
        runtime = Path(application.attached.runtime_dir)
        supervisor, zygote = application.attached.supervisor_pid, tree.zygote()
        # The one that is stopped cannot clear up after the other. (A zygote that is
        # stopped could: its supervisor's end continues it.)
        os.kill(supervisor, signal.SIGSTOP)
        os.kill(zygote, signal.SIGKILL)
        os.kill(supervisor, signal.SIGKILL)
        wait_until(lambda: not tree.processes(), "all have ended")
        rest_of(application)
    assert runtime.exists()
    with tree.open() as application:
        assert not runtime.exists()
        application.leave(DEADLINE_S)


def test_a_supervisor_killed_while_it_starts_leaves_nothing(tree: Supervised):
    for process_count in (1, 2, 3):
        opener = subprocess.Popen(
            [sys.executable, "-c", OPEN_AND_WAIT, str(tree.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # One of the signals says why it has come.
        number = signal.SIGABRT if process_count == 2 else signal.SIGKILL
        for pid in supervisors_when(tree.path, process_count):
            os.kill(pid, number)
        tree.nothing_left()
        _, errors = opener.communicate(timeout=DEADLINE_S)
        if "before the database was ready" in errors:  # which it is soon afterwards
            assert f"ended with status {-number} " in errors
            assert ("Fatal Python error: Aborted" in errors) is (process_count == 2)


OPEN_AND_WAIT = f"""
import sys
from aurora_actors.client.launch import open_tree
connection = open_tree(sys.argv[1], "c-opener", tree={TREE!r})
print(connection.attached.supervisor_pid, flush=True)
sys.stdin.read()
"""


def supervisors_when(path: Path, count: int) -> list[int]:
    """The supervisor, once the tree has so many processes."""

    def look() -> list[int]:
        try:
            found = {p.pid: (p.ppid(), p.cmdline()) for p in tree_processes(path)}
        except psutil.NoSuchProcess:
            return []
        # The opener has the path among its arguments, and does not belong to the tree.
        found = {pid: entry for pid, entry in found.items() if "-c" not in entry[1]}
        if len(found) < count:
            return []
        return [
            pid
            for pid, (parent, arguments) in found.items()
            if parent not in found  # a zygote has these arguments for a moment, too
            and (
                arguments[0].startswith("aurora: supervisor")
                or "aurora_supervisor" in arguments
            )
        ]

    return wait_until(look, f"{count} processes")


# ------------------------------------------------------------------ applications
def test_nothing_survives_a_killed_application_that_was_the_last(tree: Supervised):
    tree.path.mkdir()
    opener = subprocess.Popen(
        [sys.executable, "-c", OPEN_AND_WAIT, str(tree.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert opener.stdout is not None
    opener.stdout.readline()
    opener.kill()
    tree.nothing_left()
    opener.communicate()
    assert "stop first" in tree.notes()


@pytest.mark.parametrize("step", ["supervisor", "zygote"])
def test_an_application_killed_while_it_opens_leaves_nothing(
    tree: Supervised, step: str
):
    opener = subprocess.Popen(
        [sys.executable, "-c", OPEN_AND_WAIT, str(tree.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    wait_until(lambda: has_started(opener.pid, step), f"{step} is there")
    opener.kill()
    opener.communicate()
    tree.nothing_left()


def has_started(opener: int, step: str) -> bool:
    """Whether one of the opener's descendants is what ``step`` says."""
    for process in psutil.Process(opener).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if step in " ".join(process.cmdline()[:4]):
                return True
    return False


def test_the_others_go_on_when_one_application_is_killed(tree: Supervised):
    opener = subprocess.Popen(
        [sys.executable, "-c", OPEN_AND_WAIT, str(tree.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert opener.stdout is not None
    opener.stdout.readline()
    with open_tree(str(tree.path), "c-other", tree=TREE) as other:
        opener.kill()
        opener.communicate()
        wait_until(lambda: read_status(other).clients == 1, "one has left")
        assert pids(other).keys() == ACTORS
        other.leave(DEADLINE_S)


def test_a_standalone_tree_outlives_a_killed_application(tree: Supervised):
    with standalone(tree, "--db", str(tree.path)) as process:
        opener = subprocess.Popen(
            [sys.executable, "-c", OPEN_AND_WAIT, str(tree.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert opener.stdout is not None
        assert int(opener.stdout.readline()) == process.pid
        opener.kill()
        opener.communicate()
        with open_tree(str(tree.path), "c-other") as other:
            wait_until(lambda: read_status(other).clients == 1, "one has left")
            other.leave(DEADLINE_S)


def test_a_fork_of_the_application_does_not_keep_the_database_locked(tree: Supervised):
    application = tree.open()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    application.leave(DEADLINE_S)
    with tree.open() as again:
        again.leave(DEADLINE_S)
    os.close(writer)
    os.waitpid(pid, 0)
