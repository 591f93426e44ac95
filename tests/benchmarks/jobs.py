"""Background jobs: how many a second, how soon one begins, beside other queues.

``python tests/benchmarks/jobs.py`` measures at full size and prints tables; with
``--write`` they go into docs/benchmarks.md. ``--quick`` takes small numbers. Rates are
those between a tenth and the last of the jobs, so that nobody's start counts.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import trio
from analytics import PAGE, put
from job_peers import WORKERS, Peer, peers, redis_server, until, workers
from limits import Limits
from report import Report, percentile

from aurora_actors import Aurora, Job, blocking

HERE = str(Path(__file__).parent)
NOOP = Job("noop")


class Sizes(NamedTuple):
    """How much is measured."""

    jobs: int
    peer_jobs: int
    singles: int
    waiting: int
    stamps: int
    spins: int


FULL = Sizes(40_000, 8_000, 3_000, 1_000_000, 300, 200)
QUICK = Sizes(8_000, 2_000, 640, 20_000, 60, 40)


class Row(NamedTuple):
    """One queue's figures; ``None`` where it has no such way."""

    name: str
    rate: float | None
    single: float | None
    concurrent: float | None
    batched: float | None
    transactions: float | None
    stamps: list[float]


# ------------------------------------------------------------------ ours
@contextmanager
def pool(db: blocking.Aurora, processes: int = WORKERS, **more: int) -> Iterator[None]:
    """A pool with the benchmark's handlers, while it is needed."""
    db.start_pool(
        "bench",
        handlers="job_apps",
        processes=processes,
        import_path=[HERE],
        **more,  # type: ignore[arg-type]  # numbers
    )
    try:
        yield
    finally:
        db.stop_pool("bench")


def _left(db: blocking.Aurora) -> int:
    stats = db.job_stats()
    return stats.pending + stats.running


def rate(remaining: Callable[[], int], count: int, deadline_s: float = 300.0) -> float:
    """Jobs per second until ``remaining`` is 0, without the first tenth."""
    counted = count * 9 // 10
    until(lambda: remaining() <= counted, "jobs begin", deadline_s)
    begin, left = time.perf_counter(), remaining()
    until(lambda: remaining() <= 0, "jobs end", deadline_s)
    return left / (time.perf_counter() - begin)


def end_to_end(db: blocking.Aurora, count: int, waiting: int = 0) -> float:
    """No-op jobs a second with four workers, with so many more behind them."""
    db.enqueue_jobs(NOOP for _ in range(count + waiting))
    with pool(db):
        return rate(lambda: _left(db) - waiting, count)


def stamps(db: blocking.Aurora, count: int) -> list[float]:
    """Seconds from before the enqueueing of a job to its beginning, on an idle pool."""
    delays = []
    for number in range(count + 5):
        begin = time.monotonic()
        found = db.wait_job(db.enqueue_job(Job("stamp")), timeout=60)
        if number >= 5:
            delays.append(float(str(found)) - begin)
    return delays


def per_second(count: int, work: Callable[[], object]) -> float:
    """How many a second."""
    begin = time.perf_counter()
    work()
    return count / (time.perf_counter() - begin)


def _in_turn(db: blocking.Aurora, count: int) -> None:
    for _ in range(count):
        db.enqueue_job(NOOP)


def _with_data(db: blocking.Aurora, count: int) -> None:
    for number in range(count):
        with db.transaction() as tx:
            tx.insert_into("orders", {"number": number})
            tx.enqueue_job(NOOP)


