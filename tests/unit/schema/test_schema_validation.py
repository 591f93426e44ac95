from __future__ import annotations

import struct
from datetime import UTC, date, datetime, time
from uuid import UUID

import msgspec
import pytest
from msgspec.msgpack import Ext

from aurora_actors.errors import ValidationError
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    FieldType,
)
from aurora_actors.schema.validation import DocumentValidator
from aurora_actors.schema.values import encode_document

T, F = FieldType, FieldDefinition
SOME_UUID = UUID("0190a0a0-0000-7000-8000-00000000002a")
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)

SCALARS = {
    "string": (T.STRING, "text"),
    "int": (T.INT, 5),
    "float": (T.FLOAT, 1.5),
    "bool": (T.BOOL, True),
    "uuid": (T.UUID, SOME_UUID),
    "datetime": (T.DATETIME, NOON),
    "date": (T.DATE, date(2026, 1, 2)),
    "time": (T.TIME, time(1, 2, 3)),
    "bytes": (T.BYTES, b"raw"),
}


def validator(fields, **options):
    return DocumentValidator(CollectionDefinition("users", fields, **options))


def refusal(fields, document, **options):
    """The error for a document, raw bytes, or what only msgpack can hold."""
    try:
        body = document if isinstance(document, bytes) else encode_document(document)
    except ValidationError:
        body = msgspec.msgpack.encode(document)
    with pytest.raises(ValidationError) as caught:
        validator(fields, **options).check(body)
    assert caught.value.context["collection"] == "users"
    assert str(caught.value).startswith("users: ")
    return caught.value


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("declared", SCALARS)
@pytest.mark.parametrize("given", SCALARS)
def test_a_field_takes_values_of_its_type_and_no_others(declared, given, is_open):
    field_type, value = SCALARS[declared][0], SCALARS[given][1]
    body = encode_document({"f": value})
    check = validator({"f": field_type}, open=is_open).check

    if declared == given or (declared, given) == ("float", "int"):
        check(body)
    else:
        with pytest.raises(ValidationError, match="'f' must be of type") as caught:
            check(body)
        assert caught.value.path == "f"
        assert caught.value.context["expected"] == str(field_type)
        assert str(caught.value.context["got"]).startswith(str(SCALARS[given][0]))


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("declared", SCALARS)
def test_array_elements_and_nested_fields_are_checked_alike(declared, is_open):
    field_type, good = SCALARS[declared]
    bad = 5 if declared not in {"int", "float"} else "text"
    array, nested = T.array(T.array(field_type)), T.object({"in": F(field_type)})
    fields = {"a": array, "o": T.array(nested)}
    check = validator(fields, open=is_open).check

    check(encode_document({"a": [[good, good], []], "o": [{"in": good}, {}]}))
    for document, path in [
        ({"a": [[good], [good, bad]]}, "a[1][1]"),
        ({"a": [bad]}, "a[0]"),
        ({"a": [[None]]}, "a[0][0]"),
        ({"o": [{"in": good}, {"in": bad}]}, "o[1].in"),
        ({"o": [{"on": good}]}, "o[0].on"),
        ({"o": [None]}, "o[0]"),
    ]:
        assert refusal(fields, document, open=is_open).path == path


def test_an_error_says_what_was_expected_and_what_came():
    error = refusal({"age": T.INT}, {"age": "31"})

    assert str(error) == "users: field 'age' must be of type Int, got String '31'"
    assert error.context == {
        "collection": "users",
        "path": "age",
        "expected": "Int",
        "got": "String '31'",
    }


def test_a_long_value_is_cut_in_the_error():
    assert len(str(refusal({"age": T.INT}, {"age": "x" * 10_000}))) < 200


def test_an_unknown_field_is_refused_with_the_nearest_name():
    fields = {"name": T.STRING, "email": F(T.STRING, nullable=False)}

    error = refusal(fields, {"name": "a", "emial": "b"})

    assert str(error) == "users: field 'emial' is not declared; did you mean 'email'?"
    assert error.path == "emial"
    assert error.context["suggestion"] == "email"


def test_an_unknown_field_unlike_all_others_gets_no_suggestion():
    error = refusal({"name": T.STRING}, {"zzz": 1})

    assert "did you mean" not in str(error)
    assert "suggestion" not in error.context


def test_a_nested_unknown_field_gets_a_suggestion_too():
    fields = {"address": T.object({"city": T.STRING, "zip": T.STRING})}

    error = refusal(fields, {"address": {"zap": "1"}})

    assert (error.path, error.context["suggestion"]) == ("address.zap", "zip")


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize(
    "field_type", [T.STRING, T.DATETIME, T.UUID, T.ANY, T.OBJECT, T.array(T.INT)]
)
def test_a_field_that_is_not_nullable_must_be_there(field_type, is_open):
    fields = {"f": F(field_type, nullable=False)}

    missing = refusal(fields, {}, open=is_open)
    null = refusal(fields, {"f": None}, open=is_open)

    assert (missing.path, missing.context["got"]) == ("f", "nothing")
    assert (null.path, null.context["got"]) == ("f", "null")
    assert null.context["expected"] == f"{field_type}!"


