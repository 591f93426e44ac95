"""Live queries: how soon an event arrives, what many watchers cost, how many it feeds.

``make bench`` runs these with the other workloads; ``python tests/benchmarks/live.py
--write`` puts them into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import trio
from analytics import PAGE, put
from latency import WATCHER, latency, watched
from limits import Limits, measure_limits, sample_document
from peers import listening
from report import Report
from watching import read_up_to

from aurora_actors import Aurora, InitialComplete, Query, blocking, field

_TOTAL, _RATE = 15_000, 5_000
_Sent = dict[int, float]


def under_load(directory: Path, _limits: Limits, report: Report) -> None:
    """The delay of events while 5,000 documents a second are written."""
    for title, write in (
        ("50 tasks with awaited inserts", partial(_by_tasks, 50)),
        ("10 tasks with awaited inserts", partial(_by_tasks, 10)),
        ("insert_many by 10", partial(_by_lists, 10)),
    ):
        path = directory / f"load-{title[:7]}.db"
        with blocking.open(path) as db:
            db.new_collection("users", open=True)
            with listening(WATCHER, str(path), str(_TOTAL)) as child:
                sent: _Sent = {}
                trio.run(_write, path, write, sent)
                assert child.stdout is not None
                found = [line.split() for line in child.stdout.read().splitlines()]
        samples = sorted(float(at) - sent[int(number)] for number, at in found)
        report.row(
            f"insert to event elsewhere, 5,000 writes/s, {title}",
            f"p50 {samples[len(samples) // 2] * 1e3:,.1f} ms, "
            f"p99 {samples[len(samples) * 99 // 100] * 1e3:,.1f} ms",
        )


async def _write(
    path: Path, write: Callable[[Aurora, _Sent], Awaitable[None]], sent: _Sent
) -> None:
    async with Aurora.open(path) as db:
        await write(db, sent)


async def _by_tasks(tasks: int, db: Aurora, sent: _Sent) -> None:
    """Each task writes as many in a row as make its turns ten milliseconds long."""
    row, begin = max(1, _RATE // 100 // tasks), trio.current_time()

    async def write_some(first: int) -> None:
        for start in range(first, _TOTAL, tasks * row):
            await trio.sleep_until(begin + start / _RATE)
            for number in range(start, start + row):
                sent[number] = time.monotonic()
                await db.insert_into("users", watched(number))

    async with trio.open_nursery() as nursery:
        for task in range(tasks):
            nursery.start_soon(write_some, task * row)


async def _by_lists(size: int, db: Aurora, sent: _Sent) -> None:
    begin = trio.current_time()
    for start in range(0, _TOTAL, size):
        await trio.sleep_until(begin + start / _RATE)
        numbers = range(start, start + size)
        sent.update(dict.fromkeys(numbers, time.monotonic()))
        await db.insert_many("users", [watched(number) for number in numbers])


# ------------------------------------------------------------------ many queries
# Writes the documents when told to, in another process than the watchers.
_WRITER = """
import sys
from limits import sample_document
from aurora_actors import blocking
path, changes, hit, size = sys.argv[1], *map(int, sys.argv[2:])
documents = [{**sample_document(n), "key": n % hit} for n in range(changes)]
with blocking.open(path) as db:
    print("ready", flush=True)
    sys.stdin.readline()
    if size == 1:
        for document in documents:
            db.insert_into("users", document)
    else:
        for start in range(0, changes, size):
            db.insert_many("users", documents[start : start + size])
"""


class Writes(NamedTuple):
    """What the writer does: how many changes, in lists of which size."""

    title: str
    changes: int
    size: int
    settings: dict[str, Any]


# The dispatcher's time for single writes is to be work, not waiting for the next.
_SINGLE = Writes(
    "awaited inserts", 4_000, 1, {"busy_poll_us": 0, "live_busy_poll_us": 0}
)
_LISTS = Writes("insert_many by 100", 20_000, 100, {})


def matching(directory: Path, _limits: Limits, report: Report) -> None:
    """What 1, 1,000 and 10,000 watchers of distinct values cost a write."""
    for writes, counts in (
        (_SINGLE, ((1, 1), (10_000, 10_000))),
        (_LISTS, ((1, 1), (1_000, 1_000), (10_000, 10_000), (10_000, 1))),
    ):
        base = 0.0
        for count, hit in counts:
            path = directory / f"match-{writes.size}-{count}-{hit}.db"
            rate, cost = trio.run(_cost_of, path, count, hit, writes)
            base = base or cost
            report.row(
                f"{count:,} equality watchers, {writes.title} that concern {hit:,} of "
                "them",
                f"dispatcher {cost * 1e6:.1f} µs a change, {rate:,.0f} noticed/s",
                f"{cost / base:.2f} × one watcher",
            )


async def _cost_of(
    path: Path, count: int, hit: int, writes: Writes
) -> tuple[float, float]:
    """Changes noticed in a second, and the dispatcher's processor time for each."""
    changes = writes.changes
    async with Aurora.open(path, query_executors=1, **writes.settings) as db:
        await db.new_collection("users", open=True)
        async with trio.open_nursery() as nursery:
            counter = _Counter(changes)
            for start in range(0, count, 200):
                async with trio.open_nursery() as starting:
                    for number in range(start, min(count, start + 200)):
                        query = db.query("users").filter(field("key") == number)
                        starting.start_soon(nursery.start, counter.follow, query)
            process = await _dispatcher(db)
            sizes = map(str, (changes, hit, writes.size))
            with listening(_WRITER, str(path), *sizes) as writer:
                before, began = _busy(process), time.perf_counter()
                assert writer.stdin is not None
                writer.stdin.write("go\n")
                writer.stdin.flush()
                with trio.fail_after(120):
                    await counter.everyone.wait()
                took = time.perf_counter() - began
                cost = (_busy(process) - before) / changes
                assert writer.wait(60) == 0
            nursery.cancel_scope.cancel()
    return changes / took, cost


