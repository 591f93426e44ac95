"""The endpoints of the REST interface: one table for routing and for its description."""

from __future__ import annotations

from typing import Final

from aurora_actors.client.tokens import Role
from aurora_actors.http import aql, collections, documents, jobs, live, observe, tokens
from aurora_actors.http.routing import Endpoint, Handler, Parameter
from aurora_actors.http.schemas import JsonSchema, listed, ref

__all__ = ["ENDPOINTS"]

_WHERE: Final = Parameter("where", 'A condition as JSON: {"age": {"gte": 18}}')
_ORDER: Final = Parameter(
    "order", "Fields to sort by, with - for descending: -age,name"
)
_SELECT: Final = Parameter("select", "Only these fields, separated by commas")
_LIMIT: Final = Parameter("limit", "At most so many; 100 if not given", "integer")
_AT_MOST: Final = Parameter("limit", "At most so many", "integer")
_OFFSET: Final = Parameter("offset", "Leave out so many", "integer")
_COUNT: Final = Parameter("count", "true: also count all that match", "boolean")
_SINCE: Final = Parameter("since", "A resume token, as the Last-Event-ID header")
_TYPES: Final = Parameter("types", "Only these kinds: insert,update,delete")
_DEBOUNCE: Final = Parameter("debounce", "Seconds between two looks", "number")
_CHANGED: Final = Parameter("fields", "Only when one of these changed")
_TEXT: Final = Parameter("query", "The text of one subscription")
_VARIABLES: Final = Parameter("variables", "The values of its variables, as JSON")
_STATUS: Final = Parameter("status", "Only those of this status")
_QUEUE: Final = Parameter("queue", "Only those of this queue")
_KIND: Final = Parameter("type", "Only those of this type")

_COLLECTION: Final = "/collections/{collection}"
_DOCS: Final = f"{_COLLECTION}/docs"
_DOC: Final = f"{_COLLECTION}/docs/{{id}}"
_INDEXES: Final = f"{_COLLECTION}/indexes"
_JOB: Final = "/jobs/{job}"
_QUEUES: Final = "/queues/{queue}"
_LINES: Final = "application/x-ndjson"
_EVENTS: Final = "text/event-stream"


def _get(
    path: str,
    handler: Handler,
    group: str,
    gives: tuple[str, JsonSchema],
    *parameters: Parameter,
    role: Role = Role.READ,
) -> Endpoint:
    text, schema = gives
    return Endpoint(
        "GET",
        path,
        handler,
        role,
        (200, text),
        parameters,
        gives=schema,
        group=group,
    )


def _stream(
    path: str,
    handler: Handler,
    group: str,
    gives: tuple[str, str],
    *parameters: Parameter,
) -> Endpoint:
    text, kind = gives
    return Endpoint(
        "GET",
        path,
        handler,
        Role.READ,
        (200, text),
        parameters,
        streams=kind,
        group=group,
    )


def _send(
    method: str,
    path: str,
    handler: Handler,
    group: str,
    role: Role,
    answers: tuple[int, str, JsonSchema],
    takes: str,
    body: str = "application/json",
) -> Endpoint:
    status, text, schema = answers
    return Endpoint(
        method,
        path,
        handler,
        role,
        (status, text),
        body=body,
        takes=takes,
        gives=schema,
        group=group,
    )


def _order(
    path: str, handler: Handler, text: str, gives: JsonSchema | None = None
) -> Endpoint:
    return Endpoint(
        "POST", path, handler, Role.ADMIN, (200, text), gives=gives, group="Jobs"
    )


def _delete(path: str, handler: Handler, group: str, role: Role) -> Endpoint:
    return Endpoint("DELETE", path, handler, role, (204, "It is gone"), group=group)


_OBSERVE: Final = (
    _get(
        "/health",
        observe.health,
        "Operations",
        ("It is alive", {}),
        role=Role.NONE,
    ),
    _get(
        "/ready",
        observe.ready,
        "Operations",
        ("All processes serve", {}),
        role=Role.NONE,
    ),
    _stream("/metrics", observe.metrics, "Operations", ("Samples", "text/plain")),
    _get("/tree", observe.tree, "Operations", ("The processes", ref("Tree"))),
)

_COLLECTIONS: Final = (
    _get(
        "/collections",
        collections.list_collections,
        "Collections",
        ("The collections", listed("collections", ref("Collection"))),
    ),
    _send(
        "POST",
        "/collections",
        collections.define_collection,
        "Collections",
        Role.ADMIN,
        (201, "It, made anew; 200 when it was there", ref("Collection")),
        "NewCollection",
    ),
    _get(
        _COLLECTION,
        collections.describe_collection,
        "Collections",
        ("The collection", ref("Collection")),
    ),
    _send(
        "PATCH",
        _COLLECTION,
        collections.alter_collection,
        "Collections",
        Role.ADMIN,
        (200, "The collection, as it is now", ref("Collection")),
        "CollectionChanges",
    ),
    _delete(_COLLECTION, collections.drop_collection, "Collections", Role.ADMIN),
    _get(
        _INDEXES,
        collections.list_indexes,
        "Collections",
        ("The indexes", listed("indexes", ref("Index"))),
    ),
    _send(
        "POST",
        _INDEXES,
        collections.create_index,
        "Collections",
        Role.ADMIN,
        (201, "It is being made; 200 when it was there", ref("NewIndex")),
        "NewIndex",
    ),
    _delete(
        f"{_INDEXES}/{{fields}}", collections.drop_index, "Collections", Role.ADMIN
    ),
)

