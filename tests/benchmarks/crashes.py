"""What not losing anything costs: a sync for each insert, and recovery after a crash."""

from __future__ import annotations

import os
import signal
import statistics
import time
from contextlib import suppress
from pathlib import Path

import psutil
import trio
from limits import BareLog, Limits
from report import Report

from aurora_actors import (
    Aurora,
    AuroraConfig,
    DurabilityMode,
    FieldDefinition,
    FieldType,
)
from aurora_actors.actors.storage import compile_encoded
from aurora_actors.messages.storage import DefineCollection, InsertDocuments
from aurora_actors.schema.types import CollectionDefinition, encode_definition
from aurora_actors.schema.values import encode_document
from aurora_actors.storage.engine import Engine, StorageCall
from aurora_actors.storage.store import Settings

CHANGES = 100_000
# No checkpoint but the one at the start. Small documents: large ones would make one due
# by the pages that they fill.
NEVER_MS = 1_000_000_000
FIELDS = {
    "name": FieldDefinition(FieldType.STRING, nullable=False),
    "age": FieldDefinition(FieldType.INT, indexed=True),
}


def _document(number: int) -> dict[str, object]:
    return {"name": f"User {number}", "age": number % 80}


def strict(directory: Path, _limits: Limits, report: Report) -> None:
    """One client's awaited inserts, in turns with bare writes and syncs of as much."""

    async def run() -> None:
        path = directory / "strict.db"
        ours: list[float] = []
        bare: list[float] = []
        async with Aurora.open(path, durability_mode=DurabilityMode.STRICT) as db:
            await db.new_collection("users", FIELDS)
            with BareLog(directory / "strict.log") as log:
                for number in range(2000):
                    start = time.perf_counter()
                    await db.insert_into("users", _document(number))
                    between = time.perf_counter()
                    log.append(bytes(300))
                    ours.append(between - start)
                    bare.append(time.perf_counter() - between)
        rate, limit = (1 / statistics.median(each) for each in (ours, bare))
        report.row(
            "awaited inserts, strict, one client",
            f"{rate:,.0f} per s",
            f"{rate / limit:.2f} × bare pwrite + fdatasync ({limit:,.0f} per s)",
        )

    trio.run(run)


def recovery(directory: Path, _limits: Limits, report: Report) -> None:
    """kill -9 on storage; on the whole tree; power loss, after which the log is all."""
    path = directory / "recovery.db"
    config = AuroraConfig(db_path=str(path), checkpoint_interval_ms=NEVER_MS)
    trio.run(_kill_storage, config, report)
    trio.run(
        _open_again, config, report, "kill -9 of all, opened, first write answered"
    )
    trio.run(_open_again, config, report, "the same after a clean stop")
    _after_power_loss(config, report)


async def _since_checkpoint(db: Aurora) -> int:
    values = (await db.stats())["storage"]
    return int(values["lsn"] - values["checkpoint_lsn"])


async def _kill_storage(config: AuroraConfig, report: Report) -> None:
    async with Aurora.with_config(config) as db:
        await db.new_collection("users", FIELDS)
        documents = map(_document, range(CHANGES))
        await db.insert_many("users", documents)
        changes = await _since_checkpoint(db)
        assert changes >= CHANGES, changes
        actors = (await db.status()).actors
        storage = next(actor.pid for actor in actors if actor.name == "storage")
        start = time.perf_counter()
        os.kill(storage, signal.SIGKILL)
        await db.insert_into("users", _document(CHANGES))
        _row(report, "kill -9 of storage, next write answered", start, changes)
        # What recovery has checkpointed is written once more.
        many = (_document(CHANGES + 1 + number) for number in range(CHANGES))
        await db.insert_many("users", many)
        changes = await _since_checkpoint(db)
        assert changes >= CHANGES, changes
        supervisor = psutil.Process((await db.status()).supervisor_pid)
        tree = [supervisor, *supervisor.children(recursive=True)]
        for process in tree:
            with suppress(psutil.NoSuchProcess):
                process.kill()
    _gone, alive = psutil.wait_procs(tree, timeout=10)
    assert not alive, alive


async def _open_again(config: AuroraConfig, report: Report, what: str) -> None:
    start = time.perf_counter()
    async with Aurora.with_config(config) as db:
        await db.insert_into("users", _document(3 * CHANGES))
        changes = 0 if "clean" in what else CHANGES
        _row(report, what, start, changes)
        assert await db.query("users").count() > 2 * CHANGES


def _after_power_loss(config: AuroraConfig, report: Report) -> None:
    """The data file goes back to its checkpoint, and everything since is applied."""
    elsewhere = AuroraConfig(
        db_path=f"{config.db_path}-power", checkpoint_interval_ms=NEVER_MS
    )

    def open_engine(boot: str) -> Engine:
        return Engine.open(
            elsewhere,
            compile_predicate=compile_encoded,
            tree_id="bench",
            settings=Settings(boot=boot),
        )

    engine = open_engine("one")
    _fill(engine)
    engine.sync()
    changes = engine.lsn - int(engine.statistics()["checkpoint_lsn"])
    engine.abandon()
    start, cpu = time.perf_counter(), time.process_time()
    engine = open_engine("two")
    cpu = time.process_time() - cpu
    _row(report, f"power loss, log replayed ({cpu:.2f} s of CPU)", start, changes)
    engine.close()


def _fill(engine: Engine) -> None:
    definition = encode_definition(CollectionDefinition("users", FIELDS))
    engine.execute([StorageCall("c", 1, 0, DefineCollection(definition=definition))])
    for first in range(0, CHANGES, 100):
        numbers = range(first, first + 100)
        request = InsertDocuments(
            collection="users",
            ids=[f"user-{number}" for number in numbers],
            documents=[encode_document(_document(number)) for number in numbers],
        )
        engine.execute([StorageCall("c", first + 2, first, request)])


def _row(report: Report, what: str, start: float, changes: int) -> None:
    seconds = time.perf_counter() - start
    report.row(what, f"{seconds:.2f} s", f"{changes:,} changes since the checkpoint")
