"""The commands that look at a database: status, stats, collections, check."""

from __future__ import annotations

import argparse
from typing import Final

import msgspec

from aurora_actors.cli.opening import existing, opened
from aurora_actors.cli.output import Output, pairs, size_text, table
from aurora_actors.client.launch import connect_running
from aurora_actors.client.maintenance import run_task_blocking
from aurora_actors.errors import ProtocolError
from aurora_actors.messages.supervision import ReadStatus, TreeStatus
from aurora_actors.schema.types import SYSTEM_PREFIX
from aurora_actors.storage.findings import CheckReport, Finding
from aurora_actors.storage.reader import DataReader
from aurora_actors.storage.tasks import Check

__all__ = ["check", "collections", "existing", "finding_lines", "stats", "status"]

NOT_RUNNING: Final = 3
DAMAGED: Final = 4
_MAX_SIZE_GB: Final = 1024


# ------------------------------------------------------------------ status
def status(given: argparse.Namespace, output: Output) -> int:
    """Show the processes of a database that runs; does not start one."""
    path = existing(given.path)
    connection = connect_running(path)
    if connection is None:
        output.result({"running": False}, [f"{path} is not running"])
        return NOT_RUNNING
    with connection:
        connection.send(ReadStatus())
        while not isinstance(found := connection.receive(10.0), TreeStatus):
            if found is None:
                raise ProtocolError("the supervisor ended the connection")
    value = {"running": True, **msgspec.to_builtins(found)}
    output.result(value, _status_lines(found))
    return 0


def _status_lines(found: TreeStatus) -> list[str]:
    rows = [("actor", "pid", "state", "restarts", "lsn", "memory")]
    rows += [
        (
            actor.name,
            str(actor.pid),
            actor.state,
            str(actor.restarts),
            str(actor.lsn),
            size_text(actor.rss_bytes),
        )
        for actor in found.actors
    ]
    head = pairs(
        {
            "supervisor": found.supervisor_pid,
            "applications": found.clients,
            "lsn": found.lsn,
            "timeline": found.timeline,
        }
    )
    return [*head, "", *table(rows), *_alarms(found)]


def _alarms(found: TreeStatus) -> list[str]:
    raised = [
        f"{actor.name}: {name.removeprefix('alarm_').replace('_', ' ')}"
        for actor in found.actors
        for name, value in actor.values.items()
        if name.startswith("alarm_") and value
    ]
    return ["", *[f"ALARM  {text}" for text in raised]] if raised else []


# ------------------------------------------------------------------ stats
def stats(given: argparse.Namespace, output: Output) -> int:
    """Show the counters of every process; starts the database if it is stopped."""
    with opened(given.path) as db:
        found = db.stats()
    lines = []
    for actor, values in found.items():
        lines += [actor, *[f"  {line}" for line in pairs(values)], ""]
    output.result(found, lines[:-1])
    return 0


# ------------------------------------------------------------------ collections
def collections(given: argparse.Namespace, output: Output) -> int:
    """List the collections, running or not."""
    path = existing(given.path)
    value: dict[str, dict[str, object]] = {}
    lines: list[str] = []
    with (
        DataReader.open(path, max_size_gb=_MAX_SIZE_GB) as reader,
        reader.snapshot() as snapshot,
    ):
        for info in snapshot.collections():
            if info.name.startswith(SYSTEM_PREFIX) and not given.all:
                continue
            fields = {n: str(f) for n, f in info.definition.fields.items()}
            value[info.name] = {
                "documents": info.count,
                "open": info.definition.open,
                "fields": fields,
            }
            mark = ", open" if info.definition.open else ""
            lines.append(f"{info.name}: {info.count:,} documents{mark}")
            lines += [f"  {line}" for line in (pairs(fields) if fields else [])]
    output.result(value, lines)
    return 0


# ------------------------------------------------------------------ check
def check(given: argparse.Namespace, output: Output) -> int:
    """Check a database, running or stopped."""
    path = existing(given.path)
    report = run_task_blocking(Check(path=str(path)), CheckReport)
    value = {"ok": report.ok, **msgspec.to_builtins(report)}
    output.result(value, _check_lines(report))
    return 0 if report.ok else DAMAGED


def _check_lines(report: CheckReport) -> list[str]:
    lines = pairs(
        {
            "lsn": f"{report.lsn} (timeline {report.timeline})",
            "documents": f"{report.documents:,} in {len(report.collections)} "
            "collections",
            "changes": f"{report.changes:,} in the change log, {report.frames:,} "
            "frames in the commit log",
            "time": f"{report.seconds:.1f} s",
        }
    )
    if report.ok:
        return [*lines, "", "no fault found"]
    return [*lines, "", *finding_lines(report.counts, report.findings)]


def finding_lines(counts: dict[str, int], findings: list[Finding]) -> list[str]:
    """Findings as lines, with how many more there are."""
    lines = [
        f"{finding.area}: {finding.message}"
        + (f" ({finding.file})" if finding.file else "")
        for finding in findings
    ]
    more = sum(counts.values()) - len(findings)
    return [*lines, f"and {more:,} more"] if more else lines
