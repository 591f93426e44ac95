"""Remote clients under cut connections and killed processes: nothing acknowledged is lost."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest
import trio
from remote import Network, Served
from support import Figures, first_seed

from aurora_actors import AuroraError, FieldType, Increment, UnavailableError

pytestmark = [pytest.mark.processes, pytest.mark.faults, pytest.mark.slow]

CLIENTS = 6
SECONDS = 40


def test_acknowledged_writes_are_there_once_whatever_breaks(
    tmp_path: Path, figures: Figures
):
    served = Served(tmp_path)
    network = Network(served.port)
    random_ = random.Random(first_seed())
    acknowledged: dict[str, int] = {}
    uncertain: dict[str, int] = {}

    async def count(
        name: str,
        end: float,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        async with served.connect(network.url) as db:
            await db.upsert("counters", name, {"n": 0})
            task_status.started()
            while trio.current_time() < end:
                try:
                    await db.update_document("counters", name, {"n": Increment(1)})
                except UnavailableError as error:
                    if not error.context.get("uncertain"):
                        raise
                    uncertain[name] = uncertain.get(name, 0) + 1
                else:
                    acknowledged[name] = acknowledged.get(name, 0) + 1

    async def disturb(end: float) -> None:
        while trio.current_time() < end - 5:
            await trio.sleep(random_.uniform(0.2, 1.5))
            what = random_.choice(["cut", "cut", "cut", "storage", "remote_gateway"])
            if what == "cut":
                network.cut()
                continue
            try:
                actor = await trio.to_thread.run_sync(served.actor, what)
                if actor.pid:
                    os.kill(actor.pid, signal.SIGKILL)
                    if what == "remote_gateway":
                        await lead_anew(actor.pid)
            except (AuroraError, ProcessLookupError):
                continue

    async def lead_anew(old: int) -> None:
        while True:
            actor = await trio.to_thread.run_sync(served.actor, "remote_gateway")
            if actor.pid != old and actor.state == "ready" and "port" in actor.values:
                network.lead_to(int(actor.values["port"]))
                return
            await trio.sleep(0.02)

    async def main() -> None:
        end = trio.current_time() + SECONDS
        async with trio.open_nursery() as nursery:
            for number in range(CLIENTS):
                await nursery.start(count, f"c{number}", end)
            nursery.start_soon(disturb, end)

    try:
        served.db.new_collection("counters", {"n": FieldType.INT})
        trio.run(main)
        for name, least in acknowledged.items():
            found = served.db.get_document("counters", name)
            assert found is not None
            assert least <= found["n"] <= least + uncertain.get(name, 0)
        assert len(acknowledged) == CLIENTS
        assert network.accepted > CLIENTS
        figures.add(
            f"remote faults: {sum(acknowledged.values())} writes acknowledged, "
            f"{sum(uncertain.values())} uncertain, {network.accepted} connections"
        )
    finally:
        network.close()
        served.close()
