"""The two ends of a mailbox on nng: ``Inbox`` receives, ``Outlet`` sends.

A mailbox is a PULL socket bound to a Unix socket path; whoever writes to it dials a
PUSH socket. Neither end knows an event loop: both offer one descriptor to wait for and
a call that never blocks. (Waiting for nng's descriptor and draining without blocking
costs 27 µs a message with 64 under way; pynng's own coroutines, which hop through a
thread and a callback, cost 208.)

Facts of nng this module is built around:

* A Unix path over 107 bytes is cut silently: :func:`mailbox_path` refuses it.
* A message over the receive limit makes nng drop the connection: an outlet refuses to
  send what an inbox would not take.
* A killed peer takes what sits in its buffers along, and no send fails: requests are
  repeated by whoever asked (see ``client.protocol``), never assumed to have arrived.
* A PUSH socket must not be used beyond the loss of its connection. A send that
  completes while the connection is being closed puts it back into the socket's list of
  those that are free (``push0_send_cb`` runs after ``push0_pipe_close``), from which
  nothing removes it before its memory is freed: a later send crashes, or turns in
  circles for ever. About one killed receiver in a thousand does that on a busy machine.
  So each outlet has a new socket for each connection: see :class:`_Line`.
* nng aborts the process when it is used after a fork: a forked child's copies are
  disarmed, and their use is a :class:`~aurora_actors.errors.UsageError`.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Final

import pynng

from aurora_actors.errors import (
    AuroraError,
    ConfigError,
    InternalError,
    LimitExceededError,
    UsageError,
)

__all__ = ["MAX_MESSAGE_BYTES", "Inbox", "Outlet", "mailbox_path"]

MAX_MESSAGE_BYTES: Final = 128 << 20
_MAX_PATH_BYTES: Final = 107
_BUFFERED_MESSAGES: Final = 128
_RECONNECT_MS: Final = (1, 50)
_NEVER_MS: Final = 24 * 3600 * 1000

_lib = pynng.lib
_ffi = pynng.ffi
_live: weakref.WeakSet[Inbox | Outlet] = weakref.WeakSet()


def mailbox_path(runtime_dir: str, name: str) -> str:
    """Where the mailbox ``name`` of a tree is.

    Raises:
        ConfigError: the path is longer than a Unix socket's may be.
    """
    path = f"{runtime_dir}/{name}.ipc"
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise ConfigError(
            f"socket path {path!r} is longer than {_MAX_PATH_BYTES} bytes; "
            "set TMPDIR or XDG_RUNTIME_DIR to a shorter directory"
        )
    return path


def _error(number: int, doing: str) -> AuroraError:
    text = _ffi.string(_lib.nng_strerror(number)).decode()
    return InternalError(f"nng cannot {doing}: {text}", errno=int(number))


def _close(socket: pynng.Socket) -> None:
    socket.close()
    del socket._socket  # noqa: SLF001 - or its __del__ calls nng again, after a fork too


class _End:
    """What both ends share: one nng socket, closed once, never used after a fork."""

    def __init__(self, socket: pynng.Socket, path: str) -> None:
        self.path = path
        self._socket: pynng.Socket | None = socket
        self._forked = False
        _live.add(self)  # type: ignore[arg-type]

    def _open(self) -> pynng.Socket:
        if self._socket is None:
            if self._forked:
                raise UsageError(
                    "this database was opened before a fork; open it in the child"
                )
            raise UsageError(f"mailbox {self.path} is closed")
        return self._socket

    def close(self) -> None:
        """Close the socket; closing again does nothing."""
        socket, self._socket = self._socket, None
        if socket is not None:
            _close(socket)

    def _disarm(self) -> None:
        # In a forked child: forget the socket without a call into nng.
        socket, self._socket = self._socket, None
        self._forked = True
        if socket is not None:
            del socket._socket  # noqa: SLF001 - as above


class Inbox(_End):
    """The receiving end, bound to ``path``; a stale file there is replaced."""

    def __init__(self, path: str) -> None:
        Path(path).unlink(missing_ok=True)
        socket = pynng.Pull0(
            recv_max_size=MAX_MESSAGE_BYTES, recv_buffer_size=_BUFFERED_MESSAGES
        )
        try:
            socket.listen(f"ipc://{path}")
        except pynng.NNGException as exc:
            _close(socket)
            raise InternalError(f"cannot bind mailbox {path}: {exc}") from exc
        super().__init__(socket, path)
        self._handle = socket.socket
        self._data = _ffi.new("char **")
        self._size = _ffi.new("size_t *")
        self._flags = _lib.NNG_FLAG_ALLOC | _lib.NNG_FLAG_NONBLOCK
        self.fd: int = socket.recv_fd

    def receive_nowait(self) -> bytes | None:
        """The next message, or ``None`` when none waits."""
        self._open()
        number = _lib.nng_recv(self._handle, self._data, self._size, self._flags)
        if number:
            if number == _lib.NNG_EAGAIN:
                return None
            raise _error(number, "receive")
        length = self._size[0]
        if not length:
            return b""  # nng gives no buffer for an empty message
        message: bytes = _ffi.unpack(self._data[0], length)
        _lib.nng_free(self._data[0], length)
        return message

    def close(self) -> None:
        """Close the socket and remove its file."""
        opened = self._socket is not None
        super().close()
        if opened:
            Path(self.path).unlink(missing_ok=True)


class _Line:
    """A PUSH socket that has one connection in its life.

    It dials until it is connected. nng says that the connection is lost before it frees
    anything of it, in a thread of its own; from that moment on nothing is sent and
    nothing dialled by this socket, and whoever waits for room is woken.

    Attributes:
        socket: The socket.
        send_fd: Readable when there may be room.
        is_lost: The connection is gone.
    """

    __slots__ = ("_dialer", "_handle", "_lock", "is_lost", "send_fd", "socket")

    def __init__(self, path: str) -> None:
        self.is_lost = False
        self._lock = threading.Lock()
        self.socket = pynng.Push0(
            send_buffer_size=1,
            reconnect_time_min=_RECONNECT_MS[0],
            reconnect_time_max=_RECONNECT_MS[1],
        )
        self.socket.add_post_pipe_remove_cb(self._lose)
        try:
            self._dialer = self.socket.dial(f"ipc://{path}", block=False)
        except pynng.NNGException as exc:
            _close(self.socket)
            raise InternalError(f"cannot dial mailbox {path}: {exc}") from exc
        self._handle = self.socket.socket
        self.send_fd: int = self.socket.send_fd
        if self.is_lost:
            self._retire()

    def _lose(self, _pipe: pynng.Pipe) -> None:
        # No send is under way in nng when it goes on to free the connection.
        with self._lock:
            self.is_lost = True
        if hasattr(self, "send_fd"):
            self._retire()

    def _retire(self) -> None:
        """Dial no more, and make room, so that who waits for some looks again."""
        with suppress(pynng.NNGException):  # it is being closed
            self._dialer.reconnect_time_min = _NEVER_MS
            self.socket.send_buffer_size = 2

    def send(self, data: bytes) -> int:
        """Send; gives nng's error number, or -1 when the connection is lost."""
        with self._lock:
            if self.is_lost:
                return -1
            number: int = _lib.nng_send(
                self._handle, data, len(data), _lib.NNG_FLAG_NONBLOCK
            )
            return number


