"""From a Python class's annotations to field definitions.

Private to the schema package, used in clients. Reads msgspec structs, dataclasses and
pydantic models; pydantic is never imported from here, it is only recognised when the
application has it loaded.
"""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Iterable, Mapping, Sequence, Set as AbstractSet
from datetime import date, datetime, time
from enum import Enum
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NamedTuple,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)
from uuid import UUID

import msgspec

from aurora_actors.errors import ValidationError
from aurora_actors.schema.refusal import Refused, kind_of
from aurora_actors.schema.types import FieldDefinition, FieldType, Kind

__all__ = ["Indexed", "ModelField", "Unique", "is_model", "is_pydantic", "model_fields"]


class Unique:
    """Marks a field as unique: ``email: Annotated[str, Unique]``."""


class Indexed:
    """Marks a field for a secondary index: ``age: Annotated[int, Indexed]``."""


class ModelField(NamedTuple):
    """One field of a model.

    Attributes:
        name: Its name in documents.
        attribute: Its name in Python.
        annotation: As written, with ``Annotated`` kept.
        has_default: Whether the model can be made without it.
        may_be_left_out: Whether a nested instance may be encoded without it.
    """

    name: str
    attribute: str
    annotation: object
    has_default: bool
    may_be_left_out: bool = False

    def definition(self) -> FieldDefinition:
        """The field's definition.

        Raises:
            Refused: its type has no counterpart.
        """
        return _definition(self, ())


_SCALARS: Final[dict[object, FieldType]] = {
    str: FieldType.STRING,
    int: FieldType.INT,
    float: FieldType.FLOAT,
    bool: FieldType.BOOL,
    bytes: FieldType.BYTES,
    UUID: FieldType.UUID,
    datetime: FieldType.DATETIME,
    date: FieldType.DATE,
    time: FieldType.TIME,
    Any: FieldType.ANY,
    object: FieldType.ANY,
}
_ABSENT: Final = (type(None), None, msgspec.UnsetType)