class _Counter:
    """Counts what all watchers are told after their first results."""

    def __init__(self, expected: int) -> None:
        self.expect(expected)

    def expect(self, expected: int) -> None:
        """Begin anew."""
        self._seen, self._expected = 0, expected
        self.everyone = trio.Event()

    async def follow(
        self, query: Query[Any], task_status: trio.TaskStatus[None]
    ) -> None:
        """Watch a query for ever."""
        async with query.watch(keeps_state=False) as updates:
            async for update in updates:
                if isinstance(update, InitialComplete):
                    task_status.started()
                    continue
                self._seen += 1
                if self._seen == self._expected:
                    self.everyone.set()


async def _dispatcher(db: Aurora) -> psutil.Process:
    actors = (await db.status()).actors
    pid = next(found.pid for found in actors if found.name == "reactive_dispatcher")
    return psutil.Process(pid)


def _busy(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


# ------------------------------------------------------------------ many subscribers
def fan_out(directory: Path, _limits: Limits, report: Report) -> None:
    """1,000 subscribers to one query in one process."""
    subscribers, documents, rounds = 1_000, 300, 3

    async def run() -> list[float]:
        rates = []
        async with Aurora.open(directory / "fan.db", query_executors=1) as db:
            await db.new_collection("users", open=True)
            async with trio.open_nursery() as nursery:
                counter = _Counter(0)
                for _ in range(subscribers):
                    await nursery.start(counter.follow, db.query("users"))
                many = [sample_document(number) for number in range(documents)]
                for turn in range(2 * rounds):
                    counter.expect(subscribers * documents)
                    began = time.perf_counter()
                    if turn % 2:
                        await db.insert_many("users", many)
                    else:
                        async with trio.open_nursery() as inserting:
                            for document in many:
                                inserting.start_soon(db.insert_into, "users", document)
                    await counter.everyone.wait()
                    took = time.perf_counter() - began
                    rates.append(subscribers * documents / took)
                nursery.cancel_scope.cancel()
        return rates

    rates = trio.run(run)
    for title, found in (("inserts", rates[::2]), ("insert_many", rates[1::2])):
        report.row(
            f"1,000 subscribers to one query, one process, {title}",
            f"{statistics.median(found):,.0f} deliveries/s",
            f"{subscribers} × {documents} events, {rounds} times",
        )


# ------------------------------------------------------------------ memory
def memory(directory: Path, _limits: Limits, report: Report) -> None:
    """A watcher that sleeps, and watches that are opened and closed."""

    async def run() -> None:
        async with Aurora.open(directory / "memory.db", query_executors=1) as db:
            await db.new_collection("users", open=True)
            dispatcher, us = await _dispatcher(db), psutil.Process()
            await _sleep_through(db, dispatcher, us, report)
            await _open_and_close(db, dispatcher, us, report)

    trio.run(run)


async def _sleep_through(
    db: Aurora, dispatcher: psutil.Process, us: psutil.Process, report: Report
) -> None:
    """10,000 changes of 1 KB documents while a watcher does not read."""
    ids = await db.insert_many("users", [{"n": 0} for _ in range(100)])
    query = db.query("users")
    async with query.watch() as sleeper:
        while not isinstance(await anext(sleeper), InitialComplete):
            pass
        before = _resident(dispatcher), _resident(us)
        for start in range(0, 10_000, 100):
            async with db.transaction() as tx:
                for number, name in enumerate(ids, start):
                    patch = {"n": number, "text": f"{number:01024}"}
                    await tx.update_document("users", name, patch)
        grown = _resident(dispatcher) - before[0], _resident(us) - before[1]
        lsn = await db.sync()
        updates = len(await read_up_to(sleeper, lsn))
        assert sleeper.snapshot() == await query.collect()
    report.row(
        "a watcher sleeps through 10,000 changes, 10 MB",
        f"dispatcher {grown[0]:+.1f} MB, client {grown[1]:+.1f} MB",
        f"then {updates:,} updates to the right state",
    )


async def _open_and_close(
    db: Aurora, dispatcher: psutil.Process, us: psutil.Process, report: Report
) -> None:
    async def cycles(count: int) -> None:
        for number in range(count):
            async with db.query("users").filter(field("n") > number % 50).watch():
                pass

    await cycles(1_000)
    before, began = (_resident(dispatcher), _resident(us)), time.perf_counter()
    await cycles(10_000)
    took = time.perf_counter() - began
    grown = _resident(dispatcher) - before[0], _resident(us) - before[1]
    left = (await db.stats())["reactive_dispatcher"]
    report.row(
        "10,000 watches opened and closed",
        f"dispatcher {grown[0]:+.1f} MB, client {grown[1]:+.1f} MB",
        f"{took / 10_000 * 1e6:,.0f} µs each; {left['subscriptions']} left",
    )


def _resident(process: psutil.Process) -> float:
    gc.collect()
    return float(process.memory_info().rss - process.memory_info().shared) / 1e6


def main() -> None:
    """Run them all, and print or write the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--write", action="store_true", help="to docs/benchmarks.md")
    given = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory(prefix="aurora-bench-") as directory:
        limits = measure_limits(Path(directory))
        for work in (latency, under_load, matching, fan_out, memory):
            work(Path(directory), limits, report)
    report.row(
        "load average at the end",
        f"{os.getloadavg()[0]:.0f}",
        f"on {os.cpu_count()} cores",
    )
    report.show()
    if given.write:
        PAGE.write_text(put(PAGE.read_text(), "live", report.markdown()))


if __name__ == "__main__":
    main()
