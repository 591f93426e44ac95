"""The HTTP gateway under many clients, beside the bare framework it is made with.

The bare one is Starlette on Hypercorn's trio worker in a process of its own, which
answers the same requests with fixed bodies of the same size. Both are one process that
serves, and the clients are one process beside it. ``--write`` puts the figures into
docs/benchmarks.md; that takes three minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
import trio
from analytics import PAGE, put
from http_load import Figures, mixed_load
from limits import Limits, sample_document
from report import Report, micro

from aurora_actors import HttpConfig, blocking

DOCUMENTS = 1000
DOCS = "/collections/users/docs"
Asked = tuple[str, str, bytes]


class Load(NamedTuple):
    """What clients ask for, how many they are, and for how long."""

    name: str
    ask: Callable[[random.Random], Asked]
    clients: int
    seconds: float


class Row(NamedTuple):
    """What a load has come to, here and at the bare framework."""

    load: Load
    ours: Figures
    bare: Figures
    grown: dict[str, int]


def _read(rng: random.Random) -> Asked:
    return "GET", f"{DOCS}/{rng.randrange(DOCUMENTS)}", b""


def _insert(_rng: random.Random) -> Asked:
    return "POST", DOCS, b'{"name": "Ann", "age": 41, "tags": ["a", "b"]}'


def _mixed(rng: random.Random) -> Asked:
    return _read(rng) if rng.random() < 0.9 else _insert(rng)


READS = Load("reads by id", _read, 64, 10.0)
WRITES = Load("inserts", _insert, 64, 10.0)
MIXED = Load("nine reads to an insert", _mixed, 256, 60.0)

BARE = """
import socket, sys, trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

ONE, MADE = sys.argv[1].encode(), b'{"id":"01a21db2-e38b-70e4-8fea-378def8364f2"}'

async def read(request):
    return Response(ONE, media_type="application/json")

async def write(request):
    await request.body()
    return Response(MADE, 201, media_type="application/json")

app = Starlette(routes=[
    Route("/collections/users/docs", write, methods=["POST"]),
    Route("/collections/users/docs/{id:path}", read),
])
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(1024)
listener.setblocking(False)
config = Config()
config.bind = [f"fd://{listener.fileno()}"]
config.accesslog, config.keep_alive_timeout = None, 60.0
print(listener.getsockname()[1], flush=True)
trio.run(serve, app, config)
"""


def measured(directory: Path, loads: list[Load]) -> list[Row]:
    """Each load at the gateway, and then at the bare framework."""
    path = directory / "gateway.db"
    rows: list[tuple[Load, Figures, dict[str, int]]] = []
    with blocking.open(path, http=HttpConfig(port=0)) as db:
        db.new_collection("users", open=True)
        documents = [
            {**sample_document(number), "id": str(number)}
            for number in range(DOCUMENTS)
        ]
        db.insert_many("users", documents)
        token = db.create_token("bench", "write")
        (gateway,) = [a for a in db.status().actors if a.name == "http_gateway"]
        port = int(gateway.values["port"])
        for load in loads:
            before = _resident(db)
            found = _under(load, port, token)
            grown = {name: size - before[name] for name, size in _resident(db).items()}
            rows.append((load, found, grown))
    with _bare(json.dumps(documents[0])) as port:
        return [
            Row(load, ours, _under(load, port, "none"), grown)
            for load, ours, grown in rows
        ]


def _resident(db: blocking.Aurora) -> dict[str, int]:
    """Memory of their own, which the map of the database's file is not."""
    found = {}
    for actor in db.status().actors:
        memory = psutil.Process(actor.pid).memory_info()
        found[actor.name] = memory.rss - memory.shared
    return found


def _under(load: Load, port: int, token: str) -> Figures:
    async def run() -> Figures:
        return await mixed_load(
            port,
            token,
            clients=load.clients,
            seconds=load.seconds,
            paths=load.ask,
            keys=False,
        )

    found: Figures = trio.run(run)
    assert set(found.statuses) <= {200, 201}, found.statuses
    return found


def table(rows: list[Row]) -> list[str]:
    """The figures for a page of the documentation."""
    lines = [
        (
            "| load | requests/s | p50, ms | p99, ms | bare: requests/s | p50, ms | p99, ms "
            "| ours ÷ bare |"
        ),
        f"|{' --- |'}{' ---: |' * 7}",
    ]
    for load, ours, bare, _ in rows:
        name = f"{load.name}, {load.clients} clients, {load.seconds:.0f} s"
        figures = (
            f"{each.rate():,.0f} | {each.percentile(0.5) * 1e3:,.0f} "
            f"| {each.percentile(0.99) * 1e3:,.0f}"
            for each in (ours, bare)
        )
        gain = f"{ours.rate() / bare.rate():.2f}"
        lines.append(f"| {name} | {' | '.join(figures)} | {gain} |")
    return lines


def notes(row: Row) -> list[str]:
    """What else there is to say of a load: answers, and memory."""
    statuses = ", ".join(
        f"{n:,} × {status}" for status, n in sorted(row.ours.statuses.items())
    )
    grown = ", ".join(
        f"{name} {size / 1e6:+.0f}" for name, size in sorted(row.grown.items())
    )
    return [
        (
            f"Answers of the {row.load.clients} clients: {statuses}, nothing else. Memory "
            f"that the processes gained meanwhile, in MB: {grown}."
        )
    ]


def gateway(directory: Path, _limits: Limits, report: Report) -> None:
    """A quick look, as a part of ``make bench``."""
    for row in measured(directory, [MIXED._replace(seconds=10.0)]):
        for name, found in (
            ("the gateway", row.ours),
            ("its bare framework", row.bare),
        ):
            report.row(
                f"{name}, {row.load.clients} clients, {row.load.name}",
                f"{found.rate():,.0f} requests/s  p99 {micro(found.percentile(0.99))}",
                f"{found.rate() / row.bare.rate():.2f} × bare",
            )


def main() -> None:
    """Measure, and print or write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a sixth of the time")
    parser.add_argument("--write", action="store_true", help="to docs/benchmarks.md")
    given = parser.parse_args()
    loads = [READS, WRITES, MIXED]
    if given.quick:
        loads = [load._replace(seconds=load.seconds / 6) for load in loads]
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="aurora-bench-") as name:
        rows = measured(Path(name), loads)
    lines = [
        (
            f"{os.cpu_count()} cores, Python {platform.python_version()}; "
            f"a load of {load_before:.0f} before."
        ),
        "",
        *table(rows),
        "",
        *notes(rows[-1]),
    ]
    print("\n".join(lines))
    if given.write:
        PAGE.write_text(put(PAGE.read_text(), "gateway", lines))


@contextmanager
def _bare(answer: str) -> Iterator[int]:
    server = subprocess.Popen(
        [sys.executable, "-c", BARE, answer], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.communicate()


if __name__ == "__main__":
    main()
