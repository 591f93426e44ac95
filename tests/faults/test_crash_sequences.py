"""Every sequence of up to three operations, with a crash at every step of each of them.

The same sequence without a crash says what has to be there. After the crash the
database holds exactly the state before the operation or the one after it, as the step
decides; the operation is sent again, and gets the answer it would have had; the rest of
the sequence leads to the same bytes in every table.
"""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from faults.small_engine import (
    OPERATIONS,
    Contents,
    QuickFiles,
    calls,
    contents,
    make,
    open_engine,
    visible,
)
from support import Figures, first_seed

from aurora_actors.config import DurabilityMode
from aurora_actors.messages.base import Message
from aurora_actors.storage.engine import Engine

pytestmark = pytest.mark.faults

# Where a commit can be cut off; in the order in which it gets there.
WRITING = ("before the log write", "in the log write", "after the log write")
SYNCING = ("before the sync", "after the sync")
ENDING = ("in the commit", "before the reply")
STEPS = {
    DurabilityMode.NONE: ("before the commit", *ENDING),
    DurabilityMode.WAL: (*WRITING, *ENDING),
    DurabilityMode.STRICT: (*WRITING, *SYNCING, *ENDING),
    DurabilityMode.SYNCHRONOUS: ("before the commit", *ENDING),
}
LENGTH = 3
META_PAGES = 2 * 4096


class Killed(BaseException):
    """Stands for a signal that no handler sees."""


class Stopping(QuickFiles):
    """Dies at one step of what is done to the log."""

    def __init__(self) -> None:
        self.step = ""
        self.logs: set[int] = set()

    def open(self, path, *, create=False):
        fd = super().open(path, create=create)
        if path.suffix == ".log":
            self.logs.add(fd)
        return fd

    def close(self, fd):
        self.logs.discard(fd)
        super().close(fd)

    def write(self, fd, data, offset):
        if fd not in self.logs or self.step not in WRITING:
            return super().write(fd, data, offset)
        if self.step == "in the log write":
            super().write(fd, data[: len(bytes(data).rstrip(b"\0")) // 2], offset)
        elif self.step == "after the log write":
            super().write(fd, data, offset)
        raise Killed

    def sync(self, fd):
        if fd in self.logs and self.step in SYNCING:
            raise Killed


def die(*_: object) -> None:
    raise Killed


def crash(path: Path, engine: Engine, files: Stopping, step: str, batch) -> None:
    """Carry out a batch and die at a step of it; what is said is not heard."""
    with (path / "data.mdb").open("r+b") as data:
        pages = data.read(META_PAGES)
        files.step = step
        if step == "before the commit":
            engine._finish = die  # type: ignore[method-assign,assignment]
        with suppress(Killed):
            engine.execute(batch)
        files.step = ""
        engine.abandon()
        if step == "in the commit":
            # LMDB writes a commit's pages first; one of these two makes it the state.
            data.seek(0)
            data.write(pages)


class Case(NamedTuple):
    """A sequence, and the step of one of its operations at which it is cut off."""

    mode: DurabilityMode
    names: tuple[str, ...]
    at: int
    step: str


class Life(NamedTuple):
    """What a sequence leads to when nothing happens, by the number of operations."""

    after: list[Contents]
    replies: list[list[Message]]


class Sequences:
    """Runs cases on copies of one database for each durability mode."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count()
        self._lives: dict[tuple[DurabilityMode, tuple[str, ...]], Life] = {}
        for mode in DurabilityMode:
            make(directory / mode.value, mode)

    def _copy(self, mode: DurabilityMode) -> Path:
        path = self._directory / f"case-{next(self._numbers)}"
        shutil.copytree(self._directory / mode.value, path)
        return path

    def life(self, mode: DurabilityMode, names: tuple[str, ...]) -> Life:
        """What happens without a crash."""
        found = self._lives.get((mode, names))
        if found is None:
            path = self._copy(mode)
            after, replies = [contents(path)], []
            engine = open_engine(path, mode)
            for number, name in enumerate(names):
                replies.append(engine.execute(calls(name, number)))
                after.append(contents(path))
            engine.abandon()
            shutil.rmtree(path)
            found = self._lives[mode, names] = Life(after, replies)
        return found

    def run(self, case: Case) -> bool:
        """Run one case; returns whether the operation took effect before the resend."""
        mode, names, at, step = case
        life = self.life(mode, names)
        path, files = self._copy(mode), Stopping()
        engine = open_engine(path, mode, files)
        for number in range(at):
            engine.execute(calls(names[number], number))
        crash(path, engine, files, step, calls(names[at], at))
        engine = open_engine(path, mode)
        survived = self._check_survival(case, visible(contents(path)), life)
        for number in range(at, len(names)):
            replies = engine.execute(calls(names[number], number))
            assert replies == life.replies[number], case
        assert contents(path) == life.after[-1], case
        engine.abandon()
        engine = open_engine(path, mode)
        assert contents(path) == life.after[-1], case
        engine.abandon()
        shutil.rmtree(path)
        return survived

    def _check_survival(self, case: Case, found: Contents, life: Life) -> bool:
        before, after = visible(life.after[case.at]), visible(life.after[case.at + 1])
        logged = case.mode in {DurabilityMode.WAL, DurabilityMode.STRICT}
        begun = {"before the log write", "in the log write", "before the commit"}
        lost = case.step in begun or (case.step == "in the commit" and not logged)
        assert found == (before if lost else after), case
        return not lost


def cases(mode: DurabilityMode) -> Iterator[Case]:
    """All cases of one mode: shorter sequences are the beginnings of the longest."""
    for names in itertools.product(OPERATIONS, repeat=LENGTH):
        for at, step in itertools.product(range(LENGTH), STEPS[mode]):
            yield Case(mode, names, at, step)


def test_a_crash_at_some_steps_of_some_sequences(tmp_path: Path) -> None:
    sequences = Sequences(tmp_path)
    every = [case for mode in DurabilityMode for case in cases(mode)]
    for case in random.Random(first_seed()).sample(every, 30):
        sequences.run(case)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", DurabilityMode)
def test_a_crash_at_each_step_of_each_sequence_of_three_operations(
    tmp_path: Path, mode: DurabilityMode, figures: Figures
) -> None:
    sequences = Sequences(tmp_path)
    survived = [sequences.run(case) for case in cases(mode)]
    figures.add(
        f"crash at each step, {mode.value}: {len(OPERATIONS) ** LENGTH} sequences, "
        f"{len(survived):,} crashes, {sum(survived):,} after the point of no return"
    )
