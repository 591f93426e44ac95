"""Making a database of a backup.

The whole backup is read and checked before anything is written; then the database is
made in a directory of another name beside the target, checked as a database, synced,
and given the target's name in one step. A crash leaves either no target or a whole one.

The restored database has the uuid of the one it was taken from and a timeline of its
own: the second at which it was restored, which no counting from 1 ever reaches. So
derived data, resume tokens and log frames of what came after the backup in the other
history are told apart from it.
"""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from aurora_actors.config import DurabilityMode
from aurora_actors.errors import CorruptionError, UsageError
from aurora_actors.storage.backup import verify_backup
from aurora_actors.storage.backup_format import BackupReader
from aurora_actors.storage.catalog import State, pack_state, read_state, read_uuid
from aurora_actors.storage.checkpoint import Checkpoint, boot_id, publish
from aurora_actors.storage.environment import (
    file_errors,
    lmdb_errors,
    open_environment,
    open_tables,
)
from aurora_actors.storage.files import Files
from aurora_actors.storage.findings import Findings
from aurora_actors.storage.layout import (
    CHECKPOINT_FILE,
    DATA_FILE,
    META_STATE,
    META_TREE,
    WAL_DIRECTORY,
)
from aurora_actors.storage.reports import BackupManifest, BackupReport, Progress
from aurora_actors.storage.verify_files import check_data_file

__all__ = ["publish_whole", "restore_backup", "start_history"]

_SLACK: Final = 64 << 20


def _quiet(_phase: str, _done: int, _total: int) -> None:
    return None


def restore_backup(
    file: Path, into: Path, *, progress: Progress = _quiet
) -> BackupReport:
    """Make a database at ``into`` of the backup ``file``.

    Raises:
        UsageError: ``into`` exists and is not an empty directory.
        CorruptionError: ``file`` is damaged, cut short, or no backup; nothing has been
            written.
        StorageFullError: no room; nothing is left at ``into``.
    """
    start = time.monotonic()
    into = into.expanduser().absolute()
    _check_target(into)
    verify_backup(file, progress)
    scratch = into.with_name(f"{into.name}.restoring")
    with ExitStack() as stack, file_errors(into):
        shutil.rmtree(scratch, ignore_errors=True)
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        scratch.mkdir(mode=0o700)
        manifest = _fill(file, scratch, progress)
        scratch.rename(into)  # replaces an empty directory, and no other
        Files().sync_directory(into.parent)
    return BackupReport(
        path=str(into),
        file_bytes=file.stat().st_size,
        seconds=time.monotonic() - start,
        manifest=manifest,
    )


def _check_target(into: Path) -> None:
    if not into.parent.is_dir():
        raise UsageError(f"the directory {into.parent} does not exist")
    if into.is_symlink() or (into.exists() and not into.is_dir()):
        raise UsageError(f"{into} is no directory; a database is one")
    if into.is_dir() and any(into.iterdir()):
        raise UsageError(f"{into} is not empty; restore to another place")


def _fill(file: Path, scratch: Path, progress: Progress) -> BackupManifest:
    data_path = scratch / DATA_FILE
    (scratch / WAL_DIRECTORY).mkdir(mode=0o700)
    with file.open("rb") as stream, data_path.open("xb") as data:
        data_path.chmod(0o600)
        reader = BackupReader(stream, str(file))
        done = 0
        for piece in reader.pieces():
            data.write(piece)
            done += len(piece)
            progress("restoring", done, reader.manifest.data_bytes)
    manifest = reader.manifest
    found = Findings()
    summary = check_data_file(data_path, found)
    if found.total or summary.collections != manifest.collections:
        reason = found.kept[0].message if found.kept else "other counts than it says"
        raise CorruptionError(f"{file} does not hold a sound database: {reason}")
    start_history(data_path)
    publish_whole(scratch)
    return manifest


def start_history(data_path: Path) -> None:
    """Give the database in a data file that nobody else has open a new timeline."""
    size = data_path.stat().st_size + _SLACK
    env = open_environment(data_path, map_size=size, max_readers=16)
    try:
        tables = open_tables(env)
        with lmdb_errors(data_path), env.begin(write=True) as txn:
            state = read_state(txn, tables.meta)
            timeline = max(state.timeline + 1, int(time.time()))
            following = State(state.lsn, timeline, state.catalog_version)
            txn.put(META_STATE, pack_state(following), db=tables.meta)
            txn.delete(META_TREE, db=tables.meta)
            txn.drop(tables.requests, delete=False)
    finally:
        env.close()
    data_path.with_name(f"{data_path.name}-lock").unlink(missing_ok=True)


def publish_whole(directory: Path) -> None:
    """Sync a database that nobody has open, and publish a checkpoint of it."""
    files, data_path = Files(), directory / DATA_FILE
    fd = files.open(data_path)
    try:
        files.sync(fd)
        size = files.size(fd)
        env = open_environment(data_path, map_size=size, max_readers=16, readonly=True)
        try:
            page_size = int(env.stat()["psize"])
            tables = open_tables(env)
            with env.begin() as txn:
                state, uuid = read_state(txn, tables.meta), read_uuid(txn, tables.meta)
        finally:
            env.close()
        metas = files.read(fd, 2 * page_size, 0)
    finally:
        files.close(fd)
    data_path.with_name(f"{data_path.name}-lock").unlink(missing_ok=True)
    checkpoint = Checkpoint(
        lsn=state.lsn,
        timeline=state.timeline,
        guarded=False,
        clean=True,
        durability=DurabilityMode.WAL,
        boot_id=boot_id(),
        page_size=page_size,
        file_size=size,
        uuid=uuid,
        metas=metas,
    )
    publish(checkpoint, directory / CHECKPOINT_FILE, files)
