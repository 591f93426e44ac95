"""Results in the order of an index, without sorting: the first few cost a few reads.

The keys of the index are walked in the direction of the first order key. Equal keys are
put in order by the rest of the order, and in the end by id; that takes no reading where
ids are known to ascend with the rows. The delta's documents are put in where their keys
say, and their rows are passed over where the index still has them.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from heapq import merge
from typing import Final, NamedTuple

from pyroaring import BitMap64

from aurora_actors.errors import CorruptionError
from aurora_actors.indexing.index import Index
from aurora_actors.indexing.keys import LONGEST_KEY, compound_key, value_key
from aurora_actors.indexing.ranges import KeyRange
from aurora_actors.messages.query import OrderKey
from aurora_actors.query.compile import compile_predicate
from aurora_actors.query.derived import Derived
from aurora_actors.query.ordering import descending_key
from aurora_actors.query.predicate import Predicate
from aurora_actors.schema.order import SortKey, get_path, sort_key
from aurora_actors.schema.record import record_body, record_id
from aurora_actors.schema.values import decode_document
from aurora_actors.storage.reader import CollectionInfo, Snapshot

__all__ = ["IndexOrder", "TooManyReadError"]

_BREATH: Final = 64
_PREFIX_BYTES: Final = 4
_WORD: Final = 8


class TooManyReadError(Exception):
    """So many documents fail the rest of the filter that sorting is cheaper."""


class _Document(NamedTuple):
    row: int
    id: str
    fields: dict[str, object]


class IndexOrder:
    """The rows of a query's results in their order, from an index.

    Args:
        snapshot: The data.
        info: The collection.
        derived: The delta, and what is known of the order of ids.
        index: The index.
        order: The order.
        covered: By how many of the order keys, from the first, the keys of the index
            order what ``keys`` leaves; they all go in one direction.
        keys: The keys that the predicate leaves.
        predicate: The whole predicate, for the delta.
        residual: What of it the keys do not answer.
        most_read: Raise :class:`TooManyReadError` beyond so many documents.

    Attributes:
        rows_read: The documents read so far.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        info: CollectionInfo,
        derived: Derived,
        *,
        index: Index,
        order: Sequence[OrderKey],
        covered: int,
        keys: KeyRange,
        predicate: Predicate | None,
        residual: Predicate | None,
        most_read: int | None = None,
    ) -> None:
        self.rows_read = 0
        self._snapshot = snapshot
        self._info = info
        self._derived = derived
        self._index = index
        self._order = order
        self._covers_all = covered == len(order)
        self._keys = keys
        self._predicate = predicate
        self._matches = None if residual is None else compile_predicate(residual)
        self._most_read = most_read
        self._breath = 0

    def rows(self) -> Generator[int | None]:
        """The rows in order; ``None`` now and then, to let the caller breathe.

        Raises:
            TooManyReadError: see ``most_read``.
        """
        descending = not self._order[0].ascending
        for key, rows, documents in self._groups(descending=descending):
            changed = self._derived.changed
            if changed:
                rows = array("Q", [row for row in rows if row not in changed])  # noqa: PLW2901
            # A truncated key stands for several values.
            if self._covers_all and len(key) <= LONGEST_KEY:
                yield from self._by_id(rows, documents)
            else:
                yield from self._sorted(rows, documents)

    # -------------------------------------------------------------- groups
    def _groups(
        self, *, descending: bool
    ) -> Iterator[tuple[bytes, array[int], list[_Document]]]:
        """The keys in order, each with its rows and the delta's documents."""
        waiting = self._delta(descending=descending)
        nothing: array[int] = array("Q")
        for key, rows in self._index.scan(self._keys, descending=descending):
            while waiting and _is_before(waiting[0][0], key, descending=descending):
                early, documents = waiting.popleft()
                yield early, nothing, documents
            documents = []
            if waiting and waiting[0][0] == key:
                documents = waiting.popleft()[1]
            yield key, rows, documents
        for key, documents in waiting:
            yield key, nothing, documents

    def _delta(self, *, descending: bool) -> deque[tuple[bytes, list[_Document]]]:
        groups: dict[bytes, list[_Document]] = {}
        found = self._derived.delta_documents(self._predicate)
        self.rows_read += len(self._derived.changed)
        for row, name, fields in found:
            key = self._key_of(fields)
            key += bytes(-(len(key) + _PREFIX_BYTES) % _WORD)
            groups.setdefault(key, []).append(_Document(row, name, fields))
        return deque(sorted(groups.items(), reverse=descending, key=_key))

    def _key_of(self, fields: dict[str, object]) -> bytes:
        values = [get_path(fields, name) for name in self._index.fields]
        return value_key(values[0]) if len(values) == 1 else compound_key(values)

    # -------------------------------------------------------------- within a group
    def _by_id(
        self, rows: array[int], documents: list[_Document]
    ) -> Generator[int | None]:
        """A group whose values are equal: by id."""
        disordered = self._derived.disordered
        nothing: Sequence[int] = ()
        regular: Sequence[int]
        if disordered is None:
            irregular, regular = list(rows), nothing
        else:
            apart = disordered & BitMap64(rows) if disordered else disordered
            irregular = list(apart)
            regular = [row for row in rows if row not in apart] if apart else rows
        if not irregular and not documents:
            yield from self._passing(regular)
            return
        if len(irregular) + len(regular) == 1 and not documents:
            yield from self._passing([*irregular, *regular])
            return
        others = [(name, row) for row, name, _ in documents]
        others += [(self._read(row).id, row) for row in self._that_pass(irregular)]
        others.sort()
        named = ((self._read(row).id, row) for row in self._that_pass(regular))
        for _, row in merge(named, others):
            yield row
            yield from self._pause()

    def _passing(self, rows: Iterable[int]) -> Generator[int | None]:
        if self._matches is None:
            yield from rows
            return
        for row in rows:
            document = self._read(row)
            if self._matches(document.fields, document.id):
                yield row
            yield from self._pause()

    def _that_pass(self, rows: Iterable[int]) -> Iterator[int]:
        for row in self._passing(rows):
            if row is not None:
                yield row

    def _sorted(
        self, rows: array[int], documents: list[_Document]
    ) -> Generator[int | None]:
        """A group to be sorted by the whole order."""
        found = [*documents]
        for row in self._that_pass(rows):
            found.append(self._read(row))
            yield from self._pause()
        found.sort(key=self._place)
        for document in found:
            yield document.row

    def _place(self, document: _Document) -> tuple[SortKey | str, ...]:
        keys: list[SortKey | str] = []
        for key in self._order:
            value: object = document.id
            if key.field != "id":
                value = get_path(document.fields, key.field)
            keys.append(sort_key(value) if key.ascending else descending_key(value))
        return (*keys, document.id)

    # -------------------------------------------------------------- documents
    def _read(self, row: int) -> _Document:
        record = self._snapshot.get_row(self._info, row)
        if record is None:
            raise CorruptionError(
                f"row {row} of {self._info.name} is in an index but not there",
                file="index.mdb",
            )
        self.rows_read += 1
        if self._most_read is not None and self.rows_read > self._most_read:
            raise TooManyReadError
        fields = decode_document(record_body(record))
        return _Document(row, record_id(record), fields)

    def _pause(self) -> Generator[None]:
        if self.rows_read - self._breath >= _BREATH:
            self._breath = self.rows_read
            yield None


def _key(group: tuple[bytes, list[_Document]]) -> bytes:
    return group[0]


def _is_before(left: bytes, right: bytes, *, descending: bool) -> bool:
    return left > right if descending else left < right
