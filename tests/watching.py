"""What tests of live queries share: emptying a database, reading up to a point."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from aurora_actors import Aurora, ChangeEvent, InitialComplete, Update, Watcher

__all__ = ["emptied", "nothing_left", "place", "read_up_to", "until_complete"]

DEADLINE_S = 60.0


@asynccontextmanager
async def emptied(path: Path) -> AsyncIterator[Aurora]:
    """A database whose collections have been removed."""
    async with Aurora.open(path) as db:
        for found in await db.list_collections():
            await db.drop_collection(found)
        yield db


async def until_complete(updates: Watcher[Any]) -> list[Any]:
    """The first result."""
    found: list[Any] = []
    async for update in updates:
        if isinstance(update, InitialComplete):
            return found
        found.append(update)
    raise AssertionError("ended too soon")


async def read_up_to(watcher: Watcher[Any], lsn: int) -> list[Update | ChangeEvent]:
    """Read until everything up to ``lsn`` has been given."""
    found: list[Update | ChangeEvent] = []
    with anyio.fail_after(DEADLINE_S):
        while watcher.lsn < lsn or place(watcher) < lsn:
            with anyio.move_on_after(0.05):
                found.append(await anext(watcher))
    return found


def place(watcher: Watcher[Any]) -> int:
    """The LSN up to which everything has been given."""
    token = watcher.token
    return -1 if token is None or token.endswith("s") else int(token.split(".")[1])


async def subscriptions(db: Aurora) -> int:
    """What the dispatcher keeps for its clients."""
    counts = (await db.stats())["reactive_dispatcher"]
    assert counts["outstanding_bytes"] == 0 or counts["subscriptions"]
    kept = ("subscriptions", "live_queries", "clients", "behind", "jobs")
    return int(sum(counts[name] for name in kept))


async def nothing_left(db: Aurora) -> None:
    """Wait until the dispatcher keeps nothing."""
    with anyio.fail_after(DEADLINE_S):
        while await subscriptions(db):
            await anyio.sleep(0.01)
