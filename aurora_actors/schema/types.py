"""What a collection may hold: field types, field definitions, collection definitions.

Pure data without behaviour beyond its own soundness; used in every process. A
definition is checked as a whole when it is made *and* when it is decoded, so a
:class:`CollectionDefinition` that exists is a valid one:

* field names are not empty and contain no ``"."``; at the top level none is ``"id"``,
  because that is the name of the document's own id;
* ``unique`` stands only on top-level fields of a scalar type;
* types nest no deeper than documents may (:data:`MAX_DEPTH`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import ClassVar, Final, TypeAlias

import msgspec

from aurora_actors.errors import ValidationError

__all__ = [
    "HIDDEN",
    "INT_MAX",
    "INT_MIN",
    "MAX_DEPTH",
    "SHADOW_PREFIX",
    "SYSTEM_PREFIX",
    "TOKENS",
    "CollectionDefinition",
    "FieldDefinition",
    "FieldType",
    "Fields",
    "Kind",
    "check_collection_name",
    "declared_type",
    "decode_definition",
    "encode_definition",
    "field_name_fault",
]

MAX_DEPTH: Final = 32
"""Containers within each other, the document itself counted."""
INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
SYSTEM_PREFIX: Final = "_sys_"
SHADOW_PREFIX: Final = "_sys_shadow_"
"""Collections that are filled to take the place of others."""
TOKENS: Final = "_sys_tokens"
"""The collection of tokens."""
HIDDEN: Final = frozenset({TOKENS})
"""Collections whose documents nobody is shown, whatever the role: they hold secrets."""
_MOST_INDEXES: Final = 64
_MOST_INDEXED: Final = 8

_COLLECTION_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")


class Kind(Enum):
    """The sort of value a type stands for; the value is its name in AQL."""

    STRING = "String"
    INT = "Int"
    FLOAT = "Float"
    BOOL = "Boolean"
    UUID = "Uuid"
    DATETIME = "DateTime"
    DATE = "Date"
    TIME = "Time"
    BYTES = "Bytes"
    OBJECT = "Object"
    ARRAY = "Array"
    ANY = "Any"


_NEVER_UNIQUE: Final = frozenset({Kind.ANY, Kind.OBJECT, Kind.ARRAY})


class FieldType(
    msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True
):
    """The type of a field's values; take a constant, :meth:`array` or :meth:`object`.

    ``str()`` gives the type as AQL spells it: ``String``, ``[Int]``, ``{city: String}``.

    Attributes:
        kind: The sort of value.
        of: For an array, the type of its elements.
        fields: For an object with declared fields, these; ``None`` allows any.
    """

    STRING: ClassVar[FieldType]
    INT: ClassVar[FieldType]
    FLOAT: ClassVar[FieldType]
    BOOL: ClassVar[FieldType]
    UUID: ClassVar[FieldType]
    DATETIME: ClassVar[FieldType]
    DATE: ClassVar[FieldType]
    TIME: ClassVar[FieldType]
    BYTES: ClassVar[FieldType]
    OBJECT: ClassVar[FieldType]
    ANY: ClassVar[FieldType]

    kind: Kind
    of: FieldType | None = None
    fields: dict[str, FieldDefinition] | None = None

    @classmethod
    def array(cls, of: FieldType) -> FieldType:
        """A list whose elements are all of type ``of``; only ``ANY`` admits null."""
        return cls(Kind.ARRAY, of=of)

    @classmethod
    def object(cls, fields: Fields) -> FieldType:
        """A nested object with exactly these fields."""
        return cls(Kind.OBJECT, fields=_definitions(fields))

    def __str__(self) -> str:
        if self.kind is Kind.ARRAY:
            return f"[{self.of}]"
        if self.fields is None:
            return str(self.kind.value)
        inner = ", ".join(f"{name}: {field}" for name, field in self.fields.items())
        return f"{{{inner}}}"


class _Typed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    # A base of its own, because kw_only holds for all fields of one class.
    field_type: FieldType


class FieldDefinition(_Typed, frozen=True, kw_only=True, omit_defaults=True):
    """A field of a collection: ``FieldDefinition(FieldType.STRING, unique=True)``.

    Attributes:
        field_type: What values it holds.
        unique: No two documents have the same value; null is never the same.
        indexed: The field gets a secondary index.
        nullable: The field may be null or missing.
        default: The encoded value that an inserted document without the field gets
            (see ``schema.values.encode_value``); empty for none.
    """

    unique: bool = False
    indexed: bool = False
    nullable: bool = True
    default: bytes = b""

    def __str__(self) -> str:
        mark = "" if self.nullable else "!"
        unique = " @unique" if self.unique else ""
        indexed = " @indexed" if self.indexed else ""
        return f"{self.field_type}{mark}{unique}{indexed}"


Fields: TypeAlias = Mapping[str, FieldDefinition | FieldType]

for _kind in Kind:
    if _kind is not Kind.ARRAY:
        setattr(FieldType, _kind.name, FieldType(_kind))


class CollectionDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A collection's name and fields; two are equal whatever the order of the fields.

    A closed collection refuses fields that are not declared. An ``open`` one takes
    them as they are and checks the declared ones.

    Attributes:
        name: The name.
        fields: The declared fields.
        open: Whether others are taken, too.
        indexes: Indexes besides those of fields declared ``indexed``: the dotted names
            of the fields of each, in their order.

    Raises:
        ValidationError: the definition breaks a rule of this module; ``path`` names
            the field.
    """

    name: str
    fields: dict[str, FieldDefinition] = {}
    open: bool = False
    indexes: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        check_collection_name(self.name, allow_system=True)
        fields = _definitions(self.fields)
        msgspec.structs.force_setattr(self, "fields", fields)
        for path, fault in _faults(fields):
            raise ValidationError(
                f"collection {self.name}: field {path!r} {fault}",
                collection=self.name,
                path=path,
            )
        for index, fault in _index_faults(self):
            raise ValidationError(
                f"collection {self.name}: an index on {index} {fault}",
                collection=self.name,
                path=index,
            )


