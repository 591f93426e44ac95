"""Checking a database directory: its files, then what is in them.

Works on a database that is running and on one that is stopped, from any process that
does not have it open otherwise; changes nothing. Whatever LMDB is given to read may be
damaged so that reading it kills the process: run it in one that may die
(``storage.maintenance``).
"""

from __future__ import annotations

import fcntl
import os
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Final

from aurora_actors.errors import AuroraError, CorruptionError, UnavailableError
from aurora_actors.storage.catalog import State
from aurora_actors.storage.checkpoint import Checkpoint, boot_id, load_checkpoint
from aurora_actors.storage.environment import (
    file_errors,
    lmdb_errors,
    open_environment,
    open_tables,
)
from aurora_actors.storage.files import Files
from aurora_actors.storage.findings import CheckReport, Findings
from aurora_actors.storage.frames import Frame, Scan, scan_frames
from aurora_actors.storage.generations import current_data_file
from aurora_actors.storage.layout import (
    CHECKPOINT_FILE,
    REPAIR_READY,
    REPAIR_SCRATCH,
    WAL_DIRECTORY,
    WRITER_LOCK,
)
from aurora_actors.storage.verify import TableSummary, check_tables

__all__ = ["check_data_file", "check_database", "has_writer"]

_MAP_SIZE: Final = 1 << 40
_READERS: Final = 1024


def check_database(path: Path, *, boot: str | None = None) -> CheckReport:
    """Check the database at ``path``.

    Args:
        path: Its directory.
        boot: This run of the machine, instead of what the system says.

    Raises:
        UnavailableError: there is no database, or it has to be recovered by its
            storage process before anybody may read it.
    """
    start = time.monotonic()
    found = Findings()
    if (path / REPAIR_SCRATCH / REPAIR_READY).exists():
        found.add("pages", "a repair was cut short: run `aurora repair` again")
    checkpoint = _check_checkpoint(path, found, boot)
    data_path = current_data_file(path, checkpoint)
    if not data_path.exists():
        found.add("pages", f"{data_path.name} is missing", str(data_path))
        summary = _NOTHING
    else:
        summary = check_data_file(data_path, found, checkpoint)
    if checkpoint is not None and summary.uuid:
        _compare(checkpoint, summary, found, path)
    frames = _check_log(path / WAL_DIRECTORY, summary, found) if summary.uuid else 0
    return CheckReport(
        path=str(path),
        uuid=summary.uuid,
        lsn=summary.state.lsn,
        timeline=summary.state.timeline,
        collections=summary.collections,
        documents=sum(summary.collections.values()),
        changes=summary.changes,
        frames=frames,
        seconds=time.monotonic() - start,
        counts=found.counts,
        findings=found.kept,
    )


_NOTHING: Final = TableSummary("", State(0, 0, 0), {}, 0)


