"""How the database is: health, readiness, the tree, and metrics for Prometheus."""

from __future__ import annotations

import re
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

__all__ = ["health", "metrics", "ready", "tree"]

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
    text = "".join(_lines(status, asked.gateway.counts))
    return PlainTextResponse(text, media_type=_TEXT)


def _lines(status: TreeStatus, counts: dict[str, int]) -> list[str]:
    samples: dict[str, list[tuple[str, float]]] = {}
    for actor in status.actors:
        label = f'{{actor="{actor.name}"}}'
        values: dict[str, float] = {
            "up": float(actor.state == "ready"),
            "restarts": actor.restarts,
            "lsn": actor.lsn,
            "mailbox_depth": actor.mailbox_depth,
            "resident_memory_bytes": actor.rss_bytes,
            **actor.values,
        }
        for name, value in values.items():
            samples.setdefault(f"aurora_{_UNSAFE.sub('_', name)}", []).append(
                (label, value)
            )
    samples["aurora_clients"] = [("", status.clients)]
    for name, count in counts.items():
        samples[f"aurora_http_{name}"] = [("", count)]
    lines: list[str] = []
    for name, found in sorted(samples.items()):
        lines.append(f"# TYPE {name} untyped\n")
        lines += [f"{name}{label} {value:.17g}\n" for label, value in found]
    return lines
