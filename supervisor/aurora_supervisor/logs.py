"""Where the tree's log lines go, and how they get there.

Each actor's standard output and error are one pipe whose other end the supervisor
reads. A line that is a JSON object (level, logger, message, extra, exception) is a log
record; any other line is forwarded as it is, as a warning, so that nothing an actor
says, a traceback or the last cry of a C library, is lost. What the lines look like is
the journal's business (see ``journal``).

Every tree writes to ``<db>/aurora.log``, which is renamed to ``aurora.log.1`` when it is
full; a standalone one to standard error, too.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import trio

from aurora_supervisor.journal import Journal

__all__ = ["LOG_NAME", "ActorLog", "LogFile", "StandardError"]

LOG_NAME: Final = "aurora.log"
"""The log's name in the database directory; the file before it ends in ``.1``."""

_MAX_FILE_BYTES: Final = 1 << 20
_MAX_LINE_BYTES: Final = 1 << 16
_READ_BYTES: Final = 1 << 16
_READS_A_TURN: Final = 4
_READS_IN_ALL: Final = 64


class StandardError:
    """Writes to the descriptor 2, whatever that is."""

    def write(self, text: str) -> None:
        """Write one entry; when nobody takes it, it is lost."""
        with suppress(OSError):
            os.write(2, f"{text}\n".encode(errors="backslashreplace"))


class LogFile:
    """A log file that keeps itself small.

    Args:
        path: The file.
        max_bytes: It is renamed before it grows longer.
        is_stderr: The descriptor 2 follows the file: what the supervisor or its zygote
            prints itself, at a crash, lands in it too.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int = _MAX_FILE_BYTES,
        *,
        is_stderr: bool = False,
    ) -> None:
        self._path = path
        self._is_stderr = is_stderr
        self._max_bytes = max_bytes
        self._fd = -1
        self._size = 0
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._fd).st_size
        if self._is_stderr:
            os.dup2(self._fd, 2)

    def write(self, text: str) -> None:
        """Write one entry; on a full disk it is lost."""
        data = f"{text}\n".encode(errors="backslashreplace")
        with suppress(OSError):
            if self._size + len(data) > self._max_bytes and self._size:
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
                os.close(self._fd)
                self._open()
            self._size += os.write(self._fd, data)

    def close(self) -> None:
        """Close the file; the descriptor 2 stays."""
        os.close(self._fd)


class _Record(msgspec.Struct, frozen=True):
    level: str
    message: str
    logger: str = ""
    extra: dict[str, object] = {}
    exception: str = ""


_record_decoder = msgspec.json.Decoder(_Record)


class ActorLog:
    """The reading end of one process's output.

    Attributes:
        writing_end: For the process; the supervisor closes it with ``sent``.
    """

    def __init__(self, actor: str, journal: Journal) -> None:
        self.actor = actor
        self._journal = journal
        self._fd, self.writing_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._fd, False)
        self._partial = bytearray()
        self._last: deque[str] = deque(maxlen=1)
        self._open = True

    def sent(self) -> None:
        """The process has its end now: give up our copy, so that its end is seen."""
        os.close(self.writing_end)

    @property
    def last_words(self) -> str:
        """The end of the last plain text or exception, shortened."""
        return self._last[0][:200] if self._last else ""

    async def run(self) -> None:
        """Forward lines until the last process that holds the pipe has ended."""
        try:
            while self._open:
                await trio.lowlevel.wait_readable(self._fd)
                # One that never stops writing must not keep the others waiting.
                self.drain(_READS_A_TURN)
        finally:
            self.drain()
            trio.lowlevel.notify_closing(self._fd)
            os.close(self._fd)
            self._open = False

    def drain(self, reads: int = _READS_IN_ALL) -> None:
        """Forward what is in the pipe now."""
        for _ in range(reads):
            if not self._open:
                return
            try:
                data = os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                self._open = False
            self._take(data)

    def _take(self, data: bytes) -> None:
        self._partial += data
        if b"\n" not in data and data and len(self._partial) < _MAX_LINE_BYTES:
            return
        *lines, rest = bytes(self._partial).split(b"\n")
        if not data or len(rest) >= _MAX_LINE_BYTES:
            lines.append(rest)
            rest = b""
        self._partial[:] = rest
        for line in lines:
            if line.strip():
                self._forward(line)

    def _forward(self, line: bytes) -> None:
        try:
            record = _record_decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            text = line.decode(errors="backslashreplace").rstrip()
            self._last.append(text.strip())
            self._journal.record("WARNING", self.actor, "", text)
            return
        if record.exception:
            self._last.append(record.exception.rpartition("\n")[2])
        self._journal.record(
            record.level,
            self.actor,
            record.logger,
            record.message,
            record.extra,
            record.exception,
        )
