"""Backups, exports, imports and compaction for threads; a part of the facade.

Each method promises what the one of the same name of :class:`aurora_actors.Aurora`
promises.
"""

from __future__ import annotations

import os

from aurora_actors.client.database import Aurora
from aurora_actors.client.driving import run_now
from aurora_actors.client.importing import ImportReport
from aurora_actors.client.upkeep import restore_blocking
from aurora_actors.messages.storage import Compacted
from aurora_actors.storage.reports import BackupReport, ExportReport, Progress

__all__ = ["BlockingUpkeep"]


class BlockingUpkeep:
    """The base of the blocking database class."""

    _db: Aurora

    def backup(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> BackupReport:
        """Take a backup while everything goes on; returns when it is verified."""
        return run_now(
            self._db.backup(
                path, overwrite=overwrite, progress=progress, timeout=timeout
            )
        )

    @staticmethod
    def restore(
        path: str | os.PathLike[str],
        into: str | os.PathLike[str],
        *,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> BackupReport:
        """Make a database of a backup; ``into`` must be missing or empty."""
        return restore_blocking(path, into, progress=progress, timeout=timeout)

    def export_collection(
        self,
        collection: str | type,
        path: str | os.PathLike[str],
        *,
        format: str = "jsonl",  # noqa: A002 - the word of the contract
        overwrite: bool = False,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> ExportReport:
        """Write all documents of a collection to a file."""
        return run_now(
            self._db.export_collection(
                collection,
                path,
                format=format,
                overwrite=overwrite,
                progress=progress,
                timeout=timeout,
            )
        )

    def import_collection(
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
        """Insert the documents of a file into a collection, in constant memory."""
        return run_now(
            self._db.import_collection(
                collection,
                path,
                format=format,
                on_error=on_error,
                resume=resume,
                progress=progress,
                timeout=timeout,
            )
        )

    def compact(self, *, timeout: float | None = None) -> Compacted:
        """Give the space of free pages back, while everything goes on."""
        return run_now(self._db.compact(timeout=timeout))
