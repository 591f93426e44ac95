"""One open environment per process and file, shared by all who need it.

LMDB forbids a process to open a file twice. Readers of one path therefore share an
environment, also with the writer where both are in one process, and the last one out
closes it. A forked child must not use its parent's: it opens its own.

A data file can be replaced by one of another generation (``storage.compaction``). Who
asks for the path then gets the new one; the environment of the old one is closed with
the last of its snapshots.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Final, TypeAlias

from aurora_actors.errors import UsageError
from aurora_actors.storage.environment import Environment, Tables
from aurora_actors.storage.snapshot import CatalogCache, CollectionInfo

__all__ = ["Known", "SharedEnvironment", "acquire", "is_open", "release"]

Known: TypeAlias = tuple[int, int, dict[str, CollectionInfo]]


class SharedEnvironment:
    """An open environment and how many use it.

    Attributes:
        path: The database directory.
        env: The environment.
        tables: Its named databases.
        cache: The newest catalog read from it.
        generation: Which data file it is of.
        known: The number of the transaction that made a state, the version of the
            catalog in that state, and the catalog.
        settled: The catalog version at which the file was seen to be the current one;
            while the version is this, it still is.
        pid: The process that opened it.
    """

    __slots__ = (
        "cache",
        "env",
        "generation",
        "known",
        "path",
        "pid",
        "settled",
        "tables",
        "users",
    )

    def __init__(
        self, path: Path, env: Environment, tables: Tables, generation: int
    ) -> None:
        self.path = path
        self.env = env
        self.tables = tables
        self.generation = generation
        self.settled = -1
        self.cache = CatalogCache()
        self.known: Known = (-1, -1, {})
        self.pid = os.getpid()
        self.users = 0


# LMDB's rule is about the process, so this is, too.
_shared: Final[dict[Path, SharedEnvironment]] = {}
_lock: Final = Lock()


def acquire(
    path: Path,
    opener: Callable[[], tuple[Environment, Tables]],
    *,
    writer: bool,
    generation: int = 0,
) -> SharedEnvironment:
    """Use the environment of ``path``, opened by ``opener`` if it is not open yet.

    Raises:
        UsageError: ``writer`` is wanted, but this process has it open for reading.
    """
    with _lock:
        shared = _shared.get(path)
        if (
            shared is None
            or shared.pid != os.getpid()
            or shared.generation < generation
        ):
            shared = SharedEnvironment(path, *opener(), generation)
            _shared[path] = shared
        elif writer and shared.env.flags()["readonly"]:
            raise UsageError(
                f"this process has {path} open for reading; close that first"
            )
        shared.users += 1
        return shared


def is_open(path: Path) -> bool:
    """Whether this process has the database at ``path`` open already."""
    with _lock:
        shared = _shared.get(path)
        return shared is not None and shared.pid == os.getpid()


def release(shared: SharedEnvironment) -> None:
    """Stop using an environment; the last user closes it."""
    if shared.pid != os.getpid():
        return
    with _lock:
        shared.users -= 1
        if not shared.users and _shared.get(shared.path) is shared:
            del _shared[shared.path]
            shared.env.close()
        # One that has been replaced may still have snapshots, which closing it would
        # end; the binding closes it when the last of them is gone.
