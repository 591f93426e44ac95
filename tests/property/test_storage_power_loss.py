"""G2: after power loss the database is a state it had, and one that was promised.

A recording file system notes what had been synced. At a random operation the power
goes: the disk that is left is built sector by sector from what was synced, what was
written since, and versions in between; names that were created, renamed or removed
since their directory was synced may have either state.
"""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from faults.disk import Disk, PowerLoss
from hypothesis import HealthCheck, given, settings, strategies as st
from support import first_seed

from aurora_actors.config import AuroraConfig, DurabilityMode
from aurora_actors.messages.storage import (
    ChangeMatching,
    Compacted,
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
from examples import examples

# What they have answered survives the machine.
PROMISING = {DurabilityMode.STRICT, DurabilityMode.SYNCHRONOUS}
DEFINITION = CollectionDefinition(
    "users",
    {
        "mail": FieldDefinition(FieldType.STRING, unique=True),
        "n": FieldDefinition(FieldType.INT),
    },
)


class History:
    """A database under random work, and every state it has had, by LSN."""

    def __init__(self, path: Path, mode: DurabilityMode, rnd: random.Random, cut: int):
        self.rnd = rnd
        self.mode = mode
        self.disk = Disk(path, cut, lmdb_syncs=self.is_synchronous)
        self.config = AuroraConfig(db_path=str(path), durability_mode=mode)
        self.number = 0
        self.now: dict[str, dict[str, object]] = {}
        self.states: dict[int, dict[str, dict[str, object]]] = {0: {}, 1: {}}
        self.promised = 0
        self.visible = 0
        self.engine: Engine = None  # type: ignore[assignment]

    @property
    def is_synchronous(self) -> bool:
        return self.mode is DurabilityMode.SYNCHRONOUS

    def start(self) -> None:
        self.engine = open_engine(self.config, self.disk, "one")

    def live(self, work: Callable[[], None]) -> bool:
        """Open, work and stop without a word; whether the power went before that."""
        with suppress(PowerLoss):
            self.start()
            self._execute([DefineCollection(definition=encode_definition(DEFINITION))])
            work()
            self.disk.observe()
        lost, self.disk.off = self.disk.off, True
        if self.engine is not None:
            self.engine.abandon()
        return lost

    def compact_once(self) -> None:
        """Some work with a compaction in it."""
        self._execute([self._request()])
        self.engine.sync()
        self.promised = self.engine.lsn
        self._compact_under_load()

    def work(self, steps: int) -> None:
        """Do all kinds of things, at random."""
        for _ in range(steps):
            choice = self.rnd.random()
            if choice < 0.70:
                self._execute([self._request() for _ in range(self.rnd.choice([1, 5]))])
            elif choice < 0.8:
                self.engine.sync()
                self.promised = self.engine.lsn
            elif choice < 0.84:
                self.engine._reclaimer.run()
            elif choice < 0.9:
                self.engine.checkpoint()
                self.promised = self.engine.lsn
            elif choice < 0.96:
                self._checkpoint_under_load()
            else:
                self._compact_under_load()

    def _checkpoint_under_load(self) -> None:
        """A checkpoint whose sync goes on while others commit."""
        upkeep, lsn = self.engine._upkeep, self.engine.lsn
        pending = upkeep._checkpointer.begin(self.engine._store.state)
        self._execute([self._request()])
        upkeep._write_checkpoint(pending)
        self._execute([self._request()])
        upkeep._published(pending)
        self.promised = max(self.promised, lsn)

    def _compact_under_load(self) -> None:
        compactor, lsn = self.engine._compactor, self.engine.lsn
        compactor.start()
        while (outcome := compactor.take_outcome()) is None:
            if self.rnd.random() < 0.1:
                self._execute([self._request()])
            self.engine._reclaimer.run()
            compactor.run()
        if self.disk.off:
            raise PowerLoss
        assert isinstance(outcome, Compacted), outcome
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
        before, data = self.engine.lsn, self.engine._store.data_path
        content = data.read_bytes()
        replies = self.engine.execute(calls)
        if self.engine.lsn > before:
            self.now = documents(self.config.path)
            self.states[self.engine.lsn] = self.now
        self.disk.observe()
        if self.is_synchronous:
            self.disk.committed(data, content)
        if self.disk.off:  # cut in a helper thread: nobody was told of this any more
            raise PowerLoss
        acknowledged = max(
            (r.lsn for r in replies if isinstance(r, Written)), default=0
        )
        self.visible = self.engine.lsn
        if self.mode in PROMISING:
            self.promised = max(self.promised, acknowledged)


def open_engine(config, files, boot) -> Engine:
    return Engine.open(
        config,
        compile_predicate=lambda _: lambda fields, _id: fields.get("n") in {5, 6, 7, 8},
        tree_id=boot,
        settings=Settings(files=files, boot=boot, map_size=64 << 20, mark_from=2),
    )


def documents(path: Path, boot: str = "two") -> dict[str, dict[str, object]]:
    """Read all documents by each of the ways, which have to agree."""
    with DataReader.open(path, boot=boot) as reader, reader.snapshot() as snap:
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
            assert info.marked or snap.txn.stat(table)["entries"] == len(found)
        assert info.count == len(found)
        replayed: dict[int, Buffer | None] = {}
        for change in snap.changes(0):
            if change.row:
                assert replayed.get(change.row) == change.old
                replayed[change.row] = change.new
        current = dict(snap.scan(info))
        assert {r: v for r, v in replayed.items() if v is not None} == current
        return found


def lose_power(root: Path, seed: int, mode: DurabilityMode, disks: int = 3) -> bool:
    """One history; returns whether the power went before its end."""
    rnd = random.Random(seed)
    # The operations of opening included; later cuts need a longer life.
    cut = rnd.choice([rnd.randrange(1, 60), rnd.randrange(1, 400)])
    history = History(root / "db", mode, rnd, cut)
    lost = history.live(lambda: history.work(40))
    for number in range(disks):
        target = root / f"left{number}"
        history.disk.left(rnd, target)
        if number == 0:
            recover_without_power(history, rnd, target, root / "again")
        check(history, target)
        shutil.rmtree(target)
    return lost


def recover_without_power(
    history: History, rnd: random.Random, path: Path, again: Path
) -> None:
    """The power goes once more, while the database is being recovered."""
    left = again.with_name("recovering")
    shutil.copytree(path, left)
    disk = Disk.after_reboot(
        left, rnd.randrange(1, 16), lmdb_syncs=history.is_synchronous
    )
    config = AuroraConfig(db_path=str(left), durability_mode=history.mode)
    with suppress(PowerLoss):
        open_engine(config, disk, "two").abandon()
    disk.observe()
    disk.off = True
    disk.left(rnd, again)
    check(history, again, "three")


def check(history: History, path: Path, boot: str = "two") -> None:
    config = AuroraConfig(db_path=str(path), durability_mode=history.mode)
    engine = open_engine(config, Files(), boot)
    try:
        lsn = engine.lsn
        assert lsn >= history.promised
        assert lsn in history.states or lsn > history.visible
        found = documents(path, boot)
        if lsn in history.states:
            assert found == history.states[lsn]
        if history.mode in PROMISING:
            assert engine.timeline == 1
        elif lsn < history.visible:
            assert engine.timeline >= 2
        insert = InsertDocuments(
            collection="users",
            ids=["new"],
            documents=[encode_document({"mail": "new"})],
        )
        define = DefineCollection(definition=encode_definition(DEFINITION))
        calls = [StorageCall("c", 1, 0, define), StorageCall("c", 2, 0, insert)]
        assert isinstance(engine.execute(calls)[1], Written)
        assert documents(path, boot).keys() == {*found, "new"}
    finally:
        engine.abandon()


@settings(
    max_examples=examples(16), deadline=None, suppress_health_check=list(HealthCheck)
)
@given(seed=st.integers(0, 2**32 - 1), mode=st.sampled_from(DurabilityMode))
def test_power_loss_leaves_a_promised_state(tmp_path_factory, seed, mode):
    lose_power(tmp_path_factory.mktemp("power"), seed, mode)


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_power_loss_leaves_a_promised_state_a_thousand_times(tmp_path, figures):
    losses = 0
    for seed, mode in zip(
        range(first_seed(), first_seed() + 1000),
        itertools.cycle(DurabilityMode),
        strict=False,
    ):
        try:
            losses += lose_power(tmp_path / "power", seed, mode)
        except BaseException as exc:
            exc.add_note(f"seed {seed}, {mode.value}")
            raise
        shutil.rmtree(tmp_path / "power")
    figures.add(
        f"power loss, SEED={first_seed()}: {losses:,} times in 1,000 histories and all "
        "durability modes, 3 disks each, nothing promised was lost"
    )


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", DurabilityMode)
def test_power_is_lost_at_each_operation_of_a_compaction(tmp_path, figures, mode):
    for cut in itertools.count(1):
        rnd = random.Random(first_seed())
        history = History(tmp_path / "power" / "db", mode, rnd, cut)
        lost = history.live(history.compact_once)
        for number in range(8):
            history.disk.left(rnd, tmp_path / "power" / f"left{number}")
            check(history, tmp_path / "power" / f"left{number}")
        shutil.rmtree(tmp_path / "power")
        if not lost:
            figures.add(
                f"power loss at {cut - 1} operations around a compaction, {mode}"
            )
            break
