"""The workloads of ``make bench``; each opens a database of its own."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median

import psutil
import trio
from limits import Limits, sample_document
from report import Report

from aurora_actors import Aurora, DurabilityMode, FieldDefinition, FieldType, field
from aurora_actors.messages.supervision import ActorStatus

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
            of = "LMDB get of the key, get, decode"
            report.times("unique look-up", samples, limits.lmdb_find_s, of)

    trio.run(run)


def single_writes(directory: Path, limits: Limits, report: Report) -> None:
    """Awaited inserts and updates, one at a time."""

    async def run(mode: DurabilityMode) -> None:
        path = directory / f"single-{mode.value}.db"
        limit = limits.write_s
        if mode is DurabilityMode.STRICT:
            limit += limits.fdatasync_s
        async with Aurora.open(path, durability_mode=mode) as db:
            await db.new_collection("users", USERS)
            ids: list[str] = []

            async def insert(number: int) -> None:
                ids.append(await db.insert_into("users", sample_document(number)))

            async def update(number: int) -> None:
                await db.update_document("users", ids[number], {"score": number * 1.5})

            for name, write in (("insert_into", insert), ("update_document", update)):
                samples = []
                for number in range(3000):
                    start = time.perf_counter()
                    await write(number)
                    samples.append(time.perf_counter() - start)
                title = f"{name}, awaited, {mode.value}"
                of = f"nng round trip, {median(samples) / limit:.2f} × its parts, bare"
                report.times(title, samples, limits.nng_s, of)

    for mode in MODES:
        trio.run(run, mode)


class _Processors:
    """What a workload costs the processes of a tree: CPU time, load or not."""

    def __init__(self, actors: Sequence[ActorStatus]) -> None:
        self._processes = {"client": psutil.Process()}
        for actor in actors:
            if actor.name in {"storage", "index_builder"}:
                self._processes[actor.name] = psutil.Process(actor.pid)
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        times = {name: each.cpu_times() for name, each in self._processes.items()}
        return {name: each.user + each.system for name, each in times.items()}

    def each(self, count: int) -> str:
        """The time that one of ``count`` operations took."""
        now = self._now()
        return ", ".join(
            f"{name} {(now[name] - before) / count * 1e6:.0f}"
            for name, before in self._before.items()
        )


def concurrent_writes(directory: Path, _limits: Limits, report: Report) -> None:
    """64 tasks inserting, then updating; then one ``insert_many``."""
    count, tasks = 30_000, 64

    async def run(mode: DurabilityMode) -> None:
        path = directory / f"concurrent-{mode.value}.db"
        async with Aurora.open(path, durability_mode=mode) as db:
            await db.new_collection("users", USERS)
            actors = (await db.status()).actors
            documents = [sample_document(number) for number in range(count)]
            ids: list[str] = []

            async def insert(number: int) -> None:
                ids.append(await db.insert_into("users", documents[number]))

            async def update(number: int) -> None:
                await db.update_document("users", ids[number], {"score": number * 1.5})

            async def work(write: Callable[[int], Awaitable[None]]) -> None:
                for number in numbers:
                    await write(number)

            for name, write in (("inserters", insert), ("updaters", update)):
                numbers = iter(range(count))
                before = (await db.stats())["storage"]
                costs = _Processors(actors)
                start = time.perf_counter()
                async with trio.open_nursery() as nursery:
                    for _ in range(tasks):
                        nursery.start_soon(work, write)
                rate = count / (time.perf_counter() - start)
                cost = costs.each(count)
                after = (await db.stats())["storage"]
                commits = after["commits"] - before["commits"]
                syncs = after["log_syncs"] - before["log_syncs"]
                report.row(
                    f"64 concurrent {name}, {mode.value}",
                    f"{rate:,.0f} per s",
                    f"{count / commits:.0f} in a commit, {syncs / count:.4f} syncs each; "
                    f"CPU µs each: {cost}",
                )
            many = [sample_document(number) for number in range(count, count + 100_000)]
            costs = _Processors(actors)
            start = time.perf_counter()
            await db.insert_many("users", many)
            took = time.perf_counter() - start
            cost = costs.each(len(many))
            start = time.perf_counter()
            await db.wait_indexed(timeout=120)
            behind = (time.perf_counter() - start) / took
            report.row(
                f"insert_many of 100,000, {mode.value}",
                f"{len(many) / took:,.0f} docs/s",
                f"CPU µs each: {cost}; indexed after {behind:.2f} × that time more",
            )

    for mode in MODES:
        trio.run(run, mode)


def deletes(directory: Path, _limits: Limits, report: Report) -> None:
    """A statement that deletes every eighth of 100,000 documents, four times."""
    count = 100_000

    async def run() -> None:
        async with Aurora.open(directory / "deletes.db") as db:
            await db.new_collection("users", USERS)
            users = db.query("users")
            documents = [sample_document(number) for number in range(count)]
            samples = []
            for _ in range(4):
                await db.insert_many("users", documents)
                await db.wait_indexed(timeout=120)
                await users.filter(field("role") == "role-1").count()
                start = time.perf_counter()
                deleted = await users.filter(field("role") == "role-0").delete()
                samples.append((time.perf_counter() - start) / deleted)
                await users.delete()
            report.row(
                f"delete {count // 8:,} of {count:,} by a filter",
                f"{1 / median(samples):,.0f} docs/s",
                f"{median(samples) * 1e6:.1f} µs each",
            )

    trio.run(run)


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
