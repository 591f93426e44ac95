"""What a tree is given to run in, made by ``serve``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from aurora_actors.config import AuroraConfig
from aurora_supervisor.journal import Journal
from aurora_supervisor.notify import ServiceManager
from aurora_supervisor.peer import Peer

__all__ = ["Surroundings"]


class Surroundings(NamedTuple):
    """What a tree is given to run in.

    Attributes:
        runtime_dir: The fresh runtime directory of this run.
        tree_id: Names this run.
        tree_module: The module that lists the actors, for the zygote.
        journal: Where log lines go.
        service: The service manager, if there is one.
        embedded: Stop when the last application has left.
        opener: The application that waits for the start of an embedded tree.
        withdraw: Called when the tree is no longer to be found.
        started: Called when all actors are ready for the first time.
        reload: Reads the configuration anew; ``None`` when it is in no file.
        reloads: Settings whose change is served by restarting one actor, and which.
    """

    runtime_dir: str
    tree_id: str
    tree_module: str
    journal: Journal
    service: ServiceManager
    embedded: bool
    opener: Peer | None
    withdraw: Callable[[], None]
    started: Callable[[], None] = lambda: None
    reload: Callable[[], AuroraConfig] | None = None
    reloads: Mapping[str, str] = MappingProxyType({})
