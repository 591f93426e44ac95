"""Maintenance processes: asked, watched, given up, and never left behind."""

from __future__ import annotations

import os
import resource
import sys

import psutil
import pytest
import trio
from support import python, wait_until

from aurora_actors.client import maintenance
from aurora_actors.client.maintenance import run_task, run_task_blocking
from aurora_actors.errors import (
    CorruptionError,
    InternalError,
    TimeoutError_,
    UnavailableError,
)
from aurora_actors.storage.findings import CheckReport
from aurora_actors.storage.tasks import Check

pytestmark = pytest.mark.processes

CHILD = "import os, signal, sys; os.read(0, 9);"


@pytest.fixture
def child(monkeypatch, tmp_path):
    """Puts a script of the test's own in the place of the maintenance process."""

    def use(script: str) -> None:
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{CHILD}{script}'\n")
        program.chmod(0o700)
        monkeypatch.setattr(maintenance.sys, "executable", str(program))

    return use


def no_children() -> None:
    wait_until(lambda: not psutil.Process().children(), "no child is left", 5.0)


def check(timeout: float | None = None) -> CheckReport:
    return run_task_blocking(Check(path="/nonexistent"), CheckReport, timeout)


def test_what_it_reports_is_raised():
    with pytest.raises(UnavailableError, match="no database at /nonexistent"):
        check()
    no_children()


@pytest.fixture
def many_descriptors():
    """More than a set for select() holds."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 2048), before[1]))
    found = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    yield
    for fd in found:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_an_application_may_have_many_descriptors(many_descriptors):
    with pytest.raises(UnavailableError, match="no database at /nonexistent"):
        check()


def test_a_process_that_is_killed_has_met_damage(child):
    child("os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(CorruptionError, match="signal 11") as caught:
        check()
    assert caught.value.context["signal"] == 11
    no_children()


def test_a_process_that_fails_is_quoted(child):
    child('sys.exit("nothing works")')
    with pytest.raises(InternalError, match="ended with 1: nothing works"):
        check()
    no_children()


def test_a_process_that_takes_too_long_is_stopped(child):
    child("import time; time.sleep(60)")
    with pytest.raises(TimeoutError_):
        check(timeout=0.2)
    no_children()


async def test_cancelling_stops_the_process(child):
    child("import time; time.sleep(60)")
    with trio.move_on_after(0.3) as scope:
        await run_task(Check(path="/nonexistent"), CheckReport)
    assert scope.cancelled_caught
    await trio.to_thread.run_sync(no_children)


async def test_an_event_loop_gets_the_error_too():
    with pytest.raises(UnavailableError, match="no database"):
        await run_task(Check(path="/nonexistent"), CheckReport)


def test_it_ends_with_its_parent(tmp_path):
    pid_file = tmp_path / "pid"
    script = f"""
import subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-m", "aurora_actors.storage.maintenance"], stdin=subprocess.PIPE
)
open({str(pid_file)!r}, "w").write(str(child.pid))
print("started", flush=True)
child.wait()
"""
    with python(script) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "started\n"
        pid = int(pid_file.read_text())
        assert psutil.pid_exists(pid)
        parent.kill()
        wait_until(lambda: not _lives(pid), "the child ends with its parent")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (OSError, psutil.NoSuchProcess):
        return False
