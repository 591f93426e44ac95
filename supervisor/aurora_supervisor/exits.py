"""The exit statuses of ``aurora-supervisor``."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["ExitStatus"]


class ExitStatus(IntEnum):
    """What the command's exit status says; part of its contract."""

    OK = 0
    """Done as asked: the tree stopped in order, the question was answered."""
    FAILED = 1
    """The tree could not start or gave up; the last line names the cause."""
    USAGE = 2
    """The command line is wrong."""
    NOT_RUNNING = 3
    """``status``, ``stop``, ``restart``, ``reload``: nobody runs this database."""
    ALREADY_RUNNING = 4
    """``run``: somebody runs this database already."""
    CONFIG = 5
    """The configuration is wrong, or the database directory cannot be used."""
