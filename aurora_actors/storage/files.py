"""The one seam between the storage engine and the file system.

Everything whose loss or failure matters goes through :class:`Files`: the commit log,
the ``checkpoint`` file, the meta pages of ``data.mdb`` and its syncs. Tests pass a
subclass that fails at the n-th operation, writes short, or records what was synced.
LMDB's own page writes are the only ones that do not pass here. Used in the storage
process, also from its helper threads; the methods keep no state.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["Files", "write_all"]


class Files:
    """Plain positioned file operations; each may raise ``OSError``."""

    def open(self, path: Path, *, create: bool = False) -> int:
        """Open for reading and writing, private to the owner; close on exec."""
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        return os.open(path, flags, 0o600)

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)

    def size(self, fd: int) -> int:
        """The length of the file."""
        return os.fstat(fd).st_size

    def read(self, fd: int, length: int, offset: int) -> bytes:
        """Read up to ``length`` bytes; fewer only at the end of the file."""
        parts = []
        while length > 0:
            part = os.pread(fd, length, offset)
            if not part:
                break
            parts.append(part)
            length -= len(part)
            offset += len(part)
        return b"".join(parts)

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        """Write at ``offset``; returns how much was written, which may be less."""
        return os.pwrite(fd, data, offset)

    def truncate(self, fd: int, length: int) -> None:
        """Make the file exactly ``length`` bytes long."""
        os.ftruncate(fd, length)

    def sync(self, fd: int) -> None:
        """Make the file's content survive power loss (fdatasync)."""
        os.fdatasync(fd)

    def sync_directory(self, path: Path) -> None:
        """Make names created, renamed or removed in ``path`` survive power loss."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def rename(self, source: Path, target: Path) -> None:
        """Put ``source`` in the place of ``target`` in one step."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""
        path.unlink(missing_ok=True)


def write_all(files: Files, fd: int, data: bytes, offset: int) -> None:
    """Write all of ``data`` at ``offset``, however short the single writes are."""
    written = files.write(fd, data, offset)
    if written == len(data):
        return
    view = memoryview(data)
    while written < len(data):
        written += files.write(fd, view[written:], offset + written)
