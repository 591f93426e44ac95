"""From what callers hand in to what travels."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import pytest

from aurora_actors.client.encoding import encode, encode_all, encode_fields, name_of
from aurora_actors.errors import ValidationError
from aurora_actors.schema.values import decode_document


@dataclass
class Person:
    name: str
    id: str | None = None


def test_a_document_without_an_id_gets_one():
    document_id, body = encode({"n": 1})
    assert uuid.UUID(document_id).version == 7
    assert decode_document(body) == {"n": 1}


def test_an_id_in_the_document_is_taken_out_of_the_fields():
    given = {"id": "a", "n": 1}
    assert encode(given).id == "a"
    assert decode_document(encode(given).body) == {"n": 1}
    assert given == {"id": "a", "n": 1}


def test_a_uuid_is_an_id_by_its_text():
    it = uuid.uuid4()
    assert encode({"id": it}).id == str(it)


@pytest.mark.parametrize("bad", [5, "", "x" * 256, "a\n", b"a", "\ud800"])
def test_an_impossible_id_is_refused(bad):
    with pytest.raises(ValidationError) as caught:
        encode({"id": bad})
    assert caught.value.path == "id"


def test_an_instance_of_a_model_is_a_document():
    assert encode(Person("Alice", "a")).id == "a"
    assert decode_document(encode(Person("Alice")).body) == {"name": "Alice"}


def test_many_are_encoded_as_one_is():
    ids, bodies = encode_all([{"n": 1}, {"id": "b", "n": 2}, Person("Carl", "c")])
    assert ids[1:] == ["b", "c"]
    assert [decode_document(body) for body in bodies] == [
        {"n": 1},
        {"n": 2},
        {"name": "Carl"},
    ]


def test_a_replacement_leaves_its_own_id_out():
    assert decode_document(encode_fields({"id": "a", "n": 1})) == {"n": 1}


@pytest.mark.parametrize("bad", [5, "text", None, ["a"]])
def test_what_is_no_document_is_refused(bad):
    with pytest.raises(ValidationError):
        encode(bad)


def test_a_collection_is_named_by_text_or_model():
    assert name_of("users") == "users"
    assert name_of(Person) == "persons"
    for bad in ("", "a b", "1a", None, "\ud800"):
        with pytest.raises(ValidationError):
            name_of(bad)  # type: ignore[arg-type]
