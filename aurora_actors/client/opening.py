"""Opening a database: find or start its tree, attach, connect, map the data.

All of it blocks, for 0.3 s when a tree is started; under an event loop it runs in a
worker thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import anyio
import anyio.to_thread
import msgspec

from aurora_actors.client.async_shell import AsyncShell
from aurora_actors.client.blocking_shell import BlockingShell
from aurora_actors.client.connection import SupervisorStream
from aurora_actors.client.launch import TreeConnection, join_tree, open_tree
from aurora_actors.client.link import Link
from aurora_actors.client.session import Session, new_client_name
from aurora_actors.config import AuroraConfig
from aurora_actors.storage.reader import DataReader
from aurora_actors.telemetry import RequestTrace, Tracer

__all__ = [
    "Opener",
    "open_async",
    "open_blocking",
    "open_member",
    "open_member_blocking",
]

Opener: TypeAlias = Callable[[AuroraConfig, bool], Awaitable[Session]]
"""Opens a database; the flag says whether the tree's settings must be these."""


def _open_tree(config: AuroraConfig, compares: bool) -> tuple[Link, AuroraConfig]:
    name = new_client_name()
    target = config if compares else config.db_path
    return _link(open_tree(target, name, config.request_timeout_s), name)


def _join_tree(config: AuroraConfig) -> tuple[Link, AuroraConfig]:
    name = new_client_name()
    return _link(join_tree(config.db_path, name, config.request_timeout_s), name)


def _link(connection: TreeConnection, name: str) -> tuple[Link, AuroraConfig]:
    try:
        running = msgspec.msgpack.decode(connection.attached.config, type=AuroraConfig)
        trace = None
        if running.telemetry is not None:
            trace = RequestTrace(Tracer(running.telemetry, name))
        return Link(SupervisorStream(connection), name, trace), running
    except BaseException:
        connection.close()
        raise


def _open_reader(config: AuroraConfig) -> DataReader:
    return DataReader.open(
        config.path, max_size_gb=config.max_size_gb, max_readers=config.max_readers
    )


async def open_async(config: AuroraConfig, compares: bool) -> Session:
    """Open under an event loop."""
    # A thread cannot be cancelled, and what it opened must not be lost.
    with anyio.CancelScope(shield=True):
        link, running = await anyio.to_thread.run_sync(_open_tree, config, compares)
    return _session(link, running)


async def open_member(config: AuroraConfig, _compares: bool) -> Session:
    """Join the running tree from one of its processes, under an event loop.

    The process must have said that it is ready: attaching waits for the whole tree.
    """
    with anyio.CancelScope(shield=True):
        link, running = await anyio.to_thread.run_sync(_join_tree, config)
    return _session(link, running)


def _session(link: Link, running: AuroraConfig) -> Session:
    try:
        reader = _open_reader(running)
    except BaseException:
        link.shut()
        link.leave(0.0)
        raise
    return Session(AsyncShell(link, running.request_timeout_s), reader, running)


async def open_member_blocking(config: AuroraConfig, _compares: bool) -> Session:
    """Join the running tree from one of its processes, for threads; never suspends."""
    link, running = _join_tree(config)
    return _blocking_session(link, running)


async def open_blocking(config: AuroraConfig, compares: bool) -> Session:
    """Open for threads; never suspends."""
    link, running = _open_tree(config, compares)
    return _blocking_session(link, running)


def _blocking_session(link: Link, running: AuroraConfig) -> Session:
    try:
        reader = _open_reader(running)
    except BaseException:
        link.shut()
        link.leave(0.0)
        raise
    return Session(BlockingShell(link, running.request_timeout_s), reader, running)
