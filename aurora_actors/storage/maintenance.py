"""The maintenance process: checks, backups, repairs and exports run here.

``python -m aurora_actors.storage.maintenance`` reads one task from its standard input
and carries it out. It is a process of its own for three reasons: the application's
threads and event loops go on undisturbed; LMDB reads damaged pages without a second
look, which can kill the process that does it; and a process can be stopped at any time.
It stops by itself when its parent goes, which it sees at the end of its input.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Final

import msgspec

from aurora_actors.messages.base import Failure
from aurora_actors.messages.framing import FrameReader, encode_frame
from aurora_actors.storage.backup import back_up
from aurora_actors.storage.export import export_collection
from aurora_actors.storage.repair import repair_database
from aurora_actors.storage.restore import restore_backup
from aurora_actors.storage.tasks import (
    Advanced,
    BackUp,
    Check,
    Export,
    Failed,
    Finished,
    Notice,
    Repair,
    Restore,
    Task,
    decode_task,
)
from aurora_actors.storage.verify_files import check_database

__all__ = ["carry_out", "main"]

_EVERY_S: Final = 0.1
_encoder: Final = msgspec.msgpack.Encoder()


class _Reporter:
    """Sends progress, a few times a second."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._next = 0.0

    def tell(self, notice: Notice) -> None:
        """Send a notice."""
        data = memoryview(encode_frame(_encoder.encode(notice)))
        while data:
            data = data[os.write(self._fd, data) :]

    def progress(self, phase: str, done: int, total: int) -> None:
        """Send how far it is, unless that has just been said."""
        now = time.monotonic()
        if now >= self._next or done == total:
            self._next = now + _EVERY_S
            self.tell(Advanced(phase=phase, done=done, total=total))


def carry_out(task: Task, reporter: _Reporter) -> msgspec.Struct:
    """Do what is asked; returns the result."""
    progress = reporter.progress
    match task:
        case Check(path=path):
            return check_database(Path(path))
        case BackUp(path=path, target=target, overwrite=overwrite):
            return back_up(
                Path(path), Path(target), overwrite=overwrite, progress=progress
            )
        case Restore(file=file, into=into):
            return restore_backup(Path(file), Path(into), progress=progress)
        case Repair(path=path):
            return repair_database(Path(path), progress=progress)
        case Export():
            return export_collection(task, progress)


def _read_task() -> bytes:
    frames = FrameReader()
    while (body := frames.next_frame()) is None:
        data = os.read(0, 65_536)
        if not data:
            os._exit(2)
        frames.feed(data)
    return body


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def main() -> int:
    """Carry out the one task; the exit status only says whether it was understood."""
    # Whoever prints must not print between the notices.
    fd = os.dup(1)
    os.dup2(2, 1)
    reporter = _Reporter(fd)
    task = decode_task(_read_task())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        result = carry_out(task, reporter)
    except Exception as exc:  # noqa: BLE001 - the parent is told and decides
        reporter.tell(Failed(failure=Failure.of(exc, "maintenance")))
        return 0
    reporter.tell(Finished(result=_encoder.encode(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
