"""Opening the LMDB environment, and what its and the system's errors mean here.

The only module that knows LMDB's flags and the names of its exceptions. The storage
process opens the environment for writing, every other process for reading; LMDB allows
one open environment per process and file.

``data.mdb`` is opened without WRITEMAP (a full disk would be a SIGBUS instead of an
error) and, but for the durability mode ``synchronous``, without LMDB's own syncs: see
``storage.checkpoint`` for what makes that safe.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import lmdb

from aurora_actors.errors import (
    AuroraError,
    CorruptionError,
    InternalError,
    OverloadedError,
    PermissionDeniedError,
    StorageFullError,
    UnavailableError,
)
from aurora_actors.storage.layout import TABLES

__all__ = [
    "Cursor",
    "Environment",
    "Table",
    "Tables",
    "Transaction",
    "file_errors",
    "lmdb_errors",
    "open_environment",
    "open_tables",
    "translate_lmdb",
    "translate_os",
]

# lmdb's types are generic over bytes or memoryview from 3.0 on and not at all before.
Environment: TypeAlias = lmdb.Environment
Transaction: TypeAlias = Any
Table: TypeAlias = Any
Cursor: TypeAlias = Any

# New files get LMDB 0.9's format where the binding knows several (see ADR 0001); older
# bindings know no other. Existing files say by themselves what they are.
_VERSIONED: Final = hasattr(lmdb.Environment, "lib_version")

_DAMAGE: Final = (
    "CorruptedError",
    "PageNotFoundError",
    "PanicError",
    "InvalidError",
    "VersionMismatchError",
    "IncompatibleError",
    "BadChecksumError",
    "PageFullError",
)
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class Tables(NamedTuple):
    """The handles of the named databases."""

    meta: Table
    docs: Table
    ids: Table
    unique: Table
    changes: Table
    requests: Table
    jobs: Table


def open_environment(
    path: Path,
    *,
    map_size: int,
    max_readers: int,
    readonly: bool = False,
    create: bool = False,
    sync: bool = False,
) -> Environment:
    """Open ``data.mdb``.

    Raises:
        CorruptionError: the file is not one of LMDB's, or is damaged.
        UnavailableError: the file is missing or cannot be opened now.
    """
    if not create and not path.exists():
        raise UnavailableError(f"{path} does not exist", file=str(path))
    options: dict[str, Any] = {"lib_version": 0} if create and _VERSIONED else {}
    with lmdb_errors(path):
        return lmdb.open(
            str(path),
            map_size=map_size,
            subdir=False,
            readonly=readonly,
            metasync=sync,
            sync=sync,
            mode=0o600,
            readahead=True,
            max_readers=max_readers,
            max_dbs=len(TABLES) + 2,
            max_spare_txns=1,
            **options,
        )


def open_tables(env: Environment, *, create: bool = False) -> Tables:
    """Open the named databases.

    Raises:
        CorruptionError: one is missing, so this is not a database of ours.
    """
    try:
        return Tables(*[env.open_db(name, create=create) for name in TABLES])
    except lmdb.NotFoundError as exc:
        raise CorruptionError(
            f"{env.path()} has not the tables of a database", file=env.path()
        ) from exc
    except lmdb.Error as exc:
        raise translate_lmdb(exc, env.path()) from exc


# ------------------------------------------------------------------ errors
@contextmanager
def lmdb_errors(path: Path | str) -> Iterator[None]:
    """Turn LMDB's exceptions into ours; ``path`` goes into the message."""
    try:
        yield
    except lmdb.Error as exc:
        raise translate_lmdb(exc, str(path)) from exc
    except OSError as exc:
        raise translate_os(exc, str(path)) from exc


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn ``OSError`` into ours; ``path`` goes into the message."""
    try:
        yield
    except OSError as exc:
        raise translate_os(exc, str(path)) from exc


def translate_lmdb(exc: lmdb.Error, path: str) -> AuroraError:
    """The error of ours that one of LMDB's stands for."""
    name = type(exc).__name__
    code = getattr(exc, "code", 0)
    if name == "MapFullError":
        return StorageFullError(
            f"{path} has reached its largest size; delete documents, or set "
            "max_size_gb higher and restart",
            file=path,
        )
    if name == "DiskError" or code in _NO_ROOM:
        return StorageFullError(f"no room left on the disk for {path}", file=path)
    if name in {"ReadersFullError", "TlsFullError"}:
        return OverloadedError(
            f"all reader slots of {path} are in use; set max_readers higher", file=path
        )
    if name in _DAMAGE:
        return CorruptionError(f"{path} is damaged: {exc}", file=path)
    return _translate_rest(exc, name, code, path)


def _translate_rest(exc: lmdb.Error, name: str, code: int, path: str) -> AuroraError:
    if name == "MemoryError" or code in _EXHAUSTED:
        return OverloadedError(f"no memory or descriptors left for {path}: {exc}")
    if name in {"LockError", "MapResizedError", "BadRslotError"}:
        return UnavailableError(f"{path} cannot be used now: {exc}", file=path)
    if name == "ReadonlyError" or code in _FORBIDDEN:
        return PermissionDeniedError(f"{path} may not be changed: {exc}", file=path)
    if 0 < code < 200:  # an errno of the system; LMDB's own are negative
        return UnavailableError(f"{path}: {exc}", file=path)
    return InternalError(f"{path}: {name}: {exc}", file=path)


def translate_os(exc: OSError, path: str) -> AuroraError:
    """The error of ours that one of the operating system's stands for."""
    reason = exc.strerror or str(exc)
    if exc.errno in _NO_ROOM:
        return StorageFullError(f"no room left for {path}: {reason}", file=path)
    if exc.errno in _FORBIDDEN:
        return PermissionDeniedError(f"{path}: {reason}", file=path)
    if exc.errno in _EXHAUSTED:
        return OverloadedError(f"{path}: {reason}", file=path)
    return UnavailableError(f"{path}: {reason}", file=path)
