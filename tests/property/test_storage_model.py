"""The engine against a dictionary, with crashes and power loss as steps."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from aurora_actors.config import AuroraConfig, DurabilityMode
from aurora_actors.messages.storage import (
    ChangeMatching,
    DefineCollection,
    DeleteDocument,
    InsertDocuments,
    ReplaceDocument,
    UpdateDocument,
    UpsertDocument,
    Written,
)
from aurora_actors.schema.patch import encode_patch
from aurora_actors.schema.record import record_body, record_id
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    encode_definition,
)
from aurora_actors.schema.values import decode_document, encode_document
from aurora_actors.storage.changes import Buffer
from aurora_actors.storage.engine import Engine, StorageCall
from aurora_actors.storage.findings import Findings
from aurora_actors.storage.reader import DataReader
from aurora_actors.storage.store import Settings
from aurora_actors.storage.verify import check_tables
from examples import examples

DEFINITION = CollectionDefinition(
    "c",
    {
        "u": FieldDefinition(FieldType.FLOAT, unique=True),
        "n": FieldDefinition(FieldType.INT),
    },
)
IDS = st.sampled_from([f"id{number}" for number in range(8)])
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "u": st.one_of(st.integers(0, 6), st.sampled_from([1.0, 2.5, None])),
        "n": st.integers(0, 9),
    },
)


def above_four(fields: dict[str, object]) -> bool:
    number = fields.get("n", 0)
    return isinstance(number, int) and number > 4


class Model:
    """What the engine is to do, over a dictionary."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, object]] = {}

    def put(self, name: str, fields: dict[str, object]) -> bool:
        value = fields.get("u")
        if value is not None and any(
            other != name and has.get("u") == value
            for other, has in self.documents.items()
        ):
            return False
        self.documents[name] = dict(fields)
        return True

    def insert(self, documents: list[tuple[str, dict[str, object]]]) -> bool:
        before = dict(self.documents)
        for name, fields in documents:
            if name in self.documents or not self.put(name, fields):
                self.documents = before
                return False
        return True


