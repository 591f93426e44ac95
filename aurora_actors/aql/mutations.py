"""The root fields of a mutation, read into data.

Pure. One struct for each thing a mutation can do; they name collections that exist and
hold values of the schema, and encode nothing: that is for whoever sends them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final, Literal, TypeAlias

import msgspec

from aurora_actors.aql import tree
from aurora_actors.aql.arguments import (
    Taken,
    flag_argument,
    take_arguments,
    word_argument,
)
from aurora_actors.aql.changes import read_changes, read_document, read_documents
from aurora_actors.aql.diagnostics import shorten
from aurora_actors.aql.fields import source_of
from aurora_actors.aql.filters import read_where
from aurora_actors.aql.literals import describe_value
from aurora_actors.aql.scope import UNBOUND, Scope
from aurora_actors.aql.values import read_count, read_text, read_value, read_word
from aurora_actors.query.predicate import Predicate
from aurora_actors.schema.types import CollectionDefinition, FieldType

__all__ = [
    "MUTATIONS",
    "PRIORITIES",
    "Change",
    "Enqueue",
    "Insert",
    "Mutation",
    "read_mutation",
]

PRIORITIES: Final = ("LOW", "NORMAL", "HIGH", "CRITICAL")


class Insert(msgspec.Struct, frozen=True, kw_only=True):
    """``insertInto`` and ``insertMany``.

    Attributes:
        operation: The name of the root field.
        collection: Where to.
        documents: Each document's id, if it brings one, and its fields.
    """

    operation: Literal["insertInto", "insertMany"]
    collection: str
    documents: list[tuple[str | None, dict[str, object]]]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """``update``, ``upsert`` and ``deleteFrom``.

    Attributes:
        operation: The name of the root field.
        collection: Whose documents.
        predicate: Which; ``None`` for all.
        changes: New values and modifiers by dotted field name; empty for a deletion.
    """

    operation: Literal["update", "upsert", "deleteFrom"]
    collection: str
    predicate: Predicate | None
    changes: dict[str, object]


class Enqueue(msgspec.Struct, frozen=True, kw_only=True):
    """``enqueueJob`` and ``enqueueJobs``.

    Attributes:
        operation: The name of the root field.
        job_type: The name of the handler.
        payloads: One job for each.
        priority: One of :data:`PRIORITIES`.
        max_retries: How often to try again; ``None`` for the default.
        run_at: Not before; ``None`` for at once.
        unique_key: At most one unfinished job has it.
        queue: Where they wait.
    """

    operation: Literal["enqueueJob", "enqueueJobs"]
    job_type: str
    payloads: list[dict[str, object]]
    priority: str = "NORMAL"
    max_retries: int | None = None
    run_at: datetime | None = None
    unique_key: str | None = None
    queue: str = "default"


Mutation: TypeAlias = Insert | Change | Enqueue


def read_mutation(scope: Scope, field: tree.Field) -> Mutation | None:
    """What a root field of a mutation does; faults are reported."""
    reader = MUTATIONS.get(field.name)
    if reader is None:
        hint = (
            scope.did_you_mean(field.name, MUTATIONS)
            or f"there are {', '.join(MUTATIONS)}"
        )
        scope.report(field, f"there is no mutation {shorten(field.name)}", hint)
        return None
    return reader(scope, field)


def _target(
    scope: Scope, field: tree.Field, taken: Taken
) -> CollectionDefinition | None:
    name = word_argument(scope, taken, "collection")
    if name is None:
        return None
    return scope.collection(name, taken["collection"].value)


# ------------------------------------------------------------------ inserts
_INSERT: Final = {"collection": "collection", "data": "data"}


def _insert_into(scope: Scope, field: tree.Field) -> Mutation | None:
    taken = take_arguments(scope, field, _INSERT, ("collection", "data"))
    definition = _target(scope, field, taken)
    if definition is None or "data" not in taken:
        return None
    document = read_document(scope.below("data"), taken["data"].value, definition)
    return Insert(
        operation="insertInto",
        collection=definition.name,
        documents=[] if document is None else [document],
    )


def _insert_many(scope: Scope, field: tree.Field) -> Mutation | None:
    taken = take_arguments(scope, field, _INSERT, ("collection", "data"))
    definition = _target(scope, field, taken)
    if definition is None or "data" not in taken:
        return None
    here = scope.below("data")
    return Insert(
        operation="insertMany",
        collection=definition.name,
        documents=read_documents(here, taken["data"].value, definition),
    )


# ------------------------------------------------------------------ changes
_WHERE: Final = {"collection": "collection", "where": "where", "filter": "where"}
_DATA: Final = {"data": "data", "set": "data"}


def _where(
    scope: Scope, taken: Taken, definition: CollectionDefinition
) -> Predicate | None:
    argument = taken.get("where")
    if argument is None:
        return None
    here = scope.below(argument.name)
    resolved = here.resolve(argument.value, FieldType.OBJECT, nullable=False)
    if isinstance(resolved, tree.NullValue):
        # A variable that is null by mistake must not change every document.
        here.report(argument.value, "where must not be null", "leave it out, or {}")
    if resolved is UNBOUND:
        return None
    return read_where(here, resolved, source_of(definition))


def _require_all(scope: Scope, field: tree.Field, taken: Taken) -> None:
    everything = flag_argument(scope, taken, "all")
    given = taken.get("all")
    unknown = given is not None and isinstance(given.value, tree.Variable)
    if "where" in taken:
        if everything and given is not None:
            scope.report(given, "where and all: true exclude each other")
    elif not everything and not (unknown and scope.session.variables is None):
        scope.report(
            field,
            f"{field.name} without where would change every document",
            "write all: true if that is meant",
        )


def _update(scope: Scope, field: tree.Field) -> Mutation | None:
    spellings = {**_WHERE, **_DATA, "all": "all"}
    taken = take_arguments(scope, field, spellings, ("collection", "data"))
    _require_all(scope, field, taken)
    return _change(scope, field, taken, "update")


def _upsert(scope: Scope, field: tree.Field) -> Mutation | None:
    needed = ("collection", "where", "data")
    taken = take_arguments(scope, field, {**_WHERE, **_DATA}, needed)
    return _change(scope, field, taken, "upsert")


def _delete_from(scope: Scope, field: tree.Field) -> Mutation | None:
    taken = take_arguments(scope, field, {**_WHERE, "all": "all"}, ("collection",))
    _require_all(scope, field, taken)
    return _change(scope, field, taken, "deleteFrom")


def _change(
    scope: Scope,
    field: tree.Field,
    taken: Taken,
    operation: Literal["update", "upsert", "deleteFrom"],
) -> Mutation | None:
    definition = _target(scope, field, taken)
    if definition is None:
        return None
    data = taken.get("data")
    return Change(
        operation=operation,
        collection=definition.name,
        predicate=_where(scope, taken, definition),
        changes={}
        if data is None
        else read_changes(scope.below(data.name), data.value, source_of(definition)),
    )


# ------------------------------------------------------------------ jobs
_JOB: Final = {
    "jobType": "jobType",
    "priority": "priority",
    "maxRetries": "maxRetries",
    "runAt": "runAt",
    "scheduledAt": "runAt",
    "queue": "queue",
}


def _enqueue_job(scope: Scope, field: tree.Field) -> Mutation | None:
    spellings = {**_JOB, "payload": "payload", "uniqueKey": "uniqueKey"}
    taken = take_arguments(scope, field, spellings, ("jobType",))
    payload = taken.get("payload")
    payloads: list[dict[str, object]] = [{}]
    if payload is not None:
        found = read_value(
            scope.below("payload"), payload.value, FieldType.OBJECT, nullable=False
        )
        payloads = [found] if isinstance(found, dict) else []
    return _enqueue(scope, taken, "enqueueJob", payloads)


def _enqueue_jobs(scope: Scope, field: tree.Field) -> Mutation | None:
    spellings = {**_JOB, "payloads": "payloads"}
    taken = take_arguments(scope, field, spellings, ("jobType", "payloads"))
    payloads: object = []
    if "payloads" in taken:
        of = FieldType.array(FieldType.OBJECT)
        here = scope.below("payloads")
        payloads = read_value(here, taken["payloads"].value, of, nullable=False)
    found = payloads if isinstance(payloads, list) else []
    objects = [item for item in found if isinstance(item, dict)]
    return _enqueue(scope, taken, "enqueueJobs", objects)


def _enqueue(
    scope: Scope,
    taken: Taken,
    operation: Literal["enqueueJob", "enqueueJobs"],
    payloads: list[dict[str, object]],
) -> Mutation | None:
    argument = taken.get("jobType")
    job_type = (
        UNBOUND
        if argument is None
        else read_text(scope.below("jobType"), argument.value)
    )
    return Enqueue(
        operation=operation,
        job_type="" if job_type is UNBOUND else job_type,
        payloads=payloads,
        priority=_priority(scope, taken),
        max_retries=_retries(scope, taken),
        run_at=_run_at(scope, taken),
        unique_key=_unique_key(scope, taken),
        queue=_queue(scope, taken),
    )


def _priority(scope: Scope, taken: Taken) -> str:
    argument = taken.get("priority")
    if argument is None:
        return "NORMAL"
    here = scope.below("priority")
    word = read_word(here, argument.value)
    if word is UNBOUND:
        return "NORMAL"
    if word.upper() not in PRIORITIES:
        hint = scope.did_you_mean(word.upper(), PRIORITIES)
        hint = hint or f"write {', '.join(PRIORITIES)}"
        here.report(
            argument.value, f"{describe_value(argument.value)} is no priority", hint
        )
    return word.upper()


def _retries(scope: Scope, taken: Taken) -> int | None:
    argument = taken.get("maxRetries")
    if argument is None:
        return None
    number = read_count(scope.below("maxRetries"), argument.value)
    return None if number is UNBOUND else number


def _run_at(scope: Scope, taken: Taken) -> datetime | None:
    argument = taken.get("runAt")
    if argument is None:
        return None
    here = scope.below(argument.name)
    found = read_value(here, argument.value, FieldType.DATETIME)
    return found if isinstance(found, datetime) else None


def _unique_key(scope: Scope, taken: Taken) -> str | None:
    argument = taken.get("uniqueKey")
    if argument is None:
        return None
    found = read_value(scope.below("uniqueKey"), argument.value, FieldType.STRING)
    return found if isinstance(found, str) else None


def _queue(scope: Scope, taken: Taken) -> str:
    argument = taken.get("queue")
    if argument is None:
        return "default"
    name = read_text(scope.below("queue"), argument.value)
    return "default" if name is UNBOUND else name


MUTATIONS: Final[dict[str, Callable[[Scope, tree.Field], Mutation | None]]] = {
    "insertInto": _insert_into,
    "insertMany": _insert_many,
    "update": _update,
    "upsert": _upsert,
    "deleteFrom": _delete_from,
    "enqueueJob": _enqueue_job,
    "enqueueJobs": _enqueue_jobs,
}
"""Each root field of a mutation with its reader."""
