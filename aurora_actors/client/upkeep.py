"""Backups, exports, imports and compaction, as a part of the public database class.

What reads a lot is done by a process of its own (``client.maintenance``): neither the
application nor the database's processes are held up by it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from aurora_actors.client.blocking_shell import BlockingShell
from aurora_actors.client.encoding import name_of
from aurora_actors.client.handle import Handle
from aurora_actors.client.importing import ImportReport, import_file
from aurora_actors.client.maintenance import run_task, run_task_blocking
from aurora_actors.client.protocol import STORAGE
from aurora_actors.errors import InternalError, UsageError
from aurora_actors.messages.storage import Compact, Compacted
from aurora_actors.storage.reports import BackupReport, ExportReport, Progress
from aurora_actors.storage.tasks import BackUp, Export, Restore, Task

T = TypeVar("T")

_LONGEST_S = 7 * 86_400.0

__all__ = ["UpkeepHandle", "absolute", "restore_blocking"]


def absolute(path: str | os.PathLike[str]) -> str:
    """A path that means the same in another process."""
    return str(Path(path).expanduser().absolute())


def _restore_task(
    file: str | os.PathLike[str], into: str | os.PathLike[str]
) -> Restore:
    return Restore(file=absolute(file), into=absolute(into))


def restore_blocking(
    file: str | os.PathLike[str],
    into: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    timeout: float | None = None,
) -> BackupReport:
    """:meth:`UpkeepHandle.restore` for threads."""
    return run_task_blocking(_restore_task(file, into), BackupReport, timeout, progress)


class UpkeepHandle(Handle):
    """What keeps a database in good order; see :class:`aurora_actors.Aurora`."""

    def _is_in_loop(self) -> bool:
        return not isinstance(self._open().shell, BlockingShell)

    async def _have_done(
        self,
        task: Task,
        result: type[T],
        timeout: float | None,
        progress: Progress | None,
    ) -> T:
        if self._open().is_remote:
            raise UsageError(
                "this needs the database's files: do it on its machine, with the aurora "
                "command or a database object that was opened there"
            )
        if self._is_in_loop():
            return await run_task(task, result, timeout, progress)
        return run_task_blocking(task, result, timeout, progress)

    async def backup(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> BackupReport:
        """Take a backup while everything goes on; returns when it has been verified.

        The file holds one state of the database, the one at ``manifest.lsn``,
        compressed and with checksums. A copy of the data file is made beside it and
        removed again. Over a connection it is taken in the database's directory, and
        then fetched to a file on this machine; that is for administrators.

        Args:
            path: The file; it gets this name when it is whole, synced and checked.
            overwrite: Put it in the place of an existing file.
            progress: Called with what is being done, how much of it, of how much.
            timeout: In seconds; ``None`` takes as long as it takes.

        Raises:
            UsageError: the file exists already.
            CorruptionError: the database is damaged; there is no backup of it.
            StorageFullError: no room for the backup and the copy.
        """
        task = BackUp(
            path=str(self.config.path), target=absolute(path), overwrite=overwrite
        )
        session = self._open()
        if session.is_remote:
            # It brings the compressor, which is not everybody's.
            from aurora_actors.client.remote_backup import (  # noqa: PLC0415
                back_up_remotely,
            )

            return await back_up_remotely(
                session, task, progress, timeout, in_loop=self._is_in_loop()
            )
        return await self._have_done(task, BackupReport, timeout, progress)

    @staticmethod
    async def restore(
        path: str | os.PathLike[str],
        into: str | os.PathLike[str],
        *,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> BackupReport:
        """Make a database of a backup; it can be opened afterwards.

        Everything is verified before anything is written, and ``into`` appears in one
        step. The database has a new timeline: what followed the one that was backed up
        starts afresh.

        Args:
            path: The backup.
            into: The database directory; must be missing or empty.
            progress: As for :meth:`backup`.
            timeout: As for :meth:`backup`.

        Raises:
            UsageError: ``into`` is not empty.
            CorruptionError: the backup is damaged, cut short, or none.
        """
        return await run_task(
            _restore_task(path, into), BackupReport, timeout, progress
        )

    async def export_collection(
        self,
        collection: str | type,
        path: str | os.PathLike[str],
        *,
        format: str = "jsonl",  # noqa: A002 - the word of the contract
        overwrite: bool = False,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> ExportReport:
        """Write all documents of a collection to a file, as they are at one moment.

        Args:
            collection: A name or a model class.
            path: The file; it gets this name when it is whole.
            format: ``jsonl``, ``json``, ``csv`` or ``parquet``.
            overwrite: Put it in the place of an existing file.
            progress: As for :meth:`backup`.
            timeout: As for :meth:`backup`.

        Raises:
            CollectionNotFoundError: there is no such collection.
            UsageError: the file exists already, or there is no such format.
        """
        task = Export(
            path=str(self.config.path),
            collection=name_of(collection),
            target=absolute(path),
            format=format,
            overwrite=overwrite,
        )
        session = self._open()
        if session.is_remote:
            # It brings pyarrow, which takes 0.2 s to import and is not everybody's.
            from aurora_actors.client.remote_export import (  # noqa: PLC0415
                export_remote,
            )

            return await export_remote(
                session, task, progress, timeout, in_loop=self._is_in_loop()
            )
        return await self._have_done(task, ExportReport, timeout, progress)

    async def import_collection(
        self,
        collection: str | type,
        path: str | os.PathLike[str],
        *,
        format: str | None = None,  # noqa: A002 - the word of the contract
        on_error: str = "stop",
        resume: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> ImportReport:
        """Insert the documents of a file into a collection, in constant memory.

        Args:
            collection: A name or a model class; it must exist.
            path: The file.
            format: ``jsonl``, ``json``, ``csv`` or ``parquet``; by the file's name if
                not given. Of a Parquet file lines are rows.
            on_error: ``"stop"`` raises the first error; its context has the ``line``
                and how many documents are ``inserted``, all those before it.
                ``"skip"`` goes on and reports.
            resume: A file that keeps how far the import is, until it is done: when it
                is there, the import goes on where it was, and nothing is in twice.
            progress: Called with ``importing``, bytes read, bytes in all.
            timeout: For each batch, in seconds.

        Raises:
            CollectionNotFoundError: there is no such collection.
            DataError: a document does not fit; its message begins with the line.
        """
        session = self._open()
        definition = (await session.collection(name_of(collection))).definition
        return await import_file(
            session,
            definition,
            Path(absolute(path)),
            in_loop=self._is_in_loop(),
            format=format,
            on_error=on_error,
            resume=None if resume is None else Path(absolute(resume)),
            progress=progress,
            timeout=timeout,
        )

    async def compact(self, *, timeout: float | None = None) -> Compacted:
        """Give the space of free pages back, while everything goes on.

        Storage writes the data file anew without free pages and switches to it between
        two commits; snapshots that are open go on with the old one. Done by itself
        with ``auto_compact`` when it is worth it.

        Args:
            timeout: In seconds; ``None`` takes as long as it takes.

        Raises:
            StorageFullError: no room for the second file.
            UnavailableError: writes came faster than they could be taken over.
        """
        wait_s = _LONGEST_S if timeout is None else timeout
        reply = await self._open().shell.call(STORAGE, Compact(), wait_s)
        if not isinstance(reply, Compacted):
            raise InternalError(f"compaction was answered by {type(reply).__name__}")
        return reply
