"""How the database is: health, readiness, the tree, and metrics for Prometheus."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.responses import PlainTextResponse, Response

from aurora_actors.client.tokens import Role
from aurora_actors.errors import AuroraError
from aurora_actors.http.problems import problem
from aurora_actors.http.processes import cpu_seconds, resident_bytes
from aurora_actors.http.routing import Asked
from aurora_actors.http.wire import answer
from aurora_actors.messages.supervision import TreeStatus

__all__ = ["health", "metric_lines", "metrics", "ready", "tree"]

_TIMEOUT_S: Final = 5.0
_UNSAFE: Final = re.compile(r"[^a-zA-Z0-9_]")
_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


async def health(_asked: Asked) -> Response:
    """The gateway is alive."""
    return answer({"status": "alive"})


async def ready(asked: Asked) -> Response:
    """Every process of the tree serves; 503 while one does not."""
    try:
        status = await asked.db.status(timeout=_TIMEOUT_S)
    except AuroraError as exc:
        return problem(503, exc.code, exc.message, retryable=True)
    waiting = [actor.name for actor in status.actors if actor.state != "ready"]
    if waiting:
        return problem(
            503,
            "unavailable",
            f"not ready: {', '.join(waiting)}",
            retryable=True,
            headers={"Retry-After": "1"},
        )
    return answer({"status": "ready"})


async def tree(asked: Asked) -> Response:
    """The processes: state, memory, processor time, LSN, mailbox depth, counters."""
    asked.grant.need(Role.READ)
    status = await asked.db.status(timeout=_TIMEOUT_S)
    body: dict[str, Any] = msgspec.to_builtins(status)
    body.pop("type", None)
    for actor in body["actors"]:
        actor["cpu_seconds"] = cpu_seconds(actor["pid"])
    supervisor = status.supervisor_pid
    body["supervisor"] = {
        "rss_bytes": resident_bytes(supervisor),
        "cpu_seconds": cpu_seconds(supervisor),
    }
    return answer(body)


async def metrics(asked: Asked) -> Response:
    """All counters of all processes, for Prometheus."""
    asked.grant.need(Role.READ)
    status = await asked.db.status(timeout=_TIMEOUT_S)
    # Its own as they are now, the others' as of their last heartbeat.
    own = {**asked.gateway.counts, **asked.gateway.times.statistics()}
    text = "".join(metric_lines(status, own))
    return PlainTextResponse(text, media_type=_TEXT)


def metric_lines(status: TreeStatus, own: Mapping[str, int | float]) -> list[str]:
    """The metrics in the text format of Prometheus.

    Args:
        status: The tree.
        own: The counters of the gateway that is asked.
    """
    samples: dict[str, list[tuple[str, float]]] = {}
    for actor in status.actors:
        values: dict[str, float] = {
            "up": float(actor.state == "ready"),
            "restarts": actor.restarts,
            "lsn": actor.lsn,
            "mailbox_depth": actor.mailbox_depth,
            "resident_memory_bytes": actor.rss_bytes,
            **actor.values,
        }
        for key, value in values.items():
            name, label = _named(key, f'actor="{actor.name}"')
            samples.setdefault(f"aurora_{name}", []).append((label, value))
    samples["aurora_clients"] = [("", status.clients)]
    for key, value in own.items():
        name, label = _named(key, "")
        samples.setdefault(f"aurora_http_{name}", []).append((label, value))
    lines: list[str] = []
    typed: set[str] = set()
    for name, found in sorted(samples.items()):
        family = _family(name, samples)
        kind = "untyped" if family == name else "histogram"
        if family not in typed:
            typed.add(family)
            lines.append(f"# TYPE {family} {kind}\n")
        lines += [f"{name}{label} {value:.17g}\n" for label, value in found]
    return lines


def _named(key: str, label: str) -> tuple[str, str]:
    """A counter's name and labels; behind a colon stands the bound of a bucket."""
    name, colon, bound = key.partition(":")
    labels = [label] if label else []
    if colon:
        labels.append(f'le="{bound}"')
    return _UNSAFE.sub("_", name), f"{{{','.join(labels)}}}" if labels else ""


def _family(name: str, samples: Mapping[str, object]) -> str:
    """The histogram that a series is a part of; else the series itself."""
    for end in ("_bucket", "_count", "_sum"):
        family = name.removesuffix(end)
        if family != name and f"{family}_bucket" in samples:
            return family
    return name
