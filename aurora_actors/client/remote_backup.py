"""Taking a backup over a connection: it is made there, and fetched to a file here.

As on the database's machine, the file gets its name when it is whole, synced and checked.
"""

from __future__ import annotations

import os
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from aurora_actors.client.maintenance import offload
from aurora_actors.client.requests import Call
from aurora_actors.client.session import Session
from aurora_actors.errors import CorruptionError, InternalError
from aurora_actors.messages.remote import (
    REMOTE_GATEWAY,
    BackupBegun,
    BackupRead,
    BeginBackup,
    EndBackup,
    ReadBackup,
)
from aurora_actors.storage.backup import check_target, verify_backup
from aurora_actors.storage.environment import file_errors
from aurora_actors.storage.files import Files
from aurora_actors.storage.reports import BackupManifest, BackupReport, Progress
from aurora_actors.storage.tasks import BackUp

__all__ = ["back_up_remotely"]

_PIECE_BYTES: Final = 1 << 20
_AT_ONCE: Final = 4
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
_LONGEST_S: Final = 7 * 86_400.0


async def back_up_remotely(
    session: Session,
    task: BackUp,
    progress: Progress | None,
    timeout: float | None,
    *,
    in_loop: bool,
) -> BackupReport:
    """Have a backup taken, and fetch it to the file of ``task``.

    Raises:
        UsageError: the file exists already, or cannot be one.
        UnavailableError: the connection was lost for too long.
        StorageFullError: no room for it, there or here.
    """
    start = time.monotonic()
    tell = progress if progress is not None else _nobody
    target = Path(task.target)
    check_target(target, overwrite=task.overwrite)
    shell = session.shell
    tell("copying", 0, 0)
    limit_s = _LONGEST_S if timeout is None else timeout
    begun = await shell.call(REMOTE_GATEWAY, BeginBackup(), limit_s)
    if not isinstance(begun, BackupBegun):
        raise InternalError(f"a backup was answered by {type(begun).__name__}")
    draft = target.with_name(f"{target.name}.new")
    try:
        with file_errors(target):
            with os.fdopen(os.open(draft, _FLAGS, 0o600), "wb") as file:
                await _fetch(session, begun.size, file, tell, in_loop=in_loop)
                await offload(in_loop, partial(_sync, file))
            found = await offload(in_loop, partial(verify_backup, draft, tell))
            if found != msgspec.msgpack.decode(begun.manifest, type=BackupManifest):
                raise CorruptionError(f"{draft} is not the backup that was taken")
            draft.replace(target)
            Files().sync_directory(target.parent)
    finally:
        draft.unlink(missing_ok=True)
        shell.abandon(shell.submit(REMOTE_GATEWAY, EndBackup()))
    return BackupReport(
        path=str(target),
        file_bytes=begun.size,
        seconds=time.monotonic() - start,
        manifest=found,
    )


async def _fetch(
    session: Session, size: int, file: BinaryIO, tell: Progress, *, in_loop: bool
) -> None:
    """Read all pieces in their order, a few of them under way at the same time."""
    shell = session.shell
    under_way: deque[Call] = deque()
    asked = done = 0
    while done < size:
        while asked < size and len(under_way) < _AT_ONCE:
            request = ReadBackup(offset=asked, length=_PIECE_BYTES)
            under_way.append(shell.submit(REMOTE_GATEWAY, request))
            asked += _PIECE_BYTES
        reply = await shell.result(under_way.popleft())
        if not isinstance(reply, BackupRead) or not reply.data:
            raise InternalError("a piece of a backup did not come")
        await offload(in_loop, partial(file.write, reply.data))
        done += len(reply.data)
        tell("fetching", done, size)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _nobody(_phase: str, _done: int, _total: int) -> None:
    """Nobody wants to know."""
