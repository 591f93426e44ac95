"""What backups, exports and repairs report; plain data, cheap to import everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from aurora_actors.storage.findings import Finding

__all__ = [
    "BackupManifest",
    "BackupReport",
    "ExportReport",
    "Progress",
    "RepairReport",
]

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


class BackupManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds.

    Attributes:
        format: The format of the backup file: 1.
        database_format: The storage format of the data file in it.
        uuid: Names the database, hexadecimal.
        lsn: The state of the database that was backed up.
        timeline: The history it belongs to.
        created_at: When, RFC 3339, UTC.
        collections: The number of documents in each collection.
        documents: The number of all documents.
        data_bytes: The length of the data file.
    """

    format: int = 1
    database_format: int
    uuid: str
    lsn: int
    timeline: int
    created_at: str
    collections: dict[str, int]
    documents: int
    data_bytes: int


class BackupReport(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that was taken, or that was read.

    Attributes:
        path: The file.
        file_bytes: Its length.
        seconds: How long it took.
        manifest: What it holds.
    """

    path: str
    file_bytes: int
    seconds: float
    manifest: BackupManifest


class ExportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was exported.

    Attributes:
        path: The file; empty when it went to a descriptor.
        collection: The collection.
        documents: How many documents there are in the file.
        bytes: Its length.
        lsn: The state of the database that it shows.
        seconds: How long it took.
    """

    path: str
    collection: str
    documents: int
    bytes: int
    lsn: int
    seconds: float


class RepairReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a repair has done.

    Attributes:
        path: The database.
        kept: Where the damaged files are now.
        lsn: The state the database has.
        timeline: Its new history.
        collections: The number of documents in each collection.
        documents: The number of all documents.
        frames: How many frames of the log were applied.
        rejected: How many documents could not be taken over.
        seconds: How long it took.
        counts: How many findings there were in each area.
        findings: The first of them.
    """

    path: str
    kept: str
    lsn: int
    timeline: int
    collections: dict[str, int]
    documents: int
    frames: int
    rejected: int
    seconds: float
    counts: dict[str, int]
    findings: list[Finding]
