"""Which actors a database's tree has, in the order in which they start.

This is data for the supervisor, which knows actors only as child specs.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from aurora_actors.config import AuroraConfig
from aurora_actors.messages.pools import pool_group
from aurora_actors.messages.supervision import ActorGroup

__all__ = ["PRELOAD", "RELOADS", "ActorPlan", "actor_entries", "actor_groups"]

RELOADS: Final = {"http": "http_gateway", "remote": "remote_gateway"}
"""Settings that may change while the tree runs, and the actor that restarts for it."""

PRELOAD: Final = (
    "aurora_actors.actors.storage",
    "aurora_actors.actors.query_executor",
    "aurora_actors.actors.index_builder",
    "aurora_actors.actors.reactive_dispatcher",
)
"""Modules the zygote imports before it forks, so that actors share them."""


class ActorPlan(NamedTuple):
    """One actor to be started.

    Attributes:
        name: Its mailbox's name.
        entry: ``package.module:function``.
        order: Actors of one order start together, after all of a lower order are
            ready; they stop in the reverse order.
        grace_s: How long it may take to finish when it is told to stop.
    """

    name: str
    entry: str
    order: int
    grace_s: float


def actor_entries(config: AuroraConfig) -> list[ActorPlan]:
    """The actors that ``config`` asks for, in start order."""
    grace_s = config.shutdown_grace_s
    executors = [
        ActorPlan(
            name=f"query_executor-{number}",
            entry="aurora_actors.actors.query_executor:main",
            order=20,
            grace_s=grace_s,
        )
        for number in range(config.executors)
    ]
    storage = ActorPlan(
        name="storage",
        entry="aurora_actors.actors.storage:main",
        order=0,
        grace_s=grace_s,
    )
    index_builder = ActorPlan(
        name="index_builder",
        entry="aurora_actors.actors.index_builder:main",
        order=10,
        grace_s=grace_s,
    )
    dispatcher = ActorPlan(
        name="reactive_dispatcher",
        entry="aurora_actors.actors.reactive_dispatcher:main",
        order=20,
        grace_s=grace_s,
    )
    plans = [storage, index_builder, *executors, dispatcher]
    if config.audit_path is not None:
        plans.append(
            ActorPlan(
                name="audit_writer",
                entry="aurora_actors.actors.audit_writer:main",
                order=20,
                grace_s=grace_s,
            )
        )
    if config.http is not None:
        plans.append(
            ActorPlan(
                name="http_gateway",
                entry="aurora_actors.actors.http_gateway:main",
                order=30,
                grace_s=grace_s,
            )
        )
    if config.remote is not None:
        plans.append(
            ActorPlan(
                name="remote_gateway",
                entry="aurora_actors.actors.remote_gateway:main",
                order=30,
                grace_s=grace_s,
            )
        )
    return plans


def actor_groups(config: AuroraConfig) -> list[tuple[ActorGroup, int]]:
    """The worker pools that ``config`` asks for, with their numbers of processes."""
    return [
        (pool_group(name, pool, config), pool.processes)
        for name, pool in config.worker_pools.items()
    ]
