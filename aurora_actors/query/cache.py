"""The hot cache: columns of decoded values, kept between the scans of one process.

Owned by a query executor (or any other process that scans); for one thread. A scan of
100,000 documents spends nearly all its time on walking the map and decoding fields. The
cache keeps what was decoded, as one list of values for each top-level field, in blocks
of :data:`BLOCK_ROWS` row ids, so that a later scan of the same fields only evaluates
its predicate (0.07 us a document against 0.7). Columns are kept from the second scan
on, because the first is no faster for them, and only if they fit as a whole.

Invariants:

* Answers are exact. The cache knows the LSN it has reached; before a scan at a later
  one it reads in the change log which rows have changed and decodes these anew. A block
  carries the LSN of the last change in it and serves only snapshots at or after that.
* The blocks never take more than ``max_bytes`` (by estimate); the policy says which
  goes first.
* A block's rows never change: a changed block is another object, so a scan under way is
  not disturbed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final

from aurora_actors.config import EvictionPolicy
from aurora_actors.errors import LaggedError
from aurora_actors.query.loops import field_decoder
from aurora_actors.query.memory import memory_of
from aurora_actors.storage.reader import CollectionInfo, Snapshot

__all__ = ["BLOCK_ROWS", "Block", "DocumentCache"]

_SHIFT: Final = 12
BLOCK_ROWS: Final = 1 << _SHIFT
_MOST_CHANGES: Final = 20_000
_MOST_PATCHED: Final = 1024
_REMEMBERED_SCANS: Final = 1024
_SAMPLE: Final = 16
_ROW_BYTES: Final = 40
_VALUE_BYTES: Final = 48

_Key = tuple[int, int]


class Block:
    """The documents with row ids of one range, as columns.

    Attributes:
        rows: Their row ids, ascending.
        columns: Their values by top-level field; null where a document has none.
        following: The first row behind the range; ``None`` when there was none.
        lsn: The block is the same at every LSN from this one to the cache's.
        size: About how many bytes it takes.
        weight: How often it was used, plus the age of the cache when it came in.
    """

    __slots__ = ("columns", "following", "lsn", "rows", "size", "weight")

    def __init__(self, rows: list[int], following: int | None, lsn: int) -> None:
        self.rows = rows
        self.columns: dict[str, list[object]] = {}
        self.following = following
        self.lsn = lsn
        self.size = 0
        self.weight = 0

    def measure(self) -> None:
        """Estimate the size from a sample of the values."""
        size = len(self.rows) * _ROW_BYTES
        for column in self.columns.values():
            size += 8 * len(column)
            size += _SAMPLE * sum(map(memory_of, column[::_SAMPLE]))
        self.size = size


class DocumentCache:
    """Decoded columns by (collection, block), bounded in bytes.

    Args:
        max_bytes: What the blocks may take; 0 keeps nothing.
        policy: What goes first: the least recently or the least often used.
    """

    def __init__(self, max_bytes: int, policy: EvictionPolicy) -> None:
        self._max_bytes = max_bytes
        self._policy = policy
        self._blocks: OrderedDict[_Key, Block] = OrderedDict()
        self._reached: dict[int, int] = {}
        self._scans: OrderedDict[tuple[int, str], int] = OrderedDict()
        self._timeline = -1
        self._bytes = 0
        self._age = 0
        self._counts = dict.fromkeys(("hits", "misses", "evictions", "patched"), 0)

    def statistics(self) -> dict[str, int | float]:
        """Blocks found, not found, evicted and patched so far; bytes and blocks now."""
        return {
            **{f"cache_{name}": count for name, count in self._counts.items()},
            "cache_bytes": self._bytes,
            "cache_blocks": len(self._blocks),
        }

    def admits(self, info: CollectionInfo, fields: Sequence[str]) -> bool:
        """Whether a scan of these fields is to go through the cache.

        Say it once for each scan: the second scan of a field is the first that does.
        """
        need = info.count * (_ROW_BYTES + _VALUE_BYTES * len(fields))
        if not fields or need > self._max_bytes:
            return False
        known = [self._scans.pop((info.id, name), 0) for name in fields]
        for name, times in zip(fields, known, strict=True):
            self._scans[info.id, name] = times + 1
        while len(self._scans) > _REMEMBERED_SCANS:
            self._scans.popitem(last=False)
        return all(known)

    def blocks(
        self, snapshot: Snapshot, info: CollectionInfo, fields: Sequence[str]
    ) -> Iterator[Block]:
        """All blocks of a collection at a snapshot, with at least these columns."""
        self._follow(snapshot, info)
        number: int | None = 0
        while number is not None:
            block = self._block(snapshot, info, number, fields)
            yield block
            number = _number_behind(snapshot, info, number, block)

    # -------------------------------------------------------------- blocks
    def _block(
        self,
        snapshot: Snapshot,
        info: CollectionInfo,
        number: int,
        fields: Sequence[str],
    ) -> Block:
        key = (info.id, number)
        block = self._blocks.get(key)
        if block is None or block.lsn > snapshot.lsn:
            self._counts["misses"] += 1
            known = block
            block = _load(snapshot, info, number, fields)
            if known is None and self._reached.get(info.id) == snapshot.lsn:
                self._keep(key, block)
            return block
        missing = [name for name in fields if name not in block.columns]
        self._counts["misses" if missing else "hits"] += 1
        if missing:
            loaded = _load(snapshot, info, number, missing)
            block.columns.update(loaded.columns)
            self._keep(key, block)
        block.weight += 1
        self._blocks.move_to_end(key)
        return block

    def _keep(self, key: _Key, block: Block) -> None:
        self._forget(key)
        block.measure()
        if block.size > self._max_bytes:
            return
        block.weight += self._age + 1
        self._blocks[key] = block
        self._bytes += block.size
        while self._bytes > self._max_bytes:
            self._evict()

    def _forget(self, key: _Key) -> None:
        block = self._blocks.pop(key, None)
        if block is not None:
            self._bytes -= block.size

    def _evict(self) -> None:
        """Let one block go.

        With LFU the age of the cache rises to the weight of what goes, so that a block
        that was popular long ago does not stay for ever (LFU with dynamic ageing,
        Arlitt et al., 2000).
        """
        if self._policy is EvictionPolicy.LRU:
            key = next(iter(self._blocks))
        else:
            key = min(self._blocks, key=lambda key: self._blocks[key].weight)
            self._age = self._blocks[key].weight
        self._forget(key)
        self._counts["evictions"] += 1

    # -------------------------------------------------------------- changes
    def _follow(self, snapshot: Snapshot, info: CollectionInfo) -> None:
        """Bring the collection's blocks to the snapshot, if that is the newer one."""
        if snapshot.timeline != self._timeline:
            self._timeline = snapshot.timeline
            self._blocks.clear()
            self._reached.clear()
            self._bytes = 0
        reached = self._reached.get(info.id, -1)
        if snapshot.lsn <= reached:
            return
        self._reached[info.id] = snapshot.lsn
        changed = _changes(snapshot, info, reached)
        for key in [key for key in self._blocks if key[0] == info.id]:
            rows = None if changed is None else changed.get(key[1])
            if changed is None or (rows is not None and len(rows) > _MOST_PATCHED):
                self._forget(key)
            elif rows is not None:
                self._patch(snapshot, info, key, rows)

    def _patch(
        self, snapshot: Snapshot, info: CollectionInfo, key: _Key, changed: list[int]
    ) -> None:
        """Replace a block by one in which these rows are as the snapshot has them."""
        old = self._blocks[key]
        block = Block(list(old.rows), old.following, snapshot.lsn)
        block.weight = old.weight - self._age - 1
        names = tuple(old.columns)
        columns = [list(old.columns[name]) for name in names]
        decode = field_decoder(names)
        for row in changed:
            at = bisect_left(block.rows, row)
            present = at < len(block.rows) and block.rows[at] == row
            record = snapshot.get_row(info, row)
            if present:
                del block.rows[at]
                for column in columns:
                    del column[at]
            if record is not None:
                decoded = decode(record[13 + record[8] :])
                block.rows.insert(at, row)
                for number, column in enumerate(columns):
                    column.insert(at, getattr(decoded, f"f{number}"))
        block.columns = dict(zip(names, columns, strict=True))
        self._counts["patched"] += 1
        self._keep(key, block)


