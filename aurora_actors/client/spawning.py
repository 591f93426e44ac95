"""Starting a supervisor as a child of this process, and reaping it.

It leads a process group of its own, so that Ctrl-C is for the application, within the
session of the application (see ADR 9), and has none of this process's descriptors but
the lock of the database and one end of a socket pair, at fixed numbers. On the socket pair
it gets its settings and answers ``Done`` when the tree is ready or the ``Failure`` why
it never will be; while the other end is open, it knows that somebody wants the tree.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import select
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from aurora_actors.config import AuroraConfig
from aurora_actors.errors import (
    ConfigError,
    TimeoutError_,
    UnavailableError,
)
from aurora_actors.messages.base import Failure
from aurora_actors.messages.framing import FrameReader, encode_frame
from aurora_actors.messages.supervision import Done

__all__ = ["reap_supervisors", "start_supervisor"]

_LOG: Final = "aurora.log"
_LOCK_FD: Final = 3
_READY_FD: Final = 4
_FIRST_HIGH_FD: Final = 10
_END_S: Final = 5.0
_MOST_OF_LOG: Final = 8192
_LOG_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND
_DEFAULT_SIGNALS: Final = (
    signal.SIGCHLD,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGPIPE,
    signal.SIGTERM,
)

_reply_decoder = msgspec.msgpack.Decoder(Done | Failure)


def start_supervisor(
    config: AuroraConfig, lock: int, deadline: float, tree: str
) -> socket.socket:
    """Start a supervisor, give it the lock, and wait until its tree is ready.

    Returns:
        Our end of the socket pair, to be closed when somebody has connected.

    Raises:
        TimeoutError_: the tree is not ready at the deadline of ``time.monotonic()``.
        AuroraError: the tree cannot start.
    """
    began = _size(config.path / _LOG)
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            pid = _spawn(config.path, lock, theirs.fileno(), tree)
        _supervisors.add(pid)
        _await_start(ours, config, pid, deadline, began)
    except BaseException:
        # The supervisor sees the end of the socket pair, and stops.
        ours.close()
        raise
    return ours


def _await_start(
    opener: socket.socket, config: AuroraConfig, pid: int, deadline: float, began: int
) -> None:
    with suppress(BrokenPipeError):
        opener.sendall(encode_frame(msgspec.msgpack.encode(config)))
    reply = _receive_reply(opener, deadline)
    if isinstance(reply, Done):
        return
    # Nothing of it is left when the caller learns of it.
    status = _supervisors.reap(_END_S, pid)
    if reply is not None:
        raise reply.error()
    log = config.path / _LOG
    raise UnavailableError(
        f"the supervisor ended with status {status} before the database was ready; "
        f"see {log}, which ends:\n{_since(log, began)}"
    )


def _size(log: Path) -> int:
    try:
        return log.stat().st_size
    except OSError:
        return 0


def _since(log: Path, began: int) -> str:
    """What was added to a log, which may go with its directory; at most its end."""
    try:
        with log.open("rb") as file:
            file.seek(max(began, _size(log) - _MOST_OF_LOG))
            return file.read().decode(errors="replace")
    except OSError as exc:
        return f"(unreadable: {exc.strerror})"


def _receive_reply(opener: socket.socket, deadline: float) -> Done | Failure | None:
    frames = FrameReader()
    while (body := frames.next_frame()) is None:
        opener.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            data = opener.recv(1 << 16)
        except TimeoutError as exc:
            raise TimeoutError_("the database did not start in time") from exc
        except ConnectionResetError:
            return None
        if not data:
            return None
        frames.feed(data)
    reply: Done | Failure = _reply_decoder.decode(body)
    return reply


def _import_path() -> str:
    """Where this process imports from, for the pools of its configuration."""
    return os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path)


def _spawn(path: Path, lock: int, ready: int, tree: str) -> int:
    if not sys.executable:
        raise ConfigError("sys.executable is not set: there is no Python to run")
    command = [sys.executable, "-P", "-m", "aurora_supervisor", "run", "--embedded"]
    descriptors = ["--lock-fd", str(_LOCK_FD), "--ready-fd", str(_READY_FD)]
    # First up, then down: neither may be overwritten before it has been copied.
    high = [
        fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST_HIGH_FD)
        for descriptor in (lock, ready)
    ]
    log = os.fspath(path / _LOG)
    try:
        return os.posix_spawn(
            sys.executable,
            [*command, "--db", os.fspath(path), *descriptors, "--tree", tree],
            {**os.environ, "AURORA_IMPORT_PATH": _import_path()},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, log, _LOG_FLAGS, 0o600),
                (os.POSIX_SPAWN_DUP2, 2, 1),
                (os.POSIX_SPAWN_DUP2, high[0], _LOCK_FD),
                (os.POSIX_SPAWN_DUP2, high[1], _READY_FD),
            ],
            setpgroup=0,
            setsigmask=[],
            setsigdef=_DEFAULT_SIGNALS,
        )
    except OSError as exc:
        raise UnavailableError(f"no supervisor could be started: {exc}") from exc
    finally:
        for descriptor in high:
            os.close(descriptor)


class _Supervisors:
    """The supervisors this process has started and not reaped yet."""

    def __init__(self) -> None:
        self._pids: set[int] = set()
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._forget)
        atexit.register(self.reap)

    def _forget(self) -> None:
        # They are the parent's children, and its thread may have held the lock.
        self._pids = set()
        self._lock = threading.Lock()

    def add(self, pid: int) -> None:
        with self._lock:
            self._pids.add(pid)

    def reap(self, wait_s: float = 0.0, pid: int | None = None) -> int | None:
        """Reap those that have ended; the exit status of ``pid`` if it was one."""
        if pid is not None:
            _wait_for_end(pid, wait_s)
        status = None
        with self._lock:
            for child in list(self._pids):
                try:
                    ended, raw = os.waitpid(child, os.WNOHANG)
                except ChildProcessError:
                    ended, raw = child, 0
                if ended:
                    self._pids.discard(child)
                    if child == pid:
                        status = os.waitstatus_to_exitcode(raw)
        return status


def _wait_for_end(pid: int, wait_s: float) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(max(0, int(wait_s * 1000)))
    finally:
        os.close(descriptor)


_supervisors = _Supervisors()


def reap_supervisors(wait_s: float = 0.0, pid: int | None = None) -> None:
    """Reap the supervisors that this process started and that have ended.

    With ``pid`` the end of that one, whoever started it, is waited for up to
    ``wait_s``.
    """
    _supervisors.reap(wait_s, pid)