@pytest.mark.parametrize("is_open", [False, True])
def test_a_nullable_field_may_be_null_or_missing(is_open):
    types = [SCALARS[name][0] for name in SCALARS]
    types += [T.ANY, T.OBJECT, T.array(T.UUID), T.object({"a": F(T.UUID)})]
    fields = {f"f{i}": field_type for i, field_type in enumerate(types)}
    check = validator(fields, open=is_open).check

    check(encode_document({}))
    check(encode_document(dict.fromkeys(fields)))


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize(
    ("field_type", "value", "path"),
    [
        (T.INT, 2**63, "f"),
        (T.FLOAT, 2**63, "f"),
        (T.FLOAT, float("nan"), "f"),
        (T.FLOAT, float("inf"), "f"),
        (T.FLOAT, float("-inf"), "f"),
        (T.array(T.INT), [1, 2**64 - 1], "f[1]"),
        (T.array(T.FLOAT), [1, float("nan")], "f[1]"),
        (T.object({"i": T.INT}), {"i": 2**63}, "f.i"),
        (T.ANY, 2**63, "f"),
        (T.ANY, {"a": [0, {"b": 2**63}]}, "f.a[1].b"),
        (T.OBJECT, {"a": float("nan")}, "f.a"),
        (T.array(T.OBJECT), [{}, {"a": 2**63}], "f[1].a"),
        (T.ANY, {"a.b": 1}, "f.a.b"),
        (T.ANY, {"": 1}, "f."),
        (T.ANY, {1: 1}, "f.1"),
        (T.OBJECT, {"a": {1: 1}}, "f.a.1"),
    ],
)
def test_what_no_document_can_hold_is_refused_at_every_depth(
    field_type, value, path, is_open
):
    body = msgspec.msgpack.encode({"f": value})

    assert refusal({"f": field_type}, body, open=is_open).path == path


def test_the_extremes_of_the_number_types_pass():
    fields = {"i": T.array(T.INT), "f": T.array(T.FLOAT)}

    validator(fields).check(
        encode_document(
            {
                "i": [-(2**63), 2**63 - 1],
                "f": [
                    1.7976931348623157e308,
                    -1.7976931348623157e308,
                    5e-324,
                    2**63 - 1,
                ],
            }
        )
    )


@pytest.mark.parametrize("field_type", [T.ANY, T.DATETIME, T.DATE, T.TIME, T.UUID])
@pytest.mark.parametrize(
    "ext",
    [
        Ext(1, b"short"),
        Ext(2, struct.pack(">i", 2**31 - 1)),
        Ext(3, struct.pack(">q", -1)),
        Ext(9, b"0123456789abcdef"),
        Ext(-1, b"abc"),
        Ext(-1, struct.pack(">Iq", 2_000_000_000, 0)),
    ],
)
def test_an_extension_that_is_no_value_is_refused(field_type, ext):
    for is_open in (False, True):
        refusal({"f": field_type}, msgspec.msgpack.encode({"f": ext}), open=is_open)


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        (T.DATETIME, "2026-01-01T00:00:00Z"),
        (T.DATE, "2026-01-01"),
        (T.TIME, "12:00:00"),
        (T.UUID, str(SOME_UUID)),
        (T.BYTES, "cmF3"),
        (T.INT, "5"),
        (T.FLOAT, "1.5"),
        (T.BOOL, "true"),
    ],
)
def test_text_is_never_taken_for_another_type(declared, text):
    assert refusal({"f": declared}, {"f": text}).path == "f"


def test_numbers_are_never_taken_for_each_other_but_an_int_for_a_float():
    refusal({"f": T.INT}, {"f": 1.0})
    refusal({"f": T.BOOL}, {"f": 1})
    refusal({"f": T.INT}, {"f": True})
    refusal({"f": T.FLOAT}, {"f": True})
    validator({"f": T.FLOAT}).check(encode_document({"f": 1}))


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x90",
        b"\x05",
        b"\xc0",
        b"\x81",
        b"\x80\x00",
        b"\xc1",
        b"\x81\xa1a\xa1\xff",
        b"\x81\xa1\xff\x01",
        b"\x81\x01\x01",
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa1a" + b"\x91" * 5000,
    ],
)
def test_bytes_that_are_no_document_are_refused(body, is_open):
    refusal({"a": T.STRING, "b": T.ANY}, body, open=is_open)
    refusal({"a": T.ANY}, body, open=is_open)


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        b"\x82\xa1a\x01\xa1a\x01",
        b"\x83\xa1a\x01\xa1b\x01\xa1a\x02",
        b"\xde\x00\x02\xa1a\x01\xa1a\x02",
        b"\xdf\x00\x00\x00\x02\xa1a\x01\xa1a\x02",
    ],
)
def test_a_field_that_stands_twice_is_refused(body, is_open):
    for nullable in (True, False):
        fields = {"a": F(T.INT, nullable=nullable), "b": T.INT}
        assert "twice" in str(refusal(fields, body, open=is_open))


