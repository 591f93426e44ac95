"""Exporting a collection over a connection: the documents come here, the file is here.

What comes is kept in a temporary file beside the target until all of it is there, so that
the export shows one state in bounded memory, whatever its format needs to know first.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from aurora_actors.client.maintenance import offload
from aurora_actors.client.session import Session
from aurora_actors.errors import UsageError
from aurora_actors.messages.query import QuerySpec, RunQuery
from aurora_actors.schema.values import Buffer
from aurora_actors.storage.environment import file_errors
from aurora_actors.storage.export import FORMATS, Documents, write_documents
from aurora_actors.storage.reports import ExportReport, Progress
from aurora_actors.storage.tasks import Export

__all__ = ["export_remote"]

_LENGTH: Final = 4
_DEADLINE_S: Final = 86_400.0


async def export_remote(
    session: Session,
    task: Export,
    progress: Progress | None,
    timeout: float | None,
    *,
    in_loop: bool,
) -> ExportReport:
    """Fetch the documents of a collection, and write them to the file of ``task``.

    Raises:
        UsageError: the format is unknown, or the file exists already.
        CollectionNotFoundError: there is no such collection.
        StorageFullError: no room for the file, or for what comes before it.
    """
    start = time.monotonic()
    if task.format not in FORMATS:
        raise UsageError(
            f"there is no format {task.format!r}; use {', '.join(FORMATS)}"
        )
    info = await session.collection(task.collection, timeout)
    target = Path(task.target)
    with (
        file_errors(target),
        tempfile.TemporaryFile(dir=target.parent, prefix=f"{target.name}.") as spool,
    ):
        count, lsn = await _fetch(session, task.collection, spool, timeout, in_loop)
        records = partial(_records, spool)
        documents = Documents(info.definition, count, lsn, records)
        tell = progress if progress is not None else _nobody
        return await offload(
            in_loop, partial(write_documents, task, documents, tell, start)
        )


async def _fetch(
    session: Session,
    collection: str,
    spool: BinaryIO,
    timeout: float | None,
    in_loop: bool,
) -> tuple[int, int]:
    shell = session.shell
    query = RunQuery(query=QuerySpec(collection=collection), deadline_s=_DEADLINE_S)
    stream = shell.open_stream(query)
    count = lsn = 0
    try:
        while (chunk := await shell.next_chunk(stream, timeout)) is not None:
            lines = [
                len(record).to_bytes(_LENGTH, "big") + record
                for record in chunk.records
            ]
            count, lsn = count + len(lines), chunk.lsn
            await offload(in_loop, partial(spool.write, b"".join(lines)))
    except BaseException:
        shell.abandon(stream)
        raise
    return count, lsn


def _records(spool: BinaryIO) -> Iterator[Buffer]:
    spool.seek(0)
    while length := spool.read(_LENGTH):
        yield spool.read(int.from_bytes(length, "big"))


def _nobody(_phase: str, _done: int, _total: int) -> None:
    """Nobody wants to know."""
