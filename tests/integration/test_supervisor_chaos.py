"""Random faults, one after the other or at once: the tree heals and leaves nothing."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable

import psutil
import pytest
from supervised import Supervised, read_status, tree
from support import DEADLINE_S, no_process_left, wait_until

from aurora_actors.client.launch import TreeConnection

__all__ = ["tree"]

pytestmark = [pytest.mark.processes, pytest.mark.faults]


def running(connection: TreeConnection) -> list[int]:
    return [entry.pid for entry in read_status(connection).actors if entry.pid]


def kill_one(tree: Supervised, pids: list[int], dice: random.Random) -> None:
    os.kill(dice.choice(pids), signal.SIGKILL)


def stop_one(tree: Supervised, pids: list[int], dice: random.Random) -> None:
    os.kill(dice.choice(pids), signal.SIGSTOP)


def kill_all(tree: Supervised, pids: list[int], dice: random.Random) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def kill_the_zygote(tree: Supervised, pids: list[int], dice: random.Random) -> None:
    os.kill(tree.zygote(), signal.SIGKILL)


def stop_the_zygote(tree: Supervised, pids: list[int], dice: random.Random) -> None:
    os.kill(tree.zygote(), signal.SIGSTOP)


def kill_one_and_the_zygote(
    tree: Supervised, pids: list[int], dice: random.Random
) -> None:
    zygote = tree.zygote()
    os.kill(dice.choice(pids), signal.SIGKILL)
    os.kill(zygote, signal.SIGKILL)


FAULTS: list[Callable[[Supervised, list[int], random.Random], None]] = [
    kill_one,
    stop_one,
    kill_all,
    kill_the_zygote,
    stop_the_zygote,
    kill_one_and_the_zygote,
]


def is_healed(connection: TreeConnection, before: set[int]) -> bool:
    actors = read_status(connection).actors
    now = {entry.pid for entry in actors}
    return now != before and {entry.state for entry in actors} == {"ready"}


def live_and_die(tree: Supervised, dice: random.Random, faults: int) -> None:
    """One life of a tree: some faults, then its end in one of three ways."""
    connection = tree.open(max_restarts=1000)
    for _ in range(faults):
        before = running(connection)
        try:
            dice.choice(FAULTS)(tree, before, dice)
        except (ProcessLookupError, IndexError, ValueError, psutil.NoSuchProcess):
            continue  # it is in the middle of the last fault: none more this time
        if dice.random() < 0.7:
            wait_until(
                lambda pids=set(before): is_healed(connection, pids),  # type: ignore[misc]
                "the tree has healed",
            )
    match dice.choice(["leave", "close", "kill"]):
        case "leave":
            connection.leave(DEADLINE_S)
        case "kill":
            os.kill(connection.attached.supervisor_pid, signal.SIGKILL)
            connection.close()
            no_process_left(tree.path)
            # If the zygote was just dead too, the next supervisor removes the sockets.
            tree.open().leave(DEADLINE_S)
    connection.close()
    tree.nothing_left()


@pytest.mark.parametrize("seed", range(3))
def test_a_tree_heals_from_any_faults_and_leaves_nothing(tree: Supervised, seed: int):
    live_and_die(tree, random.Random(seed), faults=5)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_trees_heal_from_any_faults_and_leave_nothing(tree: Supervised):
    dice = random.Random(4)
    for _ in range(60):
        live_and_die(tree, dice, faults=dice.randint(1, 6))
