"""What a text reads from: a snapshot with its indexes, or a transaction.

Both answer the same questions; a transaction sees its own writes, and notes what is
read so that its commit can be compared with it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, Protocol

from aurora_actors.messages.query import GroupSpec, QuerySpec
from aurora_actors.query.aggregate import Aggregation, run_aggregate
from aurora_actors.query.choose import Aids
from aurora_actors.query.execute import Execution, run_query
from aurora_actors.query.predicate import Predicate
from aurora_actors.query.transaction import TransactionView
from aurora_actors.storage.snapshot import CollectionInfo, Snapshot

__all__ = ["Reading", "SnapshotReading", "ViewReading", "drain"]

_MOST_NOTED: Final = 4


class Reading(Protocol):
    """One state of the database."""

    @property
    def lsn(self) -> int:
        """The last change that is seen."""
        ...

    def collection(self, name: str) -> CollectionInfo:
        """A collection with its present count."""
        ...

    def get(self, collection: str, document_id: str) -> memoryview | None:
        """The record of a document."""
        ...

    def run(self, spec: QuerySpec, predicate: Predicate | None = None) -> Execution:
        """Begin a query; ``predicate`` is what the spec encodes, if it is known."""
        ...

    def aggregate(
        self, spec: QuerySpec, group: GroupSpec, predicate: Predicate | None = None
    ) -> Aggregation:
        """Begin to aggregate."""
        ...


class SnapshotReading:
    """Reads a snapshot, with whatever helps.

    Attributes:
        executions: What was run, for its plans; the first few.
    """

    def __init__(self, snapshot: Snapshot, aids: Aids) -> None:
        self.snapshot = snapshot
        self.aids = aids
        self.executions: list[Execution | Aggregation] = []

    def _note(self, execution: Execution | Aggregation) -> None:
        if len(self.executions) < _MOST_NOTED:
            self.executions.append(execution)

    @property
    def lsn(self) -> int:
        """The last change that is seen."""
        return self.snapshot.lsn

    def collection(self, name: str) -> CollectionInfo:
        """A collection with its present count."""
        return self.snapshot.collection(name)

    def get(self, collection: str, document_id: str) -> memoryview | None:
        """The record of a document."""
        return self.snapshot.get(self.snapshot.collection(collection), document_id)

    def run(self, spec: QuerySpec, predicate: Predicate | None = None) -> Execution:
        """Begin a query."""
        execution = run_query(self.snapshot, spec, aids=self.aids, predicate=predicate)
        self._note(execution)
        return execution

    def aggregate(
        self, spec: QuerySpec, group: GroupSpec, predicate: Predicate | None = None
    ) -> Aggregation:
        """Begin to aggregate."""
        aggregation = run_aggregate(
            self.snapshot, spec, group, aids=self.aids, predicate=predicate
        )
        self._note(aggregation)
        return aggregation


class ViewReading:
    """Reads a transaction."""

    def __init__(self, view: TransactionView) -> None:
        self.view = view

    @property
    def lsn(self) -> int:
        """The last change that is seen, the transaction's own aside."""
        return self.view.snapshot_lsn

    def collection(self, name: str) -> CollectionInfo:
        """A collection with its present count."""
        return self.view.collection(name)

    def get(self, collection: str, document_id: str) -> memoryview | None:
        """The record of a document."""
        return self.view.get(collection, document_id)

    def run(self, spec: QuerySpec, predicate: Predicate | None = None) -> Execution:
        """Begin a query."""
        return self.view.run(spec)

    def aggregate(
        self, spec: QuerySpec, group: GroupSpec, predicate: Predicate | None = None
    ) -> Aggregation:
        """Begin to aggregate."""
        return self.view.aggregate(spec, group)


def drain(steps: Generator[list[bytes]]) -> Generator[None, None, list[bytes]]:
    """All records of a query, in steps."""
    found: list[bytes] = []
    for records in steps:
        found += records
        yield
    return found
