"""Finding the tree of a database, or starting it, and attaching to it; blocking.

Whoever gets the lock of the database directory starts a supervisor and hands the lock
over; whoever does not, finds the holder in ``supervisor.json`` and connects to it. A
holder that is stopping is waited for. All of it has one deadline.

This runs in application processes, in any thread; under an event loop it belongs into
a worker thread. It needs neither trio nor anyio nor nng.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from aurora_actors.client.spawning import reap_supervisors, start_supervisor
from aurora_actors.config import AuroraConfig
from aurora_actors.errors import ProtocolError, TimeoutError_, TreeDownError
from aurora_actors.location import prepare_directory, read_published, try_lock
from aurora_actors.messages.base import Failure
from aurora_actors.messages.framing import FrameReader, encode_frame
from aurora_actors.messages.supervision import (
    ApplicationNotice,
    ApplicationRequest,
    Attach,
    Attached,
    Detach,
    TreeStopping,
)

__all__ = [
    "DEFAULT_TREE",
    "TreeConnection",
    "connect_running",
    "join_tree",
    "launch_or_find",
    "open_tree",
    "reap_supervisors",
]

DEFAULT_TREE: Final = "aurora_actors.actors.tree"

_PAUSE_S: Final = 0.005
_READ_BYTES: Final = 1 << 16

_decoder = msgspec.msgpack.Decoder(ApplicationNotice)


class TreeConnection:
    """A connection to a supervisor, for blocking use.

    An event loop takes ``socket`` and ``frames`` over: ``frames`` may hold notices
    that have arrived already.

    Attributes:
        attached: What the supervisor answered to :meth:`attach`.
    """

    attached: Attached

    def __init__(self, sock: socket.socket, path: str) -> None:
        self.socket = sock
        self._is_member = False
        self.frames = FrameReader()
        self._path = Path(path)

    def send(self, request: ApplicationRequest) -> None:
        """Send one request.

        Raises:
            TreeDownError: the supervisor is gone.
        """
        try:
            self.socket.sendall(encode_frame(request))
        except OSError as exc:
            raise TreeDownError(f"the supervisor is gone: {exc.strerror}") from exc

    def receive(self, timeout_s: float) -> ApplicationNotice | None:
        """The next notice, or ``None`` when the supervisor has ended the connection.

        Raises:
            TimeoutError_: nothing came within ``timeout_s``.
            ProtocolError: what came is no notice.
        """
        deadline = time.monotonic() + timeout_s
        while (body := self.frames.next_frame()) is None:
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self.socket.recv(_READ_BYTES)
            except TimeoutError as exc:
                raise TimeoutError_("the supervisor did not answer in time") from exc
            except OSError:
                return None
            if not data:
                return None
            self.frames.feed(data)
        try:
            notice: ApplicationNotice = _decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise ProtocolError(f"the supervisor is not understood: {exc}") from exc
        return notice

    def attach(self, request: Attach, timeout_s: float) -> None:
        """Say who is there, and wait until the tree serves.

        Raises:
            TreeDownError: the tree is stopping.
            TimeoutError_: no answer within ``timeout_s``.
            AuroraError: the tree refuses, or cannot start.
        """
        self._is_member = request.member
        self.send(request)
        match self.receive(timeout_s):
            case Attached() as attached:
                self.attached = attached
            case Failure() as failure:
                raise failure.error()
            case None | TreeStopping():
                raise TreeDownError("the tree is stopping")
            case other:
                raise ProtocolError(f"{type(other).__name__} instead of Attached")

    def leave(self, timeout_s: float) -> None:
        """Detach, and wait until that has been acted on.

        The last application of an embedded tree waits until the tree has stopped and
        its supervisor has ended; after ``timeout_s`` they are left to themselves.
        """
        deadline = time.monotonic() + timeout_s
        has_stopped = False
        with suppress(TreeDownError, TimeoutError_, ProtocolError):
            self.send(Detach())
            while self.receive(deadline - time.monotonic()) is not None:
                pass
            # A tree that stops removes this first; others may be using one that goes on.
            has_stopped = not self._path.exists()
        self.close()
        if self._is_member:
            return  # the supervisor waits for this process, not the other way round
        if has_stopped:
            pid = self.attached.supervisor_pid
            reap_supervisors(max(0.0, deadline - time.monotonic()), pid)
        else:
            reap_supervisors()

    def close(self) -> None:
        """End the connection; for the tree this is the application's end."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def connect_running(
    path: str | os.PathLike[str], timeout_s: float = 10.0
) -> TreeConnection | None:
    """Connect to the tree that runs, to watch or command it; ``None`` if none does.

    Raises:
        AuroraError: it does not answer as it should.
    """
    connection = _connect(Path(path).expanduser().resolve())
    if connection is None:
        return None
    try:
        connection.attach(Attach(client=None, pid=os.getpid()), timeout_s)
    except BaseException:
        connection.close()
        raise
    return connection


