"""``aurora watch``: changes as they happen, one JSON object a line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TypeAlias

from aurora_actors import blocking
from aurora_actors.cli.opening import opened
from aurora_actors.cli.output import Output
from aurora_actors.client.aql_results import json_text
from aurora_actors.client.document import Document
from aurora_actors.client.updates import (
    Added,
    ChangeEvent,
    Modified,
    Removed,
    Update,
)
from aurora_actors.errors import UsageError
from aurora_actors.schema.types import FieldDefinition

__all__ = ["watch"]

_Feed: TypeAlias = AbstractContextManager[Iterator[object]]


def watch(given: argparse.Namespace, output: Output) -> int:
    """Print changes until interrupted."""
    del output  # the lines are the answer, with --json and without
    if given.where is not None and given.collection is None:
        raise UsageError("--where needs a collection")
    left = given.events
    with opened(given.path) as db, _feed(db, given) as events:
        for event in events:
            sys.stdout.write(json_text(_value(event)) + "\n")
            sys.stdout.flush()
            if left is not None:
                left -= 1
                if left <= 0:
                    return 0
    return 0


def _feed(db: blocking.Aurora, given: argparse.Namespace) -> _Feed:
    if given.collection is None:
        return db.listen_all(since=given.since)
    definition = db.collection_definition(given.collection)
    if given.where is None:
        return db.listen(given.collection, since=given.since)
    selection = _selection(definition.fields)
    text = (
        f"subscription @live {{ {given.collection}(where: {{{given.where}}}) "
        f"{{ id {selection} }} }}"
    )
    return db.stream(text, since=given.since)


def _selection(fields: Mapping[str, FieldDefinition]) -> str:
    """All declared fields, as a selection."""
    parts = []
    for name, field in fields.items():
        inner = field.field_type.fields
        parts.append(f"{name} {{ {_selection(inner)} }}" if inner else name)
    return " ".join(parts)


def _value(event: object) -> dict[str, object]:
    match event:
        case ChangeEvent():
            return {
                "event": event.change_type.name.lower(),
                "collection": event.collection,
                "id": event.id,
                "document": _plain(event.document),
                "old_document": _plain(event.old_document),
                "changed_fields": list(event.changed_fields or ()),
                "lsn": event.lsn,
                "token": event.token,
            }
        case Added(document=document) | Removed(document=document):
            return _update(event, document=_plain(document))
        case Modified(old=old, new=new):
            return _update(event, document=_plain(new), old_document=_plain(old))
        case Update():
            return _update(event)
    return {"event": type(event).__name__}


def _update(event: Update, **values: object) -> dict[str, object]:
    name = type(event).__name__
    return {"event": name, **values, "lsn": event.lsn, "token": event.token}


def _plain(document: object) -> object:
    return document.to_dict() if isinstance(document, Document) else document
