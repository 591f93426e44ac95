"""The life of a database object: opened once, used, closed.

Base of :class:`aurora_actors.client.database.Aurora`, which adds what can be asked.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType
from typing import Self, Unpack

from aurora_actors.client.opening import Opener, open_async
from aurora_actors.client.protocol import STORAGE
from aurora_actors.client.session import Session
from aurora_actors.client.settings import Settings, check_settings
from aurora_actors.config import AuroraConfig
from aurora_actors.errors import InternalError, UsageError
from aurora_actors.messages.base import Message
from aurora_actors.messages.storage import Written

__all__ = ["Handle", "session_of"]


class Handle:
    """Opens a database and closes it; see :class:`aurora_actors.Aurora`."""

    def __init__(
        self, config: AuroraConfig, *, compares: bool, opener: Opener = open_async
    ) -> None:
        self._config = config
        self._compares = compares
        self._opener = opener
        self._session: Session | None = None
        self._was_opened = False

    @classmethod
    def open(cls, path: str | os.PathLike[str], **settings: Unpack[Settings]) -> Self:
        """The database at ``path``, to be entered with ``async with``.

        Starts the database's processes, or joins those that run. Without settings a
        running tree is taken as it is.

        Args:
            path: A directory; made if it does not exist.
            **settings: Any key of :class:`AuroraConfig`.

        Raises:
            ConfigError: a setting is unknown or out of range; on entering, the running
                tree has other settings.
        """
        check_settings(settings)
        config = AuroraConfig(db_path=os.fspath(path), **settings)
        return cls(config, compares=bool(settings))

    @classmethod
    def with_config(cls, config: AuroraConfig) -> Self:
        """The database that ``config`` describes; a running tree must have the same.

        Raises:
            ConfigError: on entering, when the running tree's settings differ; the
                message names the differences.
        """
        return cls(config, compares=True)

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        token: str,
        ca: str | os.PathLike[str] | None = None,
        server_name: str | None = None,
        timeout: float | None = None,
    ) -> Self:
        """The database that a tree with a ``[remote]`` table serves elsewhere.

        The whole API, over one TLS connection. When it is lost, it is made anew:
        requests wait, watches go on behind the last event, and writes take effect once.
        What needs the database's files (backup, repair) is done where they are.

        Args:
            url: ``tls+tcp://host:port``; without a port 7878.
            token: As ``create_token`` has shown it. It decides what can be done.
            ca: A file with the certificates that are trusted; those of the system if
                not given.
            server_name: The name the certificate must have; the host's if not given.
            timeout: How long entering may take, in seconds; 30 if not given.

        Raises:
            UsageError: ``url`` or ``token`` can be none.
            ConfigError: ``ca`` cannot be read; on entering, the certificate is not
                trusted.
            PermissionDeniedError: on entering, when the token is wrong, revoked or over.
            UnavailableError: on entering, when nobody answers.
        """
        # ssl, which takes 10 ms to import, is not everybody's.
        from aurora_actors.client.connecting import remote_openers  # noqa: PLC0415

        opener, _ = remote_openers(url, token, ca, server_name, timeout)
        return cls(AuroraConfig(db_path=url), compares=False, opener=opener)

    async def __aenter__(self) -> Self:
        if self._was_opened:
            raise UsageError("a database object is opened once; make another one")
        self._was_opened = True
        self._session = await self._opener(self._config, self._compares)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave the database; the last to leave stops its processes.

        Calls under way fail with ``UsageError``. Returns when the processes have ended
        if they do, at the latest after ``shutdown_grace_s`` and 5 s. Closing again does
        nothing.
        """
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @property
    def config(self) -> AuroraConfig:
        """The settings in force: the running tree's, once open."""
        return self._config if self._session is None else self._session.config

    def _open(self) -> Session:
        session = self._session
        if session is None:
            raise UsageError(
                "this database is closed"
                if self._was_opened
                else 'this database is not open: use "with", or "async with"'
            )
        return session

    async def _write(
        self, message: Message, timeout: float | None, size: int = 512
    ) -> Written:
        reply = await self._open().shell.call(STORAGE, message, timeout, size)
        if not isinstance(reply, Written):
            raise InternalError(f"a write was answered by {type(reply).__name__}")
        return reply


def session_of(db: Handle) -> Callable[[], Session]:
    """What gives the parts of ``db`` while it is open; for the blocking facade."""
    return db._open  # noqa: SLF001 - same module