_DOCUMENTS: Final = (
    _get(
        _DOCS,
        documents.list_documents,
        "Documents",
        ("The documents", listed("documents", ref("Document"))),
        *(_WHERE, _ORDER, _SELECT, _LIMIT, _OFFSET, _COUNT),
    ),
    _send(
        "POST",
        _DOCS,
        documents.create_documents,
        "Documents",
        Role.WRITE,
        (201, "The id, or the ids", ref("Created")),
        "NewDocuments",
    ),
    _get(_DOC, documents.read_document, "Documents", ("The document", ref("Document"))),
    _send(
        "PUT",
        _DOC,
        documents.put_document,
        "Documents",
        Role.WRITE,
        (200, "The document; 201 when it is new", ref("Document")),
        "Fields",
    ),
    _send(
        "PATCH",
        _DOC,
        documents.change_document,
        "Documents",
        Role.WRITE,
        (200, "The document", ref("Document")),
        "Fields",
    ),
    _delete(_DOC, documents.remove_document, "Documents", Role.WRITE),
    _send(
        "POST",
        f"{_COLLECTION}/import",
        documents.import_documents,
        "Documents",
        Role.WRITE,
        (200, "How many were inserted", {}),
        "",
        _LINES,
    ),
    _stream(
        f"{_COLLECTION}/export",
        documents.export_documents,
        "Documents",
        ("One document a line", _LINES),
        *(_WHERE, _ORDER, _SELECT, _AT_MOST),
    ),
)

_AQL: Final = (
    # A token may have roles on single collections alone: the text decides.
    _send(
        "POST",
        "/aql",
        aql.execute_text,
        "AQL",
        Role.READ,
        (200, "All results", ref("Results")),
        "Text",
    ),
    _stream(
        "/aql/events",
        live.subscribe_text,
        "AQL",
        ("insert, update, delete; with @live what /watch gives", _EVENTS),
        *(_TEXT, _VARIABLES, _SINCE),
    ),
)

_LIVE: Final = (
    _stream(
        f"{_COLLECTION}/watch",
        live.watch_query,
        "Live",
        ("added, modified, removed, initial_complete, heartbeat", _EVENTS),
        *(_WHERE, _ORDER, _SELECT, _AT_MOST, _OFFSET, _SINCE, _DEBOUNCE),
    ),
    _stream(
        f"{_COLLECTION}/changes",
        live.listen_collection,
        "Live",
        ("insert, update, delete", _EVENTS),
        *(_TYPES, _CHANGED, _SINCE),
    ),
    _stream(
        "/changes",
        live.listen_everything,
        "Live",
        ("insert, update, delete, create_collection, drop_collection", _EVENTS),
        *(_TYPES, _SINCE),
    ),
)

_JOBS: Final = (
    _get(
        "/jobs",
        jobs.list_jobs,
        "Jobs",
        ("The jobs", listed("jobs", ref("Job"))),
        *(_STATUS, _QUEUE, _KIND, _LIMIT, _OFFSET),
        role=Role.WRITE,
    ),
    _send(
        "POST",
        "/jobs",
        jobs.enqueue_job,
        "Jobs",
        Role.WRITE,
        (201, "The id", {}),
        "NewJob",
    ),
    _get(_JOB, jobs.read_job, "Jobs", ("The job", ref("Job")), role=Role.WRITE),
    _order(f"{_JOB}/cancel", jobs.cancel_job, "The job", ref("Job")),
    _order(f"{_JOB}/retry", jobs.retry_job, "The job", ref("Job")),
    _get("/queues", jobs.read_queues, "Jobs", ("The queues", ref("Queues"))),
    _order(f"{_QUEUES}/retry", jobs.retry_dead_letters, "How many wait again"),
    _order(f"{_QUEUES}/pause", jobs.pause_queue, "It is paused"),
    _order(f"{_QUEUES}/resume", jobs.resume_queue, "It is not paused"),
)

_TOKENS: Final = (
    _get(
        "/whoami",
        tokens.who_am_i,
        "Tokens",
        ("The name and the roles", ref("Granted")),
        role=Role.READ,
    ),
    _get(
        "/tokens",
        tokens.list_tokens,
        "Tokens",
        ("The tokens", listed("tokens", ref("Token"))),
        role=Role.ADMIN,
    ),
    _send(
        "POST",
        "/tokens",
        tokens.create_token,
        "Tokens",
        Role.ADMIN,
        (201, "The token", {}),
        "NewToken",
    ),
    _delete("/tokens/{token}", tokens.revoke_token, "Tokens", Role.ADMIN),
)

ENDPOINTS: Final = (
    *_COLLECTIONS,
    *_DOCUMENTS,
    *_AQL,
    *_LIVE,
    *_JOBS,
    *_TOKENS,
    *_OBSERVE,
)
