"""Worker pools: what their processes are told when they start, and asked.

A pool is a group of actors of the tree, ``worker_pool-<pool>-0`` and so on, each of
which runs jobs. With storage they speak as ``messages.jobs`` says.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from aurora_actors.config import AuroraConfig, WorkerPoolConfig
from aurora_actors.messages.base import Failure, Message
from aurora_actors.messages.supervision import ActorGroup

__all__ = [
    "POOL",
    "PoolArguments",
    "PoolRequest",
    "PoolState",
    "ReadPool",
    "decode_pool_arguments",
    "decode_pool_request",
    "pool_group",
]

POOL = "worker_pool-"
"""What the mailboxes of workers begin with."""

_ORDER = 40
_ENTRY = "aurora_actors.actors.worker_pool:main"


class PoolArguments(msgspec.Struct, frozen=True, kw_only=True):
    """What a process of a pool is told; ``config`` without what may differ by process."""

    pool: str
    config: WorkerPoolConfig


class ReadPool(Message, frozen=True, kw_only=True, tag="pool.read"):
    """Ask a process of a pool what it can run; answered when it knows."""


class PoolState(Message, frozen=True, kw_only=True, tag="pool.state"):
    """The handlers of a process, and why there are none.

    Attributes:
        job_types: What it can run.
        failure: Why its handlers could not be loaded.
    """

    job_types: list[str]
    failure: Failure | None = None


PoolRequest: TypeAlias = ReadPool

decode_pool_arguments = msgspec.msgpack.Decoder(PoolArguments).decode
decode_pool_request = msgspec.msgpack.Decoder(PoolRequest).decode
_encode = msgspec.msgpack.Encoder().encode


def pool_group(pool: str, config: WorkerPoolConfig, tree: AuroraConfig) -> ActorGroup:
    """The group of actors that a pool is for the supervisor."""
    told = replace(config, import_path=[])
    if config.max_processes is None:
        told = replace(told, processes=1)
    return ActorGroup(
        name=f"{POOL}{pool}",
        entry=_ENTRY,
        order=_ORDER,
        grace_s=config.drain_s or tree.shutdown_grace_s,
        arguments=_encode(PoolArguments(pool=pool, config=told)),
        import_path=config.import_path,
    )
