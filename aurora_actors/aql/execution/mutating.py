"""Running the root fields of mutations inside one transaction.

Generators that take steps of a few milliseconds. What they change is seen by what
follows in the same text; nothing of it is real before the commit.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from aurora_actors.aql.execution.enqueueing import Enqueued, run_enqueue
from aurora_actors.aql.execution.joining import Joiner, joined
from aurora_actors.aql.execution.notes import Note, encode_note
from aurora_actors.aql.execution.parts import Parts
from aurora_actors.aql.execution.plans import MutationRoot
from aurora_actors.aql.execution.reading import ViewReading
from aurora_actors.aql.execution.seeds import Seed
from aurora_actors.aql.mutations import Change, Enqueue, Insert
from aurora_actors.errors import UsageError
from aurora_actors.messages.aql import AqlPart
from aurora_actors.messages.query import QuerySpec
from aurora_actors.query.predicate import (
    Compare,
    Predicate,
    conjuncts,
    encode_predicate,
)
from aurora_actors.query.transaction import TransactionView
from aurora_actors.schema.patch import decode_patch, encode_patch
from aurora_actors.schema.record import pack_record, record_ids
from aurora_actors.schema.types import SYSTEM_PREFIX
from aurora_actors.schema.values import encode_document

__all__ = ["run_mutation"]

_EMPTY: Final = b"\x80"
_Records = Generator[None, None, list[bytes]]


def run_mutation(
    view: TransactionView, root: MutationRoot, seed: Seed, enqueued: Enqueued
) -> Parts:
    """Run one root field; ``enqueued`` goes from one to the next."""
    mutation = root.mutation
    if isinstance(mutation, Enqueue):
        yield from run_enqueue(view, root, seed, enqueued)
        return
    _check_target(mutation.collection)
    records: list[bytes]
    if isinstance(mutation, Insert):
        records = yield from _insert(
            view, mutation.collection, mutation.documents, seed
        )
    elif mutation.operation == "update":
        records = yield from _update(view, mutation, root)
    elif mutation.operation == "upsert":
        records = yield from _upsert(view, mutation, root, seed)
    else:
        records = yield from _delete(view, mutation, root)
    note = Note(
        kind="mutation",
        name=root.name,
        collection=mutation.collection,
        operation=mutation.operation,
        shape=None if root.selected.lookups else root.selected.shape,
        affected=len(records),
    )
    if root.selected.lookups:
        yield AqlPart(encode_note(note), [])
        yield from joined(Joiner(ViewReading(view)), root.selected, records)
    else:
        yield AqlPart(encode_note(note), records)


def _check_target(collection: str) -> None:
    if collection.startswith(SYSTEM_PREFIX):
        raise UsageError(
            f"{collection} is the database's own: it cannot be changed in a mutation",
            collection=collection,
        )


# ------------------------------------------------------------------ insert
def _insert(
    view: TransactionView,
    collection: str,
    documents: list[tuple[str | None, dict[str, object]]],
    seed: Seed,
) -> _Records:
    ids = [seed.new_id() if given is None else given for given, _ in documents]
    bodies = [encode_document(fields) for _, fields in documents]
    yield from view.inserting(collection, ids, bodies)
    definition = view.overlay.collection(collection).definition
    if any(field.default for field in definition.fields.values()):
        return [view.written(collection, document_id) for document_id in ids]
    return [
        pack_record(0, document_id, body)
        for document_id, body in zip(ids, bodies, strict=True)
    ]


# ------------------------------------------------------------------ changes
def _spec(change: Change, fields: list[str] | None, limit: int | None) -> QuerySpec:
    predicate = change.predicate
    return QuerySpec(
        collection=change.collection,
        predicate=b"" if predicate is None else encode_predicate(predicate),
        fields=fields,
        limit=limit,
    )


def _found(
    view: TransactionView,
    change: Change,
    fields: list[str] | None,
    limit: int | None = None,
) -> _Records:
    records: list[bytes] = []
    for found in view.run(_spec(change, fields, limit)).steps():
        records += found
        yield
    return records


def _update(view: TransactionView, change: Change, root: MutationRoot) -> _Records:
    ids = record_ids((yield from _found(view, change, [])))
    patch = encode_patch(change.changes)
    yield from view.changing_found(change.collection, ids, patch)
    return _after(view, change.collection, ids, root)


def _after(
    view: TransactionView, collection: str, ids: list[str], root: MutationRoot
) -> list[bytes]:
    """The changed documents, as far as they are wanted."""
    if root.selected.only_ids:
        return [pack_record(0, document_id, _EMPTY) for document_id in ids]
    return [view.written(collection, document_id) for document_id in ids]


def _delete(view: TransactionView, change: Change, root: MutationRoot) -> _Records:
    records = yield from _found(view, change, root.selected.fields)
    ids = record_ids(records)
    yield from view.changing_found(change.collection, ids, None)
    return records


def _upsert(
    view: TransactionView, change: Change, root: MutationRoot, seed: Seed
) -> _Records:
    ids = record_ids((yield from _found(view, change, [], 2)))
    if len(ids) > 1:
        raise UsageError(
            f"upsert: several documents of {change.collection} match where",
            collection=change.collection,
        )
    patch = encode_patch(change.changes)
    if ids:
        yield from view.changing_found(change.collection, ids, patch)
        return _after(view, change.collection, ids, root)
    given, start = _implied(change.predicate, change.changes)
    fields = decode_patch(patch).apply(start)
    return (yield from _insert(view, change.collection, [(given, fields)], seed))


def _implied(
    predicate: Predicate | None, changes: dict[str, object]
) -> tuple[str | None, dict[str, object]]:
    """The id and the fields that a document must have to be found again."""
    document_id: str | None = None
    fields: dict[str, object] = {}
    for term in () if predicate is None else conjuncts(predicate):
        if not isinstance(term, Compare) or term.op != "eq" or term.value is None:
            continue
        if term.field == "id":
            document_id = str(term.value)
        elif "." not in term.field:
            fields[term.field] = term.value
    touched = {path.partition(".")[0] for path in changes}
    return document_id, {n: v for n, v in fields.items() if n not in touched}
