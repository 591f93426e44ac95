"""Updates and change events as JSON, the same for server-sent events and WebSockets."""

from __future__ import annotations

from typing import Any

import msgspec

from aurora_actors.client.aql_stream import SubscriptionEvent
from aurora_actors.client.database import Aurora
from aurora_actors.client.document import Document
from aurora_actors.client.updates import (
    Added,
    ChangeEvent,
    ChangeType,
    Heartbeat,
    HistoryLost,
    InitialComplete,
    Modified,
    Removed,
    Update,
)
from aurora_actors.errors import CollectionNotFoundError, UsageError
from aurora_actors.http.wire import Fields, document_out

__all__ = ["FieldsByName", "change_out", "kinds_of", "subscribed_out", "update_out"]


def update_out(update: Update, fields: Fields) -> dict[str, Any]:
    """An update of a watch: its ``type``, ``lsn``, and what it says."""
    body: dict[str, Any] = {"type": _NAMES[type(update)], "lsn": update.lsn}
    match update:
        case Added(document=document, position=position):
            body["document"] = document_out(document, fields)
        case Modified(old=old, new=new, position=position):
            body["document"] = document_out(new, fields)
            body["old"] = document_out(old, fields)
        case Removed(document=document):
            body["document"], position = document_out(document, fields), None
        case _:
            position = None
    if position is not None:
        body["position"] = position
    return body


_NAMES = {
    Added: "added",
    Modified: "modified",
    Removed: "removed",
    InitialComplete: "initial_complete",
    HistoryLost: "history_lost",
    Heartbeat: "heartbeat",
}


def subscribed_out(event: SubscriptionEvent | Update) -> dict[str, Any]:
    """An event of an AQL subscription; its values are as in AQL results."""
    if isinstance(event, SubscriptionEvent):
        body = {**event.to_dict(), "lsn": event.lsn}
        body["type"] = event.type.lower()
    else:
        body = update_out(event, {})
    shown: dict[str, Any] = msgspec.to_builtins(body)
    return shown


class FieldsByName:
    """The fields of collections, as they were when first asked for."""

    def __init__(self, db: Aurora) -> None:
        self._db = db
        self._known: dict[str, Fields] = {}

    async def of(self, collection: str) -> Fields:
        """The fields of one; none for a collection that has gone."""
        if collection not in self._known:
            try:
                definition = await self._db.collection_definition(collection)
            except CollectionNotFoundError:
                return {}
            self._known[collection] = definition.fields
        return self._known[collection]

    def forget(self, collection: str) -> None:
        """It has been dropped or made anew."""
        self._known.pop(collection, None)


async def change_out(event: ChangeEvent, fields: FieldsByName) -> dict[str, Any]:
    """A change: what it did to which document, before and after."""
    if event.change_type in {ChangeType.CREATE_COLLECTION, ChangeType.DROP_COLLECTION}:
        fields.forget(event.collection)
    known = await fields.of(event.collection)
    return {
        "type": event.change_type.name.lower(),
        "collection": event.collection,
        "id": event.id,
        "lsn": event.lsn,
        "document": _out(event.document, known),
        "old": _out(event.old_document, known),
        "changed": sorted(event.changed_fields),
    }


def _out(document: Document | None, fields: Fields) -> dict[str, object] | None:
    return None if document is None else document_out(document, fields)


def kinds_of(names: list[str]) -> list[ChangeType]:
    """The kinds of change called ``names``.

    Raises:
        UsageError: there is no such kind.
    """
    try:
        return [ChangeType[name.upper()] for name in names]
    except KeyError as exc:
        known = ", ".join(kind.name.lower() for kind in ChangeType)
        raise UsageError(f"kinds of change are {known}, not {exc}") from exc
