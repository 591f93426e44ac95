"""Running a program: its segments in their order.

What reads only runs on one snapshot. With mutations, everything between two blocks of
schema statements is one transaction; there is one such stretch at most, so that a text
is carried out once however often it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import msgspec

from aurora_actors.aql.execution.enqueueing import Enqueued
from aurora_actors.aql.execution.mutating import run_mutation
from aurora_actors.aql.execution.notes import Note, encode_note
from aurora_actors.aql.execution.parts import Parts
from aurora_actors.aql.execution.plans import (
    DocumentQuery,
    Introspection,
    MutationRoot,
    Program,
    Root,
    StatementRoot,
)
from aurora_actors.aql.execution.querying import (
    explain_documents,
    run_documents,
    run_introspection,
)
from aurora_actors.aql.execution.reading import Reading, SnapshotReading, ViewReading
from aurora_actors.aql.execution.seeds import Seed
from aurora_actors.aql.execution.selecting import Selected
from aurora_actors.errors import UsageError
from aurora_actors.messages.aql import AqlPart
from aurora_actors.query.transaction import TransactionView
from aurora_actors.schema.types import SYSTEM_PREFIX
from aurora_actors.storage.snapshot import CollectionInfo

__all__ = [
    "Segment",
    "explain_reads",
    "run_reads",
    "run_transaction",
    "segments",
    "watched",
]

_encode: Final = msgspec.msgpack.Encoder().encode

Segment: TypeAlias = StatementRoot | tuple[Root, ...]


def segments(program: Program) -> list[Segment]:
    """Blocks of schema statements, and what stands between them.

    Raises:
        UsageError: mutations stand before a block, or around it.
    """
    found: list[Segment] = []
    held: list[Root] = []
    for root in program.roots:
        if isinstance(root, StatementRoot):
            if held:
                found.append((*held,))
                held = []
            found.append(root)
        else:
            held.append(root)
    if held:
        found.append((*held,))
    for part in found[:-1]:
        if not isinstance(part, StatementRoot) and _changes(part):
            raise UsageError(
                "mutations stand before a schema or migrate block: put it first, or "
                "send it as a text of its own"
            )
    return found


def _changes(roots: Sequence[Root]) -> bool:
    return any(isinstance(root, MutationRoot) for root in roots)


def run_reads(reading: SnapshotReading, roots: Sequence[Root]) -> Parts:
    """Root fields that only read, on one snapshot."""
    for root in roots:
        yield from _read(reading, root, reading.snapshot.collections)


def run_transaction(view: TransactionView, roots: Sequence[Root], seed: Seed) -> Parts:
    """Root fields of which some write, in one transaction."""
    reading, enqueued = ViewReading(view), Enqueued()
    for root in roots:
        if isinstance(root, MutationRoot):
            yield from run_mutation(view, root, seed, enqueued)
        else:
            yield from _read(reading, root, view.overlay.collections)


def _read(
    reading: Reading, root: Root, collections: Callable[[], list[CollectionInfo]]
) -> Parts:
    if isinstance(root, DocumentQuery):
        if root.subscribes:
            raise UsageError("subscriptions are for stream(), not for execute()")
        yield from run_documents(reading, root)
    elif isinstance(root, Introspection):
        names = sorted(info.name for info in collections())
        shown = [name for name in names if not name.startswith(SYSTEM_PREFIX)]
        yield from run_introspection(reading, root, shown)


def watched(roots: Sequence[Root]) -> Parts:
    """What the one subscription of a text watches, for whoever carries it out.

    Raises:
        UsageError: the text is something else.
    """
    root = roots[0] if len(roots) == 1 else None
    if not isinstance(root, DocumentQuery) or not root.subscribes:
        raise UsageError("stream() is for a text that is one subscription")
    selected = root.selected or Selected()
    note = Note(
        kind="query",
        name=root.name,
        collection=root.spec.collection,
        operation=root.subscribes,
        shape=selected.shape,
        template=_encode(msgspec.structs.replace(root.spec, fields=selected.fields)),
    )
    yield AqlPart(encode_note(note), [])


def explain_reads(reading: SnapshotReading, roots: Sequence[Root]) -> Parts:
    """Run the queries, throw their results away, and tell how it went."""
    for root in roots:
        if isinstance(root, DocumentQuery):
            yield from explain_documents(reading, root)
