"""Reading documents from files: line by line, in bounded memory, faults by line."""

from __future__ import annotations

import io
import json
import random
import tracemalloc
from pathlib import Path

import pytest

from aurora_actors.client.import_sources import Source, format_of
from aurora_actors.errors import UsageError
from aurora_actors.schema.types import CollectionDefinition, FieldDefinition, FieldType

OPEN = CollectionDefinition("c", {}, open=True)
CLOSED = CollectionDefinition("c", {"n": FieldDefinition(FieldType.INT)})


def read(data: bytes, kind: str, definition=OPEN):
    source = Source(io.BytesIO(data), kind, definition)
    found = []
    while items := source.next_batch().items:
        found += items
    return found


def documents(data: bytes, kind: str, definition=OPEN):
    return [item.fields for item in read(data, kind, definition)]


def faults(data: bytes, kind: str, definition=OPEN):
    return [
        (item.line, item.error.message)
        for item in read(data, kind, definition)
        if item.error is not None
    ]


def test_json_lines_skip_empty_lines_and_take_a_byte_order_mark():
    assert documents(b'\xef\xbb\xbf{"a":1}\n\n {"a":2} \r\n{"a":3}', "jsonl") == [
        {"a": 1},
        {"a": 2},
        {"a": 3},
    ]


def test_a_bad_line_is_a_fault_of_that_line_alone():
    data = b'{"a":1}\nnonsense\n[1]\n{"a":"\xff"}\n{"a":2}\n'
    assert [line for line, _ in faults(data, "jsonl")] == [2, 3, 4]
    assert documents(data, "jsonl")[-1] == {"a": 2}


@pytest.mark.parametrize("text", ["[]", " [ ] ", "[\n]\n"])
def test_an_empty_array_has_no_documents(text):
    assert read(text.encode(), "json") == []


def test_an_array_may_be_written_in_any_way():
    chance = random.Random(1)
    rows = [
        {"n": n, "text": "x" * chance.randrange(3_000), "list": [{"]": "[,"}] * 3}
        for n in range(400)
    ]
    for indent in (None, 2):
        assert documents(json.dumps(rows, indent=indent).encode(), "json") == rows


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("{}", 1, "one array"),
        ('[{"a":1}\n{"a":2}]', 2, "where ',' is due"),
        ('[{"a":1},\n{"a":', 2, "no JSON"),
        ('[{"a":1}\n\n', 3, "does not end"),
        ('[\n{"a": NaN}]', 2, "NaN"),
        ("[1]", 1, "an object, not int"),
        ("", 1, "does not end"),
    ],
)
def test_a_broken_array_names_the_line(text, line, message):
    ((found, text),) = faults(text.encode(), "json")
    assert found == line
    assert message in text


def test_what_stands_before_the_break_is_read():
    assert documents(b'[{"a":1},{"a":2},oops', "json") == [{"a": 1}, {"a": 2}, None]


def test_a_table_has_typed_columns_and_multi_line_cells():
    data = b'id,n,text\na,5,"two\nlines"\nb,,\n'
    assert documents(data, "csv", CLOSED) == [
        {"id": "a", "n": 5, "text": "two\nlines"},
        {"id": "b"},
    ]


def test_rows_of_another_length_and_bad_cells_are_faults():
    data = b"id,n\na,1\nb\nc,x\nd,2,3\n"
    assert [line for line, _ in faults(data, "csv", CLOSED)] == [3, 4, 5]


@pytest.mark.parametrize("data", [b"a,a\n1,2\n", b"a,\n1,2\n", b'a\n"x\n'])
def test_a_table_that_makes_no_sense_says_where(data):
    assert len(faults(data, "csv")) == 1


def test_memory_does_not_grow_with_the_file():
    class Endless(io.RawIOBase):
        left = 40_000

        def readable(self):
            return True

        def readinto(self, buffer):
            if not self.left:
                return 0
            self.left -= 1
            line = b'{"text":"' + b"t" * 1_000 + b'"}\n'
            buffer[: len(line)] = line
            return len(line)

    source = Source(io.BufferedReader(Endless(), 4_096), "jsonl", OPEN)
    tracemalloc.start()
    count = 0
    while items := source.next_batch().items:
        count += len(items)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 40_000
    assert peak < 16 << 20


def test_the_format_is_known_by_the_name():
    assert format_of(Path("a.NDJSON"), None) == "jsonl"
    assert format_of(Path("a.csv"), "json") == "json"
    with pytest.raises(UsageError, match="jsonl, json, csv"):
        format_of(Path("a.txt"), None)
    with pytest.raises(UsageError, match="'xml'"):
        format_of(Path("a.csv"), "xml")
