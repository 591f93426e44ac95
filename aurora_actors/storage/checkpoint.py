"""Checkpoints that power loss cannot break, for any LMDB environment of one writer.

LMDB without its syncs keeps its file whole through the crash of a process, not through
power loss, which leaves any mixture of old and new pages. A checkpoint makes one state
safe: between two commits its two meta pages are copied and a read transaction, the
*guard*, is begun on it; then the file is synced while commits go on; then the copy is
published in the file ``checkpoint`` by write, sync, rename and sync of the directory.
LMDB does not reuse a page that a reader can reach, so until the next checkpoint has
been published (the old guard is held until then) every page of the state stays as it
was synced, and putting the two meta pages back gives exactly that state.

The file, numbers big-endian::

    0    8  magic "AURCKPT1"
    8    4  CRC-32 of everything from offset 12
    12   8  LSN
    20   4  timeline
    24   1  how it was written: 1 guarded, to be restored after power loss; 0 by LMDB's
            own syncs, nothing to restore
    25   1  1 when the writer stopped cleanly after it
    26   1  durability mode: 0 none, 1 wal, 2 strict, 3 synchronous
    27   1  length of the boot id
    28   4  page size
    32   8  shortest length of the data file
    40  16  uuid of the database
    56   n  boot id, ASCII
    .    .  meta pages 0 and 1
    .    4  generation of the data file, if it is not 0 (see ``storage.generations``)
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Final, NamedTuple

from aurora_actors.config import DurabilityMode
from aurora_actors.errors import CorruptionError
from aurora_actors.storage.catalog import State
from aurora_actors.storage.environment import (
    Environment,
    Transaction,
    file_errors,
    lmdb_errors,
)
from aurora_actors.storage.files import Files, write_all

__all__ = [
    "Checkpoint",
    "Checkpointer",
    "Pending",
    "boot_id",
    "decode_checkpoint",
    "encode_checkpoint",
    "load_checkpoint",
    "publish",
]

_MAGIC: Final = b"AURCKPT1"
_HEAD: Final = struct.Struct(">QIBBBBIQ16s")
_CRC: Final = struct.Struct(">I")
_GENERATION: Final = struct.Struct(">I")
_MODES: Final = tuple(DurabilityMode)
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Checkpoint(NamedTuple):
    """What the file ``checkpoint`` says."""

    lsn: int
    timeline: int
    guarded: bool
    clean: bool
    durability: DurabilityMode
    boot_id: str
    page_size: int
    file_size: int
    uuid: bytes
    metas: bytes
    generation: int = 0


def boot_id() -> str:
    """Names this run of the machine; empty where the system does not tell.

    An empty one never equals a stored one, so that recovery takes the long way.
    """
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """The bytes of the file."""
    boot = checkpoint.boot_id.encode("ascii")
    head = _HEAD.pack(
        checkpoint.lsn,
        checkpoint.timeline,
        checkpoint.guarded,
        checkpoint.clean,
        _MODES.index(checkpoint.durability),
        len(boot),
        checkpoint.page_size,
        checkpoint.file_size,
        checkpoint.uuid,
    )
    body = head + boot + checkpoint.metas
    if checkpoint.generation:
        body += _GENERATION.pack(checkpoint.generation)
    return _MAGIC + _CRC.pack(zlib.crc32(body)) + body


def decode_checkpoint(data: bytes, name: str) -> Checkpoint:
    """Read the bytes of the file; ``name`` goes into the error.

    Raises:
        CorruptionError: they are damaged, or of another format.
    """
    start = 12 + _HEAD.size
    if len(data) < start or data[:8] != _MAGIC:
        raise CorruptionError(f"{name} is no checkpoint", file=name, offset=0)
    if _CRC.unpack_from(data, 8)[0] != zlib.crc32(data[12:]):
        raise CorruptionError(f"{name} is damaged: wrong CRC", file=name, offset=8)
    lsn, timeline, guarded, clean, mode, length, page_size, file_size, uuid = (
        _HEAD.unpack_from(data, 12)
    )
    end = start + length + 2 * page_size
    generation = _GENERATION.unpack(data[end:])[0] if len(data) == end + 4 else 0
    return Checkpoint(
        lsn=lsn,
        timeline=timeline,
        guarded=bool(guarded),
        clean=bool(clean),
        durability=_MODES[mode],
        boot_id=data[start : start + length].decode("ascii"),
        page_size=page_size,
        file_size=file_size,
        uuid=uuid,
        metas=data[start + length : end],
        generation=generation,
    )


def load_checkpoint(path: Path, files: Files) -> Checkpoint | None:
    """Read the file ``path``; ``None`` when there is none.

    Raises:
        CorruptionError: it is damaged.
    """
    if not path.exists():
        return None
    with file_errors(path):
        fd = files.open(path)
        try:
            data = files.read(fd, files.size(fd), 0)
        finally:
            files.close(fd)
    return decode_checkpoint(data, str(path))


def publish(checkpoint: Checkpoint, path: Path, files: Files) -> None:
    """Replace the file ``path`` in one step that survives power loss."""
    scratch = path.with_name(path.name + ".new")
    with file_errors(path):
        fd = files.open(scratch, create=True)
        try:
            data = encode_checkpoint(checkpoint)
            files.truncate(fd, len(data))
            write_all(files, fd, data, 0)
            files.sync(fd)
        finally:
            files.close(fd)
        files.rename(scratch, path)
        files.sync_directory(path.parent)


class Pending(NamedTuple):
    """A checkpoint that has been begun but not yet published."""

    checkpoint: Checkpoint
    guard: Transaction | None


class Checkpointer:
    """Takes the checkpoints of one environment.

    Args:
        env: The environment, whose only writer is this process.
        data_path: Its data file.
        path: The file to publish in.
        files: The file system.
        boot: This run of the machine.
        uuid: The database's uuid.
        durability: How commits are made from now on.
        generation: Which of its files the data is in.
    """

    def __init__(
        self,
        env: Environment,
        *,
        data_path: Path,
        path: Path,
        files: Files,
        boot: str,
        uuid: bytes,
        durability: DurabilityMode,
        generation: int = 0,
    ) -> None:
        self._env = env
        self._data_path = data_path
        self._path = path
        self._files = files
        self._boot = boot
        self._uuid = uuid
        self._durability = durability
        self._generation = generation
        self._page_size: int = env.stat()["psize"]
        self._guard: Transaction | None = None
        with file_errors(data_path):
            # Held open for good: an error of write-back is told to those who had the
            # file open when it happened.
            self._fd = files.open(data_path)
        self.lsn = 0

    @property
    def data_bytes(self) -> int:
        """How much of the data file is or has been in use."""
        return int(self._env.info()["last_pgno"] + 1) * self._page_size

    def begin(self, state: State, *, clean: bool = False) -> Pending:
        """Take the meta pages and the guard; call it between two commits."""
        guarded = self._durability is not DurabilityMode.SYNCHRONOUS
        with lmdb_errors(self._data_path):
            guard = self._env.begin() if guarded else None
            size = self.data_bytes
            if self._files.size(self._fd) < size:
                # Pages given out but never written: the length must not look cut.
                self._files.truncate(self._fd, size)
            metas = self._files.read(self._fd, 2 * self._page_size, 0)
        checkpoint = Checkpoint(
            lsn=state.lsn,
            timeline=state.timeline,
            guarded=guarded,
            clean=clean,
            durability=self._durability,
            boot_id=self._boot,
            page_size=self._page_size,
            file_size=size,
            uuid=self._uuid,
            metas=metas,
            generation=self._generation,
        )
        return Pending(checkpoint, guard)

    def sync(self) -> None:
        """Sync the data file; may run in another thread while commits go on."""
        with file_errors(self._data_path):
            self._files.sync(self._fd)

    def publish(self, pending: Pending) -> None:
        """Publish what has been synced; may run in another thread."""
        publish(pending.checkpoint, self._path, self._files)

    def finish(self, pending: Pending) -> None:
        """The checkpoint is published: let go of the state before it."""
        old, self._guard = self._guard, pending.guard
        if old is not None:
            old.abort()
        self.lsn = pending.checkpoint.lsn

    def abandon(self, pending: Pending) -> None:
        """The checkpoint was not published: the one before it stays guarded."""
        if pending.guard is not None:
            pending.guard.abort()

    def take(self, state: State, *, clean: bool = False) -> None:
        """Do all of it at once."""
        pending = self.begin(state, clean=clean)
        try:
            self.sync()
            self.publish(pending)
        except BaseException:
            self.abandon(pending)
            raise
        self.finish(pending)

    def close(self) -> None:
        """Let go of the guard and of the file."""
        if self._guard is not None:
            self._guard.abort()
            self._guard = None
        self._files.close(self._fd)
