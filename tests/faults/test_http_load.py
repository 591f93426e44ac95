"""The gateway under load: many clients, killed processes, idle WebSockets."""

from __future__ import annotations

import base64
import json
import os
import random
import resource
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import trio
from http_load import Client, Figures, mixed_load
from processes import kill_actor
from served import Served, serving
from support import Figures as Printed, free_port, wait_until

from aurora_actors import HttpConfig

pytestmark = [pytest.mark.processes, pytest.mark.faults]

COLLECTION = "loaded"
IDS = 200
IDLE = 10_000
SPARE = 2_000


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "data.db") as served:
        served.db.new_collection(COLLECTION, open=True)
        served.db.insert_many(
            COLLECTION, [{"id": f"seed{n}", "n": n, "kind": "seed"} for n in range(IDS)]
        )
        yield served


def requests(rng: random.Random) -> tuple[str, str, bytes]:
    """Half reads by id, the rest queries, texts, inserts and changes."""
    choice, docs = rng.random(), f"/collections/{COLLECTION}/docs"
    document = f"{docs}/seed{rng.randrange(IDS)}"
    if choice < 0.5:
        return "GET", document, b""
    if choice < 0.6:
        return "GET", f"{docs}?limit=5&order=-n", b""
    if choice < 0.7:
        text = f"{{ {COLLECTION}(where: {{n: {{lt: $n}}}}, limit: 3) {{ id n }} }}"
        asked = {"query": text, "variables": {"n": rng.randrange(IDS)}}
        return "POST", "/aql", json.dumps(asked).encode()
    if choice < 0.9:
        return "POST", docs, json.dumps({"n": rng.random(), "kind": "new"}).encode()
    return "PATCH", document, b'{"n": {"$increment": 1}}'


def only_documents(rng: random.Random) -> tuple[str, str, bytes]:
    """Without texts, which take no idempotency keys."""
    while True:
        made = requests(rng)
        if made[1] != "/aql":
            return made


# ------------------------------------------------------------------ kills
async def under_kills(
    served: Served, clients: int, seconds: float, kills: int
) -> Figures:
    """A load while storage and the gateway are killed in turn."""
    figures: list[Figures] = []

    async def load() -> None:
        figures.append(
            await mixed_load(
                served.port,
                served.token,
                clients=clients,
                seconds=seconds,
                paths=only_documents,
                survives=True,
            )
        )
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(load)
        for number in range(kills):
            await trio.sleep(seconds / (kills + 1))
            name = ("storage", "http_gateway")[number % 2]
            await trio.to_thread.run_sync(kill_actor, served.db, name)
        await trio.sleep(600.0)
    return figures[0]


def check_after(served: Served, figures: Figures) -> None:
    assert set(figures.statuses) <= {0, 200, 201, 503, 504}, figures.statuses
    assert figures.statuses[201]
    ids = {d.id for d in served.db.query(COLLECTION).collect() if d["kind"] == "new"}
    # Each acknowledged insert is there, and none twice, however often it was sent.
    assert ids == figures.written


@pytest.fixture
def fixed(tmp_path: Path) -> Iterator[Served]:
    """A gateway that comes back at the same port."""
    with serving(tmp_path / "fixed.db", HttpConfig(port=free_port())) as served:
        served.db.new_collection(COLLECTION, open=True)
        served.db.insert_many(
            COLLECTION, [{"id": f"seed{n}", "n": n, "kind": "seed"} for n in range(IDS)]
        )
        yield served


async def test_kills_of_storage_and_the_gateway_lose_and_repeat_nothing(fixed: Served):
    check_after(fixed, await under_kills(fixed, clients=8, seconds=3.0, kills=2))


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_many_kills_lose_and_repeat_nothing(fixed: Served):
    check_after(fixed, await under_kills(fixed, clients=64, seconds=60.0, kills=12))


# ------------------------------------------------------------------ load
def resident(served: Served) -> dict[str, int]:
    return {
        a.name: psutil.Process(a.pid).memory_info().rss
        for a in served.db.status().actors
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_256_clients_for_a_minute_meet_no_error_and_memory_is_bounded(
    served: Served, figures: Printed
):
    async def load(seconds: float) -> Figures:
        return await mixed_load(
            served.port, served.token, clients=256, seconds=seconds, paths=requests
        )

    await load(10.0)
    before = await trio.to_thread.run_sync(resident, served)
    found = await load(60.0)
    after = await trio.to_thread.run_sync(resident, served)
    assert set(found.statuses) <= {200, 201}, found.statuses
    growth = {name: after[name] - before[name] for name in after}
    # The documents and their idempotency keys are kept; nothing else may grow.
    kept = 4_096 * found.statuses[201]
    assert all(grown < kept + (64 << 20) for grown in growth.values()), growth
    figures.add(
        f"256 HTTP clients: {found.rate():.0f} requests/s, p99 "
        f"{found.percentile(0.99) * 1e3:.0f} ms, growth "
        f"{max(growth.values()) / (1 << 20):.0f} MiB at most"
    )


# ------------------------------------------------------------------ idle
async def open_socket(port: int, token: str) -> trio.SocketStream:
    """A WebSocket after its handshake, and nothing more."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    key = base64.b64encode(os.urandom(16)).decode()
    await stream.send_all(
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    answer = await stream.receive_some(4096)
    assert answer.startswith(b"HTTP/1.1 101"), answer
    return stream


async def hold(served: Served, count: int) -> int:
    """Open so many WebSockets, see that requests are served, give memory for each."""
    before = (await trio.to_thread.run_sync(resident, served))["http_gateway"]
    streams: list[trio.SocketStream] = []
    turns = trio.CapacityLimiter(64)

    async def one() -> None:
        async with turns:
            streams.append(await open_socket(served.port, served.token))

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
    status = await trio.to_thread.run_sync(served.db.status)
    (gateway,) = [a for a in status.actors if a.name == "http_gateway"]
    after = (await trio.to_thread.run_sync(resident, served))["http_gateway"]
    client = Client(served.port, served.token)
    answer = await client.ask("GET", f"/collections/{COLLECTION}/docs/seed1")
    assert answer.status == 200
    await client.aclose()
    for stream in streams:
        await trio.aclose_forcefully(stream)
    assert gateway.restarts == 0
    return (after - before) // count


async def test_idle_websockets_are_held_and_forgotten(served: Served):
    await hold(served, 100)

    def all_gone() -> bool:
        text = served.http.get("/metrics").text
        return "aurora_http_websockets_open 0\n" in text

    await trio.to_thread.run_sync(wait_until, all_gone, "the end of all")


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_ten_thousand_idle_websockets_are_held(served: Served, figures: Printed):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(IDLE, hard - SPARE)
    each = await hold(served, count)
    figures.add(f"{count} idle WebSockets: {each / 1024:.0f} KiB each")
    assert each < 512 << 10