def _changes(
    snapshot: Snapshot, info: CollectionInfo, reached: int
) -> dict[int, list[int]] | None:
    """The changed rows by block; ``None`` when they are unknown or too many."""
    if reached < 0 or snapshot.lsn - reached > _MOST_CHANGES:
        return None
    try:
        rows = snapshot.changed_rows(info, reached, snapshot.lsn)
    except LaggedError:
        return None
    changed: dict[int, list[int]] = {}
    for row in rows:
        changed.setdefault(row >> _SHIFT, []).append(row)
    return changed


def _number_behind(
    snapshot: Snapshot, info: CollectionInfo, number: int, block: Block
) -> int | None:
    """The next block that has documents."""
    if block.following is not None:
        return block.following >> _SHIFT
    # There was nothing behind when the block was read; there may be now.
    following = next(snapshot.scan(info, ((number + 1) << _SHIFT) - 1), None)
    return None if following is None else following[0] >> _SHIFT


def _load(
    snapshot: Snapshot, info: CollectionInfo, number: int, fields: Sequence[str]
) -> Block:
    """Read one block from the documents."""
    end = (number + 1) << _SHIFT
    decode = field_decoder(tuple(fields))
    block = Block([], None, snapshot.lsn)
    decoded: list[object] = []
    for row, record in snapshot.scan(info, (number << _SHIFT) - 1 if number else 0):
        if row >= end:
            block.following = row
            break
        block.rows.append(row)
        decoded.append(decode(record[13 + record[8] :]))
    for at, name in enumerate(fields):
        attribute = f"f{at}"
        block.columns[name] = [getattr(item, attribute) for item in decoded]
    return block
