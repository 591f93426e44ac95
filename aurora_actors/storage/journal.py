"""Undoing what a failed request had changed in memory.

Whatever a batch changes before it is written are entries of dictionaries; a journal
keeps what each of them was. Used by ``storage.writeset``, in the storage process's only
writing thread.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["Journal"]

_MISSING: Final = object()


class Journal:
    """Changes dictionaries so that it can be undone.

    Attributes:
        entries: What has to be undone, latest last; its length is a point to go back to.
    """

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: list[tuple[Any, ...]] = []

    def set(self, mapping: dict[Any, Any], key: object, value: object) -> None:
        """Set one key."""
        self.entries.append((mapping, key, mapping.get(key, _MISSING)))
        mapping[key] = value

    def remove(self, mapping: dict[Any, Any], key: object) -> None:
        """Remove one key, if it is there."""
        self.entries.append((mapping, key, mapping.get(key, _MISSING)))
        mapping.pop(key, None)

    def add(self, mapping: dict[Any, Any], new: dict[Any, Any]) -> None:
        """Set many keys of which ``mapping`` has none."""
        self.entries.append((mapping, new))
        mapping.update(new)

    def undo(self, length: int) -> None:
        """Undo the latest changes until ``length`` entries are left."""
        entries = self.entries
        while len(entries) > length:
            entry = entries.pop()
            if len(entry) == 2:
                mapping, keys = entry
                for key in keys:
                    mapping.pop(key, None)
            elif entry[2] is _MISSING:
                entry[0].pop(entry[1], None)
            else:
                entry[0][entry[1]] = entry[2]
