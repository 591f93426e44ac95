"""The commit log in local files: ``wal/<first lsn, 16 hex digits>.log``.

A segment is a run of frames, preallocated with zeros ahead of the write position in
steps of 1 MiB, so that a sync does not have to change the file's metadata (140 against
206 microseconds). One writer, the storage process; ``sync`` and ``trim`` may run in a
helper thread while it appends.

Invariants: the frames of all segments have consecutive LSNs; a segment that is not the
last one is cut to its frames; a failed append leaves the log as it was, or breaks it
for good; after a sync that failed nothing more is written or promised.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Final

from aurora_actors.errors import ConflictError, CorruptionError, UnavailableError
from aurora_actors.meters import Histogram
from aurora_actors.storage.environment import file_errors, translate_os
from aurora_actors.storage.files import Files, write_all
from aurora_actors.storage.frames import Frame, encode_frame, scan_frames

__all__ = ["FileLog"]

_STEP: Final = 1 << 20
_log = logging.getLogger(__name__)


class _Segment:
    """An open segment; ``end`` is where its last frame ends."""

    __slots__ = ("end", "fd", "filled", "first_lsn", "path")

    def __init__(self, path: Path, first_lsn: int, fd: int) -> None:
        self.path = path
        self.first_lsn = first_lsn
        self.fd = fd
        self.end = 0
        self.filled = 0


class FileLog:
    """A :class:`~aurora_actors.storage.commitlog.CommitLog` in a directory.

    Args:
        directory: Where the segments are; it must exist.
        seed: Seeds the frames' checksums: frames of another database are not taken.
        files: The file system.
        segment_bytes: Start another segment when one would grow beyond this.
        after_lsn: What the database already has; segments without anything beyond it
            are removed unread.
        rebooted: Whether the machine has been down since the log was written, so that
            the end of the log that was not synced may be missing in parts.

    Raises:
        CorruptionError: bytes before an intact frame are damaged; ``file`` and
            ``offset`` say where.
    """

    def __init__(
        self,
        directory: Path,
        *,
        seed: int,
        files: Files,
        segment_bytes: int,
        after_lsn: int = 0,
        rebooted: bool = False,
    ) -> None:
        self._directory = directory
        self._seed = seed
        self._files = files
        self._segment_bytes = segment_bytes
        self._lock = Lock()
        self._sync_lock = Lock()
        self._sync_times = Histogram("log_sync_seconds")
        self._segments: list[_Segment] = []
        self._unsynced: list[_Segment] = []
        self._names_changed = False
        self._broken: str | None = None
        self._last_lsn = after_lsn
        self._undo: tuple[_Segment, int, int] | None = None
        self.torn = False
        with file_errors(directory):
            self._drop_obsolete(after_lsn)
            self._recover(rebooted=rebooted)
        self._synced_lsn = 0 if self._segments else self._last_lsn
        self._unsynced = list(self._segments)

    @property
    def last_lsn(self) -> int:
        """The last change in the log."""
        return self._last_lsn

    @property
    def sync_times(self) -> Histogram:
        """How long the syncs took that had something to do."""
        return self._sync_times

    @property
    def synced_lsn(self) -> int:
        """The last change known to survive power loss."""
        return self._synced_lsn

    @property
    def size_bytes(self) -> int:
        """The bytes of all frames still kept."""
        with self._lock:
            return sum(segment.end for segment in self._segments)

    # -------------------------------------------------------------- opening
    def _paths(self) -> list[tuple[int, Path]]:
        found = []
        for path in self._directory.iterdir():
            if path.suffix == ".log":
                try:
                    found.append((int(path.stem, 16), path))
                except ValueError:
                    raise CorruptionError(
                        f"{path} is not a segment of the commit log", file=str(path)
                    ) from None
        return sorted(found)

    def _drop_obsolete(self, after_lsn: int) -> None:
        paths = self._paths()
        for (_, path), (following, _) in itertools.pairwise(paths):
            if following <= after_lsn + 1:
                self._files.remove(path)

    def _recover(self, *, rebooted: bool) -> None:
        previous: Frame | None = None
        paths = self._paths()
        for number, (first_lsn, path) in enumerate(paths):
            segment, frames, torn = self._load(path, first_lsn, rebooted=rebooted)
            self._segments.append(segment)
            self._check_order(segment, frames, previous)
            previous = frames[-1] if frames else previous
            if torn or not frames:
                self._end_here(segment, paths[number + 1 :], previous, rebooted, torn)
                break
        if previous is not None:
            self._last_lsn = previous.last_lsn
        elif self._segments:
            self._discard(list(self._segments))

    def _load(
        self, path: Path, first_lsn: int, *, rebooted: bool
    ) -> tuple[_Segment, list[Frame], bool]:
        segment = _Segment(path, first_lsn, self._files.open(path))
        segment.filled = self._files.size(segment.fd)
        data = self._files.read(segment.fd, segment.filled, 0)
        scan = scan_frames(data, self._seed)
        segment.end = scan.end
        good = scan.frames[-1].last_lsn if scan.frames else first_lsn - 1
        if scan.stray:
            self._judge(path, scan.end, good, scan.stray, rebooted=rebooted)
        return segment, scan.frames, not scan.clean

    def _judge(
        self, path: Path, offset: int, good: int, stray: list[Frame], *, rebooted: bool
    ) -> None:
        """Refuse a hole that had been synced, or that no power loss can explain."""
        if rebooted and all(frame.synced_lsn <= good for frame in stray):
            return
        self._close_all()
        raise CorruptionError(
            f"{path} is damaged at offset {offset}: what follows LSN {good} cannot be "
            f"read, but intact changes up to LSN {stray[-1].last_lsn} stand behind it",
            file=str(path),
            offset=offset,
        )

    def _check_order(
        self, segment: _Segment, frames: list[Frame], previous: Frame | None
    ) -> None:
        expected = previous.last_lsn + 1 if previous else segment.first_lsn
        for frame in frames:
            if frame.first_lsn != expected or frame.last_lsn < frame.first_lsn:
                self._close_all()
                raise CorruptionError(
                    f"{segment.path} goes on with LSN {frame.first_lsn} at offset "
                    f"{frame.offset}, where LSN {expected} is due",
                    file=str(segment.path),
                    offset=frame.offset,
                )
            expected = frame.last_lsn + 1

    def _end_here(
        self,
        segment: _Segment,
        later: list[tuple[int, Path]],
        previous: Frame | None,
        rebooted: bool,
        torn: bool,
    ) -> None:
        """Cut a torn tail off, so that it cannot be taken for damage later."""
        good = previous.last_lsn if previous else segment.first_lsn - 1
        for first_lsn, path in later:
            other, frames, _ = self._load(path, first_lsn, rebooted=rebooted)
            self._files.close(other.fd)
            if frames:
                self._judge(segment.path, segment.end, good, frames, rebooted=rebooted)
            self._files.remove(path)
        self.torn = torn or bool(later)
        if self.torn:
            _log.warning(
                "commit log ends in a torn frame",
                extra={"file": str(segment.path), "offset": segment.end, "lsn": good},
            )
            self._files.truncate(segment.fd, segment.end)
            segment.filled = segment.end

    # -------------------------------------------------------------- writing
    def append(
        self, expected_lsn: int, last_lsn: int, timeline: int, payload: bytes
    ) -> None:
        """Append one frame; see the protocol."""
        if self._broken:
            self._check_usable()
        if expected_lsn != self._last_lsn:
            raise ConflictError(
                f"the commit log ends at LSN {self._last_lsn}, not {expected_lsn}"
            )
        frame = encode_frame(
            self._seed,
            (expected_lsn + 1, last_lsn),
            self._synced_lsn,
            timeline,
            payload,
        )
        segment = self._segment_for(len(frame))
        try:
            self._write(segment, frame)
        except OSError as exc:
            raise translate_os(exc, str(segment.path)) from exc
        self._undo = (segment, segment.end, self._last_lsn)
        segment.end += len(frame)
        self._last_lsn = last_lsn

    def _write(self, segment: _Segment, frame: bytes) -> None:
        end = segment.end + len(frame)
        try:
            if end > segment.filled:
                filled = (end // _STEP + 1) * _STEP
                # One write for the frame and the zeros behind it.
                frame += bytes(filled - end)
                write_all(self._files, segment.fd, frame, segment.end)
                segment.filled = filled
            else:
                write_all(self._files, segment.fd, frame, segment.end)
        except OSError:
            self._cut(segment, segment.end)
            raise

    def _cut(self, segment: _Segment, end: int) -> None:
        """Remove what a failed write may have left behind ``end``."""
        try:
            self._files.truncate(segment.fd, end)
        except OSError as exc:
            self._broken = f"{segment.path} could not be cut back: {exc.strerror}"
            raise
        segment.end = segment.filled = end

    def withdraw(self, lsn: int) -> None:
        """Take back the last frame; see the protocol."""
        if self._undo is None or self._undo[2] != lsn:
            self._broken = f"the log cannot go back to LSN {lsn}"
            self._check_usable()
            return
        segment, end, last_lsn = self._undo
        self._undo = None
        with self._sync_lock, file_errors(segment.path):
            self._cut(segment, end)
            self._last_lsn = last_lsn
            self._synced_lsn = min(self._synced_lsn, last_lsn)

    def _segment_for(self, length: int) -> _Segment:
        current = self._segments[-1] if self._segments else None
        if current and (current.end + length <= self._segment_bytes or not current.end):
            return current
        first_lsn = self._last_lsn + 1
        path = self._directory / f"{first_lsn:016x}.log"
        with file_errors(path):
            if current:
                self._files.truncate(current.fd, current.end)
                current.filled = current.end
            segment = _Segment(path, first_lsn, self._files.open(path, create=True))
        with self._lock:
            self._segments.append(segment)
            self._unsynced.append(segment)
            self._names_changed = True
        return segment

    def _check_usable(self) -> None:
        if self._broken:
            raise UnavailableError(
                f"the commit log is closed: {self._broken}; restart the database"
            )

    # -------------------------------------------------------------- reading
    def read(self, after_lsn: int) -> Iterator[Frame]:
        """The frames with changes after ``after_lsn``; see the protocol."""
        if self._last_lsn <= after_lsn:
            return
        first = self._segments[0]
        if first.first_lsn > after_lsn + 1:
            raise CorruptionError(
                f"the commit log begins with LSN {first.first_lsn}, but the database "
                f"ends at LSN {after_lsn}: the segments between are missing",
                file=str(first.path),
                offset=0,
            )
        for segment in self._segments:
            with file_errors(segment.path):
                data = self._files.read(segment.fd, segment.end, 0)
            for frame in scan_frames(data, self._seed).frames:
                if frame.last_lsn > after_lsn:
                    yield frame

    # -------------------------------------------------------------- upkeep
    def sync(self) -> int:
        """Sync all segments written since the last time; see the protocol."""
        with self._sync_lock:
            self._check_usable()
            with self._lock:
                target = self._last_lsn
                pending = list(self._unsynced)
                names_changed, self._names_changed = self._names_changed, False
            if target > self._synced_lsn or names_changed:
                begun = time.perf_counter()
                self._sync_files(pending, names_changed=names_changed)
                self._sync_times.record(time.perf_counter() - begun)
            with self._lock:
                # What was the last segment may have got more frames meanwhile.
                self._unsynced = pending[-1:] + [
                    segment for segment in self._unsynced if segment not in pending
                ]
            self._synced_lsn = target
            return target

    def _sync_files(self, pending: list[_Segment], *, names_changed: bool) -> None:
        path = self._directory
        try:
            with file_errors(path):
                for segment in pending:
                    path = segment.path
                    self._files.sync(segment.fd)
                if names_changed:
                    path = self._directory
                    self._files.sync_directory(path)
        except BaseException as exc:
            # Linux forgets a failed write-back: trying again would report success.
            self._broken = f"syncing {path} failed: {exc}"
            raise

    def trim(self, lsn: int) -> None:
        """Remove the segments that hold nothing after ``lsn``."""
        with self._sync_lock:
            with self._lock:
                if lsn >= self._last_lsn:
                    return
                keep = 0
                for number, segment in enumerate(self._segments[1:], 1):
                    if segment.first_lsn <= lsn + 1:
                        keep = number
                old, self._segments = self._segments[:keep], self._segments[keep:]
                self._unsynced = [s for s in self._unsynced if s not in old]
            self._remove(old)

    def restart(self, lsn: int) -> None:
        """Remove all segments; the next frame follows ``lsn``."""
        with self._sync_lock:
            self._discard(list(self._segments))
            self._last_lsn = self._synced_lsn = lsn
            self._undo = None

    def _discard(self, segments: list[_Segment]) -> None:
        with self._lock:
            self._segments = [s for s in self._segments if s not in segments]
            self._unsynced = [s for s in self._unsynced if s not in segments]
        self._remove(segments)

    def _remove(self, segments: list[_Segment]) -> None:
        for segment in segments:
            with file_errors(segment.path):
                self._files.close(segment.fd)
                self._files.remove(segment.path)

    def _close_all(self) -> None:
        for segment in self._segments:
            self._files.close(segment.fd)
        self._segments.clear()

    def close(self) -> None:
        """Close the segments' descriptors, without syncing."""
        with self._sync_lock, self._lock:
            self._close_all()
            self._unsynced.clear()
            self._broken = "it has been closed"
