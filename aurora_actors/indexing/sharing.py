"""One open ``index.mdb`` per process and file, shared by all who need it.

As with ``data.mdb`` (see ``storage.sharing``), LMDB forbids a process to open a file
twice. The index file can be replaced by a new one while it is open: who opens the path
then gets the new file, and the old one lives on until its last user lets go of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Final

from aurora_actors.errors import UsageError
from aurora_actors.indexing.environment import Environment, IndexTables
from aurora_actors.indexing.layout import IndexState, Part, Progress
from aurora_actors.indexing.rowsets import RowSet
from aurora_actors.indexing.segments import Segment

__all__ = ["Read", "SharedIndex", "acquire_index", "file_identity", "release_index"]


class Read:
    """What one state of the index file says of each collection, as it is found out.

    Attributes:
        transaction: LMDB's number of the transaction that made the state.
        head: The database's uuid and the state's entry.
        ready: By collection, the complete parts with their numbers.
        disordered: By collection, see ``IndexSnapshot.disordered``.
        segments: By the number of a part, its column segments.
        rows: By their keys, sets of rows that columns name; nobody changes them.
    """

    __slots__ = ("disordered", "head", "ready", "rows", "segments", "transaction")

    def __init__(self, transaction: int) -> None:
        self.transaction = transaction
        self.head: tuple[bytes, IndexState] | None = None
        self.ready: dict[int, list[tuple[Part, Progress]]] = {}
        self.disordered: dict[int, RowSet | None] = {}
        self.segments: dict[int, list[Segment]] = {}
        self.rows: dict[bytes, RowSet] = {}


class SharedIndex:
    """An open index environment and how many use it.

    Attributes:
        path: The index file.
        identity: Which file it is, whatever its name.
        env: The environment.
        tables: Its named databases.
        pid: The process that opened it.
        parts: The parts as of ``version``, remembered for readers.
        version: See ``layout.IndexState``.
        read: What has been read of the newest state, remembered for readers.
        looked: When the file was last seen to be the one of its name.
    """

    __slots__ = (
        "env",
        "identity",
        "looked",
        "parts",
        "path",
        "pid",
        "read",
        "tables",
        "users",
        "version",
    )

    def __init__(self, path: Path, env: Environment, tables: IndexTables) -> None:
        self.path = path
        self.env = env
        self.tables = tables
        self.identity = file_identity(path)
        self.pid = os.getpid()
        self.users = 0
        self.parts: dict[int, list[Part]] = {}
        self.version = -1
        self.read = Read(-1)
        self.looked = 0.0


def file_identity(path: Path) -> tuple[int, int]:
    """The device and the inode of a file; zeros when there is none."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return (status.st_dev, status.st_ino)


# LMDB's rule is about the process, so this is, too.
_shared: Final[dict[Path, SharedIndex]] = {}
_lock: Final = Lock()


def acquire_index(
    path: Path,
    opener: Callable[[], tuple[Environment, IndexTables]],
    *,
    writer: bool,
) -> SharedIndex:
    """Use the environment of ``path``, opened by ``opener`` if it is not open yet.

    Raises:
        UsageError: ``writer`` is wanted, but this process has it open for reading.
    """
    with _lock:
        shared = _shared.get(path)
        if (
            shared is None
            or shared.pid != os.getpid()
            or shared.identity != file_identity(path)
        ):
            shared = SharedIndex(path, *opener())
            _shared[path] = shared
        elif writer and shared.env.flags()["readonly"]:
            raise UsageError(
                f"this process has {path} open for reading; close that first"
            )
        shared.users += 1
        return shared


def release_index(shared: SharedIndex) -> None:
    """Stop using an environment; the last user closes it."""
    if shared.pid != os.getpid():
        return
    with _lock:
        shared.users -= 1
        if not shared.users:
            if _shared.get(shared.path) is shared:
                del _shared[shared.path]
            shared.env.close()
