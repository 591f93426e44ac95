"""What the tree's log lines say and look like: levels, and text or JSON.

Everything that is logged passes through one :class:`Journal`, in the supervisor
process. It drops what is below its level and gives the rest, as one text, to its sinks
(see ``logs``). The text is one of::

    2026-01-31T12:00:00.000Z INFO storage aurora_actors.storage.engine: opened lsn=7
    {"time":"2026-01-31T12:00:00.000Z","level":"INFO","actor":"storage",...}

A traceback follows a line of text as lines of its own; in JSON it is ``exception``, so
that each entry is one line. :func:`parse_entry` reads both forms back.
"""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from typing import Final, Literal, Protocol, TypeAlias

import msgspec

__all__ = [
    "LEVELS",
    "Journal",
    "LogEntry",
    "LogFormat",
    "LogHandler",
    "LogSink",
    "parse_entry",
]

LogFormat: TypeAlias = Literal["text", "json"]

LEVELS: Final = ("debug", "info", "warning", "error", "critical")
"""The levels by rising severity, as the configuration names them."""

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_LINE: Final = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT[\d:.]+Z) (?P<level>[A-Z]+) (?P<actor>[a-z][\w-]*)"
    r"(?: (?P<logger>[\w.]+))?: (?P<message>.*)",
    re.DOTALL,
)


class LogEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that was logged.

    Attributes:
        time: RFC 3339, UTC, to the millisecond.
        level: ``INFO``, ``WARNING`` and so on.
        actor: Whose process said it.
        logger: Which logger; empty for what is no log record.
        message: What happened.
        extra: With which values.
        exception: The traceback, if there is one.
    """

    time: str
    level: str
    actor: str
    logger: str = ""
    message: str
    extra: dict[str, object] = {}
    exception: str = ""

    def text(self) -> str:
        """The entry for people."""
        source = f"{self.actor} {self.logger}" if self.logger else self.actor
        values = "".join(f" {key}={value}" for key, value in self.extra.items())
        trace = f"\n{self.exception}" if self.exception else ""
        return f"{self.time} {self.level} {source}: {self.message}{values}{trace}"

    def json(self) -> str:
        """The entry as one JSON object on one line."""
        return msgspec.json.encode(self, enc_hook=str).decode()


class LogSink(Protocol):
    """Takes finished entries; never raises."""

    def write(self, text: str) -> None:
        """Write one entry, which may have several lines."""


class Journal:
    """Filters and formats entries, and hands them to its sinks.

    Attributes:
        style: ``text`` or ``json``; may be changed at any time.
        level: What is below is dropped; may be changed at any time.
    """

    def __init__(
        self, *sinks: LogSink, style: LogFormat = "text", level: str = "info"
    ) -> None:
        self.style = style
        self.level = level
        self._sinks = sinks

    def record(
        self,
        level: str,
        actor: str,
        logger: str,
        message: str,
        extra: dict[str, object] | None = None,
        exception: str = "",
    ) -> None:
        """Log one thing."""
        name = level.lower()
        if name in LEVELS and LEVELS.index(name) < LEVELS.index(self.level):
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        entry = LogEntry(
            time=now.replace("+00:00", "Z"),
            level=level,
            actor=actor,
            logger=logger,
            message=message,
            extra=extra or {},
            exception=exception,
        )
        text = entry.json() if self.style == "json" else entry.text()
        for sink in self._sinks:
            sink.write(text)


class LogHandler(logging.Handler):
    """Puts the supervisor's own records into the journal."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        """Format and write one record."""
        items = vars(record).items()
        extra = {key: value for key, value in items if key not in _STANDARD}
        trace = ""
        if record.exc_info:
            trace = logging.Formatter().formatException(record.exc_info)
        self._journal.record(
            record.levelname,
            "supervisor",
            record.name,
            record.getMessage(),
            extra,
            trace,
        )


def parse_entry(line: str) -> LogEntry | None:
    """The entry that begins with ``line``; ``None`` when none begins there.

    Of a line of text the values stay a part of the message.
    """
    if line.startswith("{"):
        try:
            return msgspec.json.decode(line, type=LogEntry)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
    found = _LINE.match(line)
    if found is None:
        return None
    return LogEntry(
        time=found["time"],
        level=found["level"],
        actor=found["actor"],
        logger=found["logger"] or "",
        message=found["message"],
    )
