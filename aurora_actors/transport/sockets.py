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
* nng aborts the process when it is used after a fork: a forked child's copies are
  disarmed, and their use is a :class:`~aurora_actors.errors.UsageError`.
"""

from __future__ import annotations

import atexit
import os
import weakref
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


class Outlet(_End):
    """The sending end to the mailbox at ``path``, which may come and go."""

    def __init__(self, path: str) -> None:
        socket = pynng.Push0(
            send_buffer_size=1,
            reconnect_time_min=_RECONNECT_MS[0],
            reconnect_time_max=_RECONNECT_MS[1],
        )
        try:
            socket.dial(f"ipc://{path}", block=False)
        except pynng.NNGException as exc:
            _close(socket)
            raise InternalError(f"cannot dial mailbox {path}: {exc}") from exc
        super().__init__(socket, path)
        self._handle = socket.socket
        self.send_fd: int = socket.send_fd

    def send_nowait(self, data: bytes) -> bool:
        """Hand ``data`` to nng; ``False`` when that would block.

        Raises:
            LimitExceededError: ``data`` is larger than an inbox takes.
        """
        self._open()
        if len(data) > MAX_MESSAGE_BYTES:
            raise LimitExceededError(
                f"a message of {len(data)} bytes is over the limit of "
                f"{MAX_MESSAGE_BYTES}; use smaller chunks",
                limit=MAX_MESSAGE_BYTES,
            )
        number = _lib.nng_send(self._handle, data, len(data), _lib.NNG_FLAG_NONBLOCK)
        if number == 0:
            return True
        if number == _lib.NNG_EAGAIN:
            return False
        raise _error(number, "send")


def _after_fork_in_child() -> None:
    if _live:
        atexit.unregister(pynng.nng._pynng_atexit)  # noqa: SLF001 - it aborts here
    for end in list(_live):
        end._disarm()  # noqa: SLF001 - same module


os.register_at_fork(after_in_child=_after_fork_in_child)
