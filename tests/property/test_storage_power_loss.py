"""G2: after power loss the database is a state it had, and one that was promised.

A recording file system notes what had been synced. At a random operation the power
goes: the disk that is left is built sector by sector from what was synced, what was
written since, and versions in between; names that were created, renamed or removed
since their directory was synced may have either state.
"""

from __future__ import annotations

import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from aurora_actors.config import AuroraConfig, DurabilityMode
from aurora_actors.messages.storage import (
    ChangeMatching,
    DefineCollection,
    DeleteDocument,
    InsertDocuments,
    UpdateDocument,
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
from aurora_actors.storage.files import Files
from aurora_actors.storage.reader import DataReader
from aurora_actors.storage.store import Settings

SECTOR = 512
DEFINITION = CollectionDefinition(
    "users",
    {
        "mail": FieldDefinition(FieldType.STRING, unique=True),
        "n": FieldDefinition(FieldType.INT),
    },
)


class PowerLoss(BaseException):
    """The lights are out."""


class Disk(Files):
    """Records what is on the platter, and cuts the power at one operation."""

    def __init__(self, root: Path, cut_at: int | None) -> None:
        self.root = root
        self.operations = 0
        self.cut_at = cut_at
        self.paths: dict[int, Path] = {}
        self.names: dict[Path, int] = {}
        self.synced_names: dict[Path, int] = {}
        self.synced: dict[int, bytes] = {}
        self.seen: dict[int, list[bytes]] = {}
        self.last: dict[int, bytes] = {}
        self.serial = 0

    def _tick(self) -> None:
        self.operations += 1
        if self.operations == self.cut_at:
            self.observe()
            raise PowerLoss

    def observe(self) -> None:
        """Remember the present content of all files as one that may be on disk."""
        for path, number in self.names.items():
            if path.exists():
                content = path.read_bytes()
                if self.last.get(number) != content:
                    self.seen.setdefault(number, []).append(content)
                    self.last[number] = content

    def open(self, path, *, create=False):
        if path not in self.names:
            self.serial += 1
            self.names[path] = self.serial
        fd = super().open(path, create=create)
        self.paths[fd] = path
        return fd

    def write(self, fd, data, offset):
        self._tick()
        return super().write(fd, data, offset)

    def truncate(self, fd, length):
        self._tick()
        super().truncate(fd, length)

    def sync(self, fd):
        self._tick()
        path = self.paths[fd]
        number = self.names[path]
        content = path.read_bytes()
        super().sync(fd)
        self.synced[number] = self.last[number] = content
        self.seen[number] = []

    def sync_directory(self, path):
        self._tick()
        for name in [n for n in self.synced_names if n.parent == path]:
            del self.synced_names[name]
        self.synced_names |= {n: i for n, i in self.names.items() if n.parent == path}

    def rename(self, source, target):
        self._tick()
        super().rename(source, target)
        self.names[target] = self.names.pop(source)

    def remove(self, path):
        self._tick()
        if path in self.names:
            self.observe()
            del self.names[path]
        super().remove(path)

    # ------------------------------------------------------------------ afterwards
    def left(self, rnd: random.Random, target: Path) -> None:
        """Build one of the disks that may be left."""
        (target / "wal").mkdir(parents=True)
        for path in sorted({*self.names, *self.synced_names}):
            number = rnd.choice([self.names.get(path), self.synced_names.get(path)])
            if path.name == "data.mdb":  # LMDB's files are ours once they have a name
                number = self.names.get(path, number)
            if number is not None:
                content = self._mixture(rnd, number)
                (target / path.relative_to(self.root)).write_bytes(content)

    def _mixture(self, rnd: random.Random, number: int) -> bytes:
        old = self.synced.get(number, b"")
        versions = [old, *self.seen.get(number, [])]
        length = rnd.choice([len(version) for version in versions])
        likely_old = rnd.random()
        parts = []
        for at in range(0, length, SECTOR):
            version = old if rnd.random() < likely_old else rnd.choice(versions)
            parts.append(version[at : at + SECTOR].ljust(SECTOR, b"\0"))
        return b"".join(parts)[:length]


class History:
    """A database under random work, and every state it has had, by LSN."""

    def __init__(self, path: Path, mode: DurabilityMode, rnd: random.Random, cut: int):
        self.rnd = rnd
        self.mode = mode
        self.disk = Disk(path, cut)
        self.config = AuroraConfig(db_path=str(path), durability_mode=mode)
        self.number = 0
        self.now: dict[str, dict[str, object]] = {}
        self.states: dict[int, dict[str, dict[str, object]]] = {0: {}, 1: {}}
        self.promised = 0
        self.visible = 0
        self.engine: Engine = None  # type: ignore[assignment]

    def start(self) -> None:
        self.engine = open_engine(self.config, self.disk, "one")

    def work(self, steps: int) -> None:
        self._execute([DefineCollection(definition=encode_definition(DEFINITION))])
        for _ in range(steps):
            choice = self.rnd.random()
            if choice < 0.70:
                self._execute([self._request() for _ in range(self.rnd.choice([1, 5]))])
            elif choice < 0.8:
                self.engine.sync()
                self.promised = self.engine.lsn
            elif choice < 0.9:
                self.engine.checkpoint()
                self.promised = self.engine.lsn
            else:
                self._checkpoint_under_load()

    def _checkpoint_under_load(self) -> None:
        """A checkpoint whose sync goes on while others commit."""
        upkeep, lsn = self.engine._upkeep, self.engine.lsn
        pending = upkeep._checkpointer.begin(self.engine._store.state)
        self._execute([self._request()])
        upkeep._write_checkpoint(pending)
        self._execute([self._request()])
        upkeep._published(pending)
        self.promised = max(self.promised, lsn)

    def _request(self):
        name = f"d{self.rnd.randrange(30)}"
        choice = self.rnd.random()
        if choice < 0.5:
            names = {
                f"d{self.rnd.randrange(60)}" for _ in range(self.rnd.choice([1, 9]))
            }
            fields = {n: self._fields() for n in sorted(names)}
            return InsertDocuments(
                collection="users",
                ids=list(fields),
                documents=[encode_document(f) for f in fields.values()],
            )
        if choice < 0.8:
            patch = encode_patch(self._fields())
            return UpdateDocument(collection="users", id=name, patch=patch)
        if choice < 0.9:
            return DeleteDocument(collection="users", id=name)
        return ChangeMatching(
            client="other",
            client_request_id=self.rnd.randrange(1, 1 << 40),
            collection="users",
            rows=[],
            snapshot_lsn=max(1, self.engine.lsn - 3),
            predicate=b"",
            patch=None if self.rnd.random() < 0.3 else encode_patch({"n": 7}),
        )

    def _fields(self) -> dict[str, object]:
        mail = "x" * self.rnd.choice([1, 1, 600]) + str(self.rnd.randrange(40))
        return {"mail": mail, "n": self.rnd.randrange(9)}

    def _execute(self, requests) -> None:
        calls = []
        for request in requests:
            self.number += 1
            calls.append(StorageCall("client", self.number, 0, request))
        before = self.engine.lsn
        replies = self.engine.execute(calls)
        self.disk.observe()
        if self.engine.lsn > before:
            self.now = documents(self.config.path)
            self.states[self.engine.lsn] = self.now
        acknowledged = max(
            (r.lsn for r in replies if isinstance(r, Written)), default=0
        )
        self.visible = self.engine.lsn
        if self.mode is DurabilityMode.STRICT:
            self.promised = max(self.promised, acknowledged)


def open_engine(config, files, boot) -> Engine:
    return Engine.open(
        config,
        compile_predicate=lambda _: lambda fields, _id: fields.get("n") in {5, 6, 7, 8},
        tree_id=boot,
        settings=Settings(files=files, boot=boot, map_size=64 << 20),
    )


def documents(path: Path) -> dict[str, dict[str, object]]:
    """Read all documents by each of the ways, which have to agree."""
    with DataReader.open(path, boot="two") as reader, reader.snapshot() as snap:
        if "users" not in [info.name for info in snap.collections()]:
            return {}
        info = snap.collection("users")
        found = {}
        for row, record in snap.scan(info):
            fields = decode_document(record_body(record))
            found[record_id(record)] = fields
            assert snap.row_of(info, record_id(record)) == row
            assert snap.lookup_unique(info, "mail", fields["mail"]) == row
        for table in (snap._tables.ids, snap._tables.unique):
            assert snap.txn.stat(table)["entries"] == len(found)
        assert info.count == len(found)
        replayed: dict[int, Buffer | None] = {}
        for change in snap.changes(0):
            if change.row:
                assert replayed.get(change.row) == change.old
                replayed[change.row] = change.new
        current = dict(snap.scan(info))
        assert {r: v for r, v in replayed.items() if v is not None} == current
        return found


def lose_power(root: Path, seed: int, mode: DurabilityMode, disks: int = 3) -> None:
    rnd = random.Random(seed)
    # The operations of opening included; later cuts need a longer life.
    cut = rnd.choice([rnd.randrange(1, 60), rnd.randrange(1, 400)])
    history = History(root / "db", mode, rnd, cut)
    disk = history.disk
    with suppress(PowerLoss):
        history.start()
        history.work(40)
        disk.observe()
    disk.cut_at = None
    if history.engine is not None:
        history.engine.abandon()
    for number in range(disks):
        target = root / f"left{number}"
        disk.left(rnd, target)
        check(history, target)
        shutil.rmtree(target)


def check(history: History, path: Path) -> None:
    config = AuroraConfig(db_path=str(path), durability_mode=history.mode)
    engine = open_engine(config, Files(), "two")
    try:
        lsn = engine.lsn
        assert lsn >= history.promised
        assert lsn in history.states or lsn > history.visible
        found = documents(path)
        if lsn in history.states:
            assert found == history.states[lsn]
        if history.mode is DurabilityMode.STRICT:
            assert engine.timeline == 1
        elif lsn < history.visible:
            assert engine.timeline == 2
        insert = InsertDocuments(
            collection="users",
            ids=["new"],
            documents=[encode_document({"mail": "new"})],
        )
        define = DefineCollection(definition=encode_definition(DEFINITION))
        calls = [StorageCall("c", 1, 0, define), StorageCall("c", 2, 0, insert)]
        assert isinstance(engine.execute(calls)[1], Written)
        assert documents(path).keys() == {*found, "new"}
    finally:
        engine.abandon()


SOME = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(SOME, max_examples=1000)
SEEDS = st.integers(0, 2**32 - 1)
MODES = st.sampled_from(
    [DurabilityMode.WAL, DurabilityMode.STRICT, DurabilityMode.NONE]
)


@SOME
@given(seed=SEEDS, mode=MODES)
def test_power_loss_leaves_a_promised_state(tmp_path_factory, seed, mode):
    lose_power(tmp_path_factory.mktemp("power"), seed, mode)


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.timeout(3600)
@MANY
@given(seed=SEEDS, mode=MODES)
def test_power_loss_leaves_a_promised_state_a_thousand_times(
    tmp_path_factory, seed, mode
):
    lose_power(tmp_path_factory.mktemp("power"), seed, mode)
