"""Pages of a root field: ``first``, ``after``, ``last``, ``before``, and edges.

Finding the page is ``query.page``'s; here its rows become edges, or documents.
"""

from __future__ import annotations

from collections.abc import Generator

import msgspec

from aurora_actors.aql.execution.joining import Joiner, joined
from aurora_actors.aql.execution.notes import Note, encode_note, encode_result
from aurora_actors.aql.execution.parts import Parts
from aurora_actors.aql.execution.plans import DocumentQuery, EdgeWish, Page
from aurora_actors.aql.execution.reading import Reading, drain
from aurora_actors.errors import UsageError
from aurora_actors.messages.aql import AqlPart
from aurora_actors.query.page import PageRows, plan_page
from aurora_actors.query.plan import Plan, encode_plan
from aurora_actors.schema.record import pack_record, unpack_record

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
        shape=None if selected is None or selected.lookups else selected.shape,
        form="edges",
        page=(rows.has_next, rows.has_previous, start, end),
        edges={wish.name: _node(wish) for wish in root.edges},
        extras=encode_result(extras) if extras else b"",
        kinds=kinds,
        explain=encode_plan(plan) if root.explains else b"",
    )
    if selected is None:
        edges = yield from _edges(reading, root.edges, rows)
        yield AqlPart(encode_note(note), edges)
    elif selected.lookups:
        yield AqlPart(encode_note(note), [])
        yield from joined(Joiner(reading), selected, rows.records)
    else:
        yield AqlPart(encode_note(note), rows.records)


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


def _edges(
    reading: Reading, wishes: tuple[EdgeWish, ...], rows: PageRows
) -> Generator[None, None, list[bytes]]:
    """A row for each document, with its edge for each ``edges`` field."""
    if not wishes:
        return []
    edges: list[dict[str, object]] = [{} for _ in rows.records]
    for wish in wishes:
        for cursor, row in zip(rows.cursors, edges, strict=True):
            row[wish.name] = dict.fromkeys(wish.cursors, cursor)
        for name, selected in wish.nodes:
            nodes = yield from Joiner(reading).rows(selected, rows.records)
            for node, row in zip(nodes, edges, strict=True):
                edge = row[wish.name]
                assert isinstance(edge, dict)  # noqa: S101 - as made above
                edge[name] = node.data
    return [
        pack_record(*unpack_record(record)[:2], encode_result(row))
        for record, row in zip(rows.records, edges, strict=True)
    ]
