"""Which process this is, without asking the system each time.

What is opened before a fork must not be used after it, so every snapshot has to know
whether it still is in the process that opened the database. ``os.getpid()`` is a system
call, which costs a tenth of a read by id.
"""

from __future__ import annotations

import os
from typing import Final

__all__ = ["process"]


class _Process:
    """This process.

    Attributes:
        pid: Its number.
    """

    __slots__ = ("pid",)

    def __init__(self) -> None:
        self.look()

    def look(self) -> None:
        """Find out."""
        self.pid = os.getpid()


process: Final = _Process()
os.register_at_fork(after_in_child=process.look)
