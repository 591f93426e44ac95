"""What a SIGHUP changes: the settings that can be changed while the tree runs.

The configuration file is read anew as a whole. What cannot change under running actors
is named in the log and left as it is, so that the settings in force stay true; a file
that is wrong changes nothing.
"""

from __future__ import annotations

import logging
import time
from typing import Final, NamedTuple

import msgspec

from aurora_actors.config import AuroraConfig
from aurora_actors.errors import ConfigError
from aurora_supervisor.surroundings import Surroundings

__all__ = ["RELOADABLE", "Change", "read_change"]

logger = logging.getLogger(__name__)

RELOADABLE: Final = frozenset(
    {
        "log_format",
        "log_level",
        "max_restarts",
        "request_timeout_s",
        "restart_window_s",
    }
)
"""Settings that the supervisor itself, or whoever attaches next, goes by."""


class Change(NamedTuple):
    """What follows from a new configuration file.

    Attributes:
        config: The settings in force from now on.
        actors: The actors to be restarted, so that they go by them.
    """

    config: AuroraConfig
    actors: list[str]


def read_change(present: AuroraConfig, around: Surroundings) -> Change | None:
    """Read the configuration file; ``None`` when nothing can be taken from it."""
    if around.reload is None:
        logger.info("there is no configuration file to be reloaded")
        return None
    around.service.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
    try:
        wanted = around.reload()
    except ConfigError as exc:
        logger.error("the configuration stays as it is", extra={"reason": exc.message})  # noqa: TRY400 - not a defect of ours
        return None
    finally:
        around.service.notify("READY=1")
    return _compare(present, wanted, around)


def _compare(
    present: AuroraConfig, wanted: AuroraConfig, around: Surroundings
) -> Change:
    changed = [
        name
        for name in present.__struct_fields__
        if getattr(present, name) != getattr(wanted, name)
    ]
    taken = [name for name in changed if _can_change(name, present, wanted, around)]
    left = [name for name in changed if name not in taken]
    if left:
        logger.warning(
            "settings that need a restart of the tree", extra={"settings": left}
        )
    logger.info("configuration reloaded", extra={"settings": taken})
    values = {name: getattr(wanted, name) for name in taken}
    actors = [around.reloads[name] for name in taken if name in around.reloads]
    return Change(msgspec.structs.replace(present, **values), actors)


def _can_change(
    name: str, present: AuroraConfig, wanted: AuroraConfig, around: Surroundings
) -> bool:
    if name in RELOADABLE:
        return True
    # An actor can be restarted with other settings, but neither added nor removed.
    return (
        name in around.reloads
        and getattr(present, name) is not None
        and getattr(wanted, name) is not None
    )
