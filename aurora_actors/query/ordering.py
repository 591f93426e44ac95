"""The order of results: sort keys in both directions, the first k, and full sorts.

Used wherever queries run. Every result has one tuple as its place: a key for each order
key, then its id, then its row; so the order is total, ties come by id, and plain tuple
comparison does all. A descending key is an *inverted* key, built so that comparing two
of them upwards gives the values downwards; ids ascend in either direction.

Sorting is done in steps that take milliseconds, so that an executor can do other things
in between: what is not among the first k is thrown away as it comes, and a full sort
sorts runs of a few thousand and merges them while the result is read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from operator import neg
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

from aurora_actors.errors import LimitExceededError
from aurora_actors.messages.query import OrderKey
from aurora_actors.query.loops import UNBOUNDED, Bound
from aurora_actors.query.memory import memory_of
from aurora_actors.schema.order import SortKey, kind_rank, sort_key

__all__ = ["MOST_SELECTED", "Hit", "Sorter", "descending_key"]

Hit: TypeAlias = tuple[object, ...]
"""``(row, record or None, value of each order key...)``, as a scan gives it."""
Place: TypeAlias = tuple[object, ...]

_RUN: Final = 2048
_STRIDE: Final = 64
_PIECES: Final = _RUN // _STRIDE
MOST_SELECTED: Final = 4096
"""Up to so many results are selected while reading; more are sorted."""
_INVERTED: Final = bytes(max(0, 0xFE - byte) for byte in range(256))
_NUMBER: Final = kind_rank(0)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


# ------------------------------------------------------------------ descending keys
def descending_key(value: object) -> SortKey:
    """A tuple that orders the other way round than ``sort_key(value)`` does.

    Raises:
        ValidationError: no document can hold such a value.
    """
    if type(value) is int or type(value) is float:
        return (-_NUMBER, -value)
    return _inverted(sort_key(value))


def _inverted(key: SortKey) -> SortKey:
    rank, *parts = key
    assert isinstance(rank, int)  # noqa: S101 - what sort_key begins with
    return (-rank, *map(_invert, parts))


def _invert(part: object) -> object:
    return _INVERT[type(part)](part)


def _text(value: str) -> bytes:
    # UTF-8 orders as code points do, and no byte of it is beyond 0xf4: the end is 0xff,
    # behind whatever else may follow.
    return value.encode().translate(_INVERTED) + b"\xff"


def _bytes(value: bytes) -> tuple[int, ...]:
    return (*map(neg, value), 1)


def _sequence(parts: tuple[object, ...]) -> tuple[object, ...]:
    # Elements are sort keys, or (name, sort key); the end orders behind any of them.
    return (*map(_element, parts), _END)


_END: Final = (1,)


def _element(part: object) -> object:
    assert isinstance(part, tuple)  # noqa: S101 - what sort_key puts in there
    if isinstance(part[0], str):
        return (0, _text(part[0]), _inverted(part[1]))
    return _inverted(part)


def _moment(value: datetime) -> int:
    return -((value - _EPOCH) // _MICROSECOND)


def _time(value: time) -> int:
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return -(seconds * 1_000_000 + value.microsecond)


_INVERT: Final[dict[type, Callable[..., object]]] = {
    bool: lambda value: not value,
    int: neg,
    float: neg,
    str: _text,
    UUID: lambda value: _text(str(value)),
    bytes: _bytes,
    datetime: _moment,
    date: lambda value: -value.toordinal(),
    time: _time,
    tuple: _sequence,
}


# ------------------------------------------------------------------ sorting
class Sorter:
    """Takes matches in any order; gives their rows in the order asked for.

    Args:
        order: The order keys, at least one.
        keep: How many results are wanted at most; ``None`` for all.
        fetch: Reads a record by its row, for matches that come without.
        memory_limit: How many bytes the places may take.
    """

    def __init__(
        self,
        order: Sequence[OrderKey],
        keep: int | None,
        fetch: Callable[[int], memoryview],
        memory_limit: int,
    ) -> None:
        self._keys = [sort_key if key.ascending else descending_key for key in order]
        self._keep = keep if keep is not None and keep <= MOST_SELECTED else None
        self._full_at = _RUN if self._keep is None else 2 * self._keep + 256
        self._fetch = fetch
        self._memory_limit = memory_limit
        self._held: list[Place] = []
        self._runs: list[list[Place]] = []
        self._worst: Place | None = None
        self._measured = 0
        self._samples = 0

    def add(self, hits: Sequence[Hit]) -> None:
        """Take some matches.

        Raises:
            LimitExceededError: the places need more memory than the query may use.
        """
        for at in range(0, len(hits), _RUN):
            self._hold(hits[at : at + _RUN])
            if len(self._held) >= self._full_at:
                self._shrink()
        self._check_memory()

    def bound(self) -> Bound:
        """What the first values of matches that are still of interest are not behind."""
        value = None if self._worst is None else self._worst[-1]
        return (type(value), value) if type(value) in _COMPARED_AS_IS else UNBOUNDED

    def rows(self) -> Iterator[int]:
        """The rows of all that was taken (of the first ``keep``), in order."""
        self._shrink()
        places = iter(self._held) if self._keep is not None else _merged(self._runs)
        for place in places:
            row = place[-2]
            assert isinstance(row, int)  # noqa: S101 - see _hold
            yield row

    def _hold(self, hits: Sequence[Hit]) -> None:
        """Make places of what may be among the results.

        A place is flat: keys of one rank are equally long, and the rank comes first.
        Rows differ, so the first value behind the row is never compared.
        """
        keys, worst, append = self._keys, self._worst, self._held.append
        if worst is None and len(keys) == 1 and isinstance(hits[0][1], memoryview):
            self._held += _simple_places(keys[0], hits)
            return
        for hit in hits:
            row, record, *values = hit
            place: list[object] = []
            for key, value in zip(keys, values, strict=True):
                place += key(value)
            if worst is not None and (*place,) > worst[: len(place)]:
                continue
            if not isinstance(record, memoryview):
                record = self._fetch(cast("int", row))
            document_id = str(record[13 : 13 + record[8]], "utf-8")
            append((*place, document_id, row, values[0]))

    def _shrink(self) -> None:
        held = self._held
        held.sort()
        if self._keep is None:
            if held:
                self._runs.append(held)
            self._held = []
            return
        del held[self._keep :]
        if len(held) == self._keep and held:
            self._worst = held[-1]

    def _check_memory(self) -> None:
        for place in self._held[-1:]:
            self._measured += memory_of(place)
            self._samples += 1
        if not self._samples:
            return
        places = len(self._held) + _RUN * len(self._runs)
        if places * (self._measured // self._samples) > self._memory_limit:
            raise LimitExceededError(
                f"sorting {places} documents needs more than the "
                f"{self._memory_limit >> 20} MiB a query may use; add a limit or a "
                "narrower filter",
                limit=self._memory_limit,
            )


def _simple_places(
    key: Callable[[object], SortKey], hits: Sequence[Any]
) -> list[Place]:
    """The places by one key, of matches that come with their records."""
    return [
        (*key(value), str(record[13 : 13 + record[8]], "utf-8"), row, value)
        for row, record, value in hits
    ]


def _merged(runs: list[list[Place]]) -> Iterator[Place]:
    """All places of sorted runs, in order.

    Samples of all runs cut each of them into pieces, so that pieces of equal number
    hold neighbours; these are sorted together. It is all done by C code on some
    thousand places at a time (``heapq.merge`` takes four times as long).
    """
    samples = sorted(place for run in runs for place in run[::_STRIDE])
    cuts: list[Place | None] = [*samples[_PIECES::_PIECES], None]
    starts = [0] * len(runs)
    for cut in cuts:
        piece: list[Place] = []
        for number, run in enumerate(runs):
            start = starts[number]
            end = len(run) if cut is None else bisect_left(run, cut, start)
            piece += run[start:end]
            starts[number] = end
            # Let go of them piece by piece: freeing all at the end would be a long step.
            run[start:end] = [()] * (end - start)
        piece.sort()
        yield from piece


_COMPARED_AS_IS: Final = frozenset({int, float, str, datetime})
