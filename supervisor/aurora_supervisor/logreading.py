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
from typing import Final

import msgspec

from aurora_supervisor.journal import LEVELS, LogEntry, parse_entry
from aurora_supervisor.logs import LOG_NAME

__all__ = ["Wanted", "follow", "last_entries"]

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


def last_entries(directory: Path, count: int, wanted: Wanted) -> list[LogEntry]:
    """The last ``count`` entries that are wanted, oldest first."""
    kept: deque[LogEntry] = deque(maxlen=max(0, count))
    for entry in _entries(_lines_of(directory)):
        if wanted.has(entry):
            kept.append(entry)
    return list(kept)


def follow(directory: Path, wanted: Wanted) -> Iterator[LogEntry]:
    """What is logged from now on, without end; an entry comes when its lines are there.

    Goes over to the new file when the log is renamed.
    """
    path = directory / LOG_NAME
    file = _open_at_end(path)
    partial, pause = "", threading.Event()
    try:
        while True:
            text = file.read() if file is not None else ""
            if text:
                lines = (partial + text).split("\n")
                partial = lines.pop()
                yield from filter(wanted.has, _entries(lines))
            elif _has_moved(file, path):
                if file is not None:
                    file.close()
                file = _open(path)
            else:
                pause.wait(_POLL_S)
    finally:
        if file is not None:
            file.close()


def _lines_of(directory: Path) -> Iterator[str]:
    for name in (f"{LOG_NAME}.1", LOG_NAME):
        file = _open(directory / name)
        if file is not None:
            with file:
                for line in file:
                    yield line.rstrip("\n")


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


def _open_at_end(path: Path) -> TextIOWrapper | None:
    file = _open(path)
    if file is not None:
        file.seek(0, os.SEEK_END)
    return file


def _has_moved(file: TextIOWrapper | None, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return file is None or os.fstat(file.fileno()).st_ino != there.st_ino
