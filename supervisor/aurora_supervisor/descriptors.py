"""What descriptors a new process has: the three standard ones, and no stray ones."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from typing import Final

__all__ = ["close_all_but", "open_standard"]

_STANDARD: Final = 3


def open_standard() -> None:
    """Give to ``/dev/null`` what of the three standard descriptors is closed.

    Otherwise the next sockets would get their numbers, and what others print.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < _STANDARD:
        pass
    os.close(descriptor)


def close_all_but(keep: Collection[int]) -> None:
    """Close all descriptors but the three standard ones and those in ``keep``.

    By what ``/proc`` lists: where the limit of open files is a billion, as in some
    containers, going through all numbers takes minutes.
    """
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names are all there is
        descriptor = int(name)
        if descriptor >= _STANDARD and descriptor not in keep:
            with suppress(OSError):  # the list's own
                os.close(descriptor)
