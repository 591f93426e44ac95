"""The runtime directory: where the sockets of one run of a tree are.

It is made by the supervisor, private to the user (0700), short enough for Unix socket
paths, and named freshly for each run, so that nothing of an earlier run is ever
reached by mistake. The supervisor removes it at an orderly stop; its zygote does when
the supervisor was killed; the next supervisor of the same database does when both
were. One that is killed in the millisecond before it has a zygote leaves the directory
behind, empty. It holds sockets only and no directories.

The standard library alone is imported here: this runs before anything else.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

__all__ = [
    "ATTACH_SOCKET",
    "create_runtime_dir",
    "is_runtime_dir",
    "remove_runtime_dir",
]

ATTACH_SOCKET: Final = "attach.sock"

_MAX_PATH_BYTES: Final = 107
_LONGEST_NAME: Final = 48 + len(".ipc")
_NAME: Final = re.compile(r"aurora-[0-9a-f]{8}\Z")


def create_runtime_dir(
    environ: Mapping[str, str],
    last_resort: str = "/tmp",  # noqa: S108 - what is made in it is private and fresh
) -> str:
    """Make a fresh runtime directory in the first place that can have one.

    The places are ``$XDG_RUNTIME_DIR``, ``$TMPDIR`` and ``last_resort``. One in which the
    longest socket path would not fit into the 107 bytes of a Unix address is passed
    over.

    Raises:
        OSError: no place will do; the text says why for each.
    """
    refusals = []
    for base in _places(environ, last_resort):
        path = f"{base}/aurora-{os.urandom(4).hex()}"
        longest = len(os.fsencode(path)) + 1 + _LONGEST_NAME
        if longest > _MAX_PATH_BYTES:
            refusals.append(
                f"{base}: socket paths would have {longest} bytes, over the limit "
                f"of {_MAX_PATH_BYTES}"
            )
            continue
        try:
            os.mkdir(path, 0o700)  # noqa: PTH102 - pathlib is not imported here yet
        except OSError as exc:
            refusals.append(f"{base}: {exc.strerror}")
            continue
        return path
    raise OSError(
        errno.ENOTDIR,
        "no place for the runtime directory (set XDG_RUNTIME_DIR or TMPDIR to a "
        "short, writable directory): " + "; ".join(refusals),
    )


def _places(environ: Mapping[str, str], last_resort: str) -> list[str]:
    named = (environ.get("XDG_RUNTIME_DIR"), environ.get("TMPDIR"), last_resort)
    return [place.rstrip("/") for place in named if place and place.startswith("/")]


def is_runtime_dir(path: str) -> bool:
    """Whether ``path`` is a runtime directory of this user, and no link to one."""
    if not _NAME.match(path.rpartition("/")[2]):
        return False
    try:
        found = os.stat(path, follow_symlinks=False)  # noqa: PTH116 - as above
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def remove_runtime_dir(path: str) -> None:
    """Remove the directory with its sockets; what is not one of ours is left alone."""
    if not is_runtime_dir(path):
        return
    with suppress(OSError):
        for name in os.listdir(path):  # noqa: PTH208 - as above
            with suppress(OSError):
                os.unlink(f"{path}/{name}")  # noqa: PTH108 - as above
        os.rmdir(path)  # noqa: PTH106 - as above
