from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from enum import IntEnum, StrEnum
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from msgspec.msgpack import Ext

from aurora_actors.errors import CorruptionError, ValidationError
from aurora_actors.schema.values import (
    decode_document,
    decode_value,
    encode_document,
    encode_value,
    get_path,
    kind_rank,
    sort_key,
    values_equal,
)

SOME_UUID = UUID("0190a0a0-0000-7000-8000-00000000002a")
SAMPLE = {
    "null": None,
    "yes": True,
    "small": 5,
    "least": -(2**63),
    "most": 2**63 - 1,
    "float": 1.5,
    "text": "größe 🙂",
    "bytes": b"\x00\xff",
    "at": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    "on": date(1969, 12, 31),
    "time": time(23, 59, 59, 999999),
    "uuid": SOME_UUID,
    "list": [1, "a", [date(2020, 2, 29)], {"k": SOME_UUID}],
    "object": {"inner": {"id": "nested ids are fields", "t": time(0)}},
}


def test_a_document_of_every_kind_comes_back_as_it_was():
    assert decode_document(encode_document(SAMPLE)) == SAMPLE


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_any_buffer_can_be_decoded(wrap):
    assert decode_document(wrap(encode_document(SAMPLE))) == SAMPLE


def test_encoding_leaves_the_document_alone():
    inner = [date(2020, 1, 1)]
    fields = {"a": inner, "b": {"c": inner}}

    encode_document(fields)

    assert fields == {"a": [date(2020, 1, 1)], "b": {"c": inner}}
    assert fields["a"] is inner


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (SOME_UUID, b"\xd8\x01" + SOME_UUID.bytes),
        (date(1970, 1, 2), b"\xd6\x02\x00\x00\x00\x01"),
        (date(1969, 12, 31), b"\xd6\x02\xff\xff\xff\xff"),
        (time(0, 0, 1), b"\xd7\x03" + (1_000_000).to_bytes(8, "big")),
        (datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), b"\xd6\xff\x00\x00\x00\x01"),
        (b"ab", b"\xc4\x02ab"),
        (1.0, b"\xcb\x3f\xf0" + b"\x00" * 6),
        ([None, True], b"\x92\xc0\xc3"),
    ],
)
def test_the_encoding_is_the_documented_one(value, encoded):
    assert encode_value(value) == encoded
    assert decode_value(encoded) == value


@pytest.mark.parametrize(
    "value",
    [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ],
)
def test_datetimes_keep_their_microsecond_over_the_whole_range(value):
    assert decode_value(encode_value(value)) == value


def test_a_datetime_comes_back_in_utc():
    there = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))

    back = decode_value(encode_value(there))

    assert back == datetime(2026, 7, 1, 10, tzinfo=UTC)
    assert isinstance(back, datetime)
    assert back.tzinfo is UTC


def test_the_fold_of_a_datetime_says_which_instant_it_is():
    zone = ZoneInfo("Europe/Berlin")
    first = datetime(2026, 10, 25, 2, 30, tzinfo=zone)

    assert decode_value(encode_value(first)) == datetime(
        2026, 10, 25, 0, 30, tzinfo=UTC
    )
    assert decode_value(encode_value(first.replace(fold=1))) == datetime(
        2026, 10, 25, 1, 30, tzinfo=UTC
    )


def test_values_of_subclasses_are_stored_as_their_plain_class():
    class Colour(StrEnum):
        RED = "red"

    class Size(IntEnum):
        BIG = 3

    class Bytes(bytes):
        pass

    class Moment(datetime):
        pass

    fields = OrderedDict(
        colour=Colour.RED,
        size=Size.BIG,
        raw=Bytes(b"x"),
        ratio=type("Ratio", (float,), {})(0.5),
        at=Moment(2026, 1, 1, tzinfo=UTC),
        nested=OrderedDict(a=(1, 2)),
    )

    decoded = decode_document(encode_document(fields))

    assert decoded == {
        "colour": "red",
        "size": 3,
        "raw": b"x",
        "ratio": 0.5,
        "at": datetime(2026, 1, 1, tzinfo=UTC),
        "nested": {"a": [1, 2]},
    }
    assert type(decoded["colour"]) is str


