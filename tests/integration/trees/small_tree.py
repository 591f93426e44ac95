"""A tree for tests of the supervisor: three actors that do nothing but live.

How one behaves is said by a file ``<db>/<actor>.behaviour``, read at each start: an
actor can refuse to start, end at once, ignore its orders or write to its output.
SIGUSR1 makes it hang.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import trio

from aurora_actors.actors.runtime import ActorContext, orders, run_actor
from aurora_actors.config import AuroraConfig
from aurora_actors.errors import CorruptionError
from aurora_actors.messages.supervision import ActorSpec, ClientGone, ShutDown

PRELOAD = ("aurora_actors.actors.runtime",)
logger = logging.getLogger("small_tree")


class Plan(NamedTuple):
    name: str
    entry: str
    order: int
    grace_s: float


def actor_entries(config: AuroraConfig) -> list[Plan]:
    grace_s = config.shutdown_grace_s
    return [
        Plan("second-1", "small_tree:main", 20, grace_s),
        Plan("first", "small_tree:main", 0, grace_s),
        Plan("second-0", "small_tree:main", 20, grace_s),
    ]


def main(spec: ActorSpec, lifeline_fd: int) -> None:
    signal.signal(signal.SIGUSR1, lambda *_: threading.Event().wait())
    run_actor(spec, lifeline_fd, serve)


async def serve(context: ActorContext) -> None:
    path = context.config.path
    name = context.spec.name
    behaviour = path / f"{name}.behaviour"
    wishes = behaviour.read_text().split() if behaviour.exists() else []
    note(path, f"start {name} {context.spec.incarnation}")
    if "refuse" in wishes:
        raise CorruptionError("the log is damaged", file="wal/1.log", offset=7)
    if "die" in wishes:
        print("a last word", file=sys.stderr)
        os._exit(3)
    if "deaf" in wishes:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "child" in wishes:
        subprocess.Popen(["/bin/sleep", "600"])  # noqa: ASYNC220 - it is not waited for
    context.lsn = lambda: 40 + context.spec.incarnation
    context.statistics = lambda: {"timeline": 2}
    print("plain text", file=sys.stderr)
    logger.info("a record", extra={"number": 7})
    context.ready()
    while not ("deaf" not in wishes and await shut_down(context)):
        await trio.lowlevel.checkpoint()
    note(path, f"stop {name}")


async def shut_down(context: ActorContext) -> bool:
    for mail in await context.channel.receive():
        for order in orders(mail):
            match order:
                case ShutDown():
                    return True
                case ClientGone(client=client):
                    note(context.config.path, f"gone {client} {context.spec.name}")
    return False


def note(path: Path, text: str) -> None:
    with (path / "notes").open("a") as file:
        file.write(f"{text}\n")
