"""The commands that do something: backup, restore, repair, compact, and the like."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

import msgspec

from aurora_actors import blocking
from aurora_actors.cli.looking import DAMAGED, existing, finding_lines
from aurora_actors.cli.opening import is_elsewhere, opened
from aurora_actors.cli.output import Output, pairs, size_text
from aurora_actors.client.importing import ImportReport
from aurora_actors.client.maintenance import run_task_blocking
from aurora_actors.client.upkeep import absolute
from aurora_actors.errors import UnavailableError, UsageError
from aurora_actors.storage.reports import BackupReport, ExportReport, RepairReport
from aurora_actors.storage.tasks import BackUp, Export, Repair

__all__ = [
    "backup",
    "checkpoint",
    "compact",
    "export",
    "import_",
    "repair",
    "restore",
]

_STANDARD: Final = "-"


# ------------------------------------------------------------------ backups
def backup(given: argparse.Namespace, output: Output) -> int:
    """Take a backup of a database, running or stopped."""
    task = BackUp(
        path=str(existing(given.path)),
        target=absolute(given.file),
        overwrite=given.overwrite,
    )
    report = run_task_blocking(task, BackupReport, None, output.progress)
    output.result(report, ["backup verified", *_backup_lines(report)])
    return 0


def restore(given: argparse.Namespace, output: Output) -> int:
    """Make a database of a backup."""
    report = blocking.Aurora.restore(given.file, given.path, progress=output.progress)
    output.result(report, [f"restored to {report.path}", *_backup_lines(report)])
    return 0


def _backup_lines(report: BackupReport) -> list[str]:
    manifest = report.manifest
    return pairs(
        {
            "lsn": f"{manifest.lsn} (timeline {manifest.timeline})",
            "taken at": manifest.created_at,
            "documents": f"{manifest.documents:,} in {len(manifest.collections)} "
            "collections",
            "size": f"{size_text(report.file_bytes)}, of {size_text(manifest.data_bytes)}"
            " data",
            "time": f"{report.seconds:.1f} s",
        }
    )


# ------------------------------------------------------------------ repair
def repair(given: argparse.Namespace, output: Output) -> int:
    """Repair a stopped database."""
    task = Repair(path=str(existing(given.path)))
    report = run_task_blocking(task, RepairReport, None, output.progress)
    lines = pairs(
        {
            "documents": f"{report.documents:,} in {len(report.collections)} "
            "collections",
            "left out": f"{report.rejected:,}",
            "log": f"{report.frames:,} frames applied",
            "lsn": f"{report.lsn} (timeline {report.timeline})",
            "damaged files": report.kept,
            "time": f"{report.seconds:.1f} s",
        }
    )
    lines += ["", *finding_lines(report.counts, report.findings)]
    output.result(report, lines)
    return DAMAGED if report.rejected else 0


# ------------------------------------------------------------------ the running tree
def compact(given: argparse.Namespace, output: Output) -> int:
    """Give free pages back to the system."""
    with opened(given.path) as db:
        done = db.compact()
    line = (
        f"{size_text(done.before_bytes)} before, {size_text(done.after_bytes)} after, "
        f"{done.seconds:.1f} s"
    )
    output.result(done, [line])
    return 0


def checkpoint(given: argparse.Namespace, output: Output) -> int:
    """Take a checkpoint."""
    with opened(given.path) as db:
        lsn = db.checkpoint(timeout=given.timeout)
    output.result({"lsn": lsn}, [f"everything up to LSN {lsn} is safe"])
    return 0


# ------------------------------------------------------------------ files
def export(given: argparse.Namespace, output: Output) -> int:
    """Write a collection to a file or to the standard output."""
    to_stdout = given.file == _STANDARD
    kind = given.format or Path(given.file).suffix.lstrip(".").lower() or "jsonl"
    if is_elsewhere(given.path):
        return _export_from_elsewhere(given, kind, output)
    task = Export(
        path=str(existing(given.path)),
        collection=given.collection,
        target="" if to_stdout else absolute(given.file),
        format="jsonl" if kind == "ndjson" else kind,
        overwrite=given.overwrite,
        fd=1 if to_stdout else None,
    )
    if to_stdout:
        _export_to_stdout(task, output)
    else:
        report = run_task_blocking(task, ExportReport, None, output.progress)
        _show_export(report, output)
    return 0


def _show_export(report: ExportReport, output: Output) -> None:
    line = f"{report.documents:,} documents, {size_text(report.bytes)}"
    output.result(report, [f"{line}, at LSN {report.lsn}: {report.path}"])


def _export_from_elsewhere(given: argparse.Namespace, kind: str, output: Output) -> int:
    if given.file == _STANDARD:
        raise UsageError("name a file for what comes from elsewhere")
    with opened(given.path) as db:
        report = db.export_collection(
            given.collection,
            given.file,
            format="jsonl" if kind == "ndjson" else kind,
            overwrite=given.overwrite,
            progress=output.progress,
        )
    _show_export(report, output)
    return 0


def _export_to_stdout(task: Export, output: Output) -> ExportReport:
    fd = os.dup(sys.stdout.fileno())
    try:
        task = msgspec.structs.replace(task, fd=fd)
        return run_task_blocking(
            task, ExportReport, None, output.progress, inherited=(fd,)
        )
    except UnavailableError as exc:
        if exc.context.get("pipe"):
            raise BrokenPipeError from exc
        raise
    finally:
        os.close(fd)


def import_(given: argparse.Namespace, output: Output) -> int:
    """Insert the documents of a file."""
    if given.file == _STANDARD and (given.resume or not given.format):
        raise UsageError(
            "say with --format what the standard input is; it cannot be resumed"
        )
    file = "/dev/stdin" if given.file == _STANDARD else given.file
    with opened(given.path) as db:
        if given.create:
            _create(db, given.collection)
        report = db.import_collection(
            given.collection,
            file,
            format=given.format,
            on_error="skip" if given.skip_errors else "stop",
            resume=f"{file}.aurora-import" if given.resume else None,
            progress=output.progress,
        )
    output.result(report, _import_lines(report))
    return DAMAGED if report.skipped else 0


def _create(db: blocking.Aurora, collection: str) -> None:
    if collection not in db.list_collections():
        db.new_collection(collection, open=True)


def _import_lines(report: ImportReport) -> list[str]:
    rate = report.documents / max(report.seconds, 1e-9)
    lines = [f"{report.documents:,} documents inserted, {rate:,.0f} a second"]
    if report.skipped:
        lines.append(f"{report.skipped:,} skipped:")
        lines += [f"  line {each.line}: {each.message}" for each in report.faults]
        more = report.skipped - len(report.faults)
        lines += [f"  and {more:,} more"] if more else []
    return lines
