"""What indexes cost: the writer, and the builder that follows it.

Secondary indexes belong to the index builder, so what they cost the writer is nothing
that it does itself. Batches with three indexed fields and with none are written in turn,
and the processor time of the storage process is compared besides the time to the
acknowledgement, because other processes share the cores.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import psutil
import trio
from limits import Limits, sample_document
from report import Report
from workloads import USERS

from aurora_actors import Aurora, FieldDefinition

BATCH = 20_000
ROUNDS = 5
PLAIN = {
    name: FieldDefinition(each.field_type, nullable=each.nullable)
    for name, each in USERS.items()
}
INDEXED = {
    **PLAIN,
    **{
        name: FieldDefinition(PLAIN[name].field_type, indexed=True)
        for name in ("age", "role", "email")
    },
}


def indexing(directory: Path, _limits: Limits, report: Report) -> None:
    """Three indexed fields against none; then how long the builder takes to follow."""

    async def run() -> None:
        async with Aurora.open(directory / "indexing.db") as db:
            await _compare(db, report)
            await _follow(db, report)

    trio.run(run)


async def _compare(db: Aurora, report: Report) -> None:
    await db.new_collection("plain", PLAIN)
    await db.new_collection("indexed", INDEXED)
    actors = (await db.status()).actors
    storage = psutil.Process(next(a.pid for a in actors if a.name == "storage"))
    walls: dict[str, list[float]] = {"plain": [], "indexed": []}
    busy: dict[str, list[float]] = {"plain": [], "indexed": []}
    for number in range(ROUNDS):
        for name, taken in walls.items():
            first = number * BATCH
            documents = [sample_document(first + each) for each in range(BATCH)]
            await db.wait_indexed(timeout=120)
            before, start = _busy(storage), time.perf_counter()
            await db.insert_many(name, documents)
            taken.append(time.perf_counter() - start)
            busy[name].append(_busy(storage) - before)
    for name, taken in walls.items():
        report.row(
            f"insert_many of {BATCH:,}, "
            f"{'three indexed fields' if name == 'indexed' else 'none indexed'}",
            f"{BATCH / statistics.median(taken):,.0f} docs/s",
            f"{statistics.median(busy[name]) / BATCH * 1e6:.2f} µs of storage each",
        )
    ratio = statistics.median(busy["indexed"]) / statistics.median(busy["plain"])
    report.row("three indexed fields, the writer's cost", f"{ratio:.2f} × of none")


async def _follow(db: Aurora, report: Report) -> None:
    await db.new_collection("users", USERS)
    documents = [sample_document(number) for number in range(100_000)]
    await db.wait_indexed(timeout=120)
    start = time.perf_counter()
    await db.insert_many("users", documents)
    wrote = time.perf_counter() - start
    await db.wait_indexed(timeout=300)
    followed = time.perf_counter() - start - wrote
    report.row(
        "insert_many of 100,000, one unique and two indexed fields",
        f"{len(documents) / wrote:,.0f} docs/s acknowledged",
        f"indexes caught up {followed / wrote:.2f} × that time after",
    )


def _busy(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
