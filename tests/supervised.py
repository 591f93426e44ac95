"""A supervised tree of small test actors, seen as an application sees it."""

from __future__ import annotations

import gc
import io
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TypeVar

import msgspec
import psutil
import pytest
from aurora_supervisor.cli import main
from support import DEADLINE_S, no_process_left, tree_processes, wait_until

from aurora_actors.client.launch import TreeConnection, open_tree, reap_supervisors
from aurora_actors.config import AuroraConfig
from aurora_actors.messages.supervision import (
    ActorReady,
    ActorStatus,
    ApplicationNotice,
    ReadStatus,
    TreeStatus,
)

Notice = TypeVar("Notice", bound=ApplicationNotice)

TREES = Path(__file__).parent / "integration" / "trees"
TREE = "small_tree"
ACTORS = {"first", "second-0", "second-1"}


class Supervised:
    """One database directory whose tree is made of ``small_tree``'s actors."""

    def __init__(self, path: Path, runtime_dir: Path) -> None:
        self.path = path
        self.runtime_dir = runtime_dir
        self._names = (f"c-{number}" for number in itertools.count())

    def config(self, **settings: float) -> AuroraConfig:
        """Settings that make a test short."""
        short = {"shutdown_grace_s": 5.0, "heartbeat_interval_ms": 20}
        return msgspec.convert(
            {"db_path": str(self.path), **short, **settings}, AuroraConfig
        )

    def open(self, timeout_s: float = DEADLINE_S, **settings: float) -> TreeConnection:
        """Attach, starting the tree if need be."""
        config = self.config(**settings)
        return open_tree(config, next(self._names), timeout_s, tree=TREE)

    def behave(self, actor: str, *wishes: str) -> None:
        """Say how ``actor`` behaves from its next start on."""
        self.path.mkdir(exist_ok=True)
        (self.path / f"{actor}.behaviour").write_text(" ".join(wishes))

    def notes(self) -> list[str]:
        """What the actors have noted, in order."""
        notes = self.path / "notes"
        return notes.read_text().splitlines() if notes.exists() else []

    def log(self) -> str:
        """The tree's log: its whole lines, of which the last may be half written."""
        text = (self.path / "aurora.log").read_text()
        return text[: text.rfind("\n") + 1]

    def processes(self) -> list[psutil.Process]:
        """The live processes of the tree."""
        return tree_processes(self.path)

    def zygote(self) -> int:
        """The zygote's process id."""
        (found,) = (
            process
            for process in self.processes()
            if process.cmdline()[0].startswith("aurora: zygote")
        )
        return found.pid

    def nothing_left(self, deadline_s: float = DEADLINE_S) -> None:
        """Fail unless processes, sockets and notices go within the deadline."""
        no_process_left(self.path, deadline_s)
        wait_until(
            lambda: not list(self.runtime_dir.glob("aurora-*")),
            "runtime directory removed",
            deadline_s,
        )

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``aurora-supervisor`` to its end.

        In this process, which is quicker, unless it is to run a tree.
        """
        if arguments[0] != "run":
            return called(*arguments)
        return subprocess.run(
            [sys.executable, "-m", "aurora_supervisor", *arguments],
            capture_output=True,
            text=True,
            timeout=2 * DEADLINE_S,
            check=False,
        )


def called(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Call ``aurora-supervisor`` in this process."""
    out, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        try:
            status = main(arguments)
        except SystemExit as exc:
            status = int(exc.code or 0)
    return subprocess.CompletedProcess(
        arguments, status, out.getvalue(), errors.getvalue()
    )


def _no_children() -> bool:
    reap_supervisors()
    return not psutil.Process().children(recursive=True)


def read_status(connection: TreeConnection) -> TreeStatus:
    """Ask for the status; notices that come before it are dropped."""
    connection.send(ReadStatus())
    return next_of(connection, TreeStatus)


def actor(connection: TreeConnection, name: str) -> ActorStatus:
    """The status of one actor."""
    (found,) = (a for a in read_status(connection).actors if a.name == name)
    return found


def next_of(
    connection: TreeConnection, kind: type[Notice], timeout_s: float = DEADLINE_S
) -> Notice:
    """The next notice of one kind."""
    while (notice := connection.receive(timeout_s)) is not None:
        if isinstance(notice, kind):
            return notice
    raise AssertionError(f"the connection ended before {kind.__name__}")


def rest_of(connection: TreeConnection) -> list[ApplicationNotice]:
    """All notices until the supervisor ends the connection."""
    notices = []
    while (notice := connection.receive(DEADLINE_S)) is not None:
        notices.append(notice)
    return notices


def next_ready(connection: TreeConnection, name: str) -> int:
    """Wait until an actor is ready again; returns its incarnation."""
    while True:
        notice = next_of(connection, ActorReady)
        if notice.name == name:
            return notice.incarnation


@contextmanager
def standalone(
    tree: Supervised, *arguments: str, shell: Sequence[str] = ()
) -> Iterator[subprocess.Popen[str]]:
    """A standalone supervisor, started and ready; ended if it still runs.

    ``shell`` is a command that runs the one behind it in its own place.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tree.runtime_dir / "notify"))
        manager.settimeout(DEADLINE_S)
        process = subprocess.Popen(
            [
                *(*shell, sys.executable, "-m", "aurora_supervisor", "run"),
                *("--tree", TREE, *arguments),
            ],
            env={**os.environ, "NOTIFY_SOCKET": str(tree.runtime_dir / "notify")},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert manager.recv(1000).startswith(b"READY=1\n")
            yield process
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(DEADLINE_S)
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def tree(
    tmp_path: Path, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Supervised]:
    """A place for a tree; afterwards nothing of one may be left."""
    monkeypatch.setenv("PYTHONPATH", str(TREES), prepend=os.pathsep)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime_dir))
    descriptors = set(Path("/proc/self/fd").iterdir())
    supervised = Supervised(tmp_path / "my.db", runtime_dir)
    yield supervised
    supervised.nothing_left()
    wait_until(_no_children, "all children reaped")
    if set(Path("/proc/self/fd").iterdir()) - descriptors:
        gc.collect()  # what a traceback holds is closed when it is found
    assert set(Path("/proc/self/fd").iterdir()) <= descriptors