def has_writer(path: Path) -> bool:
    """Whether a storage process has the database at ``path``."""
    try:
        fd = os.open(path / WRITER_LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


# ------------------------------------------------------------------ checkpoint
def _check_checkpoint(
    path: Path, found: Findings, boot: str | None
) -> Checkpoint | None:
    file = path / CHECKPOINT_FILE
    if not path.is_dir() or not (file.exists() or current_data_file(path).exists()):
        raise UnavailableError(f"there is no database at {path}", path=str(path))
    try:
        checkpoint = load_checkpoint(file, Files())
    except CorruptionError as exc:
        found.add("checkpoint", exc.message, str(file))
        return None
    if checkpoint is None:
        found.add("checkpoint", "the checkpoint is missing", str(file))
        return None
    present = boot_id() if boot is None else boot
    if checkpoint.guarded and not checkpoint.clean and checkpoint.boot_id != present:
        raise UnavailableError(
            f"{path} was not closed before the machine stopped: open it once, so that "
            "its storage process recovers it, and check again",
            path=str(path),
        )
    if len(checkpoint.metas) != 2 * checkpoint.page_size:
        found.add("checkpoint", "the saved pages have the wrong length", str(file))
    return checkpoint


def _compare(
    checkpoint: Checkpoint, summary: TableSummary, found: Findings, path: Path
) -> None:
    file = str(path / CHECKPOINT_FILE)
    if checkpoint.uuid.hex() != summary.uuid:
        found.add("checkpoint", "it belongs to another database", file)
    elif not has_writer(path) and (
        checkpoint.lsn > summary.state.lsn
        or checkpoint.timeline > summary.state.timeline
    ):
        found.add(
            "checkpoint",
            f"it is of change {checkpoint.lsn}, but the data ends at "
            f"{summary.state.lsn}",
            file,
        )


# ------------------------------------------------------------------ data file
def check_data_file(
    data_path: Path, found: Findings, checkpoint: Checkpoint | None = None
) -> TableSummary:
    """Check one data file; what is wrong goes to ``found``."""
    with file_errors(data_path):
        size = data_path.stat().st_size
    if checkpoint is not None and size < checkpoint.file_size:
        found.add(
            "pages",
            f"the file ends at {size:,} bytes; it had {checkpoint.file_size:,}",
            str(data_path),
        )
        return _NOTHING
    try:
        env = open_environment(
            data_path, map_size=_MAP_SIZE, max_readers=_READERS, readonly=True
        )
    except AuroraError as exc:
        found.add("pages", exc.message, str(data_path))
        return _NOTHING
    try:
        tables = open_tables(env)
        with lmdb_errors(data_path), env.begin(buffers=True) as txn:
            # What lies beyond the file's end cannot even be looked at.
            needs = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
            if checkpoint is None and data_path.stat().st_size < needs:
                found.add("pages", f"the file is shorter than {needs:,} bytes")
                return _NOTHING
            return check_tables(txn, tables, found)
    except AuroraError as exc:
        found.add("pages", exc.message, str(data_path))
        return _NOTHING
    finally:
        env.close()


# ------------------------------------------------------------------ log
def _check_log(directory: Path, summary: TableSummary, found: Findings) -> int:
    """Check the segments; returns the number of intact frames."""
    seed = zlib.crc32(bytes.fromhex(summary.uuid))
    running = has_writer(directory.parent)
    segments = _segments(directory, found)
    previous: Frame | None = None
    count = 0
    for number, file in enumerate(segments):
        scan = _scan(file, seed, again=running and number == len(segments) - 1)
        if scan is None:
            continue  # trimmed meanwhile
        _check_order(file, scan, previous, found)
        last = number == len(segments) - 1
        if scan.stray or not (scan.clean or last):
            offset = scan.end
            found.add("log", f"damaged at offset {offset}", str(file), offset=offset)
        elif not scan.clean and not running:
            # Ordinary after a crash; recovery cuts it off.
            pass
        previous = scan.frames[-1] if scan.frames else previous
        count += len(scan.frames)
    first = next((int(file.stem, 16) for file in segments), 0)
    behind = previous is not None and previous.last_lsn > summary.state.lsn
    if behind and not running and first > summary.state.lsn + 1:
        found.add(
            "log",
            f"it begins with change {first}, but the data ends at {summary.state.lsn}",
            str(directory),
        )
    return count


def _segments(directory: Path, found: Findings) -> list[Path]:
    segments = []
    for file in sorted(directory.glob("*.log")) if directory.is_dir() else []:
        try:
            int(file.stem, 16)
        except ValueError:
            found.add("log", "this is no segment of the log", str(file))
        else:
            segments.append(file)
    if not directory.is_dir():
        found.add("log", "the directory of the log is missing", str(directory))
    return segments


def _scan(file: Path, seed: int, *, again: bool) -> Scan | None:
    """Read a segment; a frame that is just being written is read once more."""
    scan = None
    with suppress(FileNotFoundError):
        scan = scan_frames(file.read_bytes(), seed)
        if again and (scan.stray or not scan.clean):
            scan = scan_frames(file.read_bytes(), seed)
    return scan


def _check_order(
    file: Path, scan: Scan, previous: Frame | None, found: Findings
) -> None:
    due = previous.last_lsn + 1 if previous else int(file.stem, 16)
    for frame in scan.frames:
        if frame.first_lsn != due:
            found.add(
                "log",
                f"change {frame.first_lsn} at offset {frame.offset}, where {due} is "
                "due",
                str(file),
                offset=frame.offset,
            )
        due = frame.last_lsn + 1