class Outlet(_End):
    """The sending end to the mailbox at ``path``, which may come and go.

    Attributes:
        send_fd: Readable when there may be room; another one after a connection was
            lost, from the next :meth:`send_nowait` on.
        lines: Counts the sockets it has had.
    """

    def __init__(self, path: str) -> None:
        self._line = _Line(path)
        self.lines = 1
        self.send_fd = self._line.send_fd
        super().__init__(self._line.socket, path)

    def send_nowait(self, data: bytes) -> bool:
        """Hand ``data`` to nng; ``False`` when that would block.

        Raises:
            LimitExceededError: ``data`` is larger than an inbox takes.
        """
        if len(data) > MAX_MESSAGE_BYTES:
            raise LimitExceededError(
                f"a message of {len(data)} bytes is over the limit of "
                f"{MAX_MESSAGE_BYTES}; use smaller chunks",
                limit=MAX_MESSAGE_BYTES,
            )
        while True:
            self._open()
            number = self._line.send(data)
            if number == 0:
                return True
            if number == _lib.NNG_EAGAIN:
                return False
            if number != -1:
                raise _error(number, "send")
            self._renew()

    def _renew(self) -> None:
        """Go on with a new socket, which dials the mailbox again."""
        lost = self._line
        self._line = _Line(self.path)
        self._socket = self._line.socket
        self.send_fd = self._line.send_fd
        self.lines += 1
        _close(lost.socket)


def _after_fork_in_child() -> None:
    if _live:
        atexit.unregister(pynng.nng._pynng_atexit)  # noqa: SLF001 - it aborts here
    for end in list(_live):
        end._disarm()  # noqa: SLF001 - same module


os.register_at_fork(after_in_child=_after_fork_in_child)