def join_tree(
    path: str | os.PathLike[str], client: str, timeout_s: float = 30.0
) -> TreeConnection:
    """Attach to the tree that runs, from within it, under the mailbox name ``client``.

    For processes of the tree: they are served like applications, but neither start the
    tree nor keep it alive.

    Raises:
        TreeDownError: no tree runs there, or it is stopping.
        AuroraError: it does not answer as it should.
    """
    connection = _connect(Path(path).expanduser().resolve())
    if connection is None:
        raise TreeDownError(f"no tree serves {os.fspath(path)}")
    try:
        request = Attach(client=client, pid=os.getpid(), member=True)
        connection.attach(request, timeout_s)
    except BaseException:
        connection.close()
        raise
    return connection


def launch_or_find(
    config: AuroraConfig, timeout_s: float = 30.0, *, tree: str = DEFAULT_TREE
) -> TreeConnection:
    """Connect to the supervisor of a database; start one if none runs.

    Args:
        config: Where the database is, and the settings of a tree that is started. One
            that runs is taken as it is; ``Attach`` has the settings compared.
        timeout_s: How long all of it may take.
        tree: The module that lists the actors of a tree that is started.

    Returns:
        A connection on which nothing has been said yet. It keeps a tree that was
        started for it alive; say ``Attach`` within ten seconds.

    Raises:
        ConfigError: the settings or the directory will not do.
        TimeoutError_: no tree serves within ``timeout_s``.
        TreeDownError: the tree was stopped while it started; another try may do.
        AuroraError: whatever an actor gave as the reason why it cannot start.
    """
    reap_supervisors()
    deadline = time.monotonic() + timeout_s
    path = config.path
    prepare_directory(path)
    pause = threading.Event()
    while True:
        lock = try_lock(path)
        if lock is not None:
            try:
                return _start(config, lock, deadline, tree)
            finally:
                os.close(lock)
        connection = _connect(path)
        if connection is not None:
            return connection
        if time.monotonic() > deadline:
            raise TimeoutError_(
                f"{path} is locked, but its supervisor cannot be reached"
            )
        # Between two processes that do not know each other there is only the file
        # system to look at: the holder publishes itself, or the lock becomes free.
        pause.wait(_PAUSE_S)


def open_tree(
    target: AuroraConfig | str | os.PathLike[str],
    client: str,
    timeout_s: float = 30.0,
    *,
    tree: str = DEFAULT_TREE,
) -> TreeConnection:
    """Attach to the tree of a database under the mailbox name ``client``.

    The tree is started if none runs. With an ``AuroraConfig`` the settings of a
    running tree must be the same; with a path they are taken as they are.

    Raises:
        ConfigError: as :func:`launch_or_find`, and for other settings than the
            running tree's.
        TimeoutError_: not attached within ``timeout_s``.
        AuroraError: as :func:`launch_or_find`.
    """
    if isinstance(target, AuroraConfig):
        config, settings = target, msgspec.msgpack.encode(target)
    else:
        config, settings = AuroraConfig(db_path=os.fspath(target)), None
    request = Attach(client=client, pid=os.getpid(), settings=settings)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            connection = launch_or_find(
                config, max(0.0, deadline - time.monotonic()), tree=tree
            )
            try:
                connection.attach(request, deadline - time.monotonic())
            except BaseException:
                connection.close()
                raise
        except TreeDownError:
            # It was stopping: when it has, the next one will do.
            if time.monotonic() > deadline:
                raise
        else:
            return connection


def _connect(path: Path) -> TreeConnection | None:
    published = read_published(path)
    if published is None:
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(published.attach)
    except OSError:
        sock.close()
        return None
    return TreeConnection(sock, published.attach)


def _start(
    config: AuroraConfig, lock: int, deadline: float, tree: str
) -> TreeConnection:
    with start_supervisor(config, lock, deadline, tree):
        connection = _connect(config.path)
    if connection is None:
        raise TreeDownError("the tree was stopped as soon as it had started")
    return connection