def test_any_mapping_can_be_a_document():
    class Row(Mapping[str, object]):
        def __getitem__(self, name):
            return {"a": 1}[name]

        def __iter__(self):
            return iter(["a"])

        def __len__(self):
            return 1

    assert decode_document(encode_document(Row())) == {"a": 1}
    with pytest.raises(ValidationError, match="must be a mapping"):
        encode_document([("a", 1)])  # type: ignore[arg-type]  # on purpose


REFUSED = [
    (2**63, "64 signed bits"),
    (-(2**63) - 1, "64 signed bits"),
    (2**64, "64 signed bits"),
    (float("nan"), "finite"),
    (float("inf"), "finite"),
    (float("-inf"), "finite"),
    (datetime(2026, 1, 1), "time zone"),  # noqa: DTZ001 - on purpose
    (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "out of range in UTC"),
    (time(1, tzinfo=UTC), "without a time zone"),
    (object(), "no document can hold"),
    ({1, 2}, "no document can hold"),
    (1j, "no document can hold"),
    (timedelta(1), "no document can hold"),
    (bytearray(b"x"), "no document can hold"),
    ("\ud800", "surrogate"),
]


@pytest.mark.parametrize(("value", "fault"), REFUSED)
def test_what_no_document_can_hold_is_refused_at_every_depth(value, fault):
    places = {
        "f": {"ok": 1, "f": value},
        "o.f": {"o": {"ok": 1, "f": value}},
        "l[1]": {"l": ["ok", value]},
        "l[1].o[0].f": {"l": [0, {"o": [{"f": value}]}]},
    }
    for path, fields in places.items():
        with pytest.raises(ValidationError, match=fault) as caught:
            encode_document(fields)
        assert caught.value.path == path
        assert path in str(caught.value)
    with pytest.raises(ValidationError, match=fault):
        encode_value(value)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"id": "a"}, "id"),
        ({"": 1}, None),
        ({"a.b": 1}, "a.b"),
        ({1: 1}, "1"),
        ({None: 1}, "None"),
        ({"o": {"": 1}}, "o."),
        ({"o": {"a.b": 1}}, "o.a.b"),
        ({"l": [{2: 1}]}, "l[0].2"),
        ({"\ud800": 1}, "\\ud800"),
        ({"o": {"\ud800": 1}}, "o.\\ud800"),
    ],
)
def test_a_field_with_an_impossible_name_is_refused(fields, path):
    with pytest.raises(ValidationError) as caught:
        encode_document(fields)

    assert caught.value.path == path


def nested_list(levels):
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


def test_a_document_nests_32_levels_itself_counted():
    fields = {"a": nested_list(31)}
    assert decode_document(encode_document(fields)) == fields

    with pytest.raises(ValidationError, match="32 levels"):
        encode_document({"a": nested_list(32)})
    with pytest.raises(ValidationError, match="32 levels"):
        encode_document({"a": {"b": nested_list(31)}})
    with pytest.raises(ValidationError, match="32 levels"):
        encode_document({"a": nested_list(100_000)})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x81",
        b"\x90",
        b"\x01",
        b"\x81\x01\x01",
        b"\x81\xa1a\xa1\xff",
        b"\x80\x80",
        b"\x81\xa1a" + b"\x91" * 5000,
        b"\x81\xa1a\xd6\x09abcd",
    ],
)
def test_bytes_that_are_no_document_are_corruption(data):
    with pytest.raises(CorruptionError, match="not an encoded document"):
        decode_document(data)


@pytest.mark.parametrize(
    "value",
    [
        Ext(1, b"short"),
        Ext(2, struct.pack(">i", 2**31 - 1)),
        Ext(2, struct.pack(">i", -719163)),
        Ext(2, b"12345"),
        Ext(3, struct.pack(">q", -1)),
        Ext(3, struct.pack(">q", 86_400_000_000)),
        Ext(4, b""),
        Ext(-1, b"abc"),
        2**63,
        float("nan"),
        {1: 2},
        {"": 1},
        {"a.b": 1},
        nested_list(33),
    ],
)
def test_bytes_that_are_no_value_are_refused(value):
    with pytest.raises(ValidationError):
        decode_value(msgspec.msgpack.encode(value))


