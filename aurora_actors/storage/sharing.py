"""One open environment per process and file, shared by all who need it.

LMDB forbids a process to open a file twice. Readers of one path therefore share an
environment, also with the writer where both are in one process, and the last one out
closes it. A forked child must not use its parent's: it opens its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Final

from aurora_actors.errors import UsageError
from aurora_actors.storage.environment import Environment, Tables
from aurora_actors.storage.snapshot import CatalogCache

__all__ = ["SharedEnvironment", "acquire", "release"]


class SharedEnvironment:
    """An open environment and how many use it.

    Attributes:
        path: The database directory.
        env: The environment.
        tables: Its named databases.
        cache: The newest catalog read from it.
        pid: The process that opened it.
    """

    __slots__ = ("cache", "env", "path", "pid", "tables", "users")

    def __init__(self, path: Path, env: Environment, tables: Tables) -> None:
        self.path = path
        self.env = env
        self.tables = tables
        self.cache = CatalogCache()
        self.pid = os.getpid()
        self.users = 0


# LMDB's rule is about the process, so this is, too.
_shared: Final[dict[Path, SharedEnvironment]] = {}
_lock: Final = Lock()


def acquire(
    path: Path, opener: Callable[[], tuple[Environment, Tables]], *, writer: bool
) -> SharedEnvironment:
    """Use the environment of ``path``, opened by ``opener`` if it is not open yet.

    Raises:
        UsageError: ``writer`` is wanted, but this process has it open for reading.
    """
    with _lock:
        shared = _shared.get(path)
        if shared is None or shared.pid != os.getpid():
            shared = SharedEnvironment(path, *opener())
            _shared[path] = shared
        elif writer and shared.env.flags()["readonly"]:
            raise UsageError(
                f"this process has {path} open for reading; close that first"
            )
        shared.users += 1
        return shared


def release(shared: SharedEnvironment) -> None:
    """Stop using an environment; the last user closes it."""
    if shared.pid != os.getpid():
        return
    with _lock:
        shared.users -= 1
        if not shared.users:
            if _shared.get(shared.path) is shared:
                del _shared[shared.path]
            shared.env.close()
