"""The commands that look at or command a tree from outside: all but ``run``.

They attach without a client name, so they neither keep a tree alive nor count as one
of its applications.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from aurora_actors.client.launch import TreeConnection, connect_running
from aurora_actors.config import check_pool_name
from aurora_actors.errors import AuroraError, TreeDownError, UnavailableError
from aurora_actors.messages.base import Failure
from aurora_actors.messages.pools import POOL
from aurora_actors.messages.supervision import (
    ApplicationNotice,
    ApplicationRequest,
    Done,
    ReadStatus,
    RestartActor,
    ScaleGroup,
    StopTree,
    TreeStatus,
)
from aurora_supervisor.certificates import make_certificate
from aurora_supervisor.exits import ExitStatus
from aurora_supervisor.journal import LogEntry
from aurora_supervisor.logreading import LogReader, Wanted

__all__ = ["run"]

Reply = TypeVar("Reply", bound=ApplicationNotice)

_ANSWER_S: Final = 10.0
_STOP_S: Final = 120.0
_ROW: Final = "{:<24} {:>7} {:<9} {:>8} {:>10} {:>7} {:>9}"


def run(options: argparse.Namespace) -> int:
    """Run the command that ``options`` names; returns the exit status."""
    try:
        if options.command == "logs":
            return _logs(options)
        if options.command == "cert":
            return _cert(options)
        connection = connect_running(options.path, _ANSWER_S)
        if connection is None:
            error: AuroraError = TreeDownError(f"nobody runs {options.path}")
            return _refuse(error, options, ExitStatus.NOT_RUNNING)
        with connection:
            match options.command:
                case "status":
                    _status(connection, as_json=options.json)
                case "restart":
                    _ask(connection, RestartActor(name=options.actor), Done, _STOP_S)
                    _done(options, restarted=options.actor)
                case "scale":
                    name = f"{POOL}{check_pool_name(options.pool)}"
                    request = ScaleGroup(name=name, count=options.processes)
                    _ask(connection, request, Done, _ANSWER_S)
                    _done(options, pool=options.pool, processes=options.processes)
                case "reload":
                    os.kill(connection.attached.supervisor_pid, signal.SIGHUP)
                    _done(options, reloading=True)
                case _:
                    _stop(connection)
                    _done(options, stopped=True)
    except AuroraError as exc:
        return _refuse(exc, options, ExitStatus.FAILED)
    return ExitStatus.OK


def _cert(options: argparse.Namespace) -> int:
    made = make_certificate(
        Path(options.path).expanduser(),
        options.name or ["localhost", "127.0.0.1", "::1"],
        options.days,
        overwrite=options.overwrite,
    )
    text = f"{made.certificate} and {made.key}, for {', '.join(made.names)}"
    if options.json:
        text = msgspec.json.encode(made._asdict()).decode()
    print(text)  # noqa: T201 - the command's answer
    return ExitStatus.OK


def _logs(options: argparse.Namespace) -> int:
    directory = Path(options.path).expanduser()
    if not directory.is_dir():
        error = UnavailableError(f"there is no database at {directory}")
        return _refuse(error, options, ExitStatus.FAILED)
    wanted = Wanted(actor=options.actor or "", level=options.level)
    try:
        with LogReader(directory, wanted) as log:
            for entry in log.last_entries(options.lines):
                _show(entry, as_json=options.json)
            for entry in log.follow() if options.follow else ():
                _show(entry, as_json=options.json)
    except BrokenPipeError:
        # Whoever read the output has had enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitStatus.OK


def _show(entry: LogEntry, *, as_json: bool) -> None:
    print(entry.json() if as_json else entry.text(), flush=True)  # noqa: T201 - the command's answer


def _done(options: argparse.Namespace, **result: object) -> None:
    if options.json:
        print(msgspec.json.encode(result).decode())  # noqa: T201 - the command's answer


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


def _refuse(
    error: AuroraError, options: argparse.Namespace, status: ExitStatus
) -> ExitStatus:
    text = f"aurora-supervisor: {error.message}"
    if options.json:
        told = {"code": error.code, "message": error.message, "context": error.context}
        text = msgspec.json.encode({"error": told}).decode()
    print(text, file=sys.stderr)  # noqa: T201 - the command's answer
    return status
