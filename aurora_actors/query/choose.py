"""Choosing the way to the documents: keys, indexes, columns, or all documents.

The order of preference: the id or a unique field; an index in whose order the results
are wanted; what indexes select; columns; the documents themselves. Each is taken when
what is known (counts of keys, sizes of bitmaps, how far the derived data lags) says that
it is cheaper than what follows. Used wherever queries run; without aids, or in a process
that has only some, it does with what there is.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

import msgspec

from aurora_actors.indexing.index import Index
from aurora_actors.indexing.keys import compound_prefix
from aurora_actors.indexing.ranges import EVERYTHING, KeyRange, within
from aurora_actors.indexing.reader import IndexSnapshot
from aurora_actors.indexing.tables import SegmentTables
from aurora_actors.messages.query import OrderKey, QuerySpec, ResultMode
from aurora_actors.query.cache import DocumentCache
from aurora_actors.query.derived import Derived
from aurora_actors.query.id_order import IdOrder, id_range
from aurora_actors.query.index_order import IndexOrder
from aurora_actors.query.index_scan import IndexScan
from aurora_actors.query.plan import AccessKind, choose_access, row_bound
from aurora_actors.query.predicate import And, Compare, Predicate, conjuncts, terms
from aurora_actors.query.scan import Scan
from aurora_actors.query.selection import Selector, key_ranges
from aurora_actors.storage.reader import CollectionInfo, Snapshot

__all__ = ["MEMORY_LIMIT", "Aids", "Choice", "choose", "needed"]

MEMORY_LIMIT: Final = 512 << 20
_FEW: Final = 1000
_UNKNOWN: Final = 1 << 62
# The first few in an index's order: more documents than this part of the collection are
# not read in the hope of finding enough that match the rest of the filter.
_READ_SHARE: Final = 8
# Of how many rows one is found by an index before scanning columns is cheaper.
_COLUMN_SHARE: Final = 20
_BY_ID: Final = [OrderKey("id")]


class Aids(msgspec.Struct, frozen=True):
    """What helps a process to answer queries, besides the documents.

    Attributes:
        index: The derived data, taken before the snapshot of the data.
        tables: The open column files; ``None`` in a process that scans no columns.
        cache: Decoded columns of earlier scans.
        memory_limit: How many bytes one query may hold to sort or to group.
    """

    index: IndexSnapshot | None = None
    tables: SegmentTables | None = None
    cache: DocumentCache | None = None
    memory_limit: int = MEMORY_LIMIT


class Choice(msgspec.Struct, frozen=True):
    """The way a query takes.

    Attributes:
        kind: Its name.
        scan: Finds the matches.
        field: The fields of the index used, if one is.
        ordered: Gives the results in their order without sorting; ``None`` if they have
            to be sorted, or have no order.
        bound: How many documents are read at most.
        residual: What is tested of documents that are read.
    """

    kind: AccessKind
    scan: Scan
    bound: int
    field: str | None = None
    ordered: IndexOrder | IdOrder | None = None
    residual: Predicate | None = None
    estimate: int | None = None


def choose(
    snapshot: Snapshot,
    info: CollectionInfo,
    spec: QuerySpec,
    predicate: Predicate | None,
    aids: Aids,
) -> Choice:
    """The best way to the results of a query."""
    access = choose_access(info.definition, predicate)
    plain = Scan(snapshot, info, access, aids.cache)
    bound = row_bound(spec, access, info.count)
    fallback = Choice(access.kind, plain, bound, access.field, residual=access.residual)
    if access.kind != "document_scan" or not bound:
        return fallback
    derived = Derived.of(aids.index, snapshot, info)
    if derived is None:
        return _in_id_order(snapshot, info, spec, predicate, fallback) or fallback
    chooser = _Chooser(snapshot, info, spec, predicate, derived)
    ordered = chooser.in_order(fallback, aids.tables)
    if ordered is not None:
        return ordered
    others = chooser.by_indexes(aids.tables) or chooser.by_columns(aids.tables)
    others = others or fallback
    return _in_id_order(snapshot, info, spec, predicate, others) or others


def needed(
    snapshot: Snapshot, info: CollectionInfo, spec: QuerySpec, aids: Aids
) -> QuerySpec:
    """A query without its order, if all results are wanted as they are stored anyway.

    That is so by id, where ids are known to ascend with the rows.
    """
    if spec.order != _BY_ID or spec.limit is not None:
        return spec
    if spec.mode is not ResultMode.DOCUMENTS:
        return spec
    derived = Derived.of(aids.index, snapshot, info)
    if derived is None or derived.changed or derived.disordered is None:
        return spec
    return spec if derived.disordered else msgspec.structs.replace(spec, order=[])


def _in_id_order(
    snapshot: Snapshot,
    info: CollectionInfo,
    spec: QuerySpec,
    predicate: Predicate | None,
    fallback: Choice,
) -> Choice | None:
    """From the table of ids, when the first few in their order are wanted."""
    if spec.mode is not ResultMode.DOCUMENTS or spec.limit is None:
        return None
    if not spec.order or spec.order[0].field != "id":
        return None
    parts = list(conjuncts(predicate))
    ids = id_range(parts)
    rest = [part for part in parts if not any(part is one for one in ids.served)]
    stop = spec.offset + spec.limit
    most_read = _FEW + info.count // _READ_SHARE
    residual = And(rest) if rest else None
    ordered = IdOrder(
        snapshot,
        info,
        ids,
        residual=residual,
        descending=not spec.order[0].ascending,
        most_read=most_read if rest else None,
    )
    bound = info.count if rest else min(info.count, stop)
    scan = fallback.scan
    return Choice("index_order", scan, bound, "id", ordered, residual, stop)


class _Chooser:
    """The alternatives to reading all documents."""

    def __init__(
        self,
        snapshot: Snapshot,
        info: CollectionInfo,
        spec: QuerySpec,
        predicate: Predicate | None,
        derived: Derived,
    ) -> None:
        self._snapshot = snapshot
        self._info = info
        self._spec = spec
        self._predicate = predicate
        self._derived = derived
        self._parts = list(conjuncts(predicate))
        self._wants_documents = spec.mode is ResultMode.DOCUMENTS
        self._stop = None if spec.limit is None else spec.offset + spec.limit

    # -------------------------------------------------------------- in order
    def in_order(self, fallback: Choice, tables: SegmentTables | None) -> Choice | None:
        """From an index whose order is the one asked for."""
        if not self._wants_documents or not self._spec.order:
            return None
        best: tuple[int, Index, KeyRange, int, Predicate | None] | None = None
        for index in self._derived.indexes.values():
            found = self._keys_in_order(index)
            if found is None:
                continue
            keys, covered, served = found
            rest = [p for p in self._parts if not any(p is s for s in served)]
            if not keys.exact:
                rest = self._parts
            residual: Predicate | None = And(rest) if rest else None
            if residual is not None and self._stop is None:
                continue
            if best is None or len(rest) < best[0]:
                best = len(rest), index, keys, covered, residual
        if best is None:
            return None
        _, index, keys, covered, residual = best
        if residual is not None:
            # For when too few of the documents read on the way match.
            others = self.by_indexes(tables) or self.by_columns(tables)
            fallback = others or fallback
        return self._ordered(index, keys, covered, residual, fallback)

    def _ordered(
        self,
        index: Index,
        keys: KeyRange,
        covered: int,
        residual: Predicate | None,
        fallback: Choice,
    ) -> Choice:
        changed = len(self._derived.changed)
        most_read = None
        bound = self._info.count
        if residual is not None:
            most_read = _FEW + self._info.count // _READ_SHARE + changed
        elif self._stop is not None:
            bound = self._stop + changed
        ordered = IndexOrder(
            self._snapshot,
            self._info,
            self._derived,
            index=index,
            order=self._spec.order,
            covered=covered,
            keys=keys,
            predicate=self._predicate,
            residual=residual,
            most_read=most_read,
        )
        name = ", ".join(index.fields)
        scan = fallback.scan
        return Choice("index_order", scan, bound, name, ordered, residual, self._stop)

    def _keys_in_order(
        self, index: Index
    ) -> tuple[KeyRange, int, list[Predicate]] | None:
        """The keys to walk, how many order keys they serve, and what they answer."""
        order = self._spec.order
        if index.multi or order[0].field not in index.fields:
            return None
        equal = self._equal_prefix(index)
        names = index.fields[len(equal) :]
        covered = len(names)
        if not names or [key.field for key in order[:covered]] != list(names):
            return None
        if any(key.ascending != order[0].ascending for key in order[:covered]):
            return None
        keys, served = self._range_of(index, len(equal))
        if equal:
            prefix = compound_prefix([term.value for term in equal])
            keys = within(prefix, keys)
        return keys, covered, [*equal, *served]

    def _equal_prefix(self, index: Index) -> list[Compare]:
        equal: list[Compare] = []
        for name in index.fields[:-1]:
            term = next(
                (
                    part
                    for part in self._parts
                    if isinstance(part, Compare)
                    and part.op == "eq"
                    and part.field == name
                ),
                None,
            )
            if term is None:
                break
            equal.append(term)
        return equal

    def _range_of(self, index: Index, at: int) -> tuple[KeyRange, list[Predicate]]:
        """The one range of keys that the terms on a field of the index leave."""
        keys, served = EVERYTHING, []
        for part in self._parts:
            if not isinstance(part, Compare) or part.field != index.fields[at]:
                continue
            found = key_ranges(part, index.types[at], multi=False)
            if found is None or found[2] or len(found[0]) != 1:
                continue
            one = found[0][0]
            low, high = max(keys.low, one.low), min(keys.high, one.high)
            keys = KeyRange(low, max(low, high), keys.exact and one.exact)
            served.append(part)
        return keys, [*served]

    # -------------------------------------------------------------- selection
    def by_indexes(self, tables: SegmentTables | None) -> Choice | None:
        """From what indexes select."""
        if self._predicate is None:
            return None
        selector = Selector(self._derived.indexes)
        count = self._info.count
        most = max(_FEW, count // 2)
        if tables is not None and self._has_columns():
            most = max(_FEW, count // _COLUMN_SHARE)
        estimate = selector.estimate(self._predicate, most)
        if estimate is None:
            return None
        is_exact = selector.covers(self._predicate)
        counts_only = not self._wants_documents and is_exact
        if estimate >= most and not (
            counts_only and selector.covers(self._predicate, by_bitmaps=True)
        ):
            return None
        changed = len(self._derived.changed)
        bound = estimate + changed
        if counts_only:
            bound = changed
        elif is_exact and self._stop is not None and not self._spec.order:
            bound = min(estimate, self._stop) + changed
        first = None if self._spec.order else self._stop
        scan = IndexScan(
            self._snapshot, self._info, self._derived, self._predicate, first
        )
        names = selector.fields(self._predicate)
        return Choice(
            "index",
            scan,
            bound,
            "; ".join(names),
            residual=None if is_exact else self._predicate,
            estimate=estimate,
        )

    # -------------------------------------------------------------- columns
    def by_columns(self, tables: SegmentTables | None) -> Choice | None:
        """By scanning columns."""
        if tables is None or not self._has_columns():
            return None
        spec, count = self._spec, self._info.count
        if self._predicate is None and not (spec.order and self._stop is not None):
            return None
        if not spec.order and self._stop is not None and count < _FEW * _COLUMN_SHARE:
            # A scan of documents ends when it has enough.
            return None
        columns = self._derived.columns
        first = self._stop
        if columns is None or (
            spec.order and spec.order[0].field not in columns.fields
        ):
            first = None
        if self._predicate is None and first is None:
            return None
        # pyarrow is imported by the first process that has a use for it.
        module = import_module("aurora_actors.query.column_scan")
        scan: Scan = module.ColumnScan(
            self._snapshot,
            self._info,
            self._derived,
            predicate=self._predicate,
            tables=tables,
            first=first,
        )
        bound = max(_UNKNOWN, count)
        return Choice("column_scan", scan, bound, residual=self._predicate)

    def _has_columns(self) -> bool:
        """Whether columns can test the predicate, for most of the documents."""
        count = self._info.count
        columns = self._derived.columns
        if count < _FEW or columns is None:
            return False
        if self._predicate is not None and any(
            term.field not in columns.fields for term in terms(self._predicate)
        ):
            return False
        return 2 * (columns.document_count + len(self._derived.changed)) <= count
