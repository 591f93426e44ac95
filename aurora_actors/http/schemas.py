"""The JSON schemas of request bodies and answers, for the description of the API."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

__all__ = ["COMPONENTS", "JsonSchema", "listed", "ref"]

JsonSchema: TypeAlias = dict[str, Any]


def ref(name: str) -> JsonSchema:
    """A reference to one of :data:`COMPONENTS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def listed(name: str, of: JsonSchema) -> JsonSchema:
    """An object with one list in it."""
    return _object({name: {"type": "array", "items": of}}, [name])


def _object(
    properties: dict[str, JsonSchema], required: list[str], **more: object
) -> JsonSchema:
    found: JsonSchema = {"type": "object", "properties": properties, **more}
    return {**found, "required": required} if required else found


_TEXT: Final[JsonSchema] = {"type": "string"}
_FLAG: Final[JsonSchema] = {"type": "boolean"}
_COUNT: Final[JsonSchema] = {"type": "integer", "minimum": 0}
_ANYTHING: Final[JsonSchema] = {"type": "object", "additionalProperties": True}
_NAMES: Final[JsonSchema] = {"type": "array", "items": _TEXT}
_FIELDS: Final[JsonSchema] = {"type": "object", "additionalProperties": ref("Field")}
_ROLE: Final[JsonSchema] = {"enum": ["none", "read", "write", "admin"]}
_ROLES: Final[JsonSchema] = {"type": "object", "additionalProperties": _ROLE}
_PRIORITY: Final[JsonSchema] = {"enum": ["low", "normal", "high", "critical"]}
_STATUS: Final[JsonSchema] = {
    "enum": ["pending", "running", "completed", "failed", "dead_letter", "cancelled"]
}

COMPONENTS: Final[dict[str, JsonSchema]] = {
    "Problem": _object(
        {
            "type": _TEXT,
            "title": _TEXT,
            "status": {"type": "integer"},
            "code": _TEXT,
            "detail": _TEXT,
            "retryable": _FLAG,
            "context": {"type": "object"},
        },
        ["title", "status", "code", "detail", "retryable"],
    ),
    "Document": _object({"id": _TEXT}, ["id"], additionalProperties=True),
    "NewDocuments": {
        "oneOf": [_ANYTHING, {"type": "array", "items": _ANYTHING}],
    },
    "Fields": _ANYTHING,
    "Created": {
        "oneOf": [_object({"id": _TEXT}, ["id"]), _object({"ids": _NAMES}, ["ids"])],
    },
    "Field": _object(
        {
            "type": {"oneOf": [_TEXT, _FIELDS]},
            "unique": _FLAG,
            "indexed": _FLAG,
            "nullable": _FLAG,
        },
        [],
    ),
    "Collection": _object(
        {"name": _TEXT, "open": _FLAG, "count": _COUNT, "fields": _FIELDS},
        ["name", "open", "count", "fields"],
    ),
    "NewCollection": _object(
        {
            "name": {**_TEXT, "pattern": "^[A-Za-z][A-Za-z0-9_]{0,63}$"},
            "open": _FLAG,
            "fields": _FIELDS,
        },
        ["name"],
        additionalProperties=False,
    ),
    "CollectionChanges": _object(
        {
            "add": _FIELDS,
            "modify": _FIELDS,
            "rename": {"type": "object", "additionalProperties": _TEXT},
            "drop": _NAMES,
        },
        [],
        additionalProperties=False,
    ),
    "NewIndex": _object({"fields": _NAMES}, ["fields"], additionalProperties=False),
    "Index": _object(
        {
            "fields": _NAMES,
            "kind": {"enum": ["unique", "ordered", "bitmap"]},
            "is_declared": _FLAG,
            "is_ready": _FLAG,
            "entries": {"type": ["integer", "null"]},
        },
        ["fields", "kind", "is_declared", "is_ready"],
    ),
    "Text": _object(
        {
            "query": _TEXT,
            "variables": {"type": ["object", "null"]},
            "explain": _FLAG,
        },
        ["query"],
        additionalProperties=False,
    ),
    "Results": {
        "oneOf": [
            _object(
                {"data": _ANYTHING, "results": {"type": "array", "items": _ANYTHING}},
                ["data", "results"],
            ),
            _object({"plans": {"type": "array", "items": _ANYTHING}}, ["plans"]),
        ]
    },
    "NewToken": _object(
        {
            "name": {**_TEXT, "pattern": "^[A-Za-z0-9_-]{1,64}$"},
            "role": _ROLE,
            "collections": _ROLES,
            "expires_s": {"type": ["number", "null"]},
        },
        ["name"],
        additionalProperties=False,
    ),
    "Token": _object(
        {
            "name": _TEXT,
            "role": _ROLE,
            "collections": _ROLES,
            "created": {"type": "string", "format": "date-time"},
            "expires": {"type": ["string", "null"]},
        },
        ["name", "role"],
    ),
    "Granted": _object(
        {"name": _TEXT, "role": _ROLE, "collections": _ROLES}, ["name", "role"]
    ),
    "NewJob": _object(
        {
            "job_type": {**_TEXT, "minLength": 1},
            "payload": _ANYTHING,
            "queue": _TEXT,
            "priority": _PRIORITY,
            "max_retries": _COUNT,
            "timeout_s": {"type": "number", "minimum": 0},
            "run_at": {"type": ["string", "null"], "format": "date-time"},
            "delay_s": {"type": "number", "minimum": 0},
            "unique_key": _TEXT,
        },
        ["job_type"],
        additionalProperties=False,
    ),
    "Job": _object(
        {
            "id": _TEXT,
            "job_type": _TEXT,
            "status": _STATUS,
            "queue": _TEXT,
            "payload": _ANYTHING,
            "priority": _PRIORITY,
            "attempt": _COUNT,
            "max_retries": _COUNT,
            "error": {"type": ["string", "null"]},
            "errors": {"type": "array", "items": _ANYTHING},
        },
        ["id", "job_type", "status", "queue"],
    ),
    "Queues": _object(
        {
            "queues": {"type": "object", "additionalProperties": _ANYTHING},
            "workers": _COUNT,
        },
        ["queues", "workers"],
    ),
    "Tree": _object(
        {
            "lsn": _COUNT,
            "clients": _COUNT,
            "actors": {"type": "array", "items": _ANYTHING},
        },
        ["lsn", "actors"],
    ),
}
