"""A fault at the n-th file operation of a database's life, for every n.

The life has everything in it that touches files: making the database, commits, syncs,
checkpoints, full segments, a compaction, stops, and recoveries. At the n-th operation the
file system fails, once or until somebody has noticed. Whoever asked gets an error of
ours or a good answer; what was answered stays; what was not is there as a whole or not
at all; after a restart at the latest everything works.
"""

from __future__ import annotations

import errno
import itertools
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest
from faults.small_engine import (
    QuickFiles,
    call,
    contents,
    definition,
    insertion,
    open_engine,
)
from support import Figures, wait_until

from aurora_actors.config import DurabilityMode
from aurora_actors.errors import AuroraError, StorageFullError, UnavailableError
from aurora_actors.messages.base import Failure
from aurora_actors.messages.storage import UpsertDocument
from aurora_actors.schema.patch import Increment, encode_patch
from aurora_actors.schema.record import record_body, record_id
from aurora_actors.schema.values import decode_document
from aurora_actors.storage import store
from aurora_actors.storage.engine import Engine, StorageCall

pytestmark = pytest.mark.faults

MODES = list(DurabilityMode)
# Requests, each with the document that it counts up.
Batch: TypeAlias = list[tuple[StorageCall, str]]


class Fault(NamedTuple):
    """What goes wrong.

    Attributes:
        number: The error; 0 stands for a write that is cut short.
        stays: It goes on until somebody was told of it.
    """

    number: int
    stays: bool = False


FAULTS = {
    "EIO": Fault(errno.EIO),
    "EIO that stays": Fault(errno.EIO, stays=True),
    "ENOSPC": Fault(errno.ENOSPC),
    "ENOSPC that stays": Fault(errno.ENOSPC, stays=True),
    "short write": Fault(0),
}


