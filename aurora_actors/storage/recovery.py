"""From whatever the last run left on disk to an open, consistent data file.

Runs in the storage process before it serves, under the writer's lock:

1. No ``data.mdb``: make one under another name, publish a checkpoint for it, rename.
   A database whose data file has its name is therefore complete.
2. If the machine has been down since the last checkpoint, put that one's meta pages
   back; otherwise the page cache is intact and ``data.mdb`` is as the last commit
   left it.
3. Take a checkpoint, so that what follows has a guarded state behind it.
4. Apply what the commit log has beyond the data file.
5. If history may have been cut (power loss in a mode that does not sync before it
   answers), raise the timeline and make that durable before anybody can see it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
from pathlib import Path
from typing import Final
from uuid import uuid4

from aurora_actors.config import DurabilityMode
from aurora_actors.errors import CorruptionError, UnavailableError
from aurora_actors.storage.catalog import State, pack_state
from aurora_actors.storage.checkpoint import Checkpoint, load_checkpoint, publish
from aurora_actors.storage.environment import (
    file_errors,
    lmdb_errors,
    open_environment,
    open_tables,
)
from aurora_actors.storage.files import Files, write_all
from aurora_actors.storage.generations import current_data_file, other_data_files
from aurora_actors.storage.layout import (
    CHECKPOINT_FILE,
    DATA_FILE,
    FORMAT_VERSION,
    META_FORMAT,
    META_STATE,
    META_UUID,
    REPAIR_READY,
    REPAIR_SCRATCH,
    WAL_DIRECTORY,
    WRITER_LOCK,
)

__all__ = [
    "check_length",
    "history_was_cut",
    "lock_writer",
    "prepare_data_file",
    "prepare_directory",
]

_log = logging.getLogger(__name__)
_LOSSY: Final = frozenset({DurabilityMode.NONE, DurabilityMode.WAL})


def prepare_directory(path: Path) -> None:
    """Make the database's directories, for the owner alone."""
    with file_errors(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        (path / WAL_DIRECTORY).mkdir(mode=0o700, exist_ok=True)


def lock_writer(path: Path) -> int:
    """Become the only writer; returns the descriptor that holds the lock.

    Raises:
        UnavailableError: another process writes this database.
    """
    lock = path / WRITER_LOCK
    with file_errors(lock):
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(fd)
        raise UnavailableError(
            f"another process writes {path}; wait until it has stopped", file=str(lock)
        ) from exc
    return fd


def prepare_data_file(
    path: Path, *, files: Files, boot: str, map_size: int, durability: DurabilityMode
) -> tuple[Checkpoint, bool]:
    """Have a ``data.mdb`` that can be opened.

    Returns:
        The last checkpoint, and whether the machine has been down since.

    Raises:
        CorruptionError: the data file or the checkpoint is missing or damaged.
    """
    if (path / REPAIR_SCRATCH / REPAIR_READY).exists():
        raise CorruptionError(
            f"a repair of {path} was cut short; run `aurora repair` again",
            file=str(path),
        )
    checkpoint = load_checkpoint(path / CHECKPOINT_FILE, files)
    data_path = current_data_file(path, checkpoint)
    if not data_path.exists():
        _refuse_lost_data(path, checkpoint)
        checkpoint = _create(path, files, boot, map_size, durability)
        return checkpoint, False
    if checkpoint is None:
        raise CorruptionError(
            f"{path / CHECKPOINT_FILE} is missing: nothing says whether {DATA_FILE} "
            "is whole",
            file=str(path / CHECKPOINT_FILE),
        )
    check_length(data_path, checkpoint)
    rebooted = not boot or checkpoint.boot_id != boot
    if rebooted and checkpoint.guarded:
        _restore(data_path, files, checkpoint)
    with file_errors(path):
        # Left by a compaction that was cut short, before or after its switch.
        for leftover in other_data_files(path, checkpoint.generation):
            files.remove(leftover)
    return checkpoint, rebooted


def history_was_cut(checkpoint: Checkpoint, *, rebooted: bool) -> bool:
    """Whether changes that somebody has seen may be gone."""
    return rebooted and not checkpoint.clean and checkpoint.durability in _LOSSY


def check_length(data_path: Path, checkpoint: Checkpoint) -> None:
    """Refuse a data file that is shorter than it was at its checkpoint.

    Reading past the end of a mapped file kills the process, so this comes first.

    Raises:
        CorruptionError: it is; ``offset`` is where it ends now.
    """
    with file_errors(data_path):
        size = data_path.stat().st_size
    if size < checkpoint.file_size:
        raise CorruptionError(
            f"{data_path} ends at {size:,} bytes; it had at least "
            f"{checkpoint.file_size:,}",
            file=str(data_path),
            offset=size,
        )


def _refuse_lost_data(path: Path, checkpoint: Checkpoint | None) -> None:
    segments = list((path / WAL_DIRECTORY).glob("*.log"))
    if segments or (checkpoint is not None and checkpoint.lsn):
        data_path = current_data_file(path, checkpoint)
        raise CorruptionError(
            f"{data_path} is missing, but its log or checkpoint is there",
            file=str(data_path),
        )


def _restore(data_path: Path, files: Files, checkpoint: Checkpoint) -> None:
    with file_errors(data_path):
        fd = files.open(data_path)
        try:
            if files.read(fd, len(checkpoint.metas), 0) == checkpoint.metas:
                return
            _log.warning(
                "restoring the checkpoint after power loss",
                extra={"file": str(data_path), "lsn": checkpoint.lsn},
            )
            write_all(files, fd, checkpoint.metas, 0)
            files.sync(fd)
        finally:
            files.close(fd)


def _create(
    path: Path, files: Files, boot: str, map_size: int, durability: DurabilityMode
) -> Checkpoint:
    fresh = path / (DATA_FILE + ".new")
    lock = path / (DATA_FILE + ".new-lock")
    with file_errors(fresh):
        files.remove(fresh)
        files.remove(lock)
    checkpoint = _first_checkpoint(fresh, files, boot, map_size, durability)
    publish(checkpoint, path / CHECKPOINT_FILE, files)
    with file_errors(fresh):
        files.remove(lock)
        files.rename(fresh, path / DATA_FILE)
        files.sync_directory(path)
    return checkpoint


def _first_checkpoint(
    fresh: Path, files: Files, boot: str, map_size: int, durability: DurabilityMode
) -> Checkpoint:
    """Write an empty data file, sync it, and describe it."""
    uuid = uuid4().bytes
    page_size = _write_empty(fresh, uuid, map_size)
    with file_errors(fresh):
        fd = files.open(fresh)
        try:
            files.sync(fd)
            metas, size = files.read(fd, 2 * page_size, 0), files.size(fd)
        finally:
            files.close(fd)
    return Checkpoint(
        lsn=0,
        timeline=1,
        guarded=False,
        clean=True,
        durability=durability,
        boot_id=boot,
        page_size=page_size,
        file_size=size,
        uuid=uuid,
        metas=metas,
    )


def _write_empty(path: Path, uuid: bytes, map_size: int) -> int:
    env = open_environment(path, map_size=map_size, max_readers=16, create=True)
    with lmdb_errors(path):
        try:
            tables = open_tables(env, create=True)
            with env.begin(write=True) as txn:
                txn.put(META_FORMAT, struct.pack(">I", FORMAT_VERSION), db=tables.meta)
                txn.put(META_UUID, uuid, db=tables.meta)
                txn.put(META_STATE, pack_state(State(0, 1, 0)), db=tables.meta)
            page_size: int = env.stat()["psize"]
        finally:
            env.close()
    return page_size
