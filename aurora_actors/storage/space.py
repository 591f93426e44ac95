"""How much room there is, and who keeps it: figures and alarms of the storage process.

Looks every second at the disk, the map and the table of readers; removes the readers of
processes that are gone. An alarm is a figure that is 1 while something needs attention;
it is logged when it is raised and when it ends.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Final

import lmdb

from aurora_actors.storage.store import Store

__all__ = ["Space"]

_log = logging.getLogger(__name__)
_EVERY_S: Final = 1.0
_MAP_ALARM: Final = 0.9
_READERS_ALARM: Final = 0.8
_DISK_ALARM_BYTES: Final = 256 << 20
_OLD_SNAPSHOT_S: Final = 300.0


class Space:
    """The room of one open database.

    Args:
        store: The database.
        clock: Seconds, monotonic.
    """

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._next = 0.0
        self._oldest = (0, clock())
        self._cleared = 0
        self._alarms: dict[str, bool] = {}
        self._figures: dict[str, int | float] = {}

    def due(self) -> float:
        """Seconds until :meth:`look` should be called."""
        return max(0.0, self._next - self._clock())

    @property
    def free_bytes(self) -> int:
        """What a compaction would give back."""
        return int(self._figures.get("free_bytes", 0))

    def statistics(self) -> dict[str, int | float]:
        """The figures as of the last look."""
        alarms = {f"alarm_{name}": int(on) for name, on in self._alarms.items()}
        return {**self._figures, "stale_readers_cleared": self._cleared, **alarms}

    def look(self) -> None:
        """Look, if it is time."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + _EVERY_S
        store = self._store
        try:
            self._cleared += store.env.reader_check()
            oldest_s = self._oldest_snapshot(now)
            info = store.env.info()
        except lmdb.Error as exc:
            _log.warning("the readers cannot be looked at", extra={"error": str(exc)})
            return
        data, used = store.checkpointer.data_bytes, store.used_bytes()
        room = os.statvfs(store.path)
        disk_free = room.f_bavail * room.f_frsize
        readers, slots = info["num_readers"], info["max_readers"]
        self._figures = {
            "used_bytes": used,
            "free_bytes": max(0, data - used),
            "map_share_used": round(used / store.map_size, 6),
            "disk_free_bytes": disk_free,
            "reader_slots": readers,
            "oldest_snapshot_s": round(oldest_s, 3),
        }
        self._raise("map_nearly_full", on=used >= _MAP_ALARM * store.map_size)
        self._raise("disk_nearly_full", on=disk_free < _DISK_ALARM_BYTES)
        self._raise("readers_nearly_full", on=readers >= _READERS_ALARM * slots)
        self._raise("old_snapshot", on=oldest_s >= _OLD_SNAPSHOT_S)

    def _oldest_snapshot(self, now: float) -> float:
        """For how long the oldest snapshot of another process has been the oldest."""
        oldest = 0
        for line in self._store.env.readers().splitlines()[1:]:
            pid, _, txnid = line.split()
            if txnid != "-" and int(pid) != os.getpid():
                oldest = min(oldest or int(txnid), int(txnid))
        if oldest != self._oldest[0]:
            self._oldest = (oldest, now)
        return now - self._oldest[1] if oldest else 0.0

    def _raise(self, name: str, *, on: bool) -> None:
        if self._alarms.get(name, False) != on:
            if on:
                _log.warning("alarm", extra={"alarm": name, **self._figures})
            else:
                _log.info("alarm ended", extra={"alarm": name})
        self._alarms[name] = on
