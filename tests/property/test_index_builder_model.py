"""The index builder against a model, with lag, restarts, crashes and damage as steps."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from aurora_actors.config import AuroraConfig
from aurora_actors.indexing.arrow import ROW_COLUMN, open_segment_table
from aurora_actors.indexing.builder import IndexBuilder
from aurora_actors.indexing.keys import compound_key, element_keys, value_key
from aurora_actors.indexing.layout import INDEX_FILE
from aurora_actors.indexing.ranges import EVERYTHING
from aurora_actors.indexing.reader import IndexReader
from aurora_actors.indexing.store import Limits, Settings
from aurora_actors.messages.storage import (
    DefineCollection,
    DeleteDocument,
    DropCollection,
    InsertDocuments,
    ReplaceDocument,
)
from aurora_actors.schema.order import values_equal
from aurora_actors.schema.record import record_body, record_id
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    encode_definition,
)
from aurora_actors.schema.values import decode_document, encode_document
from aurora_actors.storage.engine import Engine, StorageCall
from aurora_actors.storage.reader import DataReader
from examples import examples

F = FieldDefinition
DEFINITION = CollectionDefinition(
    "c",
    {
        "n": F(FieldType.FLOAT, indexed=True),
        "s": F(FieldType.STRING, indexed=True),
        "tags": F(FieldType.array(FieldType.INT), indexed=True),
        "any": F(FieldType.ANY, indexed=True),
        "inner": F(FieldType.object({"x": F(FieldType.INT, indexed=True)})),
        "flag": F(FieldType.BOOL),
        "when": F(FieldType.UUID),
    },
)
IDS = st.sampled_from([f"id{number}" for number in range(12)])
OPTIONAL = {
    "n": st.one_of(st.integers(0, 6), st.sampled_from([0.5, 2**53 + 1, None])),
    "s": st.sampled_from(["a", "b", "ab", "x" * 600, "x" * 600 + "y", "é" * 1100]),
    "tags": st.lists(st.integers(0, 3), max_size=3),
    "any": st.one_of(st.none(), st.booleans(), st.integers(0, 1), st.lists(st.none())),
    "inner": st.fixed_dictionaries({}, optional={"x": st.integers(0, 2)}),
    "flag": st.booleans(),
    "when": st.sampled_from([None]),
}
FIELDS = st.fixed_dictionaries({}, optional=OPTIONAL)
LIMITS = Limits(
    changes=5,
    documents=3,
    waiting_rows=6,
    idle_rows=2,
    segment_rows=8,
    bitmaps=3,
    fan_in=2,
)


def documents_of(snapshot):
    """What the database holds: collection id -> row -> (id, fields)."""
    return {
        info.id: {
            row: (record_id(record), decode_document(record_body(record)))
            for row, record in snapshot.scan(info)
        }
        for info in snapshot.collections()
    }


def keys_of(index, fields):
    if index.multi:
        return element_keys(fields.get(index.fields[0]))
    values = [path(fields, name) for name in index.fields]
    return {compound_key(values) if len(values) > 1 else value_key(values[0])}


def path(fields, name):
    for part in name.split("."):
        fields = fields.get(part) if isinstance(fields, dict) else None
    return fields


def check_index(index, documents):
    expected: dict[bytes, list[int]] = {}
    for row in sorted(documents):
        for key in keys_of(index, documents[row][1]):
            expected.setdefault(key, []).append(row)
    scanned = [(key, list(rows)) for key, rows in index.scan(EVERYTHING)]
    padded = [(key + bytes(-(len(key) + 4) % 8), expected[key]) for key in expected]
    assert scanned == sorted(padded)
    backwards = [(k, list(r)) for k, r in index.scan(EVERYTHING, descending=True)]
    assert backwards == scanned[::-1]
    assert list(index.keys(EVERYTHING)) == [(key, len(rows)) for key, rows in scanned]
    assert index.entries == sum(map(len, expected.values()))
    for key, rows in expected.items():
        assert list(index.any_rows(key)) == rows == list(index.rows(key))
        assert index.count(key) == len(rows)
    assert list(index.range_rows(EVERYTHING)) == sorted(documents)
    assert index.range_count(EVERYTHING, 1 << 60) == index.entries
    if index.is_bitmaps:
        assert index.distinct == len(expected) <= LIMITS.bitmaps


def check_columns(columns, documents):
    spoken_for = set(columns.document_rows)
    assert spoken_for <= set(documents)
    assert columns.document_count == len(spoken_for)
    for segment in columns.segments:
        table = open_segment_table(columns.path(segment), segment.size, segment.crc)
        rows = table.column(ROW_COLUMN).to_pylist()
        assert rows == sorted(rows) == list(columns.members(segment))
        dead = set(columns.dead(segment))
        live = [row for row in rows if row not in dead]
        assert not spoken_for & set(live)
        spoken_for |= set(live)
        for facts in segment.columns:
            values = table.column(facts.name).to_pylist()
            assert facts.nulls == values.count(None)
            for row, value in zip(rows, values, strict=True):
                if row not in dead:
                    assert values_equal(value, path(documents[row][1], facts.name))
                if value is not None and facts.bounds is not None:
                    assert facts.low <= value <= facts.high
    assert spoken_for == set(documents)


def check_order(disordered, documents):
    highest = ""
    for row in sorted(documents):
        if row not in disordered:
            assert documents[row][0] > highest
            highest = documents[row][0]


class BuilderMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.stack = ExitStack()
        self.path = Path(tempfile.mkdtemp()).resolve()
        self.stack.callback(shutil.rmtree, self.path, ignore_errors=True)
        self.numbers = 0
        self.states = {}
        self.changed = False
        config = AuroraConfig(db_path=str(self.path), change_retention=20)
        self.engine = Engine.open(
            config, compile_predicate=lambda _: lambda _d, _i: True, tree_id="t"
        )
        self.stack.callback(self.engine.abandon)
        self.data = self.stack.enter_context(DataReader.open(self.path))
        self.index = self.stack.enter_context(IndexReader.open(self.path))
        self.ask(DefineCollection(definition=encode_definition(DEFINITION)))
        self.builder = None
        self.open_builder()

    def ask(self, *requests):
        """One commit for each, so that every LSN's state is known."""
        for request in requests:
            self.numbers += 1
            call = StorageCall("client", self.numbers, 0, request)
            self.engine.execute([call])
            with self.data.snapshot() as snapshot:
                self.states[snapshot.lsn] = documents_of(snapshot)

    def open_builder(self):
        with self.data.snapshot() as snapshot:
            settings = Settings(map_size=64 << 20, limits=LIMITS)
            self.builder = IndexBuilder.open(self.path, snapshot, settings)

    @rule(documents=st.dictionaries(IDS, FIELDS, min_size=1, max_size=6))
    def insert(self, documents):
        for name, fields in documents.items():
            self.ask(
                InsertDocuments(
                    collection="c", ids=[name], documents=[encode_document(fields)]
                )
            )

    @rule(name=IDS, fields=FIELDS)
    def replace(self, name, fields):
        body = encode_document(fields)
        self.ask(ReplaceDocument(collection="c", id=name, document=body))

    @rule(name=IDS)
    def delete(self, name):
        self.ask(DeleteDocument(collection="c", id=name))

    @rule(dice=st.integers(1, 6))
    def drop_and_define_another(self, dice):
        if dice < 6:
            return
        self.changed = not self.changed
        fields = dict(DEFINITION.fields)
        if self.changed:
            fields["flag"] = F(FieldType.BOOL, indexed=True)
            del fields["tags"]
        definition = CollectionDefinition("c", fields, open=True)
        self.ask(
            DropCollection(collection="c"),
            DefineCollection(definition=encode_definition(definition)),
        )

    @rule(steps=st.integers(1, 4))
    def follow_a_little(self, steps):
        with self.data.snapshot() as snapshot:
            for _ in range(steps):
                self.builder.step(snapshot)
        self.check()

    @rule()
    def catch_up(self):
        with self.data.snapshot() as snapshot:
            while self.builder.step(snapshot):
                pass
            while self.builder.tidy(snapshot):
                self.check()
            assert self.builder.lsn == snapshot.lsn
            assert not self.builder.is_building
        self.check(complete=True)

    @rule(clean=st.booleans())
    def restart(self, clean):
        self.builder.close() if clean else self.builder.abandon()
        self.open_builder()
        self.check()

    @rule(where=st.integers(0, 10), keep=st.booleans())
    def damage(self, where, keep):
        self.builder.abandon()
        self.index.close()  # a map whose file is cut cannot be read
        file = self.path / INDEX_FILE
        if keep:
            data = bytearray(file.read_bytes())
            data[:8192] = bytes([where]) * 8192
            file.write_bytes(data)
        else:
            with file.open("r+b") as opened:
                opened.truncate(where * 1000)
        self.index = self.stack.enter_context(IndexReader.open(self.path))
        assert self.index.snapshot() is None
        self.open_builder()
        self.check()

    def check(self, complete=False):
        snapshot = self.index.snapshot()
        assert snapshot is not None
        with snapshot:
            assert snapshot.lsn == self.builder.lsn
            state = self.states[snapshot.lsn]
            for collection, documents in state.items():
                indexes = snapshot.indexes(collection)
                for index in indexes:
                    check_index(index, documents)
                columns = snapshot.columns(collection)
                if columns is not None:
                    check_columns(columns, documents)
                disordered = snapshot.disordered(collection)
                if disordered is not None:
                    check_order(disordered, documents)
                if complete:
                    assert len(indexes) == 5
                    assert columns is not None
                    assert disordered is not None

    def teardown(self):
        if hasattr(self, "stack"):
            self.catch_up()
            self.builder.close()
            self.stack.close()


TestBuilder = BuilderMachine.TestCase
TestBuilder.settings = settings(
    max_examples=examples(40),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
