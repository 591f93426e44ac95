"""Warming the page cache: what ``cold_cache_capacity_mb`` does.

The operating system reads ahead in the background, so that the first queries after a
start of the machine find the data file in memory. Called by the storage process.
"""

from __future__ import annotations

import os

from aurora_actors.config import AuroraConfig
from aurora_actors.errors import AuroraError
from aurora_actors.storage.checkpoint import load_checkpoint
from aurora_actors.storage.files import Files
from aurora_actors.storage.generations import current_data_file
from aurora_actors.storage.layout import CHECKPOINT_FILE

__all__ = ["warm_page_cache"]


def warm_page_cache(config: AuroraConfig) -> int:
    """Ask for the data file to be read, up to the capacity; returns the bytes asked.

    It is advice: a file that cannot be opened, or a system that does not listen,
    changes nothing.
    """
    try:
        checkpoint = load_checkpoint(config.path / CHECKPOINT_FILE, Files())
        data_path = current_data_file(config.path, checkpoint)
        fd = os.open(data_path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, AuroraError):
        return 0
    try:
        length = min(os.fstat(fd).st_size, config.cold_cache_capacity_mb << 20)
        if length:
            os.posix_fadvise(fd, 0, length, os.POSIX_FADV_WILLNEED)
    except OSError:
        return 0
    finally:
        os.close(fd)
    return length
