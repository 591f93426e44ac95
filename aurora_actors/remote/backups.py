"""Backups for remote clients: taken here, fetched piece by piece.

A backup is taken as always, by a maintenance process, to a file in the database's
directory that has a name of its own; it is read from there at the client's pace, and
removed when the client is done, has gone, or wants another. In the remote gateway's
process; one object belongs to one client.
"""

from __future__ import annotations

import secrets
from functools import partial
from pathlib import Path
from typing import Final, assert_never

import msgspec
import trio

from aurora_actors.client.maintenance import run_task
from aurora_actors.errors import UnavailableError
from aurora_actors.messages.remote import (
    BackupBegun,
    BackupRead,
    BeginBackup,
    EndBackup,
    ReadBackup,
)
from aurora_actors.storage.environment import file_errors
from aurora_actors.storage.reports import BackupReport
from aurora_actors.storage.tasks import BackUp

__all__ = ["Backups", "remove_leftovers"]

_PREFIX: Final = "remote-backup-"
_MOST_BYTES: Final = 4 << 20


def remove_leftovers(path: Path) -> None:
    """Remove what a gateway before this one has left in the database's directory."""
    for file in path.glob(f"{_PREFIX}*"):
        file.unlink(missing_ok=True)


class Backups:
    """The backup that one client fetches.

    Args:
        path: The database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Path | None = None
        self._begun: tuple[int, BackupBegun] | None = None

    async def answer(
        self, number: int, request: BeginBackup | ReadBackup | EndBackup
    ) -> BackupBegun | BackupRead:
        """The answer to a request about the backup.

        Raises:
            AuroraError: as :meth:`begin` and :meth:`read` say.
        """
        match request:
            case BeginBackup():
                return await self.begin(number)
            case ReadBackup():
                return await self.read(request)
            case EndBackup():
                self.close()
                return BackupRead()
            case _:
                assert_never(request)

    async def begin(self, number: int) -> BackupBegun:
        """Take a backup; once for each request, whose answer may have been lost.

        Raises:
            CorruptionError: the database is damaged; there is no backup of it.
            StorageFullError: no room for it here.
        """
        if self._begun is not None and self._begun[0] == number:
            return self._begun[1]
        self.close()
        file = self._path / f"{_PREFIX}{secrets.token_hex(8)}"
        task = BackUp(path=str(self._path), target=str(file))
        self._file = file
        report = await run_task(task, BackupReport)
        begun = BackupBegun(
            size=report.file_bytes, manifest=msgspec.msgpack.encode(report.manifest)
        )
        self._begun = (number, begun)
        return begun

    async def read(self, request: ReadBackup) -> BackupRead:
        """A piece of it.

        Raises:
            UnavailableError: there is none, or none any more.
        """
        file = self._file
        if file is None or self._begun is None:
            raise UnavailableError("the backup is no more; begin it again")
        piece = partial(_read, file, request.offset, min(request.length, _MOST_BYTES))
        return BackupRead(data=await trio.to_thread.run_sync(piece))

    def close(self) -> None:
        """Remove it, and what an attempt has left."""
        file, self._file, self._begun = self._file, None, None
        if file is not None:
            for each in self._path.glob(f"{file.name}*"):
                each.unlink(missing_ok=True)


def _read(file: Path, offset: int, length: int) -> bytes:
    with file_errors(file), file.open("rb") as source:
        source.seek(max(0, offset))
        return source.read(max(0, length))
