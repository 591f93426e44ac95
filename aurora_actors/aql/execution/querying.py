"""Running the root fields of queries.

Generators: each step gives a part of the result, or ``None`` to let others have their
turn. All root fields of a text read one state.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import islice
from typing import Final

import msgspec

from aurora_actors.aql.execution.distinct import Distinct
from aurora_actors.aql.execution.grouping import MOST_NODES, aggregate_spec
from aurora_actors.aql.execution.joining import Joiner, joined
from aurora_actors.aql.execution.notes import Note, encode_note, encode_result
from aurora_actors.aql.execution.pages import run_page
from aurora_actors.aql.execution.parts import Parts
from aurora_actors.aql.execution.plans import (
    AggregateWish,
    DocumentQuery,
    GroupWish,
    Introspection,
)
from aurora_actors.aql.execution.reading import Reading
from aurora_actors.aql.execution.shapes import shaper_of
from aurora_actors.errors import LimitExceededError
from aurora_actors.messages.aql import AqlPart
from aurora_actors.messages.query import GroupSpec, QuerySpec, ResultMode
from aurora_actors.query.aggregate import Aggregation
from aurora_actors.query.execute import Execution
from aurora_actors.query.group_codec import GroupRow
from aurora_actors.query.plan import Plan, encode_plan
from aurora_actors.schema.record import pack_record

__all__ = ["count", "explain_documents", "run_documents", "run_introspection"]

_CHUNK: Final = 1_000


def run_documents(reading: Reading, root: DocumentQuery) -> Parts:
    """Run one root field."""
    if len(root.groups) == 1 and not (root.aggregates or root.totals):
        yield from _groups_alone(reading, root)
        return
    extras: dict[str, object] = {}
    kinds: dict[str, str] = {}
    for wish in root.aggregates:
        extras[wish.name] = yield from _aggregate(reading, root, wish)
        kinds[wish.name] = "aggregate"
    for name in root.totals:
        extras[name] = yield from count(reading, root)
        kinds[name] = "total_count"
    for group in root.groups:
        extras[group.name] = yield from _all_groups(reading, group)
        kinds[group.name] = "groups"
    note = Note(
        kind="query",
        name=root.name,
        collection=root.spec.collection,
        form="rows" if root.selected is not None else "extras",
        extras=encode_result(extras) if extras else b"",
        kinds=kinds,
    )
    if root.page is not None:
        yield from run_page(reading, root, root.page, extras, kinds)
    elif root.selected is None:
        yield AqlPart(encode_note(note), [])
    else:
        yield from _rows(reading, root, note)


# ------------------------------------------------------------------ documents
def _rows(reading: Reading, root: DocumentQuery, note: Note) -> Parts:
    selected = root.selected
    assert selected is not None  # noqa: S101 - asked by the caller
    spec, fields = root.spec, selected.fields
    distinct = None
    if root.distinct:
        distinct = Distinct(root.distinct, selected, spec)
        spec = msgspec.structs.replace(spec, limit=None, offset=0)
        fields = distinct.fields
    spec = msgspec.structs.replace(spec, fields=fields)
    execution = reading.run(spec, root.predicate)
    joiner = Joiner(reading) if selected.lookups else None
    shape = None if joiner is not None else selected.shape
    yield AqlPart(encode_note(msgspec.structs.replace(note, shape=shape)), [])
    for records in execution.steps():
        found = records if distinct is None else distinct.take(records)
        if joiner is not None:
            yield from joined(joiner, selected, found)
        else:
            yield AqlPart(b"", found) if found else None
        if distinct is not None and distinct.is_full:
            break
    if root.explains:
        plan = _with_steps(execution.plan, joiner)
        yield AqlPart(encode_note(Note(kind="more", explain=encode_plan(plan))), [])


def _with_steps(plan: Plan, joiner: Joiner | None) -> Plan:
    """A plan that tells of look-ups, too."""
    if joiner is None:
        return plan
    return msgspec.structs.replace(plan, steps=[*plan.steps, *joiner.steps()])


def count(reading: Reading, root: DocumentQuery) -> Generator[None, None, int]:
    """How many documents match, whatever window or page is asked for."""
    spec = QuerySpec(
        collection=root.spec.collection,
        predicate=root.spec.predicate,
        mode=ResultMode.COUNT,
    )
    execution = reading.run(spec, root.predicate)
    for _ in execution.steps():
        yield
    return execution.count


def explain_documents(reading: Reading, root: DocumentQuery) -> Parts:
    """Run one root field for its plan alone."""
    running: Execution | Aggregation
    if root.groups:
        group = root.groups[0]
        running = reading.aggregate(group.query, group.spec, root.predicate)
    elif root.aggregates and root.selected is None:
        running = reading.aggregate(
            root.spec, _aggregate_spec(root.aggregates[0]), root.predicate
        )
    else:
        fields = None if root.selected is None else root.selected.fields
        spec = msgspec.structs.replace(root.spec, fields=fields)
        running = reading.run(spec, root.predicate)
    joiner = None
    if root.selected is not None and root.selected.lookups:
        joiner = Joiner(reading)
    for records in running.steps():
        if joiner is not None and root.selected is not None:
            yield from joiner.rows(root.selected, records)
        yield None
    note = Note(
        kind="query",
        name=root.name,
        collection=root.spec.collection,
        form="extras",
        explain=encode_plan(_with_steps(running.plan, joiner)),
    )
    yield AqlPart(encode_note(note), [])


# ------------------------------------------------------------------ aggregates
def _aggregate_spec(wish: AggregateWish) -> GroupSpec:
    return GroupSpec(
        aggregates=[
            aggregate_spec(f"_{number}", term) for number, term in enumerate(wish.terms)
        ]
    )


def _aggregate(
    reading: Reading, root: DocumentQuery, wish: AggregateWish
) -> Generator[None, None, dict[str, object]]:
    spec = _aggregate_spec(wish)
    results: list[object] = []
    for rows in reading.aggregate(root.spec, spec, root.predicate).groups():
        for row in rows:
            results += row.results
        yield
    return dict(zip((term.name for term in wish.terms), results, strict=True))


def _groups_alone(reading: Reading, root: DocumentQuery) -> Parts:
    (group,) = root.groups
    note = Note(
        kind="query",
        name=root.name,
        collection=root.spec.collection,
        operation=group.name,
        form="groups",
    )
    yield AqlPart(encode_note(note), [])
    aggregation = reading.aggregate(group.query, group.spec, root.predicate)
    for rows in aggregation.groups():
        for at in range(0, len(rows), _CHUNK):
            shown = yield from _shown_groups(reading, group, rows[at : at + _CHUNK])
            part = [pack_record(0, "-", encode_result(each)) for each in shown]
            yield AqlPart(b"", part)
        yield None
    if root.explains:
        more = Note(kind="more", explain=encode_plan(aggregation.plan))
        yield AqlPart(encode_note(more), [])


def _all_groups(
    reading: Reading, group: GroupWish
) -> Generator[None, None, list[dict[str, object]]]:
    found: list[dict[str, object]] = []
    for rows in reading.aggregate(group.query, group.spec).groups():
        found += yield from _shown_groups(reading, group, rows)
        yield
    return found


def _shown_groups(
    reading: Reading, group: GroupWish, rows: Sequence[GroupRow]
) -> Generator[None, None, list[dict[str, object]]]:
    shown = [_shown(group, row) for row in rows]
    for name, selected in group.nodes.items():
        wanted = [row.nodes[group.nodes_offset :] for row in rows]
        everything = [record for nodes in wanted for record in nodes]
        nodes = yield from Joiner(reading).rows(selected, everything)
        given = iter(nodes)
        for each, mine in zip(shown, wanted, strict=True):
            each[name] = [node.data for node in islice(given, len(mine))]
    return shown


def _shown(group: GroupWish, row: GroupRow) -> dict[str, object]:
    """What is seen of a group; its nodes are still to come."""
    keys = dict(zip(group.keys, row.keys, strict=True))
    shown: dict[str, object] = {}
    for name, kind in group.parts:
        match kind:
            case "key":
                shown[name] = row.keys[0] if len(keys) == 1 else [*row.keys]
            case "keys":
                chosen = group.key_shapes[name]
                shown[name] = {p: keys[f] for p, f in chosen} if chosen else keys
            case "count":
                shown[name] = row.results[0]
            case "aggregate":
                wanted = group.aggregates[name]
                shown[name] = {part: row.results[place] for part, place in wanted}
            case _:
                _check_nodes(group, row)
                shown[name] = []
    return shown


def _check_nodes(group: GroupWish, row: GroupRow) -> None:
    if group.nodes_whole and len(row.nodes) >= MOST_NODES:
        raise LimitExceededError(
            f"a group has more than {MOST_NODES:,} documents: give nodes a limit",
            limit="nodes",
            maximum=MOST_NODES,
        )


# ------------------------------------------------------------------ introspection
def run_introspection(reading: Reading, root: Introspection, names: list[str]) -> Parts:
    """Tell what collections there are."""
    wanted = names if root.collection is None else [root.collection]
    told: list[dict[str, object]] = []
    for name in wanted:
        info = reading.collection(name)
        definition = info.definition
        told.append(
            {
                "name": name,
                "count": info.count,
                "open": definition.open,
                "fields": [
                    {
                        "name": field_name,
                        "type": str(field.field_type),
                        "nullable": field.nullable,
                        "unique": field.unique,
                        "indexed": field.indexed,
                    }
                    for field_name, field in definition.fields.items()
                ],
            }
        )
    shown = shaper_of(root.shape)("", {"collections": told})
    shown.pop("id", None)
    note = Note(
        kind="query",
        name=root.name,
        collection="__schema",
        form="extras",
        extras=encode_result(shown),
    )
    yield AqlPart(encode_note(note), [])