class StorageMachine(RuleBasedStateMachine):
    """Runs requests on both, in batches, and compares."""

    @initialize(
        mode=st.sampled_from(list(DurabilityMode)), mark_from=st.sampled_from([1, 1000])
    )
    def start(self, mode, mark_from):
        self.mark_from = mark_from
        self.root = Path(tempfile.mkdtemp())
        self.config = AuroraConfig(
            db_path=str(self.root / "db"), durability_mode=mode, change_retention=1000
        )
        self.model = Model()
        self.boot = 1
        self.number = 0
        self.calls: list[tuple[StorageCall, object]] = []
        self.open()
        self.send([DefineCollection(definition=encode_definition(DEFINITION))])

    def open(self):
        self.engine = Engine.open(
            self.config,
            compile_predicate=lambda _: lambda fields, _id: above_four(fields),
            tree_id=f"tree {self.boot}",  # no sender outlives the machine
            settings=Settings(
                boot=str(self.boot), map_size=64 << 20, mark_from=self.mark_from
            ),
        )

    def send(self, requests):
        calls = []
        for request in requests:
            self.number += 1
            calls.append(StorageCall("client", self.number, 0, request))
        before = self.engine.lsn
        replies = self.engine.execute(calls)
        self.calls = list(zip(calls, replies, strict=True))
        last = max((getattr(reply, "lsn", 0) for reply in replies), default=0)
        assert self.engine.lsn == max(before, last)
        return replies

    @rule(
        batch=st.lists(
            st.lists(st.tuples(IDS, FIELDS), min_size=1, max_size=5), max_size=4
        )
    )
    def insert(self, batch):
        requests = [
            InsertDocuments(
                collection="c",
                ids=[name for name, _ in documents],
                documents=[encode_document(fields) for _, fields in documents],
            )
            for documents in batch
        ]
        expected = [self.model.insert(documents) for documents in batch]
        replies = self.send(requests)
        assert [isinstance(reply, Written) for reply in replies] == expected

    @rule(
        batch=st.lists(
            st.tuples(
                st.sampled_from(["update", "replace", "upsert", "delete"]), IDS, FIELDS
            ),
            max_size=6,
        )
    )
    def change(self, batch):
        expected = [self.changed(*step) for step in batch]
        replies = self.send([self.request(*step) for step in batch])
        assert [isinstance(reply, Written) for reply in replies] == expected

    def changed(self, kind, name, fields):
        now = self.model.documents.get(name)
        if kind == "delete":
            self.model.documents.pop(name, None)
            return True
        if now is None and kind != "upsert":
            return False
        if kind != "replace":
            fields = {**(now or {}), **fields}
        return self.model.put(name, fields)

    def request(self, kind, name, fields):
        if kind == "delete":
            return DeleteDocument(collection="c", id=name)
        if kind == "replace":
            document = encode_document(fields)
            return ReplaceDocument(collection="c", id=name, document=document)
        make = UpdateDocument if kind == "update" else UpsertDocument
        return make(collection="c", id=name, patch=encode_patch(fields))

    @rule(delete=st.booleans())
    def change_matching(self, delete):
        rows = [row for row, (_, f) in self.rows().items() if above_four(f)]
        self.number += 1
        request = ChangeMatching(
            client="client",
            client_request_id=self.number,
            collection="c",
            rows=rows,
            snapshot_lsn=self.engine.lsn,
            predicate=b"",
            patch=None if delete else encode_patch({"n": 0}),
        )
        (reply,) = self.engine.execute([StorageCall("executor", 1, 0, request)])
        assert isinstance(reply, Written)
        assert reply.affected == len(rows)
        for name, fields in list(self.model.documents.items()):
            if above_four(fields):
                if delete:
                    del self.model.documents[name]
                else:
                    fields["n"] = 0

    @rule()
    def repeat(self):
        replies = self.engine.execute([call for call, _ in self.calls])
        assert replies == [reply for _, reply in self.calls]

    @rule()
    def checkpoint(self):
        self.engine.checkpoint()

    @rule()
    def upkeep(self):
        self.engine.background()

    @rule()
    def crash(self):
        self.engine.abandon()
        self.open()

    @rule()
    def power_loss(self):
        self.engine.sync()
        self.engine.abandon()
        self.boot += 1
        self.calls = []
        self.open()

    @rule()
    def stop_and_start(self):
        self.engine.close()
        self.boot += 1
        self.calls = []
        self.open()

    def rows(self):
        with (
            DataReader.open(self.config.path, boot=str(self.boot)) as reader,
            reader.snapshot() as snap,
        ):
            info = snap.collection("c")
            found = {
                row: (record_id(record), decode_document(record_body(record)))
                for row, record in snap.scan(info)
            }
            assert info.count == len(found)
            if info.marked is None:
                assert snap.txn.stat(snap._tables.ids)["entries"] == len(found)
            findings = Findings()
            check_tables(snap.txn, snap._tables, findings)
            assert not findings.kept, findings.kept
            for row, (name, fields) in found.items():
                assert snap.row_of(info, name) == row
                if fields.get("u") is not None:
                    assert snap.lookup_unique(info, "u", fields["u"]) == row
            current: dict[int, Buffer | None] = {}
            for change in snap.changes(snap.first_change - 1):
                if change.row:
                    assert change.old == current.get(change.row)
                    current[change.row] = change.new
            assert {row for row, new in current.items() if new is not None} == set(
                found
            )
            return found

    @invariant()
    def both_hold_the_same(self):
        if hasattr(self, "engine"):
            assert dict(self.rows().values()) == self.model.documents

    def teardown(self):
        if hasattr(self, "engine"):
            self.engine.abandon()
            shutil.rmtree(self.root)


TestStorage = StorageMachine.TestCase
TestStorage.settings = settings(
    max_examples=examples(20),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
