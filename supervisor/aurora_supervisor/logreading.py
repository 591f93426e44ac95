"""Reading a tree's log: the last entries, and what follows.

The log is ``aurora.log`` in the database directory with its predecessor
``aurora.log.1``. Lines that begin no entry, such as those of a traceback, belong to the
entry before them. Used by the command ``logs``; needs no running tree.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Final, Self

import msgspec

from aurora_supervisor.journal import LEVELS, LogEntry, parse_entry
from aurora_supervisor.logs import LOG_NAME

__all__ = ["LogReader", "Wanted"]

_POLL_S: Final = 0.1


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries are wanted.

    Attributes:
        actor: Only those of this actor; of all if empty.
        level: Only those at least as severe.
    """

    actor: str = ""
    level: str = "debug"

    def has(self, entry: LogEntry) -> bool:
        """Whether ``entry`` is wanted."""
        name = entry.level.lower()
        severity = LEVELS.index(name) if name in LEVELS else len(LEVELS)
        return severity >= LEVELS.index(self.level) and (
            not self.actor or entry.actor == self.actor
        )


class LogReader:
    """Reads the log of one database: what there is, and then what is added.

    Nothing is lost or told twice between the two. It goes over to the new file when the
    log is renamed. To be used in a ``with`` statement, which closes the file.

    Args:
        directory: The database's.
        wanted: Which entries to give.
    """

    def __init__(self, directory: Path, wanted: Wanted) -> None:
        self._path = directory / LOG_NAME
        self._wanted = wanted
        self._file = _open(self._path)
        self._partial = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def last_entries(self, count: int) -> list[LogEntry]:
        """The last ``count`` entries that are there, oldest first."""
        lines = [*self._lines_before(), *self._new_lines()]
        wanted = filter(self._wanted.has, _entries(lines))
        return list(deque(wanted, maxlen=max(0, count)))

    def follow(self) -> Iterator[LogEntry]:
        """What comes after the last entries, without end.

        An entry comes when its lines are there.
        """
        pause = threading.Event()
        while True:
            # Asked before the file is read: what is added to it is added until then.
            has_moved = _is_another(self._file, self._path)
            lines = self._new_lines()
            if lines:
                yield from filter(self._wanted.has, _entries(lines))
            elif has_moved:
                self.__exit__()
                self._file = _open(self._path)
            else:
                pause.wait(_POLL_S)

    def _new_lines(self) -> list[str]:
        """What has been added; a last line that is half written comes later."""
        text = self._file.read() if self._file is not None else ""
        *lines, self._partial = (self._partial + text).split("\n")
        return lines

    def _lines_before(self) -> list[str]:
        """The lines of the file before this one."""
        older = self._path.with_name(f"{LOG_NAME}.1")
        # The log may have been renamed since it was opened.
        if not _is_another(self._file, older):
            return []
        file = _open(older)
        if file is None:
            return []
        with file:
            return file.read().removesuffix("\n").split("\n")


def _entries(lines: Iterable[str]) -> Iterator[LogEntry]:
    present: LogEntry | None = None
    more: list[str] = []
    for line in lines:
        entry = parse_entry(line)
        if entry is None:
            more.append(line)
            continue
        if present is not None:
            yield _with(present, more)
        present, more = entry, []
    if present is not None:
        yield _with(present, more)


def _with(entry: LogEntry, lines: list[str]) -> LogEntry:
    if not lines:
        return entry
    return msgspec.structs.replace(entry, exception="\n".join(lines))


def _open(path: Path) -> TextIOWrapper | None:
    try:
        return path.open(encoding="utf-8", errors="backslashreplace")
    except FileNotFoundError:
        return None


def _is_another(file: TextIOWrapper | None, path: Path) -> bool:
    """Whether there is a file at ``path``, which is not the one that is open."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return file is None or os.fstat(file.fileno()).st_ino != there.st_ino
