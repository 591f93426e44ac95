"""Taking a backup of a database, running or not.

Reads one snapshot, so writers are not held up; meant for a process that is neither the
storage process nor the application (``storage.maintenance``). In this order:

1. LMDB copies the snapshot, without its free pages, to ``<target>.data``.
2. The copy is opened and checked, every table against every other.
3. It is compressed to ``<target>.new``, which is synced, read back and compared.
4. That gets the target's name, which is synced, too.

A file under the target's name is therefore a whole, checked backup of one state. What
is left over after a crash has another name and is replaced by the next attempt.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from aurora_actors.errors import CorruptionError, UsageError
from aurora_actors.storage.backup_format import (
    PIECE_BYTES,
    BackupReader,
    write_backup_file,
)
from aurora_actors.storage.environment import file_errors
from aurora_actors.storage.files import Files
from aurora_actors.storage.findings import Findings
from aurora_actors.storage.layout import FORMAT_VERSION
from aurora_actors.storage.reader import DataReader, Snapshot
from aurora_actors.storage.reports import BackupManifest, BackupReport, Progress
from aurora_actors.storage.verify_files import check_data_file

__all__ = ["back_up", "check_target", "read_manifest", "verify_backup"]


_GIB: Final = 1024


def _quiet(_phase: str, _done: int, _total: int) -> None:
    return None


def back_up(
    path: Path, target: Path, *, overwrite: bool = False, progress: Progress = _quiet
) -> BackupReport:
    """Back the database at ``path`` up to the file ``target``.

    Raises:
        UsageError: ``target`` exists already, or cannot be a file.
        UnavailableError: there is no database, or it has to be recovered first.
        CorruptionError: the database is damaged; there is no backup of it.
        StorageFullError: no room for the backup, or for the copy it is made from.
    """
    start = time.monotonic()
    check_target(target, overwrite=overwrite)
    copy = target.with_name(f"{target.name}.data")
    draft = target.with_name(f"{target.name}.new")
    with ExitStack() as stack, file_errors(target):
        for leftover in (copy, draft, copy.with_name(f"{copy.name}-lock")):
            stack.callback(leftover.unlink, missing_ok=True)
            leftover.unlink(missing_ok=True)
        manifest = _copy(path, copy, progress)
        _check_copy(copy, manifest)
        _compress(copy, draft, manifest, progress)
        verify_backup(draft, progress)
        size = draft.stat().st_size
        draft.replace(target)
        Files().sync_directory(target.parent)
    return BackupReport(
        path=str(target),
        file_bytes=size,
        seconds=time.monotonic() - start,
        manifest=manifest,
    )


def check_target(target: Path, *, overwrite: bool) -> None:
    """Refuse a target that cannot be one.

    Raises:
        UsageError: it exists already, or cannot be a file.
    """
    if target.is_dir():
        raise UsageError(f"{target} is a directory; a backup is one file")
    if not target.parent.is_dir():
        raise UsageError(f"the directory {target.parent} does not exist")
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists already; name another file, or overwrite it")


def _copy(path: Path, copy: Path, progress: Progress) -> BackupManifest:
    with DataReader.open(path, max_size_gb=_GIB) as reader, reader.snapshot() as snap:
        progress("copying", 0, 0)
        fd = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            reader.copy_snapshot(snap, fd)
            size = os.fstat(fd).st_size
        finally:
            os.close(fd)
        progress("copying", size, size)
        return _manifest(snap, size)


def _manifest(snapshot: Snapshot, data_bytes: int) -> BackupManifest:
    collections = {info.name: info.count for info in snapshot.collections()}
    return BackupManifest(
        database_format=FORMAT_VERSION,
        uuid=snapshot.uuid.hex(),
        lsn=snapshot.lsn,
        timeline=snapshot.timeline,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        collections=collections,
        documents=sum(collections.values()),
        data_bytes=data_bytes,
    )


def _check_copy(copy: Path, manifest: BackupManifest) -> None:
    found = Findings()
    summary = check_data_file(copy, found)
    if found.total:
        raise CorruptionError(
            f"the database is damaged, so there is no backup of it: "
            f"{found.kept[0].message}; {found.total:,} findings in all",
            file=str(copy),
        )
    seen = (summary.uuid, summary.state.lsn, summary.collections)
    if seen != (manifest.uuid, manifest.lsn, manifest.collections):
        raise CorruptionError("the copy is not of the state that was to be copied")


def _compress(
    copy: Path, draft: Path, manifest: BackupManifest, progress: Progress
) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with (
        copy.open("rb") as source,
        os.fdopen(os.open(draft, flags, 0o600), "wb") as file,
    ):
        for done in write_backup_file(file, manifest, _pieces(source)):
            progress("compressing", done, manifest.data_bytes)
        file.flush()
        os.fsync(file.fileno())
        # What is read back should come from the disk.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _pieces(source: BinaryIO) -> Iterator[bytes]:
    while piece := source.read(PIECE_BYTES):
        yield piece


def verify_backup(file: Path, progress: Progress = _quiet) -> BackupManifest:
    """Read a whole backup and check every byte of it.

    Raises:
        CorruptionError: it is damaged, cut short, or no backup; ``offset`` says where.
        UnavailableError: it cannot be read.
    """
    with file_errors(file), file.open("rb") as stream:
        reader = BackupReader(stream, str(file))
        done = 0
        for piece in reader.pieces():
            done += len(piece)
            progress("verifying", done, reader.manifest.data_bytes)
        return reader.manifest


def read_manifest(file: Path) -> BackupManifest:
    """What a backup says that it holds; only its header is checked.

    Raises:
        CorruptionError: its header is damaged, or it is no backup.
    """
    with file_errors(file), file.open("rb") as stream:
        return BackupReader(stream, str(file)).manifest