def test_a_map_of_any_header_is_read():
    check = validator({"a": T.INT, "b": T.INT}).check

    check(b"\xde\x00\x01\xa1a\x01")
    check(b"\xdf\x00\x00\x00\x02\xa1a\x01\xa1b\x02")


@pytest.mark.parametrize("odd", ["", "\"'\\\n{}"])
def test_a_collection_may_have_hundreds_of_fields_of_any_name(odd):
    names = [f"feld {i} ü{odd}" for i in range(300)] + ["class", "f0", "body"]
    fields = {name: F(T.INT, nullable=False) for name in names}
    checker = validator({**fields, names[7]: F(T.INT, unique=True)})

    body = encode_document({name: i for i, name in enumerate(names)})

    assert checker.inspect(body) == checker.unique_values(body) == [(names[7], 7)]
    assert refusal(fields, dict.fromkeys(names[1:], 1)).path == names[0]


@pytest.mark.parametrize("name", ['"', "\\", "\n", "\x00"])
def test_nested_fields_may_have_any_name_too(name):
    fields = {"l": T.array(T.object({name: T.INT}))}

    validator(fields).check(encode_document({"l": [{name: 1}]}))
    assert refusal(fields, {"l": [{name: "1"}]}).path == f"l[0].{name}"


def test_an_open_collection_takes_other_fields_as_they_are():
    fields = {"age": F(T.INT, nullable=False)}
    check = validator(fields, open=True).check

    check(encode_document({"age": 1, "x": {"y": [1, NOON, SOME_UUID]}}))
    assert refusal(fields, {"age": "1", "x": 1}, open=True).path == "age"
    assert refusal(fields, {"age": 1, "id": "x"}, open=True).path == "id"


def test_a_collection_without_fields_takes_empty_documents():
    validator({}).check(b"\x80")
    assert refusal({}, {"a": 1}).context["expected"] == "no fields"


def nested_list(levels):
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("is_open", [False, True])
def test_values_of_any_type_nest_as_deep_as_documents_may(is_open):
    fields = {"a": T.ANY, "o": T.object({"l": T.array(T.ANY)})}
    check = validator(fields, open=is_open).check

    check(encode_document({"a": nested_list(31), "o": {"l": nested_list(30)}}))
    for document in ({"a": nested_list(32)}, {"o": {"l": nested_list(31)}}):
        body = msgspec.msgpack.encode(document)
        assert "32 levels" in str(refusal(fields, body, open=is_open))


UNIQUE = {name: F(kind, unique=True) for name, (kind, _) in SCALARS.items()}
VALUES = {name: value for name, (_, value) in SCALARS.items()}


@pytest.mark.parametrize("is_open", [False, True])
def test_the_unique_values_are_those_present_and_not_null(is_open):
    fields = {**UNIQUE, "plain": T.STRING}
    checker = validator(fields, open=is_open)

    for document in (
        {**VALUES, "plain": "x"},
        {"int": 1, "plain": "x", "uuid": None},
        dict.fromkeys(fields),
        {},
    ):
        body = encode_document(document)
        expected = [
            (name, document[name]) for name in UNIQUE if document.get(name) is not None
        ]
        assert checker.inspect(body) == expected
        assert checker.unique_values(body) == expected


def test_a_unique_float_keeps_an_int_exact():
    checker = validator({"f": F(T.FLOAT, unique=True)})
    body = encode_document({"f": 2**53 + 1})

    assert checker.inspect(body) == checker.unique_values(body) == [("f", 2**53 + 1)]


def test_without_unique_fields_there_are_no_unique_values():
    checker = validator({"a": T.INT})

    assert checker.unique_values(encode_document({"a": 1})) == []
    assert checker.inspect(encode_document({"a": 1})) == []


def test_views_and_byte_arrays_are_checked_like_bytes():
    checker = validator(UNIQUE)
    body = encode_document(VALUES)

    for wrap in (bytearray, memoryview):
        assert checker.inspect(wrap(body)) == checker.inspect(body)
        assert checker.unique_values(wrap(body)) == checker.unique_values(body)
