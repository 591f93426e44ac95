"""The first documents of an ordered result as of an earlier change.

The log has the old version of every document that has changed since, so a window can be
made for any LSN within the retention: the query runs on the present snapshot without
the documents that have changed, and these take their versions from the log. Synchronous
in steps; nothing is kept.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

import msgspec

from aurora_actors.errors import CollectionNotFoundError, LimitExceededError
from aurora_actors.query.execute import matching_rows
from aurora_actors.reactive.query import LiveQuery
from aurora_actors.reactive.window import Entry
from aurora_actors.storage.changes import Buffer
from aurora_actors.storage.reader import CollectionInfo, DataReader, Snapshot

__all__ = ["MOST_ENTRIES", "Filling", "collection_of", "fill_window"]

_BREATH = 1000
MOST_ENTRIES = 100_000
"""How many documents the result of an ordered or limited live query may have."""


class Filling(NamedTuple):
    """What a window is to be filled with, and as of which change."""

    entries: list[Entry]
    complete: bool
    lsn: int
    timeline: int


def collection_of(snapshot: Snapshot, query: LiveQuery) -> CollectionInfo:
    """The query's collection, if it is still the one the query was made for.

    Raises:
        CollectionNotFoundError: it was removed.
    """
    info = snapshot.collection(query.spec.collection)
    if info.id != query.collection:
        raise CollectionNotFoundError(
            f"collection {info.name!r} was removed and made anew; watch it again",
            collection=info.name,
        )
    return info


def fill_window(
    reader: DataReader, query: LiveQuery, lsn: int | None
) -> Generator[bool, None, Filling]:
    """Find what ``query``'s window has as of ``lsn``, or of the present if ``None``.

    Raises:
        LaggedError: the log does not reach back to ``lsn``.
        CollectionNotFoundError: the collection was removed.
        LimitExceededError: an unlimited result has too many documents.
    """
    window = query.window
    assert window is not None  # noqa: S101 - asked of windows alone
    with reader.snapshot() as snapshot:
        info = collection_of(snapshot, query)
        asof = snapshot.lsn if lsn is None else min(lsn, snapshot.lsn)
        past = yield from _versions_at(snapshot, info, asof)
        most = min(window.capacity, MOST_ENTRIES) + len(past) + 1
        spec = msgspec.structs.replace(query.spec, limit=most, offset=0, fields=None)
        entries: list[Entry] = []
        count = 0
        for rows in matching_rows(snapshot, spec):
            count += len(rows)
            for row in rows:
                if row not in past:
                    record = snapshot.get_row(info, row)
                    if record is not None:
                        entries.append(query.entry_of(row, record))
            yield True
        complete = count < most
        entries = _with_past(query, entries, past, complete=complete)
        if len(entries) > window.capacity:
            del entries[window.capacity :]
            complete = False
        if len(entries) > MOST_ENTRIES:
            raise LimitExceededError(
                f"the ordered result of a live query may have {MOST_ENTRIES} "
                "documents; set a limit",
                limit=MOST_ENTRIES,
            )
        return Filling(entries, complete, asof, snapshot.timeline)


def _versions_at(
    snapshot: Snapshot, info: CollectionInfo, lsn: int
) -> Generator[bool, None, dict[int, Buffer | None]]:
    """The documents changed after ``lsn``, by row, as they were then."""
    past: dict[int, Buffer | None] = {}
    if lsn < snapshot.lsn:
        for number, change in enumerate(snapshot.changes(lsn), 1):
            if number % _BREATH == 0:
                yield True
            if change.collection == info.id and change.row:
                past.setdefault(change.row, change.old)
    return past


def _with_past(
    query: LiveQuery,
    entries: list[Entry],
    past: dict[int, Buffer | None],
    *,
    complete: bool,
) -> list[Entry]:
    last = entries[-1].place if entries and not complete else None
    for row, record in past.items():
        if record is None:
            continue
        entry = query.entry_of(row, record)
        if not query.holds(record):
            continue
        # Behind the last that was found there may be others that were not.
        if complete or (last is not None and entry.place < last):
            entries.append(entry)
    entries.sort(key=lambda entry: entry.place)
    return entries
