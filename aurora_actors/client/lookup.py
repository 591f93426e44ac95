"""Short plans, run in the caller's process on a snapshot of the data.

What surely reads few documents costs microseconds here and a hundred of them through an
executor. Which plans are short is the planner's decision
(:func:`aurora_actors.query.plan.is_short`); they are run by the same engine the
executors run. Equality with the id or a unique field alone, the commonest query of all,
needs no engine: there is nothing left to be tested, sorted or cut.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from aurora_actors.client.document import Document, document_with_id
from aurora_actors.errors import ValidationError
from aurora_actors.messages.query import QuerySpec
from aurora_actors.query.execute import run_query
from aurora_actors.query.plan import is_short
from aurora_actors.query.predicate import Compare, Predicate
from aurora_actors.schema.values import Buffer
from aurora_actors.storage.reader import CollectionInfo, DataReader, Snapshot

__all__ = ["Lookup"]

T = TypeVar("T")


class Lookup:
    """Reads that are too short for a message.

    Args:
        reader: The data.
    """

    __slots__ = ("_record", "_snapshot")

    def __init__(self, reader: DataReader) -> None:
        self._record = reader.record
        self._snapshot = reader.snapshot

    def get(self, collection: str, document_id: str) -> Document | None:
        """The document with this id.

        Raises:
            CollectionNotFoundError: there is no such collection.
            ValidationError: ``document_id`` is no text.
        """
        if not isinstance(document_id, str):
            raise ValidationError(
                f"an id must be text, not {type(document_id).__name__}", path="id"
            )
        record = self._record(collection, document_id)
        return None if record is None else document_with_id(document_id, record)

    def find(
        self,
        predicate: Predicate | None,
        spec: QuerySpec,
        convert: Callable[[Buffer], T],
    ) -> list[T] | None:
        """The results of a query if its plan is short, else ``None``.

        Args:
            predicate: The query's predicate, as in ``spec``.
            spec: The query.
            convert: Makes a result of a record, which is valid only until it returns.
        """
        with self._snapshot() as snapshot:
            info = snapshot.collection(spec.collection)
            if not is_short(info.definition, spec, predicate, info.count):
                return None
            steps = run_query(snapshot, spec).steps()
            return [convert(record) for records in steps for record in records]

    def count(self, predicate: Predicate | None, spec: QuerySpec) -> int | None:
        """The answer to a counting query if its plan is short, else ``None``."""
        with self._snapshot() as snapshot:
            info = snapshot.collection(spec.collection)
            if not is_short(info.definition, spec, predicate, info.count):
                return None
            execution = run_query(snapshot, spec)
            for _ in execution.steps():
                pass
            return execution.count

    def find_by_key(
        self, collection: str, term: Compare, convert: Callable[[Buffer], T]
    ) -> list[T] | None:
        """The document that ``term`` alone singles out, or ``None`` if it does not."""
        # Null is in no index: equality with it finds missing fields, too.
        if term.op != "eq" or term.value is None:
            return None
        with self._snapshot() as snapshot:
            info = snapshot.find(collection)
            if term.field == "id":
                record = _by_id(snapshot, info, term.value)
            else:
                declared = info.definition.fields.get(term.field)
                if declared is None or not declared.unique:
                    return None
                row = snapshot.lookup_unique(info, term.field, term.value)
                record = None if row is None else snapshot.get_row(info, row)
            return [] if record is None else [convert(record)]


def _by_id(snapshot: Snapshot, info: CollectionInfo, value: object) -> Buffer | None:
    document_id = str(value) if isinstance(value, UUID) else value
    return snapshot.get(info, document_id) if isinstance(document_id, str) else None
