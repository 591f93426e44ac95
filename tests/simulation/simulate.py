"""Run simulations: ``make simulate SEED=… ROUNDS=…``.

A violation prints its seed; the same seed gives the same history again.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import trio
import trio.testing
from simulation.history import History, ViolationError, Workload, check, prepare
from simulation.world import Client, Faults, World

CLIENTS = 4
REQUESTS = 15
VIRTUAL_LIMIT_S = 3600.0


async def _run(world: World) -> History:
    history = History()
    with trio.fail_after(VIRTUAL_LIMIT_S):
        async with trio.open_nursery() as nursery:
            await world.run_actors(nursery)
            clients = [Client(world, f"c-{number}") for number in range(CLIENTS)]
            for client in clients:
                nursery.start_soon(client.run)
                nursery.start_soon(client.run_sender)
            await prepare(clients[0])
            async with trio.open_nursery() as work:
                for client in clients:
                    workload = Workload(world, client, history)
                    work.start_soon(workload.run, REQUESTS)
            nursery.cancel_scope.cancel()
    return history


def _first_violation(run: Callable[[], History]) -> History:
    try:
        return run()
    except BaseExceptionGroup as group:
        found: BaseException | None = group.split(ViolationError)[0]
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        raise found or group from None


def simulate(seed: int, faults: Faults | None = None) -> World:
    """Run and check one history; raises ``ViolationError`` when a promise is broken."""
    directory = Path(tempfile.mkdtemp(prefix="aurora-sim-"))
    try:
        world = World(seed, directory / "sim.db", faults)
        clock = trio.testing.MockClock(autojump_threshold=0)
        try:
            history = _first_violation(lambda: trio.run(_run, world, clock=clock))
            check(world, history)
        finally:
            world.close()
    finally:
        shutil.rmtree(directory)
    return world


def main() -> int:
    """Simulate ``rounds`` histories from ``seed`` on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1000)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)  # recoveries are what it is about
    crashes: dict[str, int] = {}
    start = time.perf_counter()
    for seed in range(given.seed, given.seed + given.rounds):
        try:
            world = simulate(seed)
        except BaseException:
            sys.stderr.write(f"seed {seed} failed\n")
            raise
        for name, count in world.faults.crashes.items():
            crashes[name] = crashes.get(name, 0) + count
    took = time.perf_counter() - start
    sys.stdout.write(
        f"{given.rounds} histories in {took:.1f} s, no violation; crashes: {crashes}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
