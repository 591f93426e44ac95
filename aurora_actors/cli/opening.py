"""Opening the database that an argument names: here, or elsewhere over TLS."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from aurora_actors import blocking
from aurora_actors.errors import UnavailableError, UsageError

__all__ = ["existing", "is_elsewhere", "opened"]

_SCHEME: Final = "tls+tcp:"
_TOKEN: Final = "AURORA_TOKEN"  # noqa: S105 - the name of a variable
_CA: Final = "AURORA_CA"


def existing(text: str) -> Path:
    """The database directory that ``text`` names; never made by looking at it.

    Raises:
        UnavailableError: there is no database.
        UsageError: it is elsewhere.
    """
    if text.startswith(_SCHEME):
        raise UsageError("this needs the database's files: run it on its machine")
    path = Path(text).expanduser().absolute()
    if not (path / "checkpoint").exists() and not any(path.glob("data*.mdb")):
        raise UnavailableError(f"there is no database at {path}", path=str(path))
    return path


def is_elsewhere(name: str) -> bool:
    """Whether ``name`` is the address of a database on another machine."""
    return name.startswith(_SCHEME)


def opened(name: str) -> blocking.Aurora:
    """The database that ``name`` stands for, to be entered; never made by it.

    Raises:
        UnavailableError: there is none.
        UsageError: it is elsewhere, and there is no token for it.
    """
    if not name.startswith(_SCHEME):
        return blocking.open(existing(name))
    token = os.environ.get(_TOKEN)
    if not token:
        raise UsageError(f"set {_TOKEN} to a token of {name}")
    return blocking.connect(name, token=token, ca=os.environ.get(_CA) or None)
