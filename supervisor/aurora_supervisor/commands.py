"""The commands ``status``, ``stop`` and ``restart``: a tree seen from outside.

They attach without a client name, so they neither keep a tree alive nor count as one
of its applications.
"""

from __future__ import annotations

import argparse
import sys
from typing import Final, TypeVar

import msgspec

from aurora_actors.client.launch import TreeConnection, connect_running
from aurora_actors.errors import AuroraError, TreeDownError
from aurora_actors.messages.base import Failure
from aurora_actors.messages.supervision import (
    ApplicationNotice,
    ApplicationRequest,
    Done,
    ReadStatus,
    RestartActor,
    StopTree,
    TreeStatus,
)
from aurora_supervisor.exits import ExitStatus

__all__ = ["run"]

Reply = TypeVar("Reply", bound=ApplicationNotice)

_ANSWER_S: Final = 10.0
_STOP_S: Final = 120.0
_ROW: Final = "{:<24} {:>7} {:<9} {:>8} {:>10} {:>7} {:>9}"


def run(options: argparse.Namespace) -> int:
    """Run the command that ``options`` names; returns the exit status."""
    try:
        connection = connect_running(options.path, _ANSWER_S)
        if connection is None:
            return _say(f"nobody runs {options.path}", ExitStatus.NOT_RUNNING)
        with connection:
            match options.command:
                case "status":
                    _status(connection, as_json=options.json)
                case "restart":
                    _ask(connection, RestartActor(name=options.actor), Done, _STOP_S)
                case _:
                    _stop(connection)
    except AuroraError as exc:
        return _say(exc.message, ExitStatus.FAILED)
    return ExitStatus.OK


def _status(connection: TreeConnection, *, as_json: bool) -> None:
    status = _ask(connection, ReadStatus(), TreeStatus, _ANSWER_S)
    if as_json:
        text = msgspec.json.format(msgspec.json.encode(status)).decode()
    else:
        text = _table(status)
    print(text)  # noqa: T201 - the command's answer


def _stop(connection: TreeConnection) -> None:
    connection.send(StopTree())
    # The end of the connection is the end of the supervisor.
    while connection.receive(_STOP_S) is not None:
        pass


def _ask(
    connection: TreeConnection,
    request: ApplicationRequest,
    kind: type[Reply],
    timeout_s: float,
) -> Reply:
    connection.send(request)
    while (notice := connection.receive(timeout_s)) is not None:
        if isinstance(notice, kind):
            return notice
        if isinstance(notice, Failure):
            raise notice.error()
    raise TreeDownError("the tree has stopped")


def _table(status: TreeStatus) -> str:
    lines = [
        f"supervisor {status.supervisor_pid}  tree {status.tree_id}",
        f"lsn {status.lsn}  timeline {status.timeline}  clients {status.clients}",
        "",
        _ROW.format("actor", "pid", "state", "restarts", "lsn", "waiting", "memory"),
    ]
    for actor in status.actors:
        memory = f"{actor.rss_bytes >> 20} MiB"
        lines.append(
            _ROW.format(
                actor.name,
                actor.pid,
                actor.state,
                actor.restarts,
                actor.lsn,
                actor.mailbox_depth,
                memory,
            )
        )
    return "\n".join(lines)


def _say(text: str, status: ExitStatus) -> ExitStatus:
    print(f"aurora-supervisor: {text}", file=sys.stderr)  # noqa: T201 - the command's answer
    return status
