"""Who asks, and what they may do: bearer tokens, hosts and origins.

Invariants:

* A request without a valid token has the role ``HttpConfig.anonymous`` gives, which is
  none by default; a token that is wrong, revoked or over is refused, not ignored.
* A token is looked up for each request, so that revoking takes effect at once; what it
  allows is worked out again when that has changed. Streams that were begun with it end
  within seconds.
* A browser page of another origin is served only when its origin is in
  ``cors_origins``; and a gateway on the loopback interface answers only to names of this
  machine, so that no page can reach it under a name of its own (DNS rebinding).
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from aurora_actors.client.database import Aurora
from aurora_actors.client.document import Document, document_with_id
from aurora_actors.client.lookup import Lookup
from aurora_actors.client.tokens import (
    Grant,
    Role,
    grant_of,
    is_over,
    name_in,
)
from aurora_actors.config import HttpConfig
from aurora_actors.errors import UnavailableError
from aurora_actors.meters import Histogram
from aurora_actors.telemetry import Tracer

__all__ = ["Gateway", "is_loopback"]

_MOST_KNOWN: Final = 1_000
_LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(host: str) -> bool:
    """Whether an address to listen at can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Known(NamedTuple):
    """A token that was let in, and what was kept of it then."""

    record: bytes
    kept: Document
    grant: Grant


class Gateway:
    """What the request handlers share.

    Attributes:
        settings: How the gateway is configured.
        counts: Requests by status class, and connections that are open.
        tracer: Is told each request, if there is one.
        times: How long requests took, the sending of their answers included.

    Args:
        settings: How it is configured.
        patience_s: How long a request waits while the gateway has no database: while
            the tree starts, or storage is restarted.
        tracer: Is told each request, if there is one.
    """

    def __init__(
        self,
        settings: HttpConfig,
        patience_s: float = 10.0,
        tracer: Tracer | None = None,
    ) -> None:
        self.settings = settings
        self.tracer = tracer
        self._patience_s = patience_s
        self._attached = anyio.Event()
        self.counts = {"requests_open": 0, "websockets_open": 0}
        self.times = Histogram("request_seconds")
        self._idle = anyio.Event()
        self._streams: dict[tuple[str, int], set[anyio.CancelScope]] = {}
        self.is_ending = False
        self._db: Aurora | None = None
        self._known: dict[bytes, _Known] = {}
        self._origins = frozenset(settings.cors_origins)
        self._hosts: frozenset[str] | None = None
        if is_loopback(settings.host):
            self._hosts = _LOCAL_NAMES | {settings.host} | set(settings.allowed_hosts)

    def attach(self, db: Aurora | None) -> None:
        """From now on ``db`` answers; ``None``: nothing does."""
        self._db = db
        if db is None:
            self._attached = anyio.Event()
        else:
            self._attached.set()

    async def wait_attached(self) -> None:
        """Wait until the database can be asked; a request is not refused meanwhile.

        Raises:
            UnavailableError: that takes too long.
        """
        if self._db is None:
            with anyio.move_on_after(self._patience_s):
                await self._attached.wait()
        self.db()

    @property
    def is_attached(self) -> bool:
        """Whether the database can be asked."""
        return self._db is not None

    @property
    def is_full(self) -> bool:
        """Whether no further request or stream is taken."""
        counts = self.counts
        open_now = counts["requests_open"] + counts["websockets_open"]
        return open_now >= self.settings.max_connections

    async def wait_idle(self) -> None:
        """Wait until no request is under way; streams are not counted."""
        while self.counts["requests_open"]:
            self._idle = anyio.Event()
            await self._idle.wait()

    def begin(self) -> None:
        """A request has come."""
        self.counts["requests_open"] += 1

    def end(self) -> None:
        """A request has been answered."""
        self.counts["requests_open"] -= 1
        if not self.counts["requests_open"]:
            self._idle.set()

    # -------------------------------------------------------------- streams
    @contextmanager
    def streaming(self, grant: Grant) -> Iterator[anyio.CancelScope]:
        """What is done inside ends with the gateway, or with the token, without an error.

        Gives the scope; ``cancelled_caught`` tells whether that has happened.
        """
        key = (grant.name, grant.lsn)
        with anyio.CancelScope() as scope:
            self._streams.setdefault(key, set()).add(scope)
            try:
                yield scope
            finally:
                streams = self._streams[key]
                streams.discard(scope)
                if not streams:
                    del self._streams[key]

    def end_streams(self) -> None:
        """End all streams: their clients come back, and resume."""
        self.is_ending = True
        for scopes in self._streams.values():
            for scope in scopes:
                scope.cancel()

    async def end_revoked_streams(self) -> None:
        """End the streams whose tokens were revoked or changed, or are over."""
        for key in [key for key in self._streams if key[1]]:
            kept = self._lookup().token(key[0])
            if kept is None or kept.lsn != key[1] or is_over(kept):
                for scope in self._streams.get(key, ()):
                    scope.cancel()

    def db(self) -> Aurora:
        """The database.

        Raises:
            UnavailableError: the gateway is starting or stopping.
        """
        if self._db is None:
            raise UnavailableError("the gateway is not connected to the database now")
        return self._db

    # -------------------------------------------------------------- who
    async def grant(self, connection: HTTPConnection) -> Grant:
        """What the sender of a request may do.

        Raises:
            HTTPException: 401 without a valid token.
        """
        kind, _, token = connection.headers.get("authorization", "").partition(" ")
        if not kind:
            return self.anonymous()
        if kind.lower() != "bearer":
            raise _not_authenticated("send the token as: Authorization: Bearer <token>")
        return await self.grant_for(token.strip())

    def anonymous(self) -> Grant:
        """What somebody without a token may do.

        Raises:
            HTTPException: 401 when that is nothing.
        """
        if self.settings.anonymous is None:
            raise _not_authenticated("a token is needed: Authorization: Bearer <token>")
        return Grant("anonymous", Role.named(self.settings.anonymous))

    async def grant_for(self, token: str) -> Grant:
        """What ``token`` allows.

        Raises:
            HTTPException: 401 when it is none.
        """
        if self._db is None:
            await self.wait_attached()
        found = self._granted(token)
        if found is None:
            raise _not_authenticated("the token is wrong, revoked or over")
        return found

    def _granted(self, token: str) -> Grant | None:
        name = name_in(token)
        record = None if name is None else self._lookup().token_record(name)
        # The secret itself is not kept.
        key = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        if (known := self._known.get(key)) is not None:
            if known.record == record and not is_over(known.kept):
                return known.grant
            del self._known[key]
        kept = (
            None if record is None or name is None else document_with_id(name, record)
        )
        grant = grant_of(token, kept)
        if grant is not None and record is not None and kept is not None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = _Known(record, kept, grant)
        return grant

    def _lookup(self) -> Lookup:
        return self.db()._open().lookup  # noqa: SLF001 - for what is shown to nobody

    # -------------------------------------------------------------- from where
    def allows_host(self, host: str) -> bool:
        """Whether this gateway answers to the name in the ``Host`` header."""
        if self._hosts is None:
            return True
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return name is not None and name in self._hosts

    def allows_origin(self, origin: str, host: str, scheme: str) -> bool:
        """Whether a page of ``origin`` may ask; our own pages always may."""
        return origin == f"{scheme}://{host}" or origin in self._origins

    def is_foreign(self, origin: str) -> bool:
        """Whether ``origin`` is allowed as a foreign one, and gets CORS headers."""
        return origin in self._origins


def _not_authenticated(detail: str) -> HTTPException:
    return HTTPException(401, detail, {"WWW-Authenticate": 'Bearer realm="aurora"'})
