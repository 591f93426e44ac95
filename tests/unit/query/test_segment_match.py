"""The columns of several segments as one, and what segments are packed to."""

from __future__ import annotations

import pyarrow as pa
import pytest

from aurora_actors.indexing.arrow import packed
from aurora_actors.query.segment_match import Joined, Matched

SELDOM = [f"N{number * 7919 % 1500:05}" for number in range(9000)]
OFTEN = ["AA", None, "BB", "AA"] * 3


@pytest.mark.parametrize(
    ("values", "is_packed"),
    [
        (OFTEN * 10, True),
        (SELDOM, True),
        (SELDOM[:3000], False),
        ([f"user{number}" for number in range(9000)], False),
        ([], False),
    ],
)
def test_texts_that_repeat_become_a_dictionary(values, is_packed):
    array = packed(pa.array(values, pa.string()))
    assert pa.types.is_dictionary(array.type) == is_packed
    assert array.to_pylist() == values
    if is_packed:
        assert sorted(array.dictionary.to_pylist()) == sorted({*values} - {None})


@pytest.mark.parametrize("plain", [[], [0], [1], [0, 1], [0, 1, 2]])
@pytest.mark.parametrize("masked", [False, True])
def test_columns_of_segments_join_whether_they_are_packed_or_not(plain, masked):
    parts, expected = [], []
    for number, values in enumerate([OFTEN, ["BB", "CC", "CC", None], ["DD"] * 40]):
        column = pa.array(values, pa.string())
        if number not in plain:
            column = column.dictionary_encode()
        keep = [at % 3 > 0 or not masked for at in range(len(values))]
        mask = pa.array(keep) if masked else None
        parts.append(Matched(pa.table({"v": column}), mask))
        expected += [v for v, kept in zip(values, keep, strict=True) if kept]
    joined = Joined(parts)
    assert joined.count == len(expected)
    assert joined.is_complete != masked
    assert joined.column("v").to_pylist() == expected
