"""What tests with real processes share: waiting, finding and killing processes."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")

# For what fails when it does not come: a machine under load may take its time.
DEADLINE_S = 60.0
_NOBODY = 65534


class Figures:
    """Lines that a test wants printed at the end of the run."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        """Print ``line`` at the end."""
        self.lines.append(line)


def first_seed() -> int:
    """The seed a run begins with: ``SEED``, or 1."""
    return int(os.environ.get("SEED", "1"))


def wait_until(
    condition: Callable[[], T], what: str, deadline_s: float = DEADLINE_S
) -> T:
    """Wait until ``condition()`` is true and return its value.

    It looks every few milliseconds and fails loudly at the deadline.
    """
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s:g} s: {what}")
        time.sleep(0.005)


def free_port() -> int:
    """A port that nobody has, and nobody is given who does not ask for this one."""
    given = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    first, last = map(int, given)
    ports = range(5_000, first) if first > 6_000 else range(last, 65_536)
    # Not by the random numbers of tests, which are the same in each process.
    chance = random.SystemRandom()
    while True:
        port = chance.choice(ports) if ports else 0
        with suppress(OSError), socket.create_server(("127.0.0.1", port)) as server:
            return int(server.getsockname()[1])


@contextmanager
def a_locked_directory() -> Iterator[Path]:
    """A directory that may not be written, by somebody who is not allowed everything.

    Root becomes another user for the time, in this process.
    """
    with tempfile.TemporaryDirectory(prefix="aurora-locked-") as made:
        outer, locked = Path(made), Path(made) / "locked"
        outer.chmod(0o711)
        locked.mkdir(0o555)
        is_root = os.geteuid() == 0
        if is_root:
            os.setresuid(_NOBODY, _NOBODY, 0)
        try:
            yield locked
        finally:
            if is_root:
                os.setresuid(0, 0, 0)


def tree_processes(db_path: Path) -> list[psutil.Process]:
    """All live processes of the tree that serves ``db_path``.

    They are known by the database's path, which each has in its title or arguments.
    """
    marker = str(db_path.resolve())
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            arguments = " ".join(process.cmdline())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if marker in arguments and "aurora" in arguments:
            found.append(process)
    return found


def no_process_left(db_path: Path, deadline_s: float = DEADLINE_S) -> None:
    """Fail unless all processes of the tree end within the deadline."""
    wait_until(
        lambda: not tree_processes(db_path),
        f"processes of {db_path} have ended",
        deadline_s,
    )


@contextmanager
def python(
    script: str, *arguments: str, stdin: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs ``script``; killed at the end if it still lives."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        if process.stdout is not None and not process.stdout.closed:
            process.communicate()
