"""Documents as values."""

from __future__ import annotations

import gc

import msgspec
import pytest

from aurora_actors.client.document import Document, converted, document_of
from aurora_actors.errors import CorruptionError, ValidationError
from aurora_actors.schema.record import pack_record
from aurora_actors.schema.values import encode_document


class User(msgspec.Struct):
    id: str
    name: str
    age: int | None = None


def test_a_document_gives_its_fields_and_its_id():
    doc = Document("a", {"name": "Alice", "a.b": 1})
    assert doc["name"] == "Alice"
    assert doc["id"] == "a"
    assert doc["a.b"] == 1
    with pytest.raises(KeyError):
        doc["age"]


def test_get_gives_a_default_for_what_is_missing():
    doc = Document("a", {"name": "Alice", "age": None})
    assert doc.get("age", 3) is None
    assert doc.get("size") is None
    assert doc.get("size", 3) == 3
    assert doc.get("id") == "a"


def test_a_document_knows_what_it_has():
    doc = Document("a", {"name": "Alice"})
    assert "name" in doc
    assert "id" in doc
    assert "age" not in doc
    assert list(doc) == ["id", "name"]


def test_the_id_is_not_among_the_data_but_in_the_dict():
    doc = Document("a", {"name": "Alice"})
    assert doc.data == {"name": "Alice"}
    assert doc.to_dict() == {"id": "a", "name": "Alice"}


def test_documents_are_equal_by_id_and_fields():
    assert Document("a", {"n": 1}, 1) == Document("a", {"n": 1}, 2)
    assert Document("a", {"n": 1}) != Document("b", {"n": 1})
    assert Document("a", {"n": 1}) != Document("a", {"n": 2})
    assert Document("a", {}) != "a"


def test_a_document_is_readable_in_a_shell():
    assert repr(Document("a", {"n": 1}, 7)) == "Document(id='a', data={'n': 1}, lsn=7)"


def test_a_document_becomes_an_instance_of_a_model():
    assert Document("a", {"name": "Alice"}).to(User) == User("a", "Alice")


def test_a_document_that_does_not_fit_a_model_says_where():
    with pytest.raises(ValidationError) as caught:
        Document("a", {"name": 3}).to(User)
    assert caught.value.path == "name"


@pytest.mark.parametrize("wrap", [bytes, memoryview])
def test_a_record_is_decoded(wrap):
    record = pack_record(7, "ä", encode_document({"n": 1}))
    doc = document_of(wrap(record))
    assert (doc.id, doc.data, doc.lsn) == ("ä", {"n": 1}, 7)


def test_a_record_that_is_cut_short_is_corrupt():
    with pytest.raises(CorruptionError):
        document_of(b"\0\0\0")


@pytest.mark.parametrize("count", [1, 200])
@pytest.mark.parametrize("is_enabled", [True, False])
def test_converting_many_leaves_the_collector_as_it_was(count, is_enabled):
    before = gc.isenabled()
    (gc.enable if is_enabled else gc.disable)()
    try:
        assert converted(len, [b"x"] * count) == [1] * count
        assert gc.isenabled() is is_enabled
        with pytest.raises(TypeError):
            converted(_refuse, [b"x"] * count)
        assert gc.isenabled() is is_enabled
    finally:
        (gc.enable if before else gc.disable)()


def _refuse(_record):
    raise TypeError
