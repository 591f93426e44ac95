from __future__ import annotations

import copy
from datetime import UTC, date, datetime
from uuid import UUID

import msgspec
import pytest

from aurora_actors.errors import CorruptionError, ValidationError
from aurora_actors.schema.patch import (
    AddToSet,
    Change,
    Decrement,
    Increment,
    Operation,
    Patch,
    Pull,
    Push,
    Unset,
    decode_patch,
    encode_patch,
)
from aurora_actors.schema.values import encode_document


def apply(changes, document):
    before = copy.deepcopy(document)
    patch = decode_patch(encode_patch(changes))
    result = patch.apply(document)
    assert document == before
    edited = patch.edit(encode_document({**document, "beside": [1, {"x": None}]}))
    assert edited == encode_document(
        patch.apply({**document, "beside": [1, {"x": None}]})
    )
    return result


@pytest.mark.parametrize("changes", [{"a": 1}, {"a": Push(1)}, {"b.c": 2}])
def test_an_encoded_document_is_edited_field_by_field(changes):
    patch = decode_patch(encode_patch(changes))

    with pytest.raises(CorruptionError, match="not an encoded document"):
        patch.edit(b"\x82\xa1a\xc1")
    assert patch.edit(b"\x81\xa1z\xcd\x00\x01")[1:6] == b"\xa1z\xcd\x00\x01", (
        "as it was"
    )


@pytest.mark.parametrize(
    ("changes", "document", "result"),
    [
        ({}, {"a": 1}, {"a": 1}),
        ({"a": 2}, {"a": 1, "b": 3}, {"a": 2, "b": 3}),
        ({"a": None}, {"a": 1}, {"a": None}),
        ({"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1}}),
        ({"a.x": 1}, {"a": {"y": 2}}, {"a": {"y": 2, "x": 1}}),
        ({"a.x.z": 1}, {}, {"a": {"x": {"z": 1}}}),
        ({"a.x": 1}, {"a": None}, {"a": {"x": 1}}),
        ({"a.x": 1, "a.y": 2, "b": 3}, {}, {"a": {"x": 1, "y": 2}, "b": 3}),
        ({"a.id": 1}, {}, {"a": {"id": 1}}),
        ({"n": Increment()}, {"n": 1}, {"n": 2}),
        ({"n": Increment(5)}, {}, {"n": 5}),
        ({"n": Increment(5)}, {"n": None}, {"n": 5}),
        ({"n": Increment(0.5)}, {"n": 1}, {"n": 1.5}),
        ({"n": Increment(-1)}, {"n": 2.5}, {"n": 1.5}),
        ({"n": Decrement()}, {"n": 1}, {"n": 0}),
        ({"n": Decrement(2)}, {}, {"n": -2}),
        ({"n": Decrement(-(2**63))}, {"n": -1}, {"n": 2**63 - 1}),
        ({"o.n": Increment(2)}, {"o": {"n": 1}}, {"o": {"n": 3}}),
        ({"t": Push("x")}, {"t": ["x"]}, {"t": ["x", "x"]}),
        ({"t": Push([1])}, {}, {"t": [[1]]}),
        ({"t": Push(None)}, {"t": None}, {"t": [None]}),
        ({"t": Pull(1)}, {"t": [1, 2, 1.0, True, "1"]}, {"t": [2, True, "1"]}),
        ({"t": Pull(1)}, {"t": [2]}, {"t": [2]}),
        ({"t": Pull(1)}, {}, {}),
        ({"t": Pull(1)}, {"t": None}, {"t": None}),
        ({"o.t": Pull(1)}, {}, {}),
        ({"t": AddToSet(1)}, {"t": [2]}, {"t": [2, 1]}),
        ({"t": AddToSet(1)}, {"t": [1.0]}, {"t": [1.0]}),
        ({"t": AddToSet(1)}, {}, {"t": [1]}),
        ({"t": AddToSet({"a": 1})}, {"t": [{"a": 1.0}]}, {"t": [{"a": 1.0}]}),
        ({"a": Unset()}, {"a": 1, "b": 2}, {"b": 2}),
        ({"a": Unset()}, {}, {}),
        ({"a.x": Unset()}, {"a": {"x": 1, "y": 2}}, {"a": {"y": 2}}),
        ({"a.x": Unset()}, {}, {}),
    ],
)
def test_a_patch_changes_what_it_names_and_nothing_else(changes, document, result):
    assert apply(changes, document) == result


@pytest.mark.parametrize(
    ("changes", "document", "path", "fault"),
    [
        ({"n": Increment(1)}, {"n": "1"}, "n", "must be a number"),
        ({"n": Increment(1)}, {"n": True}, "n", "must be a number"),
        ({"n": Increment(1)}, {"n": 2**63 - 1}, "n", "64-bit Int"),
        ({"n": Decrement(1)}, {"n": -(2**63)}, "n", "64-bit Int"),
        ({"n": Increment(1e308)}, {"n": 1.7e308}, "n", "range of a Float"),
        ({"t": Push(1)}, {"t": "ab"}, "t", "must be an array"),
        ({"t": Pull(1)}, {"t": {}}, "t", "must be an array"),
        ({"o.t": AddToSet(1)}, {"o": {"t": 1}}, "o.t", "must be an array"),
        ({"a.x": 1}, {"a": 5}, "a", "must be an object"),
        ({"a.b.c.d": Unset()}, {"a": {"b": []}}, "a.b", "must be an object"),
        ({"a.x": Push(1), "z": 1}, {"a": "text"}, "a", "must be an object"),
    ],
)
def test_a_change_that_its_field_does_not_bear_is_refused(
    changes, document, path, fault
):
    with pytest.raises(ValidationError, match=fault) as caught:
        apply(changes, document)

    assert caught.value.path == path


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"id": "new"}, "own id"),
        ({"id.x": 1}, "own id"),
        ({"": 1}, "empty name"),
        ({"a..b": 1}, "empty name"),
        ({".a": 1}, "empty name"),
        ({"a.": 1}, "empty name"),
        ({5: 1}, "no text"),
        ({"a\ud800": 1}, "surrogate"),
        ({"a": "\ud800"}, "surrogate"),
        ({"a": Push(["\ud800"])}, "surrogate"),
        ({".".join("a" * 33): 1}, "32 levels"),
        ({"a": 1, "a.b": 2}, "part of 'a'"),
        ({"a.b.c": Unset(), "a": 2}, "part of 'a'"),
        ({"n": Increment("1")}, "by a number only"),  # type: ignore[arg-type]
        ({"n": Increment(True)}, "by a number only"),
        ({"n": Increment(None)}, "by a number only"),  # type: ignore[arg-type]
        ({"n": Decrement(float("nan"))}, "finite"),
        ({"n": Increment(2**63)}, "64 signed bits"),
        ({"a": object()}, "no document can hold"),
        ({"a": Push({1})}, "no document can hold"),
        ({"a": {"n": Increment(1)}}, "Increment, which no document can hold"),
    ],
)
def test_a_patch_that_makes_no_sense_cannot_be_made(changes, fault):
    with pytest.raises(ValidationError, match=fault):
        encode_patch(changes)


