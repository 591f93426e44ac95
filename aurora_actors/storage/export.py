"""Writing a collection to a file: JSON lines, JSON, CSV or Parquet.

Reads one snapshot in bounded memory; the file gets its name when it is whole and
synced. Runs in a maintenance process. How values are written: ``schema.text``.
"""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from aurora_actors.errors import LimitExceededError, UnavailableError, UsageError
from aurora_actors.schema.record import record_body, record_id
from aurora_actors.schema.text import to_cell, to_json
from aurora_actors.schema.types import CollectionDefinition
from aurora_actors.schema.values import Buffer, decode_document
from aurora_actors.storage.environment import file_errors
from aurora_actors.storage.export_parquet import write_parquet
from aurora_actors.storage.files import Files
from aurora_actors.storage.reader import DataReader
from aurora_actors.storage.reports import ExportReport, Progress
from aurora_actors.storage.tasks import Export

__all__ = ["FORMATS", "Documents", "export_collection", "write_documents"]

FORMATS: Final = ("jsonl", "json", "csv", "parquet")
_MAX_SIZE_GB: Final = 1024
_MAX_COLUMNS: Final = 10_000
_STEP: Final = 1_000


def export_collection(task: Export, progress: Progress) -> ExportReport:
    """Write a collection to a file.

    Raises:
        UsageError: the format is unknown, or the file exists already.
        CollectionNotFoundError: there is no such collection.
        StorageFullError: no room for the file.
    """
    start = time.monotonic()
    if task.format not in FORMATS:
        raise UsageError(
            f"there is no format {task.format!r}; use {', '.join(FORMATS)}"
        )
    path = Path(task.path)
    with (
        DataReader.open(path, max_size_gb=_MAX_SIZE_GB) as reader,
        reader.snapshot() as snapshot,
    ):
        info = snapshot.collection(task.collection)

        def records() -> Iterator[Buffer]:
            return (record for _, record in snapshot.scan(info))

        documents = Documents(info.definition, info.count, snapshot.lsn, records)
        return write_documents(task, documents, progress, start)


class Documents(msgspec.Struct, frozen=True):
    """What is exported, wherever it comes from.

    Attributes:
        definition: The collection.
        count: How many there are.
        lsn: The state they are of.
        records: Reads them all; may be called again.
    """

    definition: CollectionDefinition
    count: int
    lsn: int
    records: Callable[[], Iterator[Buffer]]

    def __iter__(self) -> Iterator[tuple[str, dict[str, object]]]:
        """Ids and fields."""
        for record in self.records():
            yield record_id(record), decode_document(record_body(record))


def write_documents(
    task: Export, documents: Documents, progress: Progress, start: float
) -> ExportReport:
    """Write documents to the file that ``task`` names, or to its descriptor.

    Raises:
        UsageError: the file exists already.
        StorageFullError: no room for the file.
    """
    count = documents.count
    with _target(task) as file:
        for written in _write(task.format, file, documents):
            progress("exporting", min(written, count), count)
        file.flush()
        size = file.tell() if file.seekable() else 0
    progress("exporting", count, count)
    return ExportReport(
        path="" if task.fd is not None else task.target,
        collection=documents.definition.name,
        documents=count,
        bytes=size,
        lsn=documents.lsn,
        seconds=time.monotonic() - start,
    )


def _write(kind: str, file: BinaryIO, documents: Documents) -> Iterator[int]:
    """Write all documents, and give now and then how many there are so far."""
    if kind == "parquet":
        further = _further_columns(documents)
        yield from write_parquet(file, documents.definition, further, iter(documents))
        return
    for number, line in enumerate(_WRITERS[kind](documents)):
        file.write(line)
        if number % _STEP == 0:
            yield number


@contextmanager
def _target(task: Export) -> Iterator[BinaryIO]:
    if task.fd is not None:
        try:
            with os.fdopen(task.fd, "wb", closefd=False) as file:
                yield file
        except BrokenPipeError as exc:
            raise UnavailableError(
                "whoever read the export has gone", pipe=True
            ) from exc
        return
    target = Path(task.target)
    if target.is_dir() or (target.exists() and not task.overwrite):
        raise UsageError(f"{target} exists already; name another file, or overwrite it")
    draft = target.with_name(f"{target.name}.new")
    with file_errors(target):
        draft.unlink(missing_ok=True)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
            Files().sync_directory(target.parent)
        finally:
            draft.unlink(missing_ok=True)


def _json_lines(documents: Documents) -> Iterator[bytes]:
    encode, types = msgspec.json.Encoder().encode, documents.definition.fields
    for document_id, fields in documents:
        yield encode({"id": document_id, **to_json(fields, types)}) + b"\n"


def _json_array(documents: Documents) -> Iterator[bytes]:
    before = b"[\n"
    for line in _json_lines(documents):
        yield before + line[:-1]
        before = b",\n"
    yield b"\n]\n" if before == b",\n" else b"[]\n"


def _csv(documents: Documents) -> Iterator[bytes]:
    declared = documents.definition.fields
    types = {name: field.field_type for name, field in declared.items()}
    columns = [*types, *_further_columns(documents)]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["id", *columns])
    for document_id, fields in documents:
        cells = [to_cell(fields.get(name), types.get(name)) for name in columns]
        writer.writerow([document_id, *cells])
        yield _taken(buffer)
    yield _taken(buffer)


def _taken(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode()


def _further_columns(documents: Documents) -> list[str]:
    """The undeclared fields that documents have; reads them all once more."""
    definition = documents.definition
    if not definition.open:
        return []
    found: dict[str, None] = {}
    for _, fields in documents:
        for name in fields.keys() - definition.fields.keys():
            found[name] = None
        if len(found) > _MAX_COLUMNS:
            raise LimitExceededError(
                f"the documents of {definition.name} have more than {_MAX_COLUMNS:,} "
                "different fields: a table cannot show them, use jsonl"
            )
    return sorted(found)


_WRITERS: Final = {"jsonl": _json_lines, "json": _json_array, "csv": _csv}
