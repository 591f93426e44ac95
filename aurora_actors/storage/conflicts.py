"""Whether what a transaction has read is still so: precision locking.

A transaction names the versions of the documents it read by id, and the predicates of
its queries. A version holds if it is the present one. A query holds if no document that
matched it at the snapshot, or matches it now, has changed in between; which have, the
change log says (Jordan, Banerjee and Batman: Precision Locks, SIGMOD 1981). So nothing
is locked, inserts that a query would have found (phantoms) are noticed, and changes
that no query would have noticed are not in the way.

The same code decides in the storage process, over the batch being written, where its
word is final, and in a client, over a fresh snapshot, to spare storage a long look back.
Deterministic; no IO of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, NoReturn, Protocol, TypeAlias

from aurora_actors.errors import ConflictError
from aurora_actors.messages.storage import Commit
from aurora_actors.schema.record import record_body, record_id
from aurora_actors.schema.types import decode_definition
from aurora_actors.schema.values import decode_document
from aurora_actors.storage.changes import (
    HEADER_BYTES,
    Buffer,
    ChangeKind,
    change_header,
    split_update,
)
from aurora_actors.storage.layout import collection_prefix
from aurora_actors.storage.snapshot import Snapshot
from aurora_actors.storage.writeset import WriteSet

__all__ = ["BatchPresent", "Present", "SnapshotPresent", "Validation"]

_Matcher: TypeAlias = Callable[[dict[str, object], str], bool]
_Compile: TypeAlias = Callable[[bytes], _Matcher]

# Looking at this many changes takes about half a millisecond.
_STEP: Final = 1024
_LONGEST_ID: Final = 255


class Known(NamedTuple):
    """A collection that exists now."""

    id: int
    created_lsn: int


class Present(Protocol):
    """The state that reads are compared with."""

    @property
    def lsn(self) -> int:
        """The last change in it."""
        ...

    @property
    def first_change(self) -> int:
        """The oldest change that is kept."""
        ...

    def find(self, name: str) -> Known | None:
        """The collection called ``name``."""
        ...

    def version(self, collection: int, document_id: str) -> int:
        """The LSN of a document's version; 0 when there is no such document."""
        ...

    def current(self, collection: int, row: int) -> Buffer | None:
        """The record in a row."""
        ...

    def stored(self, collection: int, row: int) -> Buffer | None:
        """The record in a row, though its document may be deleted."""
        ...

    def change_values(self, after_lsn: int) -> Iterator[Buffer]:
        """The change records after ``after_lsn``, in their order."""
        ...


class BatchPresent:
    """The state that a batch has reached."""

    def __init__(self, batch: WriteSet) -> None:
        self._batch = batch
        self.lsn = batch.lsn
        self.first_change = batch.first_change
        self.change_values = batch.change_values

    def find(self, name: str) -> Known | None:
        """The collection called ``name``."""
        found = self._batch.catalog.by_name.get(name)
        return None if found is None else Known(found.id, found.created_lsn)

    def version(self, collection: int, document_id: str) -> int:
        """The LSN of a document's version; 0 when there is no such document."""
        name = document_id.encode(errors="surrogatepass")[: _LONGEST_ID + 1]
        row = self._batch.row_of(collection_prefix(collection) + name)
        record = None if row is None else self.current(collection, row)
        return 0 if record is None else int.from_bytes(record[:8], "big")

    def current(self, collection: int, row: int) -> Buffer | None:
        """The record in a row."""
        found = self._batch.catalog.by_id.get(collection)
        return None if found is None else self._batch.record(found, row)

    def stored(self, collection: int, row: int) -> Buffer | None:
        """The record in a row, though its document may be deleted."""
        return self._batch.stored_record(collection, row)


class SnapshotPresent:
    """The state of a snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._infos = {info.id: info for info in snapshot.collections()}
        self.lsn = snapshot.lsn
        self.first_change = snapshot.first_change

    def find(self, name: str) -> Known | None:
        """The collection called ``name``."""
        for info in self._infos.values():
            if info.name == name:
                return Known(info.id, info.created_lsn)
        return None

    def version(self, collection: int, document_id: str) -> int:
        """The LSN of a document's version; 0 when there is no such document."""
        record = self._snapshot.get(self._infos[collection], document_id)
        return 0 if record is None else int.from_bytes(record[:8], "big")

    def current(self, collection: int, row: int) -> Buffer | None:
        """The record in a row."""
        return self._snapshot.get_row(self._infos[collection], row)

    def stored(self, collection: int, row: int) -> Buffer | None:
        """The record in a row, though its document may be deleted."""
        return self._snapshot.stored_record(self._infos[collection], row)

    def change_values(self, after_lsn: int) -> Iterator[Buffer]:
        """The change records after ``after_lsn``, in their order."""
        return (value for _, value in self._snapshot.change_records(after_lsn))