def test_a_path_that_only_begins_like_another_is_no_conflict():
    assert apply({"ab": 1, "a": 2, "a-b.c": 3}, {}) == {
        "ab": 1,
        "a": 2,
        "a-b": {"c": 3},
    }


def nested_list(levels):
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


def test_a_patch_may_set_what_a_document_may_hold_there():
    assert apply({"a": nested_list(31)}, {}) == {"a": nested_list(31)}
    assert apply({"a.b": nested_list(30)}, {}) == {"a": {"b": nested_list(30)}}
    with pytest.raises(ValidationError, match="32 levels"):
        encode_patch({"a": nested_list(32)})
    with pytest.raises(ValidationError, match="32 levels"):
        encode_patch({"a.b": nested_list(31)})


def test_values_of_every_kind_travel_in_a_patch():
    changes = {
        "at": datetime(2026, 1, 1, tzinfo=UTC),
        "on": date(2026, 1, 1),
        "who": Push(UUID(int=7)),
        "raw": AddToSet(b"\x00"),
        "o": {"a": [1, 2.5, None]},
    }

    assert apply(changes, {}) == {
        "at": changes["at"],
        "on": changes["on"],
        "who": [UUID(int=7)],
        "raw": [b"\x00"],
        "o": {"a": [1, 2.5, None]},
    }


def test_a_patch_knows_the_top_level_fields_it_touches():
    patch = decode_patch(encode_patch({"a.b": 1, "a.c": 2, "d": Unset()}))

    assert patch.fields == ("a", "d")


def test_a_patch_is_encoded_as_documented():
    data = encode_patch({"a": 1, "t.x": Push("v"), "u": Unset()})

    assert msgspec.msgpack.decode(data) == [
        ["a", 0, 1],
        ["t.x", 3, "v"],
        ["u", 6, None],
    ]


def test_equal_patches_are_equal():
    data = encode_patch({"a": 1})

    assert decode_patch(data) == decode_patch(data)
    assert hash(decode_patch(data)) == hash(decode_patch(data))
    assert decode_patch(data) != decode_patch(encode_patch({"a": 2}))
    assert decode_patch(data) == Patch((Change("a", Operation.SET, 1),))
    assert "SET" in repr(decode_patch(data))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        b"\xc1",
        b"\x91" * 5000,
        msgspec.msgpack.encode([["a", 0]]),
        msgspec.msgpack.encode([["a", 7, 1]]),
        msgspec.msgpack.encode([["a", -1, 1]]),
        msgspec.msgpack.encode([["a", "0", 1]]),
        msgspec.msgpack.encode([[1, 0, 1]]),
        msgspec.msgpack.encode([["id", 0, 1]]),
        msgspec.msgpack.encode([["a", 0, 1], ["a", 0, 2]]),
        msgspec.msgpack.encode([["a", 0, 1], ["a.b", 0, 2]]),
        msgspec.msgpack.encode([["a", 0, 2**63]]),
        msgspec.msgpack.encode([["a", 3, [float("nan")]]]),
        msgspec.msgpack.encode([["a", 1, "x"]]),
        msgspec.msgpack.encode([["a", 0, {1: 1}]]),
        msgspec.msgpack.encode([["a", 0, msgspec.msgpack.Ext(9, b"")]]),
    ],
)
def test_bytes_that_are_no_patch_are_refused(data):
    with pytest.raises(ValidationError):
        decode_patch(data)