class FailingFiles(QuickFiles):
    """Counts operations, and fails at one of them."""

    def __init__(self, at: int, fault: Fault) -> None:
        self.at = at
        self.fault = fault
        self.count = 0
        self.met = False
        self.heals = False

    def _strikes(self, *, takes_room: bool) -> bool:
        self.count += 1
        if self.fault.number == errno.ENOSPC and not takes_room:
            return False
        if self.count < self.at or (self.met and not self.fault.stays) or self.heals:
            return False
        self.met = True
        return True

    def _may_fail(self, *, takes_room: bool = False) -> None:
        if self.fault.number and self._strikes(takes_room=takes_room):
            raise OSError(self.fault.number, "injected")

    def open(self, path, *, create=False):
        self._may_fail(takes_room=create)
        return super().open(path, create=create)

    def read(self, fd, length, offset):
        self._may_fail()
        return super().read(fd, length, offset)

    def write(self, fd, data, offset):
        if not self.fault.number and len(data) > 1 and self._strikes(takes_room=True):
            data = data[: len(data) // 2]
        self._may_fail(takes_room=True)
        return super().write(fd, data, offset)

    def truncate(self, fd, length):
        self._may_fail()
        super().truncate(fd, length)

    def sync(self, fd):
        self._may_fail(takes_room=True)

    def sync_directory(self, path):
        self._may_fail(takes_room=True)

    def rename(self, source, target):
        self._may_fail(takes_room=True)
        super().rename(source, target)

    def remove(self, path):
        self._may_fail()
        super().remove(path)


class Life:
    """A database under the same work each time, and what has to be in it."""

    def __init__(self, path: Path, mode: DurabilityMode, files: FailingFiles) -> None:
        self.path = path
        self.mode = mode
        self.files = files
        self.certain: dict[str, int] = {}
        self.number = 0
        self.errors: list[AuroraError] = []
        self.engine: Engine | None = None

    # -------------------------------------------------------------- the work
    def live(self) -> None:
        """All of it."""
        self._to_the_end(self._define)
        for _ in range(3):
            self._write()
        self._to_the_end(lambda engine: engine.sync())
        self._write()
        self._to_the_end(lambda engine: engine.checkpoint())
        self._write()
        self._to_the_end(self._upkeep)
        self._write()
        with suppress(StorageFullError):
            self._try(self._compact)
        self._write()
        self._stop(self._opened().close)
        self._write()
        self._stop(self._opened().abandon)
        self._write()
        self._to_the_end(self._upkeep)

    def _define(self, engine: Engine) -> None:
        self.number += 1
        (reply,) = engine.execute([call(self.number, definition())])
        if isinstance(reply, Failure):
            raise StorageFullError(reply.message)

    def _write(self) -> None:
        """A batch of two requests, sent again until both are answered well."""
        name = f"d{self.number}"
        new: dict[str, object] = {"n": 1, "u": "u" * 900 + name}
        more = encode_patch({"n": Increment(1)})
        count = UpsertDocument(collection="users", id="counter", patch=more)
        batch = []
        for effect, request in ((name, insertion(**{name: new})), ("counter", count)):
            self.number += 1
            batch.append((call(self.number, request), effect))
        while batch:
            batch = self._ask(batch)

    def _ask(self, batch: Batch) -> Batch:
        """Send a batch; what has to be sent again."""
        try:
            replies = self._opened().execute([send for send, _ in batch])
        except UnavailableError as exc:
            self._noticed(exc)
            self._fall()
            # What was under way may have got into the log before it failed.
            self._opened()
            found = documents(self.path)
            assert found in [
                self._with([effect for _, effect in part])
                for count in range(len(batch) + 1)
                for part in itertools.combinations(batch, count)
            ]
            return batch
        refused = [isinstance(reply, Failure) for reply in replies]
        for reply in replies:
            if isinstance(reply, Failure):
                assert reply.code == StorageFullError.code, reply
                self._noticed(StorageFullError(reply.message))
        answered = [each for each, bad in zip(batch, refused, strict=True) if not bad]
        self.certain = self._with([effect for _, effect in answered])
        return [each for each in batch if each not in answered]

    def _with(self, effects: Sequence[str]) -> dict[str, int]:
        found = dict(self.certain)
        for name in effects:
            found[name] = found.get(name, 0) + 1
        return found

    def _upkeep(self, engine: Engine) -> None:
        """What the actor has done between requests."""

        def quiet() -> bool:
            engine.background()
            return engine.due() > 0.1

        wait_until(quiet, "upkeep", 10)

    def _compact(self, engine: Engine) -> None:
        engine.start_compaction()

        def done() -> object:
            engine.background()
            return engine.take_compaction()

        outcome = wait_until(done, "the compaction has ended", 10)
        if isinstance(outcome, AuroraError):
            raise outcome

    # -------------------------------------------------------------- faults
    def _opened(self) -> Engine:
        while self.engine is None:
            try:
                self.engine = open_engine(self.path, self.mode, self.files)
            except (StorageFullError, UnavailableError) as exc:
                self._noticed(exc)
        return self.engine

    def _noticed(self, error: AuroraError) -> None:
        assert self.files.met, error
        self.errors.append(error)
        assert len(self.errors) < 20, self.errors
        self.files.heals = True

    def _fall(self) -> None:
        """Storage has stopped, as it does when it must not go on."""
        engine, self.engine = self.engine, None
        if engine is not None:
            engine.abandon()

    def _try(self, work: Callable[[Engine], object]) -> bool:
        try:
            work(self._opened())
        except StorageFullError as exc:
            self._noticed(exc)
            return False
        except UnavailableError as exc:
            self._noticed(exc)
            self._fall()
            return False
        return True

    def _to_the_end(self, work: Callable[[Engine], object]) -> None:
        while not self._try(work):
            pass

    def _stop(self, stop: Callable[[], None]) -> None:
        try:
            stop()
        except (StorageFullError, UnavailableError) as exc:
            self._noticed(exc)
        self.engine = None


def documents(path: Path) -> dict[str, object]:
    """The numbers in all documents, of which each table has to tell the same."""
    rows = contents(path)["docs"].values()
    return {record_id(row): decode_document(record_body(row))["n"] for row in rows}


def live(path: Path, mode: DurabilityMode, at: int, fault: Fault) -> FailingFiles:
    """A life with a fault at one operation."""
    files = FailingFiles(at, fault)
    life = Life(path, mode, files)
    try:
        life.live()
        assert documents(path) == life.certain
        life._stop(life._opened().abandon)
        assert life._opened().lsn
        assert documents(path) == life.certain
    except BaseException as exc:
        exc.add_note(f"{mode.value}, {fault}, operation {at}")
        raise
    finally:
        life._fall()
        shutil.rmtree(path)
    return files


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    """Commits fill segments of the log."""
    monkeypatch.setattr(store, "_SEGMENT_BYTES", 3000)


def test_a_fault_at_some_file_operations(tmp_path: Path) -> None:
    for mode, (at, fault) in zip(
        itertools.cycle(MODES),
        itertools.product(range(3, 100, 19), FAULTS.values()),
        strict=False,
    ):
        live(tmp_path / "a.db", mode, at, fault)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", MODES)
def test_a_fault_at_each_file_operation(
    tmp_path: Path, mode: DurabilityMode, figures: Figures
) -> None:
    for name, fault in FAULTS.items():
        for at in itertools.count(1):
            files = live(tmp_path / "a.db", mode, at, fault)
            if not files.met:
                figures.add(f"{name}, {mode.value}: at each of {at - 1} operations")
                break
