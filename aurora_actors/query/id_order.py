"""Results in the order of their ids, without sorting, from the table of ids.

What the predicate demands of the id bounds the walk: the pages of a collection, which
begin behind an id, cost what they give. Used wherever queries run.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Final, NamedTuple

from aurora_actors.errors import CorruptionError
from aurora_actors.query.compile import compile_predicate
from aurora_actors.query.index_order import TooManyReadError
from aurora_actors.query.predicate import Compare, Predicate
from aurora_actors.schema.record import record_body, record_id
from aurora_actors.schema.values import decode_document
from aurora_actors.storage.reader import CollectionInfo, Snapshot

__all__ = ["IdOrder", "IdRange", "id_range"]

_BREATH: Final = 64
_STEP: Final = 1024


class IdRange(NamedTuple):
    """Ids from ``low`` to before ``high``, and the terms that say so."""

    low: bytes
    high: bytes | None
    served: list[Predicate]


def id_range(parts: Iterable[Predicate]) -> IdRange:
    """What terms that must all be true demand of the id."""
    low, high, served = b"", None, []
    for part in parts:
        if not isinstance(part, Compare) or part.field != "id":
            continue
        value = part.value
        if not isinstance(value, str):
            continue
        try:
            key = value.encode()
        except UnicodeEncodeError:
            continue
        # The id behind another one is that one and a zero byte.
        match part.op:
            case "gte" | "not_below":
                low = max(low, key)
            case "gt" | "above":
                low = max(low, key + b"\0")
            case "lt" | "below":
                high = key if high is None else min(high, key)
            case "lte" | "not_above":
                high = key + b"\0" if high is None else min(high, key + b"\0")
            case _:
                continue
        served.append(part)
    return IdRange(low, high, [*served])


class IdOrder:
    """The rows of a query's results in the order of their ids.

    Args:
        snapshot: The data.
        info: The collection.
        ids: Which ids.
        residual: What is to be tested of the documents.
        descending: From the last id to the first.
        most_read: Raise ``TooManyReadError`` beyond so many documents.

    Attributes:
        rows_read: The documents read so far.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        info: CollectionInfo,
        ids: IdRange,
        *,
        residual: Predicate | None,
        descending: bool,
        most_read: int | None,
    ) -> None:
        self.rows_read = 0
        self._snapshot = snapshot
        self._info = info
        self._ids = ids
        self._matches = None if residual is None else compile_predicate(residual)
        self._descending = descending
        self._most_read = most_read

    def rows(self) -> Generator[int | None]:
        """The rows in order; ``None`` now and then, to let the caller breathe.

        Raises:
            TooManyReadError: see ``most_read``.
        """
        matches = self._matches
        found = self._snapshot.rows_by_id(
            self._info, self._ids.low, self._ids.high, descending=self._descending
        )
        for count, (_, row) in enumerate(found, 1):
            if matches is None:
                yield row
                if not count % _STEP:
                    yield None
                continue
            record = self._snapshot.get_row(self._info, row)
            if record is None:
                raise CorruptionError(
                    f"row {row} of {self._info.name} has an id but is not there",
                    file="data.mdb",
                )
            self.rows_read += 1
            if matches(decode_document(record_body(record)), record_id(record)):
                yield row
            elif self._most_read is not None and self.rows_read > self._most_read:
                raise TooManyReadError
            if not self.rows_read % _BREATH:
                yield None
