from __future__ import annotations

import msgspec
import pytest

from aurora_actors.errors import ValidationError
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    Kind,
    check_collection_name,
    decode_definition,
    encode_definition,
)

NUMBER, TEXT = FieldDefinition(FieldType.INT), FieldDefinition(FieldType.STRING)
ADDRESS = FieldType.object({"city": FieldType.STRING, "zip": FieldType.STRING})


def definition_with(field, name="f"):
    return CollectionDefinition("things", {name: field})


def test_every_kind_but_array_has_a_constant_of_its_name():
    for kind in Kind:
        if kind is not Kind.ARRAY:
            assert getattr(FieldType, kind.name) == FieldType(kind)


@pytest.mark.parametrize(
    ("field_type", "text"),
    [
        (FieldType.STRING, "String"),
        (FieldType.BOOL, "Boolean"),
        (FieldType.UUID, "Uuid"),
        (FieldType.DATETIME, "DateTime"),
        (FieldType.array(FieldType.INT), "[Int]"),
        (FieldType.array(FieldType.array(FieldType.ANY)), "[[Any]]"),
        (FieldType.OBJECT, "Object"),
        (FieldType.object({"city": FieldType.STRING}), "{city: String}"),
        (
            FieldType.object({"n": FieldDefinition(FieldType.INT, nullable=False)}),
            "{n: Int!}",
        ),
    ],
)
def test_a_type_prints_as_aql_spells_it(field_type, text):
    assert str(field_type) == text


def test_a_field_definition_takes_its_type_first_and_the_rest_by_name():
    field = FieldDefinition(FieldType.STRING, unique=True)

    assert (field.unique, field.indexed, field.nullable) == (True, False, True)
    with pytest.raises(TypeError):
        FieldDefinition(FieldType.STRING, True)  # type: ignore[call-arg]  # on purpose


def test_a_bare_type_stands_for_a_field_without_options():
    definition = definition_with(FieldType.INT)

    assert definition.fields == {"f": FieldDefinition(FieldType.INT)}


def test_definitions_are_equal_whatever_the_order_of_their_fields():
    one = CollectionDefinition("c", {"a": NUMBER, "b": TEXT})
    other = CollectionDefinition("c", {"b": TEXT, "a": NUMBER})

    assert one == other
    assert one != CollectionDefinition("c", one.fields, open=True)


def test_a_definition_survives_its_encoding_with_the_order_of_its_fields():
    definition = CollectionDefinition(
        "users",
        {
            "name": FieldDefinition(FieldType.STRING, nullable=False),
            "email": FieldDefinition(FieldType.STRING, unique=True),
            "age": FieldDefinition(FieldType.INT, indexed=True),
            "addresses": FieldDefinition(FieldType.array(ADDRESS)),
            "anything": FieldDefinition(FieldType.ANY),
        },
        open=True,
    )

    decoded = decode_definition(encode_definition(definition))

    assert decoded == definition
    assert list(decoded.fields) == list(definition.fields)


@pytest.mark.parametrize(
    "field_type",
    [
        FieldType.ANY,
        FieldType.OBJECT,
        ADDRESS,
        FieldType.array(FieldType.STRING),
    ],
)
def test_a_field_that_is_no_scalar_cannot_be_unique(field_type):
    with pytest.raises(ValidationError, match="'f' cannot be unique") as caught:
        definition_with(FieldDefinition(field_type, unique=True))

    assert caught.value.path == "f"
    assert caught.value.context["collection"] == "things"


def test_a_field_of_a_nested_object_cannot_be_unique():
    inner = FieldType.object({"zip": FieldDefinition(FieldType.STRING, unique=True)})

    with pytest.raises(ValidationError, match="only top-level") as caught:
        definition_with(FieldDefinition(FieldType.array(inner)))

    assert caught.value.path == "f.zip"


@pytest.mark.parametrize("name", ["", "a.b", "id", "\ud800"])
def test_a_field_needs_a_proper_name(name):
    with pytest.raises(ValidationError, match="field"):
        definition_with(FieldType.INT, name=name)


def test_a_nested_field_may_be_called_id():
    definition_with(FieldType.object({"id": FieldType.INT}))


def nested(levels):
    field_type = FieldType.INT
    for _ in range(levels):
        field_type = FieldType.array(field_type)
    return field_type


def test_types_nest_as_deep_as_documents_do():
    definition_with(nested(31))
    with pytest.raises(ValidationError, match="32 levels"):
        definition_with(nested(32))


def test_objects_count_as_levels_too():
    field_type = FieldType.INT
    for _ in range(31):
        field_type = FieldType.object({"o": field_type})
    definition_with(field_type)
    with pytest.raises(ValidationError, match="32 levels") as caught:
        definition_with(FieldType.object({"o": field_type}))
    assert caught.value.path is not None


@pytest.mark.parametrize(
    "field_type",
    [
        FieldType(Kind.ARRAY),
        FieldType(Kind.STRING, of=FieldType.INT),
        FieldType(Kind.STRING, fields={}),
        FieldType.array(FieldType(Kind.ARRAY)),
    ],
)
def test_a_type_that_contradicts_itself_is_refused(field_type):
    with pytest.raises(ValidationError, match="'f' is"):
        definition_with(field_type)


@pytest.mark.parametrize("name", ["a", "_a", "Users2", "a" * 64])
def test_a_proper_name_of_a_collection_passes(name):
    assert check_collection_name(name) == name


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a.b", "ü", "a" * 65, "a\n", None])
def test_another_name_of_a_collection_is_refused(name):
    with pytest.raises(ValidationError, match="cannot name a collection"):
        check_collection_name(name)


def test_names_of_the_database_s_own_are_kept_from_users():
    with pytest.raises(ValidationError, match="kept for the database"):
        check_collection_name("_sys_jobs")

    assert check_collection_name("_sys_jobs", allow_system=True) == "_sys_jobs"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x80",
        msgspec.msgpack.encode({"name": "c", "fields": {}, "what": 1}),
        msgspec.msgpack.encode({"name": "c", "fields": {"a": {"field_type": {}}}}),
        msgspec.msgpack.encode({"name": "c-d", "fields": {}}),
        msgspec.msgpack.encode(
            {"name": "c", "fields": {"id": {"field_type": {"kind": "Int"}}}}
        ),
        b"\x82\xa4name\xa1c\xa6fields\x81\xa1a\x81\xaafield_type"
        + b"\x82\xa4kind\xa5Array\xa2of" * 3000,
    ],
)
def test_bytes_that_are_no_definition_are_refused(data):
    with pytest.raises(ValidationError):
        decode_definition(data)
