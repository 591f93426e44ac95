"""Rounds of work, each with a kill -9 in it, at a moment and on a victim by seed.

A round has the writer do some operations and kills somebody meanwhile. When the tree or
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
DEADLINE_S = 60.0


class Trees:
    """The databases of one run, one after the other, and the writers on them."""

    def __init__(self, directory: Path, seed: int, rounds_each: int = 20) -> None:
        self.directory = directory
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
            f"kill -9, SEED={self.seed}: {rounds} rounds ({victims}), "
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
        victim = self.rng.choices([*VICTIMS], [*VICTIMS.values()])[0]
        self.victims[victim] += 1
        count = self.rng.randrange(20, 250)
        start = time.monotonic()
        self._writer.stdin.write(f"run {count}\n")
        self._writer.stdin.flush()
        time.sleep(self.rng.random() * min(count * self._pace, 1.0))
        if victim in {"supervisor", "application", "everything"}:
            self._kill_tree(victim)
            return
        self._kill(self._pids[victim.split()[0]])
        if victim == "storage twice":
            time.sleep(self.rng.random() * 0.2)
            self._kill_storage_again()
        self._pids = self._answer()
        self._pace = (time.monotonic() - start) / count

    def _start_writer(self) -> None:
        mode = MODES[self._number % len(MODES)]
        interval = self.rng.choice([20, 200, 10_000])
        arguments = [str(self.path), str(self.journal), f"{self.seed}", mode]
        self._writer = subprocess.Popen(
            [sys.executable, "-m", "faults.writer", *arguments, str(interval)],
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
    def _kill(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

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
            self._kill(self._pids["supervisor"])
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
        no_process_left(self.path, 5.0)
