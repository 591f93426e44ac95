from __future__ import annotations

from zlib import crc32

import pytest

from aurora_actors.errors import CorruptionError
from aurora_actors.schema.record import (
    UNCHECKED,
    check_record,
    is_intact,
    pack_record,
    record_body,
    record_id,
    record_lsn,
    unpack_record,
)

BODY = b"\x81\xa1a\x01"


def test_a_record_is_laid_out_as_documented():
    record = pack_record(258, "ü", BODY)

    checksum = crc32(b"\xc3\xbc" + BODY, 258 ^ 2 << 24).to_bytes(4, "big")
    head = b"\x00\x00\x00\x00\x00\x00\x01\x02" + b"\x02" + checksum
    assert record == head + b"\xc3\xbc" + BODY


def test_a_bit_that_flips_in_a_record_is_noticed():
    record = pack_record(258, "ü", BODY)
    check_record(record)

    for at in range(4, len(record)):
        for bit in range(8):
            damaged = bytearray(record)
            damaged[at] ^= 1 << bit
            assert not is_intact(damaged)
            with pytest.raises(CorruptionError, match="is damaged"):
                check_record(memoryview(damaged))


def test_a_record_that_a_query_made_up_has_no_checksum():
    record = pack_record(258, "a", BODY)

    assert is_intact(record[:9] + UNCHECKED + record[13:] + b"anything")


@pytest.mark.parametrize("document_id", ["a", "é" * 127, "x" * 255])
@pytest.mark.parametrize("lsn", [0, 1, 2**64 - 1])
@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_the_parts_of_a_record_come_back(document_id, lsn, wrap):
    record = wrap(pack_record(lsn, document_id, memoryview(BODY)))

    assert unpack_record(record) == (lsn, document_id, BODY)
    assert record_lsn(record) == lsn
    assert record_id(record) == document_id
    assert record_body(record) == BODY


def test_the_body_of_a_view_is_a_view_on_the_same_memory():
    record = memoryview(pack_record(1, "a", BODY))

    body = record_body(record)

    assert isinstance(body, memoryview)
    assert body.obj is record.obj


@pytest.mark.parametrize(
    "function", [unpack_record, record_lsn, record_id, record_body]
)
def test_a_record_that_is_cut_short_is_corruption(function):
    record = pack_record(1, "abc", BODY)

    for size in range(len(record) - len(BODY) + 1):
        with pytest.raises(CorruptionError, match="cut short"):
            function(record[:size])


@pytest.mark.parametrize("function", [unpack_record, record_id])
def test_an_id_that_is_no_text_is_corruption(function):
    with pytest.raises(CorruptionError, match="not UTF-8"):
        function(b"\x00" * 8 + b"\x01" + UNCHECKED + b"\xff" + BODY)
