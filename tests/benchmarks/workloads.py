"""The workloads of ``make bench``; each opens a database of its own."""

from __future__ import annotations

import time
from pathlib import Path

import trio
from limits import Limits, sample_document
from report import Report

from aurora_actors import Aurora, DurabilityMode, FieldDefinition, FieldType, field

USERS = {
    "name": FieldDefinition(FieldType.STRING, nullable=False),
    "email": FieldDefinition(FieldType.STRING, unique=True),
    "age": FieldDefinition(FieldType.INT, indexed=True),
    "role": FieldDefinition(FieldType.STRING, indexed=True),
    "active": FieldDefinition(FieldType.BOOL),
    "score": FieldDefinition(FieldType.FLOAT),
    "created": FieldDefinition(FieldType.STRING),
    "tags": FieldDefinition(FieldType.array(FieldType.STRING)),
    "address": FieldDefinition(FieldType.OBJECT),
    "bio": FieldDefinition(FieldType.STRING),
}
MODES = (DurabilityMode.WAL, DurabilityMode.STRICT)


def startup(directory: Path, _limits: Limits, report: Report) -> None:
    """Open a new tree; attach to a running one."""

    async def run() -> None:
        path = directory / "startup.db"
        start = time.perf_counter()
        async with Aurora.open(path) as first:
            await first.new_collection("users", USERS)
            await first.query("users").count()
            report.row("open, first query answered", _ms(start))
            start = time.perf_counter()
            async with Aurora.open(path) as second:
                await second.query("users").count()
                report.row("attach, first query answered", _ms(start))

    trio.run(run)


def point_reads(directory: Path, limits: Limits, report: Report) -> None:
    """``get_document`` and a unique look-up, in the caller's process."""
    count = 20_000

    async def run() -> None:
        async with Aurora.open(directory / "reads.db") as db:
            await db.new_collection("users", USERS)
            ids = await db.insert_many("users", map(sample_document, range(count)))
            samples = []
            for number in range(5000):
                start = time.perf_counter()
                await db.get_document("users", ids[number * 7919 % count])
                samples.append(time.perf_counter() - start)
            of = "LMDB get + decode"
            report.times("get_document", samples, limits.lmdb_get_s, of)
            samples = []
            for number in range(2000):
                email = f"user{number * 7919 % count}@example.com"
                start = time.perf_counter()
                await db.query("users").filter(field("email") == email).first_one()
                samples.append(time.perf_counter() - start)
            report.times("unique look-up", samples, limits.lmdb_get_s, of)

    trio.run(run)


def single_inserts(directory: Path, limits: Limits, report: Report) -> None:
    """Awaited inserts, one at a time."""

    async def run(mode: DurabilityMode) -> None:
        path = directory / f"single-{mode.value}.db"
        async with Aurora.open(path, durability_mode=mode) as db:
            await db.new_collection("users", USERS)
            samples = []
            for number in range(3000):
                start = time.perf_counter()
                await db.insert_into("users", sample_document(number))
                samples.append(time.perf_counter() - start)
            title = f"insert_into, awaited, {mode.value}"
            report.times(title, samples, limits.nng_s, "nng round trip")

    for mode in MODES:
        trio.run(run, mode)


def concurrent_inserts(directory: Path, _limits: Limits, report: Report) -> None:
    """64 tasks inserting; then one ``insert_many``."""
    count, tasks = 30_000, 64

    async def run(mode: DurabilityMode) -> None:
        path = directory / f"concurrent-{mode.value}.db"
        async with Aurora.open(path, durability_mode=mode) as db:
            await db.new_collection("users", USERS)
            before = await db.stats()
            numbers = iter(range(count))

            async def insert() -> None:
                for number in numbers:
                    await db.insert_into("users", sample_document(number))

            start = time.perf_counter()
            async with trio.open_nursery() as nursery:
                for _ in range(tasks):
                    nursery.start_soon(insert)
            rate = count / (time.perf_counter() - start)
            after = await db.stats()
            commits = after["storage"]["commits"] - before["storage"]["commits"]
            syncs = after["storage"]["log_syncs"] - before["storage"]["log_syncs"]
            report.row(
                f"64 concurrent inserters, {mode.value}",
                f"{rate:,.0f} per s",
                f"{commits:,.0f} commits, {syncs / count:.4f} log syncs per insert",
            )
            many = [sample_document(number) for number in range(count, count + 100_000)]
            start = time.perf_counter()
            await db.insert_many("users", many)
            rate = len(many) / (time.perf_counter() - start)
            report.row(f"insert_many of 100,000, {mode.value}", f"{rate:,.0f} docs/s")

    for mode in MODES:
        trio.run(run, mode)


def scans(directory: Path, _limits: Limits, report: Report) -> None:
    """Filters, order and counts over 100,000 documents."""
    count = 100_000

    async def run() -> None:
        async with Aurora.open(directory / "scans.db") as db:
            await db.new_collection("users", USERS)
            await db.insert_many("users", map(sample_document, range(count)))
            users = db.query("users")
            both = users.filter((field("score") > 1000.0) & (field("active") == True))  # noqa: E712
            for title, work in (
                ("count with a filter on two fields", both.count),
                ("top 10 by age", users.order_by("age").limit(10).collect),
                ("collect 100,000", users.collect),
            ):
                await work()
                start = time.perf_counter()
                await work()
                took = time.perf_counter() - start
                report.row(
                    title,
                    f"{took * 1000:,.1f} ms",
                    f"{took / count * 1e6:.2f} µs per document",
                )

    trio.run(run)


def _ms(start: float) -> str:
    return f"{(time.perf_counter() - start) * 1000:,.0f} ms"
