"""Repairing a stopped database: a new one is made of what is intact in the old one.

Documents are taken as they stand in ``docs``; everything that follows from them (``ids``,
``unique``, counters) is made anew; then the intact frames of the log are applied. What
cannot be taken over (a document that does not decode, the second holder of an id or of
a unique value) is reported. The change log starts afresh, and a new timeline tells
everybody who followed the old one.

Nothing is destroyed: the new files are made in ``repair.new/``, checked, and only then
put in the place of the old ones, which get a second name in ``damaged-<time>/`` before.
A crash leaves the database as it was, or half replaced: then ``repair.new/ready`` is
there, nobody may open it, and another repair finishes what the first began.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from aurora_actors.errors import CorruptionError, UnavailableError
from aurora_actors.location import try_lock
from aurora_actors.storage.catalog import State
from aurora_actors.storage.checkpoint import Checkpoint, boot_id, load_checkpoint
from aurora_actors.storage.environment import (
    Environment,
    file_errors,
    lmdb_errors,
    open_environment,
    open_tables,
)
from aurora_actors.storage.files import Files
from aurora_actors.storage.findings import Findings
from aurora_actors.storage.generations import current_data_file, other_data_files
from aurora_actors.storage.layout import (
    CHECKPOINT_FILE,
    DATA_FILE,
    META_UUID,
    REPAIR_READY,
    REPAIR_SCRATCH,
    WAL_DIRECTORY,
)
from aurora_actors.storage.rebuild import REJECTED, Rebuilding
from aurora_actors.storage.recovery import lock_writer
from aurora_actors.storage.reports import Progress, RepairReport
from aurora_actors.storage.restore import publish_whole, start_history
from aurora_actors.storage.salvage import (
    read_catalog,
    read_numbers,
    read_state_or_zero,
    salvage_documents,
    salvage_frames,
)
from aurora_actors.storage.verify_files import check_data_file

__all__ = ["repair_database"]

_MAP_SIZE: Final = 1 << 40


def repair_database(path: Path, *, progress: Progress) -> RepairReport:
    """Repair the database at ``path``, which nobody may have open.

    Raises:
        UnavailableError: there is no database, or it is running.
        CorruptionError: nothing of it can be read; it is as it was.
        StorageFullError: no room for a second copy; it is as it was.
    """
    start = time.monotonic()
    path = path.expanduser().resolve()
    scratch = path / REPAIR_SCRATCH
    with ExitStack() as stack, file_errors(path):
        _lock(path, stack)
        found, rejected, frames = Findings(), 0, 0
        if not (scratch / REPAIR_READY).exists():
            frames, rejected = _prepare(path, scratch, found, progress)
        # From here on it can only be finished: an opener is refused until it is.
        kept = _replace(path, scratch)
        summary = check_data_file(path / DATA_FILE, found)
        (path / f"{DATA_FILE}-lock").unlink(missing_ok=True)
        return RepairReport(
            path=str(path),
            kept=str(kept),
            lsn=summary.state.lsn,
            timeline=summary.state.timeline,
            collections=summary.collections,
            documents=sum(summary.collections.values()),
            frames=frames,
            rejected=rejected,
            seconds=time.monotonic() - start,
            counts=found.counts,
            findings=found.kept,
        )


def _prepare(
    path: Path, scratch: Path, found: Findings, progress: Progress
) -> tuple[int, int]:
    """Make the new files; returns the frames applied and the documents rejected."""
    checkpoint = _read_checkpoint(path, found)
    source = _find_source(path, checkpoint)
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir(mode=0o700)
        made = _make(path, source, checkpoint, scratch, found, progress)
        start_history(scratch / DATA_FILE)
        publish_whole(scratch)
        _check_new(scratch / DATA_FILE)
        kept = _keep_aside(path, source, scratch)
        _mark_ready(scratch, kept)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return made


def _check_new(data_path: Path) -> None:
    left = Findings()
    check_data_file(data_path, left)
    data_path.with_name(f"{data_path.name}-lock").unlink(missing_ok=True)
    if left.total:
        raise CorruptionError(f"the repair failed: {left.kept[0].message}")


def _mark_ready(scratch: Path, kept: Path) -> None:
    files = Files()
    draft = scratch / "draft"
    draft.write_text(str(kept), encoding="utf-8")
    fd = files.open(draft)
    try:
        files.sync(fd)
    finally:
        files.close(fd)
    files.sync_directory(scratch)
    draft.rename(scratch / REPAIR_READY)
    files.sync_directory(scratch)
    files.sync_directory(scratch.parent)


def _lock(path: Path, stack: ExitStack) -> None:
    if not path.is_dir() or not (
        (path / CHECKPOINT_FILE).exists() or any(path.glob("data*.mdb"))
    ):
        raise UnavailableError(f"there is no database at {path}", path=str(path))
    lock = try_lock(path)
    if lock is None:
        raise UnavailableError(
            f"{path} is running: stop its applications, or `aurora-supervisor stop`, "
            "and try again",
            path=str(path),
        )
    stack.callback(os.close, lock)
    stack.callback(os.close, lock_writer(path))


def _read_checkpoint(path: Path, found: Findings) -> Checkpoint | None:
    file = path / CHECKPOINT_FILE
    try:
        checkpoint = load_checkpoint(file, Files())
    except CorruptionError as exc:
        found.add("checkpoint", exc.message, str(file))
        return None
    if checkpoint is None:
        found.add("checkpoint", "the checkpoint is missing", str(file))
    return checkpoint


def _find_source(path: Path, checkpoint: Checkpoint | None) -> Path:
    """The data file: the one the checkpoint names, or the only one there is."""
    if checkpoint is not None:
        return current_data_file(path, checkpoint)
    candidates = sorted(path.glob("data*.mdb"))
    if len(candidates) != 1:
        raise CorruptionError(
            f"the checkpoint of {path} cannot be read, and there are "
            f"{len(candidates)} data files: remove the one that is not to be used, or "
            "restore a backup",
            path=str(path),
        )
    return candidates[0]


# ------------------------------------------------------------------ making
def _make(
    path: Path,
    source: Path,
    checkpoint: Checkpoint | None,
    scratch: Path,
    found: Findings,
    progress: Progress,
) -> tuple[int, int]:
    readable = _readable_copy(source, checkpoint, scratch)
    env = _open_source(readable, checkpoint)
    try:
        tables = open_tables(env)
        with lmdb_errors(readable):
            with env.begin(buffers=True) as txn:
                uuid = _uuid(txn.get(META_UUID, db=tables.meta), checkpoint)
                state = read_state_or_zero(txn, tables, found)
                total = int(txn.stat(tables.docs)["entries"])
            catalog = read_catalog(env, tables, found)
            numbers = read_numbers(env, tables, catalog, found)
            frames = salvage_frames(path / WAL_DIRECTORY, uuid, found)
            with Rebuilding(scratch, uuid, catalog, numbers, found) as rebuilding:
                documents = salvage_documents(env, tables.docs, found)
                rebuilding.take(documents, progress, total)
                rebuilding.apply(frames, _least_state(state, checkpoint))
                rebuilding.derive(progress)
    finally:
        env.close()
        readable.with_name(f"{readable.name}-lock").unlink(missing_ok=True)
    if readable != source:
        readable.unlink()
    return rebuilding.frames, rebuilding.rejected


def _readable_copy(source: Path, checkpoint: Checkpoint | None, scratch: Path) -> Path:
    """After power loss: a copy with the checkpoint's pages, which is a whole state."""
    if (
        checkpoint is None
        or not checkpoint.guarded
        or checkpoint.boot_id == boot_id()
        or checkpoint.clean
    ):
        return source
    copy = scratch / "source.mdb"
    shutil.copyfile(source, copy)
    fd = os.open(copy, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(fd, checkpoint.metas, 0)
    finally:
        os.close(fd)
    return copy


def _open_source(readable: Path, checkpoint: Checkpoint | None) -> Environment:
    size = readable.stat().st_size
    if checkpoint is not None and size < checkpoint.file_size:
        raise CorruptionError(
            f"{readable} ends at {size:,} bytes; it had {checkpoint.file_size:,}: pages "
            "that are missing cannot be read around, restore a backup",
            file=str(readable),
            offset=size,
        )
    return open_environment(readable, map_size=_MAP_SIZE, max_readers=16, readonly=True)


def _uuid(stored: memoryview | None, checkpoint: Checkpoint | None) -> bytes:
    if checkpoint is not None:
        return checkpoint.uuid
    return bytes(stored) if stored is not None and len(stored) == 16 else uuid4().bytes


def _least_state(state: State, checkpoint: Checkpoint | None) -> State:
    """A number that was given is not given again."""
    if checkpoint is None:
        return state
    return State(
        max(state.lsn, checkpoint.lsn),
        max(state.timeline, checkpoint.timeline),
        state.catalog_version,
    )


# ------------------------------------------------------------------ putting in place
def _keep_aside(path: Path, source: Path, scratch: Path) -> Path:
    """Give the old files a second name."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    kept = path / f"damaged-{stamp}"
    number = 1
    while kept.exists():
        number += 1
        kept = path / f"damaged-{stamp}-{number}"
    (kept / WAL_DIRECTORY).mkdir(mode=0o700, parents=True)
    files = [source, path / CHECKPOINT_FILE, *(path / WAL_DIRECTORY).glob("*")]
    for file in files:
        if file.exists():
            (kept / file.relative_to(path)).hardlink_to(file)
    if (scratch / REJECTED).stat().st_size:
        (scratch / REJECTED).rename(kept / REJECTED)
    for directory in (kept / WAL_DIRECTORY, kept, path):
        Files().sync_directory(directory)
    return kept


def _replace(path: Path, scratch: Path) -> Path:
    """Put the new files in the place of the old ones, or go on doing so."""
    kept = Path((scratch / REPAIR_READY).read_text(encoding="utf-8"))
    for lock in path.glob("data*.mdb-lock"):
        lock.unlink()
    for name in (DATA_FILE, CHECKPOINT_FILE):
        if (scratch / name).exists():
            (scratch / name).rename(path / name)
    (path / WAL_DIRECTORY).mkdir(mode=0o700, exist_ok=True)
    for segment in (path / WAL_DIRECTORY).glob("*"):
        segment.unlink()
    for other in other_data_files(path, 0):
        other.unlink()
    files = Files()
    files.sync_directory(path / WAL_DIRECTORY)
    files.sync_directory(path)
    (scratch / REPAIR_READY).unlink()
    shutil.rmtree(scratch, ignore_errors=True)
    return kept
