"""Opening a database on another machine, over TLS."""

from __future__ import annotations

import os
from typing import Final

import anyio
import anyio.to_thread

from aurora_actors.client.async_shell import AsyncShell
from aurora_actors.client.blocking_shell import BlockingShell
from aurora_actors.client.opening import Opener
from aurora_actors.client.remote_link import RemoteLink
from aurora_actors.client.remote_session import RemoteSession, settings_of
from aurora_actors.client.remote_stream import Address, Dialer
from aurora_actors.client.session import Session
from aurora_actors.config import AuroraConfig

__all__ = ["remote_openers"]

_OPEN_S: Final = 30.0


def remote_openers(
    url: str,
    token: str,
    ca: str | os.PathLike[str] | None,
    server_name: str | None,
    timeout: float | None,
) -> tuple[Opener, Opener]:
    """What opens the database at ``url`` under an event loop, and for threads.

    Raises:
        UsageError: ``url`` or ``token`` can be none.
        ConfigError: ``ca`` cannot be read.
    """
    authority = None if ca is None else os.fspath(ca)
    dialer = Dialer(Address.parse(url), token, authority, server_name)

    def dial() -> tuple[RemoteLink, AuroraConfig]:
        stream, welcome = dialer.dial(_OPEN_S if timeout is None else timeout)
        config = settings_of(welcome.attached.config)
        return RemoteLink(dialer, stream, welcome), config

    async def open_async(_config: AuroraConfig, _compares: bool) -> Session:
        # A thread cannot be cancelled, and what it opened must not be lost.
        with anyio.CancelScope(shield=True):
            link, config = await anyio.to_thread.run_sync(dial)
        return RemoteSession(AsyncShell(link, config.request_timeout_s), config)

    async def open_blocking(_config: AuroraConfig, _compares: bool) -> Session:
        link, config = dial()
        return RemoteSession(BlockingShell(link, config.request_timeout_s), config)

    return open_async, open_blocking
