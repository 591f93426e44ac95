"""A file system that knows what is on the platter, and from which the power can be cut."""

from __future__ import annotations

import random
from pathlib import Path
from threading import RLock

from aurora_actors.storage.files import Files

SECTOR = 512
META_PAGES = 8192


class PowerLoss(BaseException):
    """The lights are out."""


class Disk(Files):
    """Records what is on the platter, and cuts the power at one operation.

    With ``lmdb_syncs`` each commit of LMDB is its own affair: between two of them the data
    file is as synced, and only :meth:`committed` can find one half done.
    """

    def __init__(self, root: Path, cut_at: int | None, *, lmdb_syncs: bool) -> None:
        self.root = root
        self.operations = 0
        self.cut_at = cut_at
        self.lmdb_syncs = lmdb_syncs
        self.off = False
        self.names: dict[Path, int] = {}
        self.synced_names: dict[Path, int] = {}
        self.synced: dict[int, bytes] = {}
        self.seen: dict[int, list[bytes]] = {}
        self.last: dict[int, bytes] = {}
        self.torn: tuple[int, bytes, bytes] | None = None
        self.serial = 0
        self.lock = RLock()

    @classmethod
    def after_reboot(cls, root: Path, cut_at: int, *, lmdb_syncs: bool) -> Disk:
        """A disk that has been left, on which all that there is counts as synced."""
        disk = cls(root, cut_at, lmdb_syncs=lmdb_syncs)
        for path in root.rglob("*"):
            if path.is_file():
                number = disk.synced_names[path] = disk._name(path)
                disk.synced[number] = disk.last[number] = path.read_bytes()
        return disk

    def _tick(self) -> bool:
        """Whether there is still power to do the next operation, and note it."""
        if self.off:
            return False
        self.operations += 1
        self.observe()
        if self.operations == self.cut_at:
            self.off = True
            raise PowerLoss
        return True

    def observe(self) -> None:
        """Remember the present content of all files as one that may be on disk."""
        with self.lock:
            for path, number in self.names.items():
                if not self.off and path.exists():
                    self._observe_file(path, number)

    def _observe_file(self, path: Path, number: int) -> None:
        content = path.read_bytes()
        if self.lmdb_syncs and path.suffix == ".mdb" and number in self.synced:
            self.synced[number] = content
        elif self.last.get(number) != content:
            self.seen.setdefault(number, []).append(content)
            self.last[number] = content

    def _name(self, path: Path) -> int:
        if path not in self.names:
            self.serial += 1
            self.names[path] = self.serial
        return self.names[path]

    def open(self, path, *, create=False):
        with self.lock:
            if not self.off:
                self._name(path)
            return super().open(path, create=create)

    def write(self, fd, data, offset):
        with self.lock:
            self._tick()
            return super().write(fd, data, offset)

    def truncate(self, fd, length):
        with self.lock:
            self._tick()
            super().truncate(fd, length)

    def sync(self, fd):
        path = Path(f"/proc/self/fd/{fd}").readlink()
        with self.lock:
            if self.root in path.parents and self._tick():
                number = self._name(path)
                self.synced[number] = self.last[number] = path.read_bytes()
                self.seen[number] = []

    def sync_directory(self, path):
        with self.lock:
            if self._tick():
                for name in [n for n in self.synced_names if n.parent == path]:
                    del self.synced_names[name]
                present = {n: i for n, i in self.names.items() if n.parent == path}
                self.synced_names |= present

    def rename(self, source, target):
        with self.lock:
            on = self._tick()
            super().rename(source, target)
            if on:
                self.names[target] = self.names.pop(source)

    def remove(self, path):
        with self.lock:
            if self._tick():
                self.names.pop(path, None)
            super().remove(path)

    def committed(self, path: Path, before: bytes) -> None:
        """LMDB has made a commit, syncing as it went; was there power to the end?"""
        try:
            self._tick()
        except PowerLoss:
            number = self.names[path]
            self.torn = (number, before, self.synced[number])
            raise

    # ------------------------------------------------------------------ afterwards
    def left(self, rnd: random.Random, target: Path) -> None:
        """Build one of the disks that may be left."""
        (target / "wal").mkdir(parents=True)
        for path in sorted({*self.names, *self.synced_names}):
            number = rnd.choice([self.names.get(path), self.synced_names.get(path)])
            if path.name == "data.mdb":  # LMDB's files are ours once they have a name
                number = self.names.get(path, number)
            if number is not None:
                content = self._mixture(rnd, number)
                (target / path.relative_to(self.root)).write_bytes(content)

    def _mixture(self, rnd: random.Random, number: int) -> bytes:
        if self.torn is not None and self.torn[0] == number:
            return _half_committed(rnd, *self.torn[1:])
        old = self.synced.get(number, b"")
        return _mixed(rnd, old, [old, *self.seen.get(number, [])])


def _mixed(rnd: random.Random, old: bytes, versions: list[bytes]) -> bytes:
    length = rnd.choice([len(version) for version in versions])
    likely_old = rnd.random()
    parts = []
    for at in range(0, length, SECTOR):
        version = old if rnd.random() < likely_old else rnd.choice(versions)
        parts.append(version[at : at + SECTOR].ljust(SECTOR, b"\0"))
    return b"".join(parts)[:length]


def _half_committed(rnd: random.Random, before: bytes, after: bytes) -> bytes:
    """LMDB syncs a commit's pages, and only then writes the one that makes it count."""
    if rnd.random() < 0.5:
        return before[:META_PAGES] + _mixed(rnd, before, [before, after])[META_PAGES:]
    return rnd.choice([before, after])[:META_PAGES] + after[META_PAGES:]
