"""What a result's rows look like, as data that travels with them.

Executors send documents as they are stored, or with only some of their fields; the
shape says what the caller is to see: aliases, nested selections, null for what is
missing. So a large result is taken apart once, by whoever wants it. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

__all__ = ["ALL_FIELDS", "Shape", "ShapeField", "Shaper", "shaper_of"]

Shaper: TypeAlias = Callable[[str, dict[str, object]], dict[str, object]]
_Value: TypeAlias = Callable[[object], object]


class Shape(msgspec.Struct, frozen=True, array_like=True):
    """What is seen of an object.

    Attributes:
        fields: Its parts, in order.
        every: Begin with all it has.
    """

    fields: tuple[ShapeField, ...] = ()
    every: bool = False


class ShapeField(msgspec.Struct, frozen=True, array_like=True):
    """One part: ``source`` under the name ``name``, and what is seen of it."""

    name: str
    source: str
    below: Shape | None = None


ALL_FIELDS = Shape((), True)
"""The whole document, its id included."""


def shaper_of(shape: Shape) -> Shaper:
    """A function of a document's id and fields that gives what is to be seen of it."""
    if shape.every:
        inner = _object_of(Shape(shape.fields))
        return lambda id_, fields: {"id": id_, **fields, **inner({"id": id_, **fields})}
    if all(field.below is None for field in shape.fields):
        return _flat([(field.name, field.source) for field in shape.fields])
    parts = _parts(shape)

    def deep(id_: str, fields: dict[str, object]) -> dict[str, object]:
        return {
            name: id_ if source == "id" else convert(fields.get(source))
            for name, source, convert in parts
        }

    return deep


def _flat(pairs: list[tuple[str, str]]) -> Shaper:
    if all(source != "id" for _, source in pairs):
        return lambda _, fields: {name: fields.get(source) for name, source in pairs}

    def flat(id_: str, fields: dict[str, object]) -> dict[str, object]:
        get = fields.get
        return {name: id_ if source == "id" else get(source) for name, source in pairs}

    return flat


def _parts(shape: Shape) -> list[tuple[str, str, _Value]]:
    return [
        (field.name, field.source, _value_of(field.below)) for field in shape.fields
    ]


def _value_of(below: Shape | None) -> _Value:
    if below is None:
        return lambda value: value
    inner = _object_of(below)

    def convert(value: object) -> object:
        if isinstance(value, dict):
            return inner(value)
        if isinstance(value, list | tuple):
            return [convert(item) for item in value]
        return None  # it was no object

    return convert


def _object_of(shape: Shape) -> Callable[[dict[str, object]], dict[str, object]]:
    parts = _parts(shape)
    every = shape.every

    def make(value: dict[str, object]) -> dict[str, object]:
        found = dict(value) if every else {}
        for name, source, convert in parts:
            found[name] = convert(value.get(source))
        return found

    return make
