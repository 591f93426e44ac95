"""What a check finds, and how much of it is kept.

Pure data; made by ``storage.verify`` and ``storage.verify_files``, shown by whoever
asked. A damaged table of a million documents has a million findings: all are counted,
the first of each kind are kept.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

__all__ = ["CheckReport", "Finding", "Findings"]

Place: TypeAlias = "str | int"
_KEPT_PER_AREA: Final = 20


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that is not as it should be.

    Attributes:
        area: What is affected: ``meta``, ``docs``, ``ids``, ``unique``, ``counts``,
            ``changes``, ``log``, ``checkpoint`` or ``pages``.
        message: What is wrong, with which value.
        file: The file, if it is about one as a whole.
        context: The values the message speaks of: collection, row, LSN, offset.
    """

    area: str
    message: str
    file: str = ""
    context: dict[str, Place] = {}


class Findings:
    """Collects findings; bounded in memory."""

    def __init__(self) -> None:
        self.kept: list[Finding] = []
        self.counts: dict[str, int] = {}

    def add(self, area: str, message: str, file: str = "", **context: Place) -> None:
        """Count a finding, and keep it if it is one of the first of its area."""
        number = self.counts[area] = self.counts.get(area, 0) + 1
        if number <= _KEPT_PER_AREA:
            finding = Finding(area=area, message=message, file=file, context=context)
            self.kept.append(finding)

    @property
    def total(self) -> int:
        """How many there were."""
        return sum(self.counts.values())


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a check of a database has found.

    Attributes:
        path: What was checked.
        uuid: Names the database, hexadecimal; empty when it could not be read.
        lsn: The state that was checked.
        timeline: The history it belongs to.
        collections: The number of documents in each collection.
        documents: The number of all documents looked at.
        changes: The number of changes in the change log.
        frames: The number of intact frames in the commit log.
        seconds: How long it took.
        counts: How many findings there are in each area; none when all is well.
        findings: The first of them.
    """

    path: str
    uuid: str
    lsn: int
    timeline: int
    collections: dict[str, int]
    documents: int
    changes: int
    frames: int
    seconds: float
    counts: dict[str, int]
    findings: list[Finding]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.counts
