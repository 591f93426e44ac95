"""The audit log: one line of JSON for each change, exactly once.

Files only, no loop; owned by the audit writer. A line has ``lsn``, ``time`` (UTC, null
when it is not known), ``operation``, ``collection``, ``id``, ``changed`` (the names of
the top-level fields that differ, null and missing being the same, as in events) and
``client``. The file itself is the record of how far it goes: a line torn by a crash is
cut off when it is opened, and what is written continues behind the last LSN it has. A
file that is something else is refused, and stays as it is.

Where changes could not be recorded because the change log did not reach back to them,
a line says so: ``{"lsn": 120, "gap": [101, 120]}``. Where the database's history was
cut and LSNs begin again lower, ``{"lsn": 90, "cut": [91, 120]}`` says which of the
lines before are about changes that are no more.

When a file has grown beyond its limit, its last LSN goes into its name
(``audit.jsonl`` becomes ``audit.00000000000000001234.jsonl``) and a new one begins.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

import msgspec

from aurora_actors.errors import ConfigError, CorruptionError, UnavailableError
from aurora_actors.reactive.change import DocumentChange
from aurora_actors.schema.values import values_equal
from aurora_actors.storage.changes import Change, ChangeKind
from aurora_actors.storage.origins import Origin

__all__ = ["AuditFile", "audit_line", "cut_line", "gap_line"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BLOCK: Final = 1 << 16
_LINE_START: Final = b'{"lsn":'
_PASSING: Final = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EIO}
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
_OPERATIONS: Final = {
    ChangeKind.INSERT: "insert",
    ChangeKind.UPDATE: "update",
    ChangeKind.DELETE: "delete",
    ChangeKind.DEFINE: "create_collection",
    ChangeKind.DROP: "drop_collection",
}

_encode = msgspec.json.Encoder().encode


class _Line(msgspec.Struct):
    """What every line has."""

    lsn: int


# ------------------------------------------------------------------ lines
def audit_line(change: Change, collection: str, origin: Origin | None) -> bytes:
    """The line for one change of the collection with this name."""
    time_ms = 0 if origin is None else origin.time_ms
    time = None
    if time_ms:
        moment = _EPOCH + timedelta(milliseconds=time_ms)
        time = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = {
        "lsn": change.lsn,
        "time": time,
        "operation": _OPERATIONS[change.kind],
        "collection": collection,
        "id": change.id,
        "changed": _changed_fields(change),
        "client": None if origin is None else origin.client,
    }
    return _encode(line) + b"\n"


def _changed_fields(change: Change) -> list[str]:
    if change.kind >= ChangeKind.DEFINE:
        return []
    document = DocumentChange.of(change)
    old, new = document.old_fields or {}, document.new_fields or {}
    return sorted(
        name
        for name in old.keys() | new.keys()
        if not values_equal(old.get(name), new.get(name))
    )


def gap_line(first: int, last: int) -> bytes:
    """The line that says that these changes were not recorded."""
    return _encode({"lsn": last, "gap": [first, last]}) + b"\n"


def cut_line(first: int, last: int) -> bytes:
    """The line that says that these changes are no more."""
    return _encode({"lsn": first - 1, "cut": [first, last]}) + b"\n"


# ------------------------------------------------------------------ files
class AuditFile:
    """The file that lines are appended to; make it with :meth:`open`.

    Attributes:
        lsn: The last change it has a line for; 0 when there is none.
    """

    def __init__(self, path: Path, rotate_bytes: int, descriptor: int) -> None:
        self.lsn = 0
        self._path = path
        self._rotate_bytes = rotate_bytes
        self._descriptor = descriptor
        self._size = 0
        self._is_synced = True

    @classmethod
    def open(cls, path: Path, rotate_bytes: int) -> Self:
        """Open the file, or make it, and find out how far it goes.

        Raises:
            ConfigError: it cannot be there, or it is no regular file.
            UnavailableError: the system has no room for it now.
            CorruptionError: it is not an audit log, and stays as it is.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = cls(path, rotate_bytes, os.open(path, _FLAGS, 0o600))
        except OSError as exc:
            text = f"the audit log {path} cannot be written: {exc.strerror}"
            if exc.errno in _PASSING:
                raise UnavailableError(text, file=str(path)) from exc
            raise ConfigError(text, key="audit_log_path") from exc
        try:
            file._find_end()
        except BaseException:
            file.close()
            raise
        return file

    def _find_end(self) -> None:
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(
                f"{self._path} is no regular file: the audit log cannot be there",
                key="audit_log_path",
            )
        size = status.st_size
        end, line = _last_line(self._descriptor, size)
        if line is None:
            self._check_torn(size)
            self.lsn = max(map(_lsn_in_name, self._older_files()), default=0)
        else:
            try:
                self.lsn = msgspec.json.decode(line, type=_Line).lsn
            except msgspec.DecodeError as exc:
                raise self._foreign() from exc
        if end < size:
            os.ftruncate(self._descriptor, end)
        self._size = end

    def _check_torn(self, size: int) -> None:
        """Refuse to cut off what was never the beginning of a line."""
        start = os.pread(self._descriptor, len(_LINE_START), 0)
        if _LINE_START.startswith(start):
            return
        # A power loss may leave zeros in the place of what was not synced.
        for at in range(0, size, _BLOCK):
            if os.pread(self._descriptor, _BLOCK, at).strip(b"\0"):
                raise self._foreign()

    def _foreign(self) -> CorruptionError:
        return CorruptionError(
            f"{self._path} does not end with a line of an audit log; move it away",
            file=str(self._path),
        )

    def _older_files(self) -> list[Path]:
        path = self._path
        pattern = f"{path.stem}.{'[0-9]' * 20}{path.suffix}"
        return list(path.parent.glob(pattern))

    def append(self, lines: Sequence[bytes], lsn: int) -> None:
        """Add lines, of which the last is about change ``lsn``.

        Raises:
            UnavailableError: the system refuses it; nothing was added.
        """
        data = b"".join(lines)
        try:
            written = 0
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError as exc:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise self._refused(exc) from exc
        self.lsn = lsn
        self._size += len(data)
        self._is_synced = False
        if self._size >= self._rotate_bytes:
            self._rotate()

    def _rotate(self) -> None:
        self.sync()
        path = self._path
        try:
            path.rename(path.with_name(f"{path.stem}.{self.lsn:020d}{path.suffix}"))
            descriptor = os.open(path, _FLAGS, 0o600)
        except OSError as exc:
            raise self._refused(exc) from exc
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._size = 0

    def sync(self) -> None:
        """Make what was appended survive power loss.

        Raises:
            UnavailableError: the system refuses it.
        """
        if not self._is_synced:
            try:
                os.fdatasync(self._descriptor)
            except OSError as exc:
                raise self._refused(exc) from exc
            self._is_synced = True

    def _refused(self, exc: OSError) -> UnavailableError:
        return UnavailableError(f"{self._path}: {exc.strerror}", file=str(self._path))

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _lsn_in_name(path: Path) -> int:
    return int(path.stem.rsplit(".", 1)[1])


def _last_line(descriptor: int, size: int) -> tuple[int, bytes | None]:
    """Where the last whole line ends, and the line itself."""
    tail = b""
    start = size
    while start > 0:
        length = min(_BLOCK, start)
        start -= length
        tail = os.pread(descriptor, length, start) + tail
        end = tail.rfind(b"\n")
        if end < 0:
            continue
        begin = tail.rfind(b"\n", 0, end)
        if begin >= 0 or start == 0:
            return start + end + 1, tail[begin + 1 : end]
    return 0, None
