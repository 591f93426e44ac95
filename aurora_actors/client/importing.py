"""Importing documents from a file into a collection.

Documents are inserted in batches, each whole or not at all. When a batch is refused it
is halved until the document at fault stands alone, so that an error names its line and
all documents before it are in.
"""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from aurora_actors.client.bulk import insert_many
from aurora_actors.client.document import Document
from aurora_actors.client.import_resume import ImportState
from aurora_actors.client.import_sources import Item, Source, format_of
from aurora_actors.client.maintenance import offload
from aurora_actors.client.session import Session
from aurora_actors.errors import AuroraError, DataError, UsageError
from aurora_actors.schema.types import CollectionDefinition
from aurora_actors.storage.environment import file_errors
from aurora_actors.storage.reports import Progress

__all__ = ["ImportFault", "ImportReport", "import_file"]

_KEPT_FAULTS: Final = 100


class ImportFault(msgspec.Struct, frozen=True, kw_only=True):
    """A document that was not imported: its line, and the error's code and text."""

    line: int
    code: str
    message: str


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was imported.

    Attributes:
        path: The file.
        collection: The collection.
        documents: How many documents were inserted.
        skipped: How many were not.
        faults: The first 100 of these.
        seconds: How long it took.
    """

    path: str
    collection: str
    documents: int
    skipped: int
    faults: list[ImportFault]
    seconds: float


class _Import:
    """One import under way."""

    def __init__(
        self,
        session: Session,
        collection: str,
        *,
        skips: bool,
        timeout: float | None,
        state: ImportState | None,
    ) -> None:
        self._session = session
        self._collection = collection
        self._skips = skips
        self._timeout = timeout
        self.documents = self.skipped = 0
        self._state = state
        self._may_be_there = False
        if state is not None:
            self.documents, self.skipped = state.documents, state.skipped
            # The batch that was under way when it was interrupted.
            self._may_be_there = True
        self.faults: list[ImportFault] = []

    async def take(self, items: list[Item]) -> None:
        """Insert a batch, up to the first fault unless faults are skipped."""
        state = self._state
        if state is None:
            await self._take(items)
            return
        items = [item for item in items if item.line > state.line]
        if not items:
            return
        items = [_with_id(item, state) for item in items]
        missing = await self._missing(items) if self._may_be_there else items
        self._may_be_there = False
        self.documents += len(items) - len(missing)
        await self._take(missing)
        state.line = items[-1].line
        state.documents, state.skipped = self.documents, self.skipped

    async def _missing(self, items: list[Item]) -> list[Item]:
        """Those that an interrupted run has not brought in."""
        missing = []
        for item in items:
            if item.fields is not None:
                found = await self._session.document(
                    self._collection, str(item.fields["id"]), self._timeout
                )
                if found is not None and _is_same(found, item.fields):
                    continue
            missing.append(item)
        return missing

    async def _take(self, items: list[Item]) -> None:
        good: list[Item] = []
        for item in items:
            if item.error is not None:
                await self._insert(good)
                good = []
                self._fault(item, item.error)
            else:
                good.append(item)
        await self._insert(good)

    async def _insert(self, items: list[Item]) -> None:
        if not items:
            return
        try:
            await insert_many(
                self._session.shell,
                self._collection,
                [item.fields for item in items],
                self._session.config.max_transaction_bytes,
                self._timeout,
            )
        except DataError as exc:
            done = int(str(exc.context.pop("inserted", 0)))
            self.documents += done
            await self._insert_parts(items[done:], exc)
        else:
            self.documents += len(items)

    async def _insert_parts(self, items: list[Item], error: DataError) -> None:
        if len(items) == 1:
            self._fault(items[0], error)
            return
        middle = len(items) // 2
        await self._insert(items[:middle])
        await self._insert(items[middle:])

    def _fault(self, item: Item, error: AuroraError) -> None:
        if not self._skips:
            error.message = f"line {item.line}: {error.message}"
            error.args = (error.message,)
            error.context.update(line=item.line)
            raise error
        self.skipped += 1
        if len(self.faults) < _KEPT_FAULTS:
            fault = ImportFault(line=item.line, code=error.code, message=error.message)
            self.faults.append(fault)


def _with_id(item: Item, state: ImportState) -> Item:
    if item.fields is None or item.fields.get("id") is not None:
        return item
    return item._replace(fields={**item.fields, "id": state.id_for(item.line)})


def _is_same(found: Document, fields: dict[str, object]) -> bool:
    """Whether a document is what the file has, as far as storage keeps it as it is."""
    wanted = {name: value for name, value in fields.items() if name != "id"}
    return found.data == wanted


async def import_file(
    session: Session,
    definition: CollectionDefinition,
    path: Path,
    *,
    in_loop: bool,
    format: str | None,  # noqa: A002 - the word of the public method
    on_error: str,
    progress: Progress | None,
    timeout: float | None,
    resume: Path | None,
) -> ImportReport:
    """Import a file; see :meth:`aurora_actors.Aurora.import_collection`."""
    if on_error not in {"stop", "skip"}:
        raise UsageError(f'on_error is "stop" or "skip", not {on_error!r}')
    start = time.monotonic()
    kind = format_of(path, format)
    work: _Import | None = None
    try:
        with file_errors(path), path.open("rb") as file:
            state: ImportState | None = None
            if resume is not None:
                state = ImportState.begin(resume, path, definition.name)
            work = _Import(
                session,
                definition.name,
                skips=on_error == "skip",
                timeout=timeout,
                state=state,
            )
            total = os.fstat(file.fileno()).st_size
            source = Source(file, kind, definition)
            while (batch := await offload(in_loop, source.next_batch)).items:
                await work.take(batch.items)
                if state is not None and resume is not None:
                    await offload(in_loop, partial(state.save, resume))
                if progress is not None:
                    progress("importing", batch.position, total)
    except AuroraError as exc:
        exc.context["inserted"] = work.documents if work else 0
        raise
    if resume is not None:
        await offload(in_loop, partial(resume.unlink, missing_ok=True))
    return ImportReport(
        path=str(path),
        collection=definition.name,
        documents=work.documents,
        skipped=work.skipped,
        faults=work.faults,
        seconds=time.monotonic() - start,
    )
