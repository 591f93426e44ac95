"""Documents as JSON and as cells: what is written is read back as it was."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, strategies as st

from aurora_actors.errors import ValidationError
from aurora_actors.schema.text import from_cell, from_json, to_cell, to_json
from aurora_actors.schema.types import FieldDefinition, FieldType

TYPES = {
    "at": FieldDefinition(FieldType.DATETIME),
    "day": FieldDefinition(FieldType.DATE),
    "hour": FieldDefinition(FieldType.TIME),
    "key": FieldDefinition(FieldType.UUID),
    "blob": FieldDefinition(FieldType.BYTES),
    "text": FieldDefinition(FieldType.STRING),
    "count": FieldDefinition(FieldType.INT),
    "ratio": FieldDefinition(FieldType.FLOAT),
    "flag": FieldDefinition(FieldType.BOOL),
    "days": FieldDefinition(FieldType.array(FieldType.DATE)),
    "place": FieldDefinition(
        FieldType.object({"since": FieldType.DATE, "name": FieldType.STRING})
    ),
}
DOCUMENT = {
    "at": datetime(2026, 1, 31, 12, tzinfo=UTC),
    "day": date(2026, 1, 31),
    "hour": time(12, 30, 0, 5),
    "key": UUID(int=5),
    "blob": b"\x00\xff",
    "text": 'a, "b"\n',
    "count": -(2**63),
    "ratio": 0.1,
    "flag": False,
    "days": [date(2026, 1, 1), date(1, 1, 1)],
    "place": {"since": date(2020, 2, 29), "name": "x"},
}

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(),
    st.dates(),
    st.times().map(lambda value: value.replace(fold=0)),
    st.uuids(),
    st.datetimes(timezones=st.just(UTC)).map(lambda value: value.replace(fold=0)),
)
names = st.one_of(
    st.sampled_from(["$date", "$bytes", "$object", "$x", "a", "b"]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)
    ),
    max_leaves=10,
)


def through_json(fields, types):
    encoded = msgspec.json.encode(to_json(fields, types))
    return from_json(msgspec.json.decode(encoded), types)


def test_declared_types_are_plain_text():
    assert to_json(DOCUMENT, TYPES)["at"] == "2026-01-31T12:00:00Z"
    assert to_json(DOCUMENT, TYPES)["days"] == ["2026-01-01", "0001-01-01"]
    assert to_json(DOCUMENT, TYPES)["place"] == {"since": "2020-02-29", "name": "x"}
    assert through_json(DOCUMENT, TYPES) == DOCUMENT


def test_undeclared_types_are_marked():
    assert to_json(DOCUMENT, {})["day"] == {"$date": "2026-01-31"}
    assert through_json(DOCUMENT, {}) == DOCUMENT


def test_what_only_looks_like_a_mark_stays_what_it_is():
    fields = {"a": {"$date": "tomorrow"}, "b": {"$object": {"$bytes": b"x"}}}
    assert through_json(fields, {}) == fields


@given(st.dictionaries(names, values, max_size=4))
def test_any_document_survives_json(fields):
    found = through_json(fields, {})
    assert found == fields
    assert str(found) == str(fields)  # 1 is not True, and -0.0 not 0.0


@given(values)
def test_any_value_survives_a_cell(value):
    cell = to_cell(value, None)
    if value is None:
        assert not cell
    else:
        assert str(from_cell(cell, None, "x")) == str(value)


@pytest.mark.parametrize("name", list(DOCUMENT))
def test_declared_values_survive_a_cell(name):
    kind = TYPES[name].field_type
    assert from_cell(to_cell(DOCUMENT[name], kind), kind, name) == DOCUMENT[name]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_a_cell_of_a_text_column(text):
    assert from_cell(to_cell(text, FieldType.STRING), FieldType.STRING, "x") == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("at", "yesterday"),
        ("day", "2026-02-30"),
        ("key", "123"),
        ("blob", "***"),
        ("count", "1.5"),
        ("ratio", "x"),
        ("flag", "perhaps"),
        ("days", "[1"),
    ],
)
def test_a_cell_that_does_not_fit_names_its_column(name, text):
    with pytest.raises(ValidationError, match=f"^{name}: ") as caught:
        from_cell(text, TYPES[name].field_type, name)
    assert caught.value.context["path"] == name


def test_a_json_text_that_does_not_fit_names_its_path():
    with pytest.raises(ValidationError, match=r"place\.since: 'x' is no Date"):
        from_json({"place": {"since": "x"}}, TYPES)
