"""The TLS connection of a remote client: opened blocking, used without blocking.

TLS is done on memory buffers (``ssl.SSLObject``) beside a plain socket, so that what is
to be sent can be written whole at any time and leaves as the socket takes it, and so
that one descriptor tells an event loop all it needs to know.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from contextlib import suppress
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from aurora_actors.errors import (
    AuroraError,
    ConfigError,
    ProtocolError,
    TimeoutError_,
    UnavailableError,
    UsageError,
)
from aurora_actors.messages.base import Message
from aurora_actors.messages.framing import FrameReader, encode_frame
from aurora_actors.messages.remote import (
    MAX_REMOTE_FRAME_BYTES,
    Expelled,
    FromGateway,
    Hello,
    Welcome,
    decode_from_gateway,
)

__all__ = ["Address", "Dialer", "RemoteStream", "is_final"]

_READ_BYTES: Final = 1 << 17
_DEFAULT_PORT: Final = 7878
_SCHEME: Final = "tls+tcp"
_TOKEN: Final = re.compile(r"[\x21-\x7e]+\Z")


class Address(NamedTuple):
    """Where a database can be reached."""

    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Address:
        """The address in ``tls+tcp://host:port``.

        Raises:
            UsageError: ``url`` is something else.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or _DEFAULT_PORT
        except (ValueError, AttributeError, TypeError) as exc:
            raise UsageError(f"{url!r:.200} is no address: {exc}") from exc
        is_plain = not (parts.path.strip("/") or parts.query or parts.username)
        if parts.scheme != _SCHEME or not parts.hostname or not is_plain:
            raise UsageError(
                f"an address is tls+tcp://host:port, not {url!r:.200}; without TLS "
                "there are no connections"
            )
        return cls(parts.hostname, port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{_SCHEME}://{host}:{self.port}"


class Dialer:
    """Opens connections to one database, and says who is there.

    Args:
        address: Where it is.
        token: Who we are.
        ca: A file with the certificates that are trusted, besides none; the system's
            if not given.
        server_name: The name the certificate must have; the address's if not given.

    Raises:
        ConfigError: ``ca`` cannot be read.
        UsageError: ``token`` can be none.
    """

    def __init__(
        self,
        address: Address,
        token: str,
        ca: str | None = None,
        server_name: str | None = None,
    ) -> None:
        if not isinstance(token, str) or not _TOKEN.match(token):
            raise UsageError("a token is needed, as create_token has shown it")
        self.address = address
        self._token = token
        self._server_name = server_name or address.host
        try:
            self._context = ssl.create_default_context(cafile=ca)
        except (OSError, ssl.SSLError) as exc:
            raise ConfigError(
                f"the certificates in {ca} cannot be read: {exc}", key="ca"
            ) from exc
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2

    def dial(
        self, timeout_s: float, session: str = "", secret: str = ""
    ) -> tuple[RemoteStream, Welcome]:
        """Connect and be let in; blocks.

        Raises:
            UnavailableError: nobody is there, or it is no database.
            TimeoutError_: it took too long.
            ConfigError: its certificate is not trusted.
            PermissionDeniedError: the token is wrong, revoked or over.
        """
        deadline = time.monotonic() + timeout_s
        try:
            sock = socket.create_connection(self.address, max(0.001, timeout_s))
        except TimeoutError as exc:
            raise TimeoutError_(f"{self.address} did not answer in time") from exc
        except OSError as exc:
            raise UnavailableError(
                f"{self.address} cannot be reached: {exc.strerror or exc}"
            ) from exc
        try:
            stream = RemoteStream(sock, self._context, self._server_name)
            hello = Hello(token=self._token, session=session, secret=secret)
            welcome = stream.introduce(hello, deadline)
        except TimeoutError as exc:
            sock.close()
            raise TimeoutError_(f"{self.address} did not answer in time") from exc
        except ssl.SSLCertVerificationError as exc:
            sock.close()
            raise ConfigError(
                f"the certificate of {self.address} is not trusted: "
                f"{exc.verify_message}; name its file, or its authority's, with ca=",
                key="ca",
            ) from exc
        except (OSError, ProtocolError) as exc:
            sock.close()
            raise UnavailableError(
                f"{self.address} does not answer like a database: {exc}"
            ) from exc
        except BaseException:
            sock.close()
            raise
        return stream, welcome


class RemoteStream:
    """A connection to a remote gateway.

    Attributes:
        ended: The other side has gone.
    """

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, server_name: str
    ) -> None:
        self.ended = False
        self._socket = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_name
        )
        self._frames = FrameReader(MAX_REMOTE_FRAME_BYTES)
        self._unsent = bytearray()
        for level, option, value in _KEEP_ALIVE:
            sock.setsockopt(level, option, value)

    @property
    def fd(self) -> int:
        """The descriptor to wait for."""
        return self._socket.fileno()

    @property
    def wants_to_send(self) -> bool:
        """Whether something waits for the socket to be writable."""
        return bool(self._unsent)

    # -------------------------------------------------------------- blocking
    def introduce(self, hello: Hello, deadline: float) -> Welcome:
        """Do the handshake and be let in; afterwards nothing blocks any more.

        Raises:
            OSError: the connection failed, or TLS did.
            AuroraError: we are not let in.
        """
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._send_all(deadline)
                self._wait_for_more(deadline)
            except ssl.SSLError:
                self._send_all(deadline)  # the alert that says why
                raise
        self._tls.write(encode_frame(hello))
        self._send_all(deadline)
        while (frame := self._frames.next_frame()) is None:
            if not self._read_tls():
                self._wait_for_more(deadline)
        self._socket.setblocking(False)
        match _decoded(frame):
            case Welcome() as welcome:
                return welcome
            case Expelled(failure=failure):
                raise failure.error()
            case other:
                raise ProtocolError(f"{type(other).__name__} instead of Welcome")

    def _send_all(self, deadline: float) -> None:
        self._socket.settimeout(max(0.001, deadline - time.monotonic()))
        self._socket.sendall(self._outgoing.read())

    def _wait_for_more(self, deadline: float) -> None:
        self._socket.settimeout(max(0.001, deadline - time.monotonic()))
        data = self._socket.recv(_READ_BYTES)
        if not data:
            raise ConnectionResetError("the connection was closed")
        self._incoming.write(data)

    # -------------------------------------------------------------- not blocking
    def post(self, message: Message) -> None:
        """Send what the socket takes; the rest leaves with :meth:`flush`."""
        if not self.ended:
            self._tls.write(encode_frame(message))
            self._unsent += self._outgoing.read()
            self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it."""
        try:
            while self._unsent and not self.ended:
                del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self.ended = True

    def receive(self) -> list[FromGateway]:
        """What has arrived; sets ``ended`` at the end of the connection.

        Raises:
            ProtocolError: what came is nothing a gateway says.
        """
        while not self.ended:
            try:
                data = self._socket.recv(_READ_BYTES)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.ended = True
                break
            self._incoming.write(data)
            self._read_tls()
        self._unsent += self._outgoing.read()
        messages: list[FromGateway] = []
        while (frame := self._frames.next_frame()) is not None:
            messages.append(_decoded(frame))
        return messages

    def _read_tls(self) -> bool:
        """Decrypt what there is; returns whether there was something."""
        found = False
        while True:
            try:
                data = self._tls.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                return found
            except ssl.SSLError:
                data = b""
            if not data:
                self.ended = True
                return found
            found = True
            self._frames.feed(data)

    def leave(self, message: Message, within_s: float) -> None:
        """Send a last message and close; blocks, but no longer than ``within_s``."""
        with suppress(OSError, ssl.SSLError):
            self._tls.write(encode_frame(message))
            self._socket.settimeout(max(0.001, within_s))
            self._socket.sendall(self._unsent + self._outgoing.read())
        self.close()

    def close(self) -> None:
        """Close our end."""
        self.ended = True
        self._socket.close()


_KEEP_ALIVE: Final = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
)
"""A machine that is gone is noticed within half a minute."""


def _decoded(frame: bytes) -> FromGateway:
    try:
        return decode_from_gateway(frame)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ProtocolError(f"the gateway is not understood: {exc}") from exc


def is_final(error: AuroraError) -> bool:
    """Whether dialling again would not help."""
    return not isinstance(error, UnavailableError)