# ------------------------------------------------------------------ models
def is_pydantic(model: type) -> bool:
    """Whether ``model`` is a pydantic model, without importing pydantic."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(model, pydantic.BaseModel)


def is_model(candidate: object) -> bool:
    """Whether ``candidate`` is a class with fields that can be read."""
    return isinstance(candidate, type) and (
        issubclass(candidate, msgspec.Struct)
        or dataclasses.is_dataclass(candidate)
        or is_pydantic(candidate)
    )


def model_fields(model: type) -> list[ModelField]:
    """The fields of a model in their order.

    Raises:
        ValidationError: an annotation names what cannot be found.
    """
    try:
        if issubclass(model, msgspec.Struct):
            return _struct_fields(model)
        if is_pydantic(model):
            return _pydantic_fields(model)
        return _dataclass_fields(model)
    except NameError as exc:
        raise ValidationError(
            f"the annotations of {model.__qualname__} cannot be read: {exc}; models "
            "and what they refer to must be defined at the top of a module"
        ) from exc


def _pydantic_fields(model: Any) -> list[ModelField]:  # noqa: ANN401 - not imported here
    hints = get_type_hints(model, include_extras=True)
    return [
        ModelField(name, name, hints[name], not info.is_required())
        for name, info in model.model_fields.items()
    ]


def _struct_fields(model: type[msgspec.Struct]) -> list[ModelField]:
    config = model.__struct_config__
    found = [
        ModelField(
            info.encode_name,
            info.name,
            info.type,
            not info.required,
            config.omit_defaults and not info.required,
        )
        for info in msgspec.structs.fields(model)
    ]
    if config.tag_field is not None:
        tag = type(config.tag)
        found.append(ModelField(config.tag_field, "", tag, has_default=False))
    return found


def _dataclass_fields(model: type) -> list[ModelField]:
    hints = get_type_hints(model, include_extras=True)
    missing = dataclasses.MISSING
    return [
        ModelField(
            f.name,
            f.name,
            hints[f.name],
            f.default is not missing or f.default_factory is not missing,
        )
        for f in dataclasses.fields(model)
    ]


# ------------------------------------------------------------------ annotations
class _Reading(NamedTuple):
    """An annotation taken apart: its alternatives without null, and its marks."""

    alternatives: tuple[object, ...]
    marks: frozenset[type]
    nullable: bool


def _read(annotation: object) -> _Reading:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *extras = get_args(annotation)
        marks = {
            mark
            for extra in extras
            for mark in (Unique, Indexed)
            if extra is mark or isinstance(extra, mark)
        }
        reading = _read(inner)
        return reading._replace(marks=reading.marks | marks)
    if origin is Union or origin is types.UnionType:
        readings = [_read(part) for part in get_args(annotation)]
        return _Reading(
            tuple(part for reading in readings for part in reading.alternatives),
            frozenset().union(*(reading.marks for reading in readings)),
            any(reading.nullable for reading in readings),
        )
    if annotation in _ABSENT:
        return _Reading((), frozenset(), nullable=True)
    for attribute in ("__supertype__", "__value__"):  # NewType, a type statement
        if not isinstance(annotation, type) and hasattr(annotation, attribute):
            return _read(getattr(annotation, attribute))
    return _Reading((annotation,), frozenset(), nullable=annotation in {Any, object})


def _definition(field: ModelField, seen: tuple[type, ...]) -> FieldDefinition:
    reading = _read(field.annotation)
    return FieldDefinition(
        _common_type(reading.alternatives, seen),
        unique=Unique in reading.marks,
        indexed=Indexed in reading.marks,
        nullable=reading.nullable or field.may_be_left_out,
    )


def _common_type(alternatives: Iterable[object], seen: tuple[type, ...]) -> FieldType:
    """The one type of all alternatives; ``ANY`` if they differ or there is none."""
    found: list[FieldType] = []
    for alternative in alternatives:
        field_type = _field_type(alternative, seen)
        if field_type not in found:
            found.append(field_type)
    if len(found) == 1:
        return found[0]
    if found in ([FieldType.INT, FieldType.FLOAT], [FieldType.FLOAT, FieldType.INT]):
        return FieldType.FLOAT
    return FieldType.ANY


def _field_type(annotation: object, seen: tuple[type, ...]) -> FieldType:
    if isinstance(annotation, type) and annotation in _SCALARS:
        return _SCALARS[annotation]
    if annotation is Any:
        return FieldType.ANY
    origin = get_origin(annotation)
    if origin is Literal:
        return _type_of_values(get_args(annotation))
    container = origin or annotation
    if isinstance(container, type):
        return _class_type(container, get_args(annotation), seen)
    raise _no_type(annotation)


def _class_type(
    cls: type, arguments: tuple[object, ...], seen: tuple[type, ...]
) -> FieldType:
    if issubclass(cls, Enum):
        return _type_of_values(member.value for member in cls)
    if issubclass(cls, Mapping):
        if arguments and _field_type(arguments[0], seen) != FieldType.STRING:
            raise Refused("has keys that are no text", expected="dict[str, ...]")
        return FieldType.OBJECT
    if is_model(cls):
        return _model_type(cls, seen)
    if issubclass(cls, (Sequence, AbstractSet)) and cls is not bytearray:
        parts = [part for part in arguments if part is not Ellipsis]
        readings = [_read(part) for part in parts]
        if any(reading.nullable for reading in readings):
            return FieldType.array(FieldType.ANY)
        inner = [part for reading in readings for part in reading.alternatives]
        return FieldType.array(_common_type(inner, seen))
    raise _no_type(cls)


def _model_type(cls: type, seen: tuple[type, ...]) -> FieldType:
    if cls in seen:  # a model within itself, of a depth we cannot know
        return FieldType.OBJECT
    if issubclass(cls, msgspec.Struct) and cls.__struct_config__.array_like:
        return FieldType.array(FieldType.ANY)
    definitions: dict[str, FieldDefinition] = {}
    for field in model_fields(cls):
        try:
            definitions[field.name] = _definition(field, (*seen, cls))
        except Refused as refused:
            raise refused.within(field.name) from None
    return FieldType.object(definitions)


def _type_of_values(values: Iterable[object]) -> FieldType:
    kinds = {kind_of(value) for value in values}
    if len(kinds) == 1 and (kind := kinds.pop()) in {Kind.STRING, Kind.INT}:
        return FieldType.STRING if kind is Kind.STRING else FieldType.INT
    raise Refused("must have values that are all text or all int")


def _no_type(annotation: object) -> Refused:
    name = getattr(annotation, "__qualname__", None) or repr(annotation)
    return Refused(f"is of type {name}, which no document can hold", got=name)
