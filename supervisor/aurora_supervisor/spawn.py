"""Starting the zygote, by exec, from the supervisor.

This is the first thing a supervisor does, before it imports anything that takes time:
the zygote's imports (0.2 s of work) then run beside its own. The standard library
alone is imported here.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Final, NamedTuple

__all__ = ["DEFAULT_SIGNALS", "ZygoteProcess", "start_zygote"]

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
