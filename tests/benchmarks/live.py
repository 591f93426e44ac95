"""Live queries: how soon an event arrives, what many watchers cost, how many it feeds."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import peers
import psutil
import trio
from limits import Limits, sample_document
from report import Report

from aurora_actors import Aurora, InitialComplete, blocking, field

# Prints, for each document that arrives, its number and the system's monotonic clock.
WATCHER = """
import sys, time
from aurora_actors import Added, InitialComplete, blocking, field
path, total = sys.argv[1], int(sys.argv[2])
arrived = []
with blocking.open(path) as db:
    query = db.query("users").filter(field("role") == "watched")
    with query.watch(keeps_state=False) as updates:
        for update in updates:
            if isinstance(update, InitialComplete):
                print("ready", flush=True)
            elif isinstance(update, Added):
                arrived.append((update.document["number"], time.monotonic()))
                if len(arrived) == total:
                    break
print("\\n".join(f"{number} {at}" for number, at in arrived), flush=True)
"""


def latency(directory: Path, limits: Limits, report: Report) -> None:
    """From before an insert to its event in another process, beside PostgreSQL."""
    path = directory / "latency.db"
    with blocking.open(path) as db:
        db.new_collection("users", open=True)
        with _watcher(path, 3000) as child:
            sent = {}
            for number in range(3000):
                sent[number] = time.monotonic()
                db.insert_into("users", _watched(number))
            samples = _delays(child, sent)
        report.times(
            "insert to event elsewhere", samples, limits.nng_s, "nng round trip"
        )
    found = peers.postgres_notify(directory, 1500)
    if found is None:
        report.row("PostgreSQL NOTIFY to LISTEN elsewhere", "not on this machine")
    else:
        title = "PostgreSQL insert + NOTIFY to LISTEN elsewhere"
        report.times(title, found, limits.nng_s, "nng round trip")
    _latency_under_load(directory, report)


def _latency_under_load(directory: Path, report: Report) -> None:
    """The same while 5,000 documents a second are written."""
    path, total, rate = directory / "load.db", 15_000, 5_000

    async def write(sent: dict[int, float]) -> None:
        async with Aurora.open(path) as db:
            begin = trio.current_time()
            async with trio.open_nursery() as nursery:
                for number in range(total):
                    await trio.sleep_until(begin + number / rate)
                    sent[number] = time.monotonic()
                    nursery.start_soon(db.insert_into, "users", _watched(number))

    with blocking.open(path) as db:
        db.new_collection("users", open=True)
        with _watcher(path, total) as child:
            sent: dict[int, float] = {}
            trio.run(write, sent)
            samples = sorted(_delays(child, sent))
    report.row(
        "  at 5,000 writes/s",
        f"p50 {samples[len(samples) // 2] * 1e6:,.0f} µs  "
        f"p99 {samples[len(samples) * 99 // 100] * 1e6:,.0f} µs",
    )


def _watched(number: int) -> dict[str, object]:
    return {**sample_document(number), "role": "watched", "number": number}


@contextmanager
def _watcher(path: Path, total: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WATCHER, str(path), str(total)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        yield child


def _delays(child: subprocess.Popen[str], sent: dict[int, float]) -> list[float]:
    assert child.stdout is not None
    found = [line.split() for line in child.stdout.read().splitlines()]
    return [float(at) - sent[int(number)] for number, at in found]


def matching(directory: Path, _limits: Limits, report: Report) -> None:
    """What 1, 1,000 and 10,000 watchers of distinct values cost a write."""
    base = 0.0
    for count, hit in ((1, 1), (1_000, 1_000), (10_000, 10_000), (10_000, 1)):
        path = directory / f"match-{count}-{hit}.db"
        rate, cost = trio.run(_cost_of, path, count, hit)
        base = base or cost
        report.row(
            f"{count:,} equality watchers, changes concern {hit:,} of them",
            f"{cost * 1e6:.1f} µs a change, {rate:,.0f} changes/s noticed",
            f"{cost / base:.2f} × one watcher",
        )


async def _cost_of(path: Path, count: int, hit: int) -> tuple[float, float]:
    """The dispatcher's time for a change, and the changes noticed in a second."""
    changes = 30_000
    async with Aurora.open(path, query_executors=1) as db:
        await db.new_collection("users", open=True)
        async with trio.open_nursery() as nursery:
            seen = [0]
            everyone = trio.Event()

            async def watch(number: int, task_status: trio.TaskStatus[None]) -> None:
                query = db.query("users").filter(field("key") == number)
                async with query.watch(keeps_state=False) as updates:
                    async for update in updates:
                        if isinstance(update, InitialComplete):
                            task_status.started()
                        else:
                            seen[0] += 1
                            if seen[0] == changes:
                                everyone.set()

            for start in range(0, count, 200):
                async with trio.open_nursery() as starting:
                    for number in range(start, min(count, start + 200)):
                        starting.start_soon(nursery.start, watch, number)
            documents = [
                {**sample_document(number), "key": number % hit}
                for number in range(changes)
            ]
            process = await _dispatcher(db)
            before, began = _busy(process), time.perf_counter()
            for start in range(0, changes, 100):
                await db.insert_many("users", documents[start : start + 100])
            with trio.fail_after(120):
                await everyone.wait()
            took = time.perf_counter() - began
            cost = (_busy(process) - before) / changes
            nursery.cancel_scope.cancel()
    return changes / took, cost


async def _dispatcher(db: Aurora) -> psutil.Process:
    actors = (await db.status()).actors
    pid = next(found.pid for found in actors if found.name == "reactive_dispatcher")
    return psutil.Process(pid)


def _busy(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def fan_out(directory: Path, _limits: Limits, report: Report) -> None:
    """1,000 subscribers to one query in one process."""
    subscribers, documents, rounds = 1_000, 300, 3

    async def run() -> list[float]:
        rates = []
        async with Aurora.open(directory / "fan.db", query_executors=1) as db:
            await db.new_collection("users", open=True)
            async with trio.open_nursery() as nursery:
                counts = [0, 0]
                everyone = trio.Event()

                async def follow(task_status: trio.TaskStatus[None]) -> None:
                    async with db.query("users").watch(keeps_state=False) as updates:
                        async for update in updates:
                            if isinstance(update, InitialComplete):
                                task_status.started()
                                continue
                            counts[0] += 1
                            if counts[0] == counts[1]:
                                everyone.set()

                for _ in range(subscribers):
                    await nursery.start(follow)
                many = [sample_document(number) for number in range(documents)]
                for turn in range(2 * rounds):
                    everyone = trio.Event()
                    counts[:] = 0, subscribers * documents
                    began = time.perf_counter()
                    if turn % 2:
                        await db.insert_many("users", many)
                    else:
                        async with trio.open_nursery() as inserting:
                            for document in many:
                                inserting.start_soon(db.insert_into, "users", document)
                    await everyone.wait()
                    rates.append(counts[1] / (time.perf_counter() - began))
                nursery.cancel_scope.cancel()
        return rates

    rates = trio.run(run)
    for title, found in (("inserts", rates[::2]), ("insert_many", rates[1::2])):
        report.row(
            f"1,000 subscribers to one query, one process, {title}",
            f"{statistics.median(found):,.0f} deliveries/s",
            f"{subscribers} × {documents} events, {rounds} times",
        )
