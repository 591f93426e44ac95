"""Files beside a standalone tree that say how far it is, for scripts and probes.

The pid file is there as long as the supervisor runs and holds its process id. The ready
file appears when every actor serves for the first time and is removed when the
tree begins to stop. Both are written whole and renamed into place; one that a killed
supervisor left behind is replaced by the next.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["Markers"]


class Markers(NamedTuple):
    """The paths, where they are wanted."""

    pid_file: str | None = None
    ready_file: str | None = None

    def begin(self) -> None:
        """Write the pid file, and remove a ready file that is left over.

        Raises:
            OSError: the file cannot be written.
        """
        _remove(self.ready_file)
        _write(self.pid_file)

    def ready(self) -> None:
        """Write the ready file; what stands in the way only costs the file."""
        with suppress(OSError):
            _write(self.ready_file)

    def unready(self) -> None:
        """Remove the ready file."""
        _remove(self.ready_file)

    def end(self) -> None:
        """Remove both."""
        _remove(self.ready_file)
        _remove(self.pid_file)


def _write(path: str | None) -> None:
    if path is not None:
        draft = Path(f"{path}.new")
        draft.write_text(f"{os.getpid()}\n", encoding="ascii")
        draft.replace(path)


def _remove(path: str | None) -> None:
    if path is not None:
        with suppress(OSError):
            Path(path).unlink(missing_ok=True)
