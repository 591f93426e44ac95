"""The HTTP gateway under many clients, beside the bare framework it is made with.

The bare one is Starlette on Hypercorn's trio worker in a process of its own, which
answers the same requests with fixed bodies of the same size.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio
from http_load import Figures, mixed_load
from limits import Limits, sample_document
from report import Report, micro

from aurora_actors import HttpConfig, blocking

CLIENTS = 256
SECONDS = 10.0
DOCUMENTS = 1000

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


def mixed(directory: Path, _limits: Limits, report: Report) -> None:
    """Nine reads by id for each insert, from 256 clients."""
    path = directory / "gateway.db"
    with blocking.open(path, http=HttpConfig(port=0)) as db:
        db.new_collection("users", open=True)
        documents = [
            {**sample_document(number), "id": str(number)}
            for number in range(DOCUMENTS)
        ]
        db.insert_many("users", documents)
        token = db.create_token("bench", "write")
        (gateway,) = [a for a in db.status().actors if a.name == "http_gateway"]
        ours = _load(int(gateway.values["port"]), token)
    with _bare(json.dumps(documents[0])) as port:
        bare = _load(port, "none")
    for name, found in (("the gateway", ours), ("bare Starlette, Hypercorn", bare)):
        report.row(
            f"{name}, {CLIENTS} clients, 9 reads : 1 insert",
            f"{found.rate():,.0f} requests/s  p99 {micro(found.percentile(0.99))}",
            f"{found.rate() / bare.rate():.2f} × bare",
        )


def _request(rng: random.Random) -> tuple[str, str, bytes]:
    docs = "/collections/users/docs"
    if rng.random() < 0.9:
        return "GET", f"{docs}/{rng.randrange(DOCUMENTS)}", b""
    return "POST", docs, b'{"name": "Ann", "age": 41, "tags": ["a", "b"]}'


def _load(port: int, token: str) -> Figures:
    async def run() -> Figures:
        return await mixed_load(
            port, token, clients=CLIENTS, seconds=SECONDS, paths=_request, keys=False
        )

    found: Figures = trio.run(run)
    assert set(found.statuses) <= {200, 201}, found.statuses
    return found


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
