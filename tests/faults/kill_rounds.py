"""Rounds of work, each with a kill -9 or a SIGSTOP, at a moment and on a victim by seed.

A round has the writer do some operations and strikes somebody meanwhile. When the tree or
the writer was among the victims, nothing of the tree may be left, and another writer
takes over: it finds all that had been answered, and of what was under way each operation
wholly or not at all.
"""

from __future__ import annotations

import json
import os
import random
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil
from faults.journal import answered
from faults.writer import TREE_IS_GONE
from support import no_process_left, tree_processes

TESTS = Path(__file__).parents[1]
MODES = ("wal", "strict", "synchronous")
VICTIMS = {
    "storage": 8,
    "storage twice": 3,
    "index_builder": 1,
    "query_executor-0": 1,
    "supervisor": 2,
    "application": 2,
    "everything": 3,
}
# What hangs is killed by the supervisor; that one is stopped for a while itself.
STOPPED = {
    "stop storage": 3,
    "stop index_builder": 1,
    "stop query_executor-0": 1,
    "stop reactive_dispatcher": 1,
    "stop supervisor": 1,
    "stop storage, kill supervisor": 1,
}
HANG_TIMEOUT_MS = 700
DEADLINE_S = 120.0


class Trees:
    """The databases of one run, one after the other, and the writers on them."""

    def __init__(
        self,
        directory: Path,
        seed: int,
        rounds_each: int = 20,
        victims: Mapping[str, int] = VICTIMS,
    ) -> None:
        self.directory = directory
        self._weights = victims
        self.seed = seed
        self._rounds_each = rounds_each
        self.rng = random.Random(seed)
        self.victims: Counter[str] = Counter()
        self.answered = self.round = 0
        self._writer: subprocess.Popen[str] | None = None
        self._pids: dict[str, int] = {}
        self._number = -1
        self._pace = 0.001

    # -------------------------------------------------------------- databases
    @property
    def path(self) -> Path:
        """The present database."""
        return self.directory / f"{self._number}.db"

    @property
    def journal(self) -> Path:
        """What its writers have noted."""
        return self.directory / f"{self._number}.journal"

    def run(self, rounds: int) -> str:
        """Do so many rounds; returns a line of figures.

        Raises:
            AssertionError: a promise was broken; its note says in which round.
        """
        try:
            for self.round in range(rounds):
                if self.round % self._rounds_each == 0:
                    self._end_database()
                    self._number += 1
                self._do_round()
            self._end_database()
        except BaseException as exc:
            exc.add_note(f"SEED={self.seed}, round {self.round}, {self.path}")
            raise
        finally:
            if self._writer is not None:
                self._writer.kill()
                self._writer.communicate()
        victims = ", ".join(f"{name} {n}" for name, n in sorted(self.victims.items()))
        return (
            f"SEED={self.seed}: {rounds} rounds ({victims}), "
            f"{self.answered:,} operations answered, none lost, none half done"
        )

    def _end_database(self) -> None:
        """Stop in peace and have the files checked."""
        if self._number < 0:
            return
        if self._writer is not None:
            _out, err = self._writer.communicate(timeout=DEADLINE_S)
            assert self._writer.returncode == 0, err
            self._writer = None
        no_process_left(self.path)
        command = [sys.executable, "-m", "aurora_actors.cli.main", "check"]
        done = subprocess.run(
            [*command, str(self.path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        self.answered += answered(self.journal)
        shutil.rmtree(self.path)

    # -------------------------------------------------------------- rounds
    def _do_round(self) -> None:
        if self._writer is None:
            self._start_writer()
        assert self._writer is not None
        assert self._writer.stdin is not None
        victim = self.rng.choices([*self._weights], [*self._weights.values()])[0]
        self.victims[victim] += 1
        count = self.rng.randrange(20, 250)
        start = time.monotonic()
        self._writer.stdin.write(f"run {count}\n")
        self._writer.stdin.flush()
        time.sleep(self.rng.random() * min(count * self._pace, 1.0))
        if victim == "stop storage, kill supervisor":
            self._signal("storage", signal.SIGSTOP)
            victim = "supervisor"
        if victim in {"supervisor", "application", "everything"}:
            self._kill_tree(victim)
            return
        if victim.startswith("stop "):
            self._stop(victim.removeprefix("stop "))
        else:
            self._signal(victim.split()[0])
        if victim == "storage twice":
            time.sleep(self.rng.random() * 0.2)
            self._kill_storage_again()
        self._pids = self._answer()
        self._pace = (time.monotonic() - start) / count

    def _start_writer(self) -> None:
        mode = MODES[self._number % len(MODES)]
        settings = {
            "durability_mode": mode,
            "checkpoint_interval_ms": self.rng.choice([20, 200, 10_000]),
            "hang_timeout_ms": HANG_TIMEOUT_MS if self._weights is STOPPED else 10_000,
        }
        arguments = [str(self.path), str(self.journal), f"{self.seed}"]
        self._writer = subprocess.Popen(
            [sys.executable, "-m", "faults.writer", *arguments, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )
        self._pids = self._answer()

    def _answer(self) -> dict[str, int]:
        """Wait until the writer says that everything is as it has to be."""
        writer = self._writer
        assert writer is not None
        assert writer.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(writer.stdout, selectors.EVENT_READ)
            assert selector.select(DEADLINE_S), "the writer does not answer"
        line = writer.stdout.readline()
        if not line:
            _out, err = writer.communicate(timeout=DEADLINE_S)
            raise AssertionError(f"the writer ended with {writer.returncode}: {err}")
        pids: dict[str, int] = json.loads(line)
        return pids

    # -------------------------------------------------------------- kills
    def _signal(self, name: str, number: int = signal.SIGKILL) -> None:
        # Who is gone already was killed as hanging, or its tree has restarted it;
        # who has no process yet is shown with number 0.
        if pid := self._pids[name]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _stop(self, name: str) -> None:
        self._signal(name, signal.SIGSTOP)
        if name == "supervisor":
            # It finds nobody's heartbeats when it goes on.
            time.sleep(self.rng.random() * 2 * HANG_TIMEOUT_MS / 1000)
            self._signal(name, signal.SIGCONT)

    def _kill_storage_again(self) -> None:
        """Its successor: while it recovers, or when it has begun to serve."""
        for process in tree_processes(self.path):
            with suppress(psutil.NoSuchProcess):
                if process.cmdline()[0].startswith("aurora: storage"):
                    process.kill()

    def _kill_tree(self, victim: str) -> None:
        writer, self._writer = self._writer, None
        assert writer is not None
        if victim == "supervisor":
            self._signal("supervisor")
            _out, err = writer.communicate(timeout=DEADLINE_S)
            # 0 when it had nothing left to do and was told to end.
            assert writer.returncode in {0, TREE_IS_GONE}, err
        elif victim == "application":
            writer.kill()
            writer.communicate()
        else:
            for process in [*tree_processes(self.path), psutil.Process(writer.pid)]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            writer.communicate()
        no_process_left(self.path)