class Validation:
    """One transaction's reads, compared with the present state.

    Args:
        present: The present state.
        commit: The transaction.
        compile_predicate: Makes a function of an encoded predicate.
    """

    def __init__(
        self, present: Present, commit: Commit, compile_predicate: _Compile
    ) -> None:
        self._present = present
        self._commit = commit
        self._compile = compile_predicate
        self._matchers: dict[int, _Matcher] = {}
        self._known: dict[str, Known | None] = {}
        self._ranges: dict[int, list[int]] = {}

    def check(self) -> None:
        """Check everything at once; see :meth:`steps`."""
        for _ in self.steps():
            pass

    def steps(self) -> Iterator[None]:
        """Check everything, in steps of about a millisecond.

        Raises:
            ConflictError: a read does not hold; the context has the ``collection`` and
                the ``id`` of the document that changed, and for a query the position
                of its ``range``.
            InvalidFilterError: a predicate is none.
        """
        present, commit = self._present, self._commit
        if commit.snapshot_lsn > present.lsn:
            raise ConflictError(
                f"the transaction began at LSN {commit.snapshot_lsn}, beyond the "
                f"present {present.lsn}; run it again"
            )
        self._find_collections()
        for point in commit.points:
            self._check_point(point.collection, point.id, point.lsn)
        if commit.ranges and commit.snapshot_lsn < present.lsn:
            self._check_kept()
            yield from self._check_ranges()

    # -------------------------------------------------------------- collections
    def _find_collections(self) -> None:
        commit = self._commit
        names = [point.collection for point in commit.points]
        names += [each.collection for each in commit.ranges]
        for name in names:
            if name not in self._known:
                found = self._known[name] = self._present.find(name)
                if found is not None and found.created_lsn > commit.snapshot_lsn:
                    raise _changed_collection(name, "was created")
        for number, each in enumerate(commit.ranges):
            collection = self._known[each.collection]
            if collection is not None:
                self._ranges.setdefault(collection.id, []).append(number)

    # -------------------------------------------------------------- documents
    def _check_point(self, name: str, document_id: str, lsn: int) -> None:
        collection = self._known[name]
        if collection is None:
            raise _changed_collection(name, "was removed")
        now = self._present.version(collection.id, document_id)
        if now == lsn:
            return
        what = "was inserted" if not lsn else "has changed" if now else "was removed"
        raise ConflictError(
            f"the document {document_id!r} of {name}, which the transaction has read, "
            f"{what} since; run the transaction again",
            collection=name,
            id=document_id,
        )

    # -------------------------------------------------------------- queries
    def _check_kept(self) -> None:
        since, first = self._commit.snapshot_lsn, self._present.first_change
        if since + 1 < first:
            raise ConflictError(
                f"the transaction began at LSN {since}, and changes are kept from "
                f"{first} on: what its queries would find now cannot be told; make it "
                "shorter, or set change_retention higher",
                first=first,
            )

    def _check_ranges(self) -> Iterator[None]:
        """Compare, of each changed row, the version at the snapshot and the present one.

        What was there only in between makes no difference to a query.
        """
        absent = {name for name, found in self._known.items() if found is None}
        seen: dict[tuple[int, int], int] = {}
        values = self._present.change_values(self._commit.snapshot_lsn)
        for count, value in enumerate(values, 1):
            kind, number, row = change_header(value)
            if kind == ChangeKind.DROP and absent:
                _refuse_dropped(absent, value)
            elif number in self._ranges and row and (number, row) not in seen:
                seen[number, row] = kind
                if kind == ChangeKind.UPDATE:
                    self._test(number, split_update(value)[0])
                elif kind == ChangeKind.DELETE:
                    self._test_deleted(number, row, value[HEADER_BYTES:])
            if count % _STEP == 0:
                yield
        for count, (number, row) in enumerate(seen, 1):
            record = self._present.current(number, row)
            if record is not None:
                self._test(number, record)
            if count % _STEP == 0:
                yield

    def _test_deleted(self, collection: int, row: int, old: Buffer) -> None:
        record = old or self._present.stored(collection, row)
        if record is not None:
            self._test(collection, record)

    def _test(self, collection: int, record: Buffer) -> None:
        """Refuse if one of the queries on the collection would find the record."""
        fields: dict[str, object] | None = None
        document_id = record_id(record)
        for number in self._ranges[collection]:
            if not self._commit.ranges[number].predicate:
                self._refuse(number, document_id)
            if fields is None:
                fields = decode_document(record_body(record))
            if self._matcher(number)(fields, document_id):
                self._refuse(number, document_id)

    def _matcher(self, number: int) -> _Matcher:
        # Compiling takes longer than most commits; many need none of it.
        matcher = self._matchers.get(number)
        if matcher is None:
            predicate = self._commit.ranges[number].predicate
            matcher = self._matchers[number] = self._compile(predicate)
        return matcher

    def _refuse(self, number: int, document_id: str) -> NoReturn:
        name = self._commit.ranges[number].collection
        raise ConflictError(
            f"a query of the transaction on {name} would find something else now: the "
            f"document {document_id!r} has changed since; run the transaction again",
            collection=name,
            id=document_id,
            range=number,
        )


def _refuse_dropped(absent: set[str], value: Buffer) -> None:
    name = decode_definition(bytes(value[HEADER_BYTES:])).name
    if name in absent:
        raise _changed_collection(name, "was removed")


def _changed_collection(name: str, what: str) -> ConflictError:
    return ConflictError(
        f"the collection {name} {what} since the transaction began; run it again",
        collection=name,
    )
