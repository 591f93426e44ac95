"""From what callers hand in to what travels: names, ids, documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from aurora_actors.errors import UsageError, ValidationError
from aurora_actors.schema.ids import check_id, new_id, new_ids
from aurora_actors.schema.models import collection_name, to_fields
from aurora_actors.schema.types import check_collection_name
from aurora_actors.schema.values import encode_document

__all__ = [
    "Encoded",
    "encode",
    "encode_all",
    "encode_fields",
    "encode_variables",
    "name_of",
]

_MAX_KNOWN: Final = 1000
# Names do not stop being names; checking one at each call costs as much as a read.
_known: Final[dict[str | type, str]] = {}


class Encoded(NamedTuple):
    """A document on its way in."""

    id: str
    body: bytes


def name_of(collection: str | type) -> str:
    """The collection's name: as given, or the one of a model.

    Raises:
        ValidationError: it is neither a name nor a model.
    """
    try:
        return _known[collection]
    except (KeyError, TypeError):
        pass
    if isinstance(collection, type):
        name = collection_name(collection)
    else:
        name = check_collection_name(collection, allow_system=True)
    if len(_known) < _MAX_KNOWN:
        _known[collection] = name
    return name


def encode_variables(variables: object) -> bytes:
    """Encode the variables of a text; nothing when there are none.

    Raises:
        UsageError: they are not given by name.
        ValidationError: one holds what no document can.
    """
    if not variables:
        return b""
    if not isinstance(variables, Mapping):
        kind = type(variables).__name__
        raise UsageError(f"variables are given by name, in a mapping, not in a {kind}")
    return encode_document({**variables})


def encode(document: object) -> Encoded:
    """Encode one document, giving it an id if it has none.

    Raises:
        ValidationError: it is neither a mapping nor an instance of a model, or holds
            what no document can.
    """
    if type(document) is dict and "id" not in document:
        return Encoded(new_id(), encode_document(document))
    chosen, fields = _parts(document)
    document_id = new_id() if chosen is None else _checked(chosen)
    return Encoded(document_id, encode_document(fields))


def encode_all(documents: Sequence[object]) -> tuple[list[str], list[bytes]]:
    """Encode many documents: their ids and their bodies, in order."""
    bodies: list[bytes] = []
    ids = new_ids(len(documents))
    for index, document in enumerate(documents):
        if type(document) is dict and "id" not in document:
            bodies.append(encode_document(document))
            continue
        chosen, fields = _parts(document)
        if chosen is not None:
            ids[index] = _checked(chosen)
        bodies.append(encode_document(fields))
    return ids, bodies


def encode_fields(document: object) -> bytes:
    """Encode a document whose id is given elsewhere; its own ``id`` is left out."""
    return encode_document(_parts(document)[1])


def _parts(document: object) -> tuple[object, Mapping[str, object]]:
    if not isinstance(document, Mapping):
        return to_fields(document)
    if "id" not in document:
        return None, document
    fields = {name: value for name, value in document.items() if name != "id"}
    return document["id"], fields


def _checked(chosen: object) -> str:
    if isinstance(chosen, UUID):
        return str(chosen)
    if not isinstance(chosen, str):
        raise ValidationError(
            f"an id must be text, not {type(chosen).__name__}", path="id"
        )
    return check_id(chosen)