def _index_faults(definition: CollectionDefinition) -> Iterator[tuple[str, str]]:
    if len(definition.indexes) > _MOST_INDEXES:
        yield "so many fields", f"is one too many: {_MOST_INDEXES} can be"
    if len(set(definition.indexes)) < len(definition.indexes):
        yield "the same fields", "stands twice"
    for names in definition.indexes:
        shown = ", ".join(map(str, names))
        if not 1 <= len(names) <= _MOST_INDEXED or len(set(names)) < len(names):
            yield shown, f"takes 1 to {_MOST_INDEXED} different fields"
        for name in names:
            declared = declared_type(definition, name)
            if declared is None:
                yield shown, f"needs a field {name!r}, which there is not"
            elif len(names) > 1 and declared.kind is Kind.ARRAY:
                yield shown, f"cannot have the array {name} beside other fields"


def declared_type(definition: CollectionDefinition, path: str) -> FieldType | None:
    """The type at a dotted path: ``ANY`` where none is declared, ``None`` for no field."""
    fields: Mapping[str, FieldDefinition] | None = definition.fields
    found = FieldType(Kind.OBJECT) if definition.open else None
    for name in path.split("."):
        if field_name_fault(name, top_level=fields is definition.fields):
            return None
        field = None if fields is None else fields.get(name)
        if field is not None:
            found, fields = field.field_type, field.field_type.fields
        elif (
            found is not None
            and found.kind in (Kind.ANY, Kind.OBJECT)
            and (not found.fields)
        ):
            found, fields = FieldType(Kind.ANY), None
        else:
            return None
    return found


def _definitions(fields: Fields) -> dict[str, FieldDefinition]:
    return {
        name: FieldDefinition(field) if isinstance(field, FieldType) else field
        for name, field in fields.items()
    }


def field_name_fault(name: object, *, top_level: bool) -> str | None:
    """What is wrong with ``name`` as the name of a field, or ``None``."""
    if not isinstance(name, str):
        return f"has a name that is no text but {type(name).__name__}"
    if not name:
        return "has an empty name"
    if "." in name:
        return 'has a "." in its name, which is kept for paths'
    if _SURROGATE.search(name):
        return "has a lone surrogate in its name, which is no text"
    if top_level and name == "id":
        return "is the document's own id, which is not a field"
    return None


def _faults(
    fields: Mapping[str, FieldDefinition], parent: str = "", depth: int = 1
) -> Iterator[tuple[str, str]]:
    for name, field in fields.items():
        path = f"{parent}{name}"
        if fault := field_name_fault(name, top_level=depth == 1):
            yield path, fault
        if fault := _type_fault(field, depth):
            yield path, fault
            return
        inner, levels = _element(field.field_type)
        if inner.fields is not None:
            yield from _faults(inner.fields, f"{path}.", depth + levels + 1)


def _element(field_type: FieldType) -> tuple[FieldType, int]:
    """The type inside all arrays around it, and how many these are."""
    levels = 0
    while field_type.of is not None and levels <= MAX_DEPTH:
        field_type, levels = field_type.of, levels + 1
    return field_type, levels


def _type_fault(field: FieldDefinition, depth: int) -> str | None:
    inner, levels = _element(field.field_type)
    containers = levels + (inner.kind is Kind.OBJECT)
    if depth + containers > MAX_DEPTH:
        return f"is nested more than {MAX_DEPTH} levels deep"
    for kind in (field.field_type.kind, inner.kind):
        if (kind is Kind.ARRAY) != (kind is not inner.kind):
            return "is an array without a type for its elements"
    if inner.fields is not None and inner.kind is not Kind.OBJECT:
        return f"is of type {inner.kind.value}, which has no fields"
    if field.unique and field.field_type.kind in _NEVER_UNIQUE:
        return f"cannot be unique: {field.field_type} values have no unique index"
    if field.unique and depth > 1:
        return "cannot be unique: only top-level fields can"
    return None


def check_collection_name(name: str, *, allow_system: bool = False) -> str:
    """Return ``name`` if a collection may be called so.

    Args:
        name: A letter or underscore, then up to 63 letters, digits and underscores.
        allow_system: Also allow the prefix ``_sys_``, kept for the database's own.

    Raises:
        ValidationError: it may not.
    """
    if not isinstance(name, str) or not _COLLECTION_NAME.match(name):
        shown = repr(name)[:80]
        raise ValidationError(
            f"{shown} cannot name a collection: use a letter or underscore, then up to "
            "63 letters, digits and underscores",
            collection=shown,
        )
    if name.startswith(SYSTEM_PREFIX) and not allow_system:
        raise ValidationError(
            f"{name} cannot name a collection: names that start with {SYSTEM_PREFIX} "
            "are kept for the database",
            collection=name,
        )
    return name


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(CollectionDefinition)


def encode_definition(definition: CollectionDefinition) -> bytes:
    """Encode a definition for the wire and the catalog."""
    return _encoder.encode(definition)


def decode_definition(data: bytes | bytearray | memoryview) -> CollectionDefinition:
    """Decode and check a definition.

    Raises:
        ValidationError: ``data`` is no definition, or one that breaks a rule.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ValidationError(f"not a collection definition: {exc}") from exc
