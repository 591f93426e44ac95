"""Starting the zygote from the supervisor: the first by fork, later ones by exec.

What the supervisor imports the actors need, too, and it is half of their work: so the
first zygote is forked when that has been done, while the supervisor still has one thread
and no socket of nng. It costs a quarter less processor time than to import it twice,
and the two share the memory. One that takes the place of a dead zygote cannot be forked
any more, and imports everything by itself. The standard library alone is imported here.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple, NoReturn

from aurora_supervisor.descriptors import close_all_but

__all__ = ["DEFAULT_SIGNALS", "ZygoteProcess", "fork_zygote", "start_zygote"]

DEFAULT_SIGNALS: Final = (
    signal.SIGCHLD,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGPIPE,
    signal.SIGTERM,
)
"""Signals whose disposition a child must not inherit."""


class ZygoteProcess(NamedTuple):
    """A running zygote and the socket that commands it and keeps it alive."""

    pid: int
    control: socket.socket

    def abandon(self) -> None:
        """End it at once and reap it; whatever it forked dies with it."""
        self.control.close()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def fork_zygote(
    runtime_dir: str, tree: str, run: Callable[[list[str]], int]
) -> ZygoteProcess:
    """Fork a zygote, which shares all that has been imported; see :func:`start_zygote`.

    The caller has one thread, no event loop and no socket of nng. No descriptor of its
    own but the standard error goes with the fork, no signal is blocked in the child, and
    it imports nothing from where the command is: it is as one that was executed.

    Args:
        runtime_dir: As for :func:`start_zygote`.
        tree: As for :func:`start_zygote`.
        run: The zygote's ``main``.

    Raises:
        OSError: no process or socket could be had.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        try:
            pid = os.fork()
        except BaseException:
            ours.close()
            raise
        if pid == 0:
            _become_zygote(theirs.detach(), runtime_dir, tree, run)
    return ZygoteProcess(pid, ours)


def _become_zygote(
    control: int, runtime_dir: str, tree: str, run: Callable[[list[str]], int]
) -> NoReturn:
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        # The lock of the database, above all: it would be held as long as this lives.
        close_all_but((control,))
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if not sys.flags.safe_path:
            del sys.path[0]
        status = run([str(control), runtime_dir, tree])
    except BaseException:  # noqa: BLE001 - nothing may return into the supervisor's code
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(status)


def start_zygote(runtime_dir: str, tree: str) -> ZygoteProcess:
    """Start a zygote for the tree that the module ``tree`` describes.

    The zygote ends, with all it forked, when the returned control socket is closed,
    by whatever cause, and then removes ``runtime_dir``. The socket keeps message
    boundaries (SOCK_SEQPACKET), so that one packet is one message.

    Raises:
        OSError: no process or socket could be had.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        # One thread runs in this process, so no other child can inherit it meanwhile.
        os.set_inheritable(theirs.fileno(), True)
        command = [sys.executable, "-P", "-m", "aurora_supervisor.zygote"]
        try:
            pid = os.posix_spawn(
                sys.executable,
                [*command, str(theirs.fileno()), runtime_dir, tree],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, 2, 1),
                ],
                setsigmask=[],
                setsigdef=DEFAULT_SIGNALS,
            )
        except BaseException:
            ours.close()
            raise
    return ZygoteProcess(pid, ours)
