"""Pages of a root field: ``first``, ``after``, ``last``, ``before``, and edges.

Finding the page is ``query.page``'s; here its rows become edges, or documents.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import msgspec

from aurora_actors.aql.execution.notes import Note, encode_note, encode_result
from aurora_actors.aql.execution.parts import Parts
from aurora_actors.aql.execution.plans import DocumentQuery, EdgeWish, Page
from aurora_actors.aql.execution.reading import Reading, drain
from aurora_actors.aql.execution.shapes import shaper_of
from aurora_actors.errors import UsageError
from aurora_actors.messages.aql import AqlPart
from aurora_actors.query.page import PageRows, plan_page
from aurora_actors.query.plan import Plan, encode_plan
from aurora_actors.schema.record import pack_record, unpack_record
from aurora_actors.schema.values import decode_document

__all__ = ["run_page"]


def run_page(
    reading: Reading,
    root: DocumentQuery,
    page: Page,
    extras: dict[str, object],
    kinds: dict[str, str],
) -> Parts:
    """Run a root field of which a page is wanted; ``extras`` goes with it."""
    rows, plan = yield from _find(reading, root, page)
    start = rows.cursors[0] if rows.cursors else None
    end = rows.cursors[-1] if rows.cursors else None
    known = {
        "hasNextPage": rows.has_next,
        "hasPreviousPage": rows.has_previous,
        "startCursor": start,
        "endCursor": end,
    }
    for name, parts in root.page_info:
        extras[name] = {part: known[source] for part, source in parts}
    selected = root.selected
    note = Note(
        kind="query",
        name=root.name,
        collection=root.spec.collection,
        shape=None if selected is None else selected.shape,
        form="edges",
        page=(rows.has_next, rows.has_previous, start, end),
        edges={wish.name: _node(wish) for wish in root.edges},
        extras=encode_result(extras) if extras else b"",
        kinds=kinds,
        explain=encode_plan(plan) if root.explains else b"",
    )
    records = rows.records if selected is not None else [*_edges(root.edges, rows)]
    yield AqlPart(encode_note(note), records)


def _find(
    reading: Reading, root: DocumentQuery, page: Page
) -> Generator[None, None, tuple[PageRows, Plan]]:
    if root.distinct:
        raise UsageError("a page has no distinct: documents differ by their ids")
    spec, first = root.spec, page.first
    if first is None and page.last is None:
        first, spec = spec.limit, msgspec.structs.replace(spec, limit=None)
    if root.selected is not None:
        spec = msgspec.structs.replace(spec, fields=root.selected.fields)
    plan = plan_page(
        spec,
        lambda document_id: reading.get(spec.collection, document_id),
        first=first,
        after=page.after,
        last=page.last,
        before=page.before,
    )
    execution = reading.run(plan.query)
    records = yield from drain(execution.steps())
    return plan.finish(records), execution.plan


def _node(wish: EdgeWish) -> str:
    return wish.nodes[0][0] if wish.nodes else ""


def _edges(wishes: tuple[EdgeWish, ...], rows: PageRows) -> Iterator[bytes]:
    """A row for each document, with its edge for each ``edges`` field."""
    if not wishes:
        return
    shapers = [
        [(name, shaper_of(selected.shape)) for name, selected in wish.nodes]
        for wish in wishes
    ]
    for record, cursor in zip(rows.records, rows.cursors, strict=True):
        lsn, document_id, body = unpack_record(record)
        fields = decode_document(body)
        row: dict[str, object] = {}
        for wish, nodes in zip(wishes, shapers, strict=True):
            edge: dict[str, object] = dict.fromkeys(wish.cursors, cursor)
            for name, shape in nodes:
                edge[name] = shape(document_id, fields)
            row[wish.name] = edge
        yield pack_record(lsn, document_id, encode_result(row))
