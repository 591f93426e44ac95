"""What a maintenance process is asked, and what it tells.

The parent writes one :data:`Task` to its standard input and reads notices from its
standard output: any number of ``Advanced``, then one ``Finished`` or ``Failed``. Each
is preceded by its length (``messages.framing``). See ``storage.maintenance``.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from aurora_actors.messages.base import Failure

__all__ = [
    "Advanced",
    "BackUp",
    "Check",
    "Export",
    "Failed",
    "Finished",
    "Notice",
    "Repair",
    "Restore",
    "Task",
    "decode_notice",
    "decode_task",
]


class Check(msgspec.Struct, frozen=True, kw_only=True, tag="check"):
    """Check a database; the result is a ``CheckReport``."""

    path: str


class BackUp(msgspec.Struct, frozen=True, kw_only=True, tag="back_up"):
    """Take a backup; the result is a ``BackupReport``."""

    path: str
    target: str
    overwrite: bool = False


class Restore(msgspec.Struct, frozen=True, kw_only=True, tag="restore"):
    """Make a database of a backup; the result is a ``BackupReport``."""

    file: str
    into: str


class Repair(msgspec.Struct, frozen=True, kw_only=True, tag="repair"):
    """Repair a stopped database; the result is a ``RepairReport``."""

    path: str


class Export(msgspec.Struct, frozen=True, kw_only=True, tag="export"):
    """Write a collection to a file; the result is an ``ExportReport``.

    With ``fd`` it is written to that descriptor instead, which was inherited.
    """

    path: str
    collection: str
    target: str
    format: str
    overwrite: bool = False
    fd: int | None = None


Task: TypeAlias = Check | BackUp | Restore | Repair | Export


class Advanced(msgspec.Struct, frozen=True, kw_only=True, tag="advanced"):
    """How far it is; ``total`` is 0 when that is not known."""

    phase: str
    done: int
    total: int


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag="finished"):
    """It is done; ``result`` is encoded as the task says."""

    result: bytes


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """It could not be done."""

    failure: Failure


Notice: TypeAlias = Advanced | Finished | Failed

_task_decoder = msgspec.msgpack.Decoder(Task)
_notice_decoder = msgspec.msgpack.Decoder(Notice)


def decode_task(data: bytes) -> Task:
    """Decode what a maintenance process is asked."""
    task: Task = _task_decoder.decode(data)
    return task


def decode_notice(data: bytes) -> Notice:
    """Decode what a maintenance process tells."""
    notice: Notice = _notice_decoder.decode(data)
    return notice
