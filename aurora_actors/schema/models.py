"""Typed collections: a class as a collection's definition, its instances as documents.

Used in clients. A model is a ``msgspec.Struct``, a dataclass or a pydantic model. Its
fields are the collection's; one called ``id`` (text or UUID) is the document's id, not
a field. What is optional (``T | None``) is nullable, all else is not.

Types map as one expects; enumerations and literals become text or Int, sequences and
sets arrays, nested models objects, mappings objects with any fields, unions of
different types any value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any, Final, NamedTuple, TypeVar, cast
from uuid import UUID
from weakref import WeakKeyDictionary

import msgspec

from aurora_actors.errors import ValidationError
from aurora_actors.schema.annotations import (
    Indexed,
    ModelField,
    Unique,
    is_model,
    is_pydantic,
    model_fields,
)
from aurora_actors.schema.refusal import Refused
from aurora_actors.schema.types import CollectionDefinition, FieldDefinition, FieldType

__all__ = [
    "Indexed",
    "Unique",
    "collection_name",
    "definition_of",
    "from_document",
    "is_model",
    "to_fields",
]

T = TypeVar("T")

_WORD_START: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_AT_PATH: Final = re.compile(r" - at `\$\.?([^`]*)`\Z")


# What msgspec is to leave as it is, because documents hold it.
_DATA_TYPES: Final = (bytes, datetime, date, time, UUID)


class _Model(NamedTuple):
    """A model taken apart: the field that is the id, and the others."""

    document_id: ModelField | None
    fields: list[ModelField]


# Reading annotations is slow, and a model's never change.
_models: Final[WeakKeyDictionary[type, _Model]] = WeakKeyDictionary()


def _model(model: type) -> _Model:
    known = _models.get(model)
    if known is None:
        known = _models[model] = _take_apart(model)
    return known


def _take_apart(model: type) -> _Model:
    if not is_model(model):
        raise ValidationError(
            f"{model.__qualname__} is no model: use a msgspec.Struct, a dataclass or a "
            "pydantic model"
        )
    if issubclass(model, msgspec.Struct) and model.__struct_config__.array_like:
        raise ValidationError(f"{model.__qualname__} is array_like: it has no fields")
    fields = model_fields(model)
    document_id = next((field for field in fields if field.name == "id"), None)
    return _Model(document_id, [field for field in fields if field.name != "id"])


def collection_name(model: type) -> str:
    """The model's ``__collection__``, or its name in snake case with an ``s``."""
    name = getattr(model, "__collection__", None)
    if isinstance(name, str):
        return name
    return f"{_WORD_START.sub('_', model.__name__).lower()}s"


def definition_of(model: type, name: str | None = None) -> CollectionDefinition:
    """The definition of the collection that holds instances of ``model``.

    Args:
        model: A ``msgspec.Struct``, dataclass or pydantic model.
        name: The collection's name; :func:`collection_name` when not given.

    Raises:
        ValidationError: it is no model, or a field's type has no counterpart; ``path``
            names the field.
    """
    name = collection_name(model) if name is None else name
    document_id, fields = _model(model)
    try:
        if document_id is not None:
            _check_id_type(document_id)
        definitions = {field.name: _definition(field) for field in fields}
    except Refused as refused:
        raise refused.error(name) from None
    return CollectionDefinition(name, definitions)


def _definition(field: ModelField) -> FieldDefinition:
    try:
        return field.definition()
    except Refused as refused:
        raise refused.within(field.name) from None


def _check_id_type(field: ModelField) -> None:
    field_type = _definition(field).field_type
    if field_type not in (FieldType.STRING, FieldType.UUID):
        fault = f"must be str or UUID, not {field_type}"
        raise Refused(fault, expected="str", got=str(field_type)).within("id")


def to_fields(instance: object) -> tuple[str | None, dict[str, object]]:
    """The document that ``instance`` is: its id, if it has one, and its fields.

    An id that is ``None`` or empty is none. Fields with default values are written
    like others.

    Raises:
        ValidationError: it is no instance of a model, or holds what no document can.
    """
    model = _model(type(instance))
    try:
        if isinstance(instance, msgspec.Struct):
            fields = _struct_fields(instance, model)
        elif is_pydantic(type(instance)):
            fields = _plain(_dump(instance))
        else:
            fields = _plain(instance)
    except TypeError as exc:
        raise ValidationError(f"{type(instance).__qualname__}: {exc}") from exc
    document_id = fields.pop("id", None)
    return (str(document_id) if document_id else None), fields


def _dump(instance: Any) -> object:  # noqa: ANN401 - pydantic is not imported here
    # By Python names and without computed fields: what the model can be made of again.
    return instance.model_dump(by_alias=False, round_trip=True)


def _plain(value: object) -> dict[str, object]:
    plain: dict[str, object] = msgspec.to_builtins(value, builtin_types=_DATA_TYPES)
    return plain


def _struct_fields(instance: msgspec.Struct, model: _Model) -> dict[str, object]:
    # One by one, because a struct with omit_defaults would leave some of them out.
    found: dict[str, object] = {}
    fields = (
        model.fields
        if model.document_id is None
        else [model.document_id, *model.fields]
    )
    for field in fields:
        if not field.attribute:
            found[field.name] = instance.__struct_config__.tag
            continue
        value = getattr(instance, field.attribute)
        if value is not msgspec.UNSET:
            found[field.name] = msgspec.to_builtins(value, builtin_types=_DATA_TYPES)
    return found


def from_document(model: type[T], document_id: str, fields: Mapping[str, object]) -> T:
    """The instance of ``model`` that a document stands for.

    A field that is missing is the model's default, or null if it has none.

    Raises:
        ValidationError: the document does not fit; ``path`` is the field to blame.
    """
    plan = _model(model)
    data = dict(fields)
    for field in plan.fields:
        if not field.has_default and field.name not in data:
            data[field.name] = None
    if plan.document_id is not None:
        data["id"] = document_id
    try:
        if is_pydantic(model):
            return cast("T", _validate(model, data))
        return msgspec.convert(data, type=model)
    except ValueError as exc:
        raise _misfit(model, document_id, exc) from exc


def _validate(model: Any, data: dict[str, object]) -> object:  # noqa: ANN401 - see _dump
    if any(info.validation_alias is not None for info in model.model_fields.values()):
        return model.model_validate(data, by_alias=False, by_name=True)
    return model.model_validate(data)


def _misfit(model: type, document_id: str, exc: ValueError) -> ValidationError:
    """Say which field of the document did not fit; both libraries know, each its way."""
    text, path = str(exc), ""
    if found := _AT_PATH.search(text):
        text, path = text[: found.start()], found[1]
    elif errors := getattr(exc, "errors", None):
        first = errors()[0]
        text, path = first["msg"], ".".join(map(str, first["loc"]))
    where = f" field {path!r}:" if path else ""
    return ValidationError(
        f"document {document_id!r} is no {model.__qualname__}:{where} {text}",
        id=document_id,
        path=path or None,
    )
