"""Closing what a new process has inherited and does not need.

By what ``/proc`` lists: where the limit of open files is a billion, as in some
containers, going through all numbers takes minutes.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from typing import Final

__all__ = ["close_all_but"]

_STANDARD: Final = 3


def close_all_but(keep: Collection[int]) -> None:
    """Close all descriptors but the three standard ones and those in ``keep``."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names are all there is
        descriptor = int(name)
        if descriptor >= _STANDARD and descriptor not in keep:
            with suppress(OSError):  # the list's own
                os.close(descriptor)
