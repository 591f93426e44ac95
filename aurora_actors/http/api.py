"""The endpoints of the REST interface: one table for routing and for its description."""

from __future__ import annotations

from typing import Final

from aurora_actors.client.tokens import Role
from aurora_actors.http import collections, documents, live, observe
from aurora_actors.http.routing import Endpoint, Parameter

__all__ = ["ENDPOINTS"]

_WHERE: Final = Parameter("where", 'A condition as JSON: {"age": {"gte": 18}}')
_ORDER: Final = Parameter(
    "order", "Fields to sort by, with - for descending: -age,name"
)
_SELECT: Final = Parameter("select", "Only these fields, separated by commas")
_LIMIT: Final = Parameter("limit", "At most so many; 100 if not given", "integer")
_OFFSET: Final = Parameter("offset", "Leave out so many", "integer")
_SINCE: Final = Parameter("since", "A resume token, as the Last-Event-ID header")
_TYPES: Final = Parameter("types", "Only these kinds: insert,update,delete")

_DOCS: Final = "/collections/{collection}/docs"
_DOC: Final = "/collections/{collection}/docs/{id}"
_JSON: Final = "application/json"
_LINES: Final = "application/x-ndjson"
_EVENTS: Final = "text/event-stream"

ENDPOINTS: Final = (
    Endpoint("GET", "/health", observe.health, Role.NONE, (200, "It is alive")),
    Endpoint("GET", "/ready", observe.ready, Role.NONE, (200, "All processes serve")),
    Endpoint(
        "GET",
        "/metrics",
        observe.metrics,
        Role.READ,
        (200, "Samples"),
        streams="text/plain",
    ),
    Endpoint("GET", "/tree", observe.tree, Role.READ, (200, "The processes")),
    Endpoint(
        "GET",
        "/collections",
        collections.list_collections,
        Role.READ,
        (200, "The collections"),
    ),
    Endpoint(
        "POST",
        "/collections",
        collections.define_collection,
        Role.ADMIN,
        (201, "The collection, made anew; 200 when it was there"),
        body=_JSON,
    ),
    Endpoint(
        "GET",
        "/collections/{collection}",
        collections.describe_collection,
        Role.READ,
        (200, "The collection"),
    ),
    Endpoint(
        "DELETE",
        "/collections/{collection}",
        collections.drop_collection,
        Role.ADMIN,
        (204, "It is gone"),
    ),
    Endpoint(
        "GET",
        _DOCS,
        documents.list_documents,
        Role.READ,
        (200, "The documents"),
        (
            _WHERE,
            _ORDER,
            _SELECT,
            _LIMIT,
            _OFFSET,
            Parameter("count", "true: also count all that match", "boolean"),
        ),
    ),
    Endpoint(
        "POST",
        _DOCS,
        documents.create_documents,
        Role.WRITE,
        (201, "The id, or the ids"),
        body=_JSON,
    ),
    Endpoint(
        "POST",
        "/collections/{collection}/import",
        documents.import_documents,
        Role.WRITE,
        (200, "How many were inserted"),
        body=_LINES,
    ),
    Endpoint(
        "GET",
        "/collections/{collection}/export",
        documents.export_documents,
        Role.READ,
        (200, "One document a line"),
        (_WHERE, _ORDER, _SELECT, Parameter("limit", "At most so many", "integer")),
        streams=_LINES,
    ),
    Endpoint("GET", _DOC, documents.read_document, Role.READ, (200, "The document")),
    Endpoint(
        "PUT",
        _DOC,
        documents.put_document,
        Role.WRITE,
        (200, "The document; 201 when it is new"),
        body=_JSON,
    ),
    Endpoint(
        "PATCH",
        _DOC,
        documents.change_document,
        Role.WRITE,
        (200, "The document"),
        body=_JSON,
    ),
    Endpoint(
        "DELETE", _DOC, documents.remove_document, Role.WRITE, (204, "It is gone")
    ),
    Endpoint(
        "GET",
        "/collections/{collection}/watch",
        live.watch_query,
        Role.READ,
        (200, "added, modified, removed, initial_complete, heartbeat"),
        (
            _WHERE,
            _ORDER,
            _SELECT,
            Parameter("limit", "At most so many", "integer"),
            _OFFSET,
            _SINCE,
            Parameter("debounce", "Seconds between two looks", "number"),
        ),
        streams=_EVENTS,
    ),
    Endpoint(
        "GET",
        "/collections/{collection}/changes",
        live.listen_collection,
        Role.READ,
        (200, "insert, update, delete"),
        (_TYPES, Parameter("fields", "Only when one of these changed"), _SINCE),
        streams=_EVENTS,
    ),
    Endpoint(
        "GET",
        "/changes",
        live.listen_everything,
        Role.READ,
        (200, "insert, update, delete, create_collection, drop_collection"),
        (_TYPES, _SINCE),
        streams=_EVENTS,
    ),
)