def _concurrent(path: Path, count: int) -> float:
    async def main() -> float:
        async with Aurora.open(path) as db:

            async def some() -> None:
                for _ in range(count // 64):
                    await db.enqueue_job(NOOP)

            begin = trio.current_time()
            async with trio.open_nursery() as nursery:
                for _ in range(64):
                    nursery.start_soon(some)
            return count // 64 * 64 / (trio.current_time() - begin)

    return trio.run(main)


def ours(directory: Path, sizes: Sizes) -> Row:
    """All figures of ours but those with many waiting."""
    path = directory / "jobs.db"
    with blocking.open(path) as db:
        db.new_collection("orders", open=True)
        with pool(db):
            delays = stamps(db, sizes.stamps)
        found = end_to_end(db, sizes.jobs)
        single = per_second(sizes.singles, lambda: _in_turn(db, sizes.singles))
        together = _concurrent(path, sizes.singles * 4)
        many = per_second(
            sizes.jobs, lambda: db.enqueue_jobs(NOOP for _ in range(sizes.jobs))
        )
        atomic = per_second(sizes.singles, lambda: _with_data(db, sizes.singles))
    return Row("aurora-actors", found, single, together, many, atomic, delays)


def with_many_waiting(directory: Path, sizes: Sizes) -> Row:
    """The same while a million wait: half of them for their time, half behind."""
    path = directory / "waiting.db"
    with blocking.open(path) as db:
        later = NOOP.with_run_at(datetime.now(UTC) + timedelta(days=1))
        db.enqueue_jobs(later for _ in range(sizes.waiting))
        with pool(db):
            delays = stamps(db, sizes.stamps)
        found = end_to_end(db, sizes.jobs, sizes.waiting)
        single = per_second(sizes.singles, lambda: _in_turn(db, sizes.singles))
    name = f"aurora-actors, {sizes.waiting:,} waiting"
    return Row(name, found, single, None, None, None, delays)


def scaling(directory: Path, sizes: Sizes) -> float:
    """How much more two processes do than one, of jobs that use the processor."""
    seconds = []
    with blocking.open(directory / "scaling.db") as db:
        for processes in (1, 2):
            with pool(db, processes, concurrency=1):
                begin = time.perf_counter()
                ids = db.enqueue_jobs(
                    Job("spin", {"seconds": 0.02}) for _ in range(sizes.spins)
                )
                until(lambda: _left(db) == 0, "jobs end")
                seconds.append(time.perf_counter() - begin)
                assert len(ids) == sizes.spins
    return seconds[0] / seconds[1]


# ------------------------------------------------------------------ the others
def theirs(peer: Peer, sizes: Sizes) -> Row:
    """One other queue's figures."""
    count = sizes.peer_jobs
    single = per_second(count, lambda: peer.enqueue(count))
    with workers(peer):
        found = rate(peer.remaining, count)
        delays = []
        for number in range(sizes.stamps // 3 + 5):
            begin = time.monotonic()
            at = peer.stamp()
            if number >= 5:
                delays.append(at - begin)
    together = None
    if peer.concurrent is not None:
        several = sizes.singles // 64 * 64
        enqueue = peer.concurrent
        together = per_second(several, lambda: enqueue(several))
    return Row(peer.name, found, single, together, None, None, delays)


# ------------------------------------------------------------------ words
def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def table(rows: list[Row]) -> list[str]:
    """Figures as a table in Markdown."""
    titles = [
        "queue",
        "no-op jobs/s",
        "enqueued/s, one at a time",
        "64 at once",
        "batched",
        "in transactions",
        "pick-up p50, ms",
        "p99, ms",
    ]
    lines = [f"| {' | '.join(titles)} |", f"| --- |{' ---: |' * (len(titles) - 1)}"]
    for row in rows:
        rates = map(_number, row[1:6])
        middle = statistics.median(row.stamps) * 1e3
        late = percentile(row.stamps, 0.99) * 1e3
        lines.append(
            f"| {row.name} | {' | '.join(rates)} | {middle:,.2f} | {late:,.2f} |"
        )
    return lines


def measured(directory: Path, sizes: Sizes) -> list[str]:
    """All tables."""
    load = os.getloadavg()[0]
    rows = [ours(directory, sizes), with_many_waiting(directory, sizes)]
    absent = "" if sizes.jobs == FULL.jobs else "; quick"
    with redis_server(directory) as url:
        if url is None:
            absent += "; no Redis here"
        rows += [theirs(peer, sizes) for peer in peers(directory, url)]
    gain = scaling(directory, sizes)
    python = f"Python {platform.python_version()}"
    busy = f"a load of {load:.0f} before"
    more = f"{gain:.2f} times as many a second with two processes as with one"
    return [
        f"{os.cpu_count()} cores, {python}, {WORKERS} workers each; {busy}{absent}.",
        "",
        *table(rows),
        "",
        f"A handler that uses the processor: {more}.",
    ]


def background_jobs(directory: Path, limits: Limits, report: Report) -> None:
    """A quick look, as a part of ``make bench``."""
    row = ours(directory, QUICK)
    report.row("no-op jobs end to end, 4 workers", f"{_number(row.rate)} /s")
    report.row("jobs enqueued one at a time", f"{_number(row.single)} /s")
    report.row("jobs enqueued by 64 tasks", f"{_number(row.concurrent)} /s")
    report.row("jobs enqueued in batches", f"{_number(row.batched)} /s")
    report.row("jobs enqueued in transactions", f"{_number(row.transactions)} /s")
    report.times(
        "a job begins on an idle pool", row.stamps, limits.nng_s, "nng round trip"
    )


def main() -> None:
    """Measure, and print or write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small numbers")
    parser.add_argument("--waiting", type=int, help="so many, instead of a million")
    parser.add_argument("--write", action="store_true", help="to docs/benchmarks.md")
    given = parser.parse_args()
    sizes = QUICK if given.quick else FULL
    if given.waiting is not None:
        sizes = sizes._replace(waiting=given.waiting)
    with tempfile.TemporaryDirectory(prefix="aurora-bench-") as name:
        lines = measured(Path(name), sizes)
    print("\n".join(lines))
    if given.write:
        PAGE.write_text(put(PAGE.read_text(), "jobs", lines))


if __name__ == "__main__":
    main()