def test_the_last_and_the_first_of_dates_and_times_decode():
    for value in (date.min, date.max, time.min, time.max):
        assert decode_value(encode_value(value)) == value


def test_a_decoded_uuid_is_like_any_other():
    back = decode_value(encode_value(SOME_UUID))

    assert isinstance(back, UUID)
    assert (back, hash(back), str(back)) == (SOME_UUID, hash(SOME_UUID), str(SOME_UUID))
    assert back.is_safe is SOME_UUID.is_safe


IN_ORDER: list[object] = [
    None,
    False,
    True,
    -(2**63),
    -1.5,
    0,
    0.5,
    1,
    2**53,
    2**53 + 1,
    2**63 - 1,
    1e300,
    "",
    str(SOME_UUID),
    UUID(int=SOME_UUID.int + 1),
    "1",
    "A",
    "a",
    "ab",
    "é",
    "\uffff",
    "😀",
    date(1, 1, 1),
    date(9999, 1, 1),
    time(0),
    time(1),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1, seconds=-1))),
    datetime(2026, 1, 2, tzinfo=UTC),
    b"",
    b"\x00",
    b"\xff",
    [],
    [None],
    [1],
    [1, 2],
    [2],
    ["a"],
    [[]],
    {},
    {"a": None},
    {"a": 1},
    {"a": 1, "b": 0},
    {"a": 2},
    {"b": 0},
]


def test_the_order_of_values_is_total_and_as_documented():
    keys = [sort_key(value) for value in IN_ORDER]

    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)
    ranks = [kind_rank(value) for value in IN_ORDER]
    assert ranks == sorted(ranks)


def test_each_value_equals_itself_and_no_other_of_the_order():
    for i, left in enumerate(IN_ORDER):
        for j, right in enumerate(IN_ORDER):
            assert values_equal(left, right) is (i == j), (left, right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (1, 1.0),
        (0.0, -0.0),
        (SOME_UUID, str(SOME_UUID)),
        ((1, 2), [1.0, 2]),
        ({"a": 1, "b": [SOME_UUID]}, {"b": [str(SOME_UUID)], "a": 1.0}),
        (
            datetime(2026, 1, 1, 12, tzinfo=UTC),
            datetime(2026, 1, 1, 13, tzinfo=timezone(timedelta(hours=1))),
        ),
        (
            datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
            datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        ),
    ],
)
def test_values_of_two_types_can_be_equal(left, right):
    assert values_equal(left, right)
    assert sort_key(left) == sort_key(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (True, 1),
        (False, 0),
        (0, None),
        ("", None),
        ([True], [1]),
        ({"a": None}, {}),
        ("1", 1),
        (b"a", "a"),
        (date(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)),
        (2**53 + 1, float(2**53)),
        (str(SOME_UUID).upper(), SOME_UUID),
    ],
)
def test_values_that_python_or_a_reader_may_confuse_differ(left, right):
    assert not values_equal(left, right)


def test_what_no_document_can_hold_cannot_be_compared():
    for function in (kind_rank, sort_key):
        with pytest.raises(ValidationError, match="cannot be compared"):
            function(object())
    with pytest.raises(ValidationError):
        values_equal(1, 1j)


def test_subclasses_compare_like_their_plain_class():
    class Colour(StrEnum):
        RED = "red"

    assert values_equal(Colour.RED, "red")
    assert sort_key(OrderedDict(b=1, a=2)) == sort_key({"a": 2, "b": 1})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a", {"b": {"c": 1}, "n": None}),
        ("a.b", {"c": 1}),
        ("a.b.c", 1),
        ("a.n", None),
        ("a.n.x", None),
        ("a.b.c.d", None),
        ("x", None),
        ("x.y", None),
        ("l", [{"k": 1}]),
        ("l.0", None),
        ("l.k", None),
        ("s.x", None),
    ],
)
def test_a_path_leads_to_a_value_or_to_null(path, value):
    document = {"a": {"b": {"c": 1}, "n": None}, "l": [{"k": 1}], "s": "text"}

    assert get_path(document, path) == value
