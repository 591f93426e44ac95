"""The database directory: who runs it, and how that is found out.

``<db>/lock``             flock held by the supervisor for as long as it lives. Whoever
                          gets it may start one; the kernel releases it with the
                          last process that has it open, so it cannot be left behind.
``<db>/supervisor.json``  where the holder of the lock can be reached. Written whole
                          and renamed into place, mode 0600; one that is there while
                          nobody holds the lock is left over from a crash and means
                          nothing.

Used by applications, which open databases, and by the supervisor; it runs in either,
is synchronous and knows neither sockets nor processes.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from aurora_actors.errors import ConfigError

__all__ = [
    "PublishedTree",
    "prepare_directory",
    "publish",
    "read_published",
    "try_lock",
    "withdraw",
]

_LOCK: Final = "lock"
_PUBLISHED: Final = "supervisor.json"


class PublishedTree(msgspec.Struct, frozen=True, kw_only=True):
    """What ``supervisor.json`` holds.

    Attributes:
        pid: The supervisor.
        tree_id: Names this run of the tree.
        attach: The path of the socket at which applications attach.
        version: The protocol version it speaks.
        started_at: When it started, RFC 3339, UTC.
    """

    pid: int
    tree_id: str
    attach: str
    version: int
    started_at: str


def prepare_directory(path: Path) -> None:
    """Make the database directory, mode 0700, unless it exists and can be written.

    Raises:
        ConfigError: it cannot be made, is no directory, or may not be written.
    """
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError as exc:
        raise ConfigError(
            f"db_path {path} is a file; a database is a directory", key="db_path"
        ) from exc
    except FileNotFoundError as exc:
        raise ConfigError(
            f"db_path {path}: the directory {path.parent} does not exist",
            key="db_path",
        ) from exc
    except OSError as exc:
        raise ConfigError(
            f"db_path {path} cannot be made: {exc.strerror}", key="db_path"
        ) from exc
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError(
            f"db_path {path} may not be written by this user", key="db_path"
        )


def try_lock(path: Path) -> int | None:
    """Take the lock of the database at ``path``.

    Returns:
        The descriptor that holds it, not inheritable; ``None`` when another process
        has it. Closing the last copy of the descriptor releases the lock.

    Raises:
        ConfigError: the lock file cannot be opened.
    """
    try:
        fd = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise ConfigError(
            f"the lock of {path} cannot be opened: {exc.strerror}", key="db_path"
        ) from exc
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError as exc:
        os.close(fd)
        raise ConfigError(
            f"{path} is on a file system without locks: {exc.strerror}", key="db_path"
        ) from exc
    return fd


def publish(path: Path, tree: PublishedTree) -> None:
    """Write ``supervisor.json`` in one step; only the lock's holder may."""
    target = path / _PUBLISHED
    draft = path / f"{_PUBLISHED}.new"
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(msgspec.json.encode(tree))
    draft.replace(target)


def read_published(path: Path) -> PublishedTree | None:
    """Who says that it runs the database; ``None`` when nobody does."""
    try:
        data = (path / _PUBLISHED).read_bytes()
    except OSError:
        return None
    try:
        return msgspec.json.decode(data, type=PublishedTree)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def withdraw(path: Path) -> None:
    """Remove ``supervisor.json``; only the lock's holder may."""
    for name in (_PUBLISHED, f"{_PUBLISHED}.new"):
        with suppress(FileNotFoundError):
            (path / name).unlink()
