from __future__ import annotations

import errno
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path
from uuid import UUID

import lmdb
import pytest

from aurora_actors.errors import (
    AuroraError,
    CorruptionError,
    InternalError,
    OverloadedError,
    PermissionDeniedError,
    StorageFullError,
    UnavailableError,
    ValidationError,
)
from aurora_actors.schema.record import pack_record
from aurora_actors.schema.types import CollectionDefinition
from aurora_actors.storage.catalog import Collection
from aurora_actors.storage.environment import (
    file_errors,
    lmdb_errors,
    translate_lmdb,
    translate_os,
)
from aurora_actors.storage.journal import Journal
from aurora_actors.storage.keys import id_key, id_keys, pack_records
from aurora_actors.storage.layout import (
    field_prefix,
    request_key,
    row_key,
    unpack_request_key,
    unpack_row_key,
    value_key,
)

INTERNAL = {"KeyExistsError", "NotFoundError", "BadDbiError", "BadTxnError"}


def test_keys_order_as_their_numbers_and_come_apart_again():
    keys = [row_key(c, r) for c in (1, 2, 256) for r in (1, 255, 256, 2**63)]
    assert keys == sorted(keys)
    assert unpack_row_key(row_key(7, 2**40)) == (7, 2**40)
    assert unpack_request_key(request_key("app-1", 2**50)) == ("app-1", 2**50)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (5, 5.0),
        (0, -0.0),
        (-(2**63), -(2.0**63)),
        (UUID(int=7), str(UUID(int=7))),
        (
            datetime(2020, 1, 1, 12, tzinfo=UTC),
            datetime(2020, 1, 1, 14, tzinfo=timezone(timedelta(hours=2))),
        ),
    ],
)
def test_equal_values_have_equal_keys(left, right):
    assert value_key(left) == value_key(right)


@pytest.mark.parametrize(
    "values",
    [
        [False, True],
        [
            -1e300,
            -(2**63),
            -3.5,
            -3,
            0,
            1e-300,
            2**53,
            2**53 + 1,
            2.0**53 + 2,
            2**63 - 1,
        ],
        ["", "a", "a\0", "aa", "b", "ä", "€"],
        [date.min, date(1970, 1, 1), date.max],
        [time.min, time(12, 30), time.max],
        [b"", b"\0", b"a", b"\xff"],
        [
            datetime.min.replace(tzinfo=UTC),
            datetime(1970, 1, 1, 0, 0, 0, 1, UTC),
            datetime.max.replace(tzinfo=UTC),
        ],
    ],
)
def test_keys_order_as_their_values(values):
    keys = [value_key(value) for value in values]
    assert keys == sorted(set(keys))


@pytest.mark.parametrize("kind", [str, bytes])
def test_long_values_are_told_apart_and_fit_a_key(kind):
    def make(text):
        return text if kind is str else text.encode()

    values = [make("x" * length + end) for length in range(440, 520) for end in "ab"]
    values += [make("ü" * 5000), make("ü" * 5001)]
    keys = {value_key(value) for value in values}
    assert len(keys) == len(values)
    assert max(map(len, keys)) + len(field_prefix(1, 1)) <= 511


def test_containers_and_null_have_no_key():
    nothing: list[object] = [None, [], {}]
    for value in nothing:
        with pytest.raises(ValidationError, match="cannot be in a unique field"):
            value_key(value)


def test_records_of_a_batch_are_those_of_the_schema_package():
    ids = ["a", "ä" * 100, "x" * 255]
    bodies = [b"\x80", b"\x81\xa1a\x01", b"\x80"]
    expected = [
        pack_record(7 + n, i, b)
        for n, (i, b) in enumerate(zip(ids, bodies, strict=True))
    ]
    assert pack_records(7, [i.encode() for i in ids], bodies) == expected


def test_ids_are_checked_before_they_become_keys():
    collection = Collection(3, CollectionDefinition("c", {}), 1)
    names, keys = id_keys(collection, ["a", "no\u00a0break", "b"])
    assert names[0] == b"a"
    assert keys[2] == id_key(collection, "b") == b"\0\0\0\x03b"
    for bad in ("", "x" * 256, "\0", "\x85"):
        with pytest.raises(ValidationError):
            id_keys(collection, ["fine", bad])


def test_a_journal_puts_back_what_was():
    journal, mapping = Journal(), {"a": 1}
    journal.set(mapping, "b", 2)
    point = len(journal.entries)
    journal.set(mapping, "a", 3)
    journal.remove(mapping, "b")
    journal.remove(mapping, "never there")
    journal.add(mapping, {"c": 4, "d": 5})
    journal.set(mapping, "c", 6)
    journal.undo(point)
    assert mapping == {"a": 1, "b": 2}
    journal.undo(0)
    assert mapping == {"a": 1}


def walk(cls: type[Exception]) -> Iterator[type[Exception]]:
    yield cls
    for child in cls.__subclasses__():
        yield from walk(child)


@pytest.mark.parametrize("cls", list(walk(lmdb.Error)))
def test_every_error_of_lmdb_has_a_meaning(cls):
    error = translate_lmdb(cls("text"), "data.mdb")
    if cls is lmdb.Error or cls.__name__ in INTERNAL:
        assert type(error) is InternalError
    else:
        assert isinstance(error, AuroraError)
        known = cls.__name__ in {
            "InvalidParameterError", "BadValsizeError", "TxnFullError",
            "CursorFullError", "DbsFullError", "ProblemError", "CryptoFailError",
            "EnvEncryptionError",
        }  # fmt: skip
        assert known == (type(error) is InternalError)
    assert "data.mdb" in error.message


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, StorageFullError),
        (errno.EDQUOT, StorageFullError),
        (errno.EFBIG, StorageFullError),
        (errno.EACCES, PermissionDeniedError),
        (errno.EROFS, PermissionDeniedError),
        (errno.EMFILE, OverloadedError),
        (errno.EIO, UnavailableError),
    ],
)
def test_errors_of_the_system_have_a_meaning(number, expected):
    error = OSError(number, "text")
    assert type(translate_os(error, "file")) is expected
    wrapped = lmdb.Error("text")
    vars(wrapped)["code"] = number
    assert type(translate_lmdb(wrapped, "file")) is expected
    with pytest.raises(expected), file_errors(Path("file")):
        raise error
    with pytest.raises(expected), lmdb_errors("file"):
        raise error
    with pytest.raises(CorruptionError), lmdb_errors("file"):
        raise lmdb.CorruptedError("text")
