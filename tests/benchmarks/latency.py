"""From before a write to its arrival in another process, beside others, in one run.

The writes of all lanes take turns, in blocks and a millisecond apart, so that whatever
else the machine does meets all of them alike.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from limits import echo, sample_document
from peers import Lane, listening, postgres, redis_pubsub
from report import Report, micro

from aurora_actors import blocking
from aurora_actors.config import AuroraConfig

__all__ = ["WATCHER", "latency", "measure_latency", "watched"]

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
_BLOCK = 50
_USUAL_US = AuroraConfig(db_path=":memory:").live_busy_poll_us


def watched(number: int) -> dict[str, object]:
    """A document that the watcher is told of."""
    return {**sample_document(number), "role": "watched", "number": number}


@contextmanager
def _ours(
    path: Path, count: int, title: str = "", live_busy_poll_us: int = _USUAL_US
) -> Iterator[Lane]:
    with blocking.open(path, live_busy_poll_us=live_busy_poll_us) as db:
        db.new_collection("users", open=True)
        with listening(WATCHER, str(path), str(count)) as child:
            yield Lane(
                f"aurora-actors: insert, live query{title}",
                lambda _number, document: db.insert_into("users", document),
                child,
            )


def measure_latency(
    directory: Path, count: int
) -> tuple[list[float], dict[str, list[float]]]:
    """Round trips of bare nng, and the delays of each lane by title."""
    trips: list[float] = []
    with ExitStack() as stack:
        found = [
            stack.enter_context(_ours(directory / "latency.db", count)),
            stack.enter_context(
                _ours(directory / "rest.db", count, ", live_busy_poll_us = 0", 0)
            ),
            stack.enter_context(redis_pubsub(directory, count)),
            stack.enter_context(postgres(directory, count)),
        ]
        lanes = [lane for lane in found if lane is not None]
        round_trip = stack.enter_context(echo(directory))
        for start in range(0, count, _BLOCK):
            for lane in lanes:
                for number in range(start, start + _BLOCK):
                    lane.write(number, watched(number))
                    time.sleep(0.001)
            for _ in range(_BLOCK):
                begin = time.perf_counter()
                round_trip()
                trips.append(time.perf_counter() - begin)
                time.sleep(0.001)
        return trips, {lane.title: lane.delays() for lane in lanes}


def latency(directory: Path, _limits: object, report: Report) -> None:
    """The delays as lines of the report."""
    trips, found = measure_latency(directory, 2_000)
    floor = statistics.median(trips)
    report.row(
        "nng round trip, in the same run", micro(floor), f"{os.cpu_count()} cores"
    )
    for title, samples in found.items():
        report.times(title, samples, floor, "nng round trip")
