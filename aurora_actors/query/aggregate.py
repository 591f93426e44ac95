"""Aggregates and groups: running what a :class:`GroupSpec` asks of a query's documents.

Used in executors, in the caller's process inside a transaction, and by the query
language. Synchronous, over one snapshot that the caller opens and closes; whoever runs
an aggregation takes its steps and may do other things in between.

Invariants:

* The result is the same, to the last bit, however the documents were found: by columns
  with what has changed since read from documents, by indexes, or by reading them all.
* What groups hold in memory is bounded by ``memory_limit``.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from time import perf_counter
from typing import Final, cast

import msgspec

from aurora_actors.messages.query import (
    AggregateFunction,
    AggregateSpec,
    GroupSpec,
    QuerySpec,
    ResultMode,
)
from aurora_actors.messages.shares import AggregateSegments, SegmentsAggregated
from aurora_actors.query.aggregate_gather import Asked
from aurora_actors.query.aggregate_groups import Groups
from aurora_actors.query.aggregate_result import ordered_groups
from aurora_actors.query.aggregate_segments import LEAST_SHARED
from aurora_actors.query.aggregate_states import Budget, NodesState, State
from aurora_actors.query.aggregate_terms import Terms
from aurora_actors.query.aggregate_ways import gathering_of
from aurora_actors.query.check import check_query
from aurora_actors.query.choose import Aids
from aurora_actors.query.describe import describe_predicate
from aurora_actors.query.execute import Execution, run_query
from aurora_actors.query.group_codec import GroupRow, encode_groups
from aurora_actors.query.plan import Plan, PlanStep, plan_query
from aurora_actors.query.predicate import Predicate, decode_predicate
from aurora_actors.query.projection import projection
from aurora_actors.query.scan import Finish, Pace
from aurora_actors.schema.types import CollectionDefinition
from aurora_actors.storage.reader import Snapshot

__all__ = ["Aggregation", "explain_aggregate", "run_aggregate", "run_count"]

_CHUNK_BYTES: Final = 256 << 10
_COUNT: Final = GroupSpec(aggregates=[AggregateSpec("n", AggregateFunction.COUNT)])


class Aggregation:
    """An aggregation under way; made by :func:`run_aggregate`.

    Attributes:
        count: The groups given so far.
        definition: What the query was checked against.
        terms: What is asked of the groups, checked against it.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        spec: QuerySpec,
        group: GroupSpec,
        aids: Aids,
        memory_limit: int,
        predicate: Predicate | None,
        checked: CollectionDefinition | None = None,
        terms: Terms | None = None,
    ) -> None:
        if predicate is None and spec.predicate:
            predicate = decode_predicate(spec.predicate)
        info = snapshot.collection(spec.collection)
        if spec.mode is not ResultMode.DOCUMENTS:
            spec = msgspec.structs.replace(spec, mode=ResultMode.DOCUMENTS)
        if checked is not info.definition:
            check_query(info.definition, spec, predicate)
            terms = None
        self.count = 0
        self.definition = info.definition
        self.terms = terms = terms or Terms(info.definition, group)
        self._snapshot = snapshot
        self._info = info
        self._spec = spec
        self._predicate = predicate
        self._groups = Groups(terms, Budget(memory_limit))
        self._gathering = gathering_of(
            Asked(snapshot, info, spec, predicate, terms, aids)
        )
        self._done: list[PlanStep] = []

    @property
    def plan(self) -> Plan:
        """How it is done; with real numbers for what has been done.

        The rows of a plan are groups.
        """
        gathering = self._gathering
        plan = plan_query(
            self._info.definition, self._spec, self._predicate, self._info.count
        )
        estimate = gathering.choice.estimate
        if estimate is None:
            estimate = plan.estimated_rows
        steps = [
            step
            if step.estimated_rows is not None
            else msgspec.structs.replace(step, estimated_rows=estimate)
            for step in gathering.steps
        ]
        return msgspec.structs.replace(
            plan,
            access=gathering.choice.kind,
            where="executor",
            index_field=gathering.choice.field,
            filter=describe_predicate(gathering.choice.residual),
            actual_rows=self.count,
            rows_read=gathering.rows_read,
            steps=[*steps, *self._done],
        )

    # -------------------------------------------------------------- by several
    def shares(self, helpers: int) -> list[AggregateSegments]:
        """What other processes are to do of a large aggregation; often nothing.

        Each share is to be answered by :meth:`take` before steps are taken.
        """
        return self._gathering.shares(helpers)

    def own_share(self) -> Generator[None]:
        """What is to be done here in the meantime, in steps."""
        return self._gathering.begin(self._groups)

    def take(self, number: int, reply: SegmentsAggregated) -> None:
        """Take in the answer to a share; with ``done=False`` it is done here."""
        self._gathering.take(self._groups, number, reply)

    # -------------------------------------------------------------- running
    def steps(self) -> Generator[list[bytes]]:
        """Run it; gives encoded groups, in result order, in lists of up to 256 KiB.

        After a few milliseconds without a full list it gives an empty one, to let the
        caller do other things.

        Raises:
            LimitExceededError: the groups need more memory than the query may use, or
                a result is larger than any Float.
            CorruptionError: a document cannot be decoded.
        """
        chunk: list[bytes] = []
        size = 0
        with closing(self.groups()) as parts:
            for rows in parts:
                encoded = encode_groups(rows)
                chunk += encoded
                size += sum(map(len, encoded))
                if size < _CHUNK_BYTES:
                    yield []
                    continue
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk

    def groups(self) -> Generator[list[GroupRow]]:
        """Run it; gives groups as values, and empty lists, like :meth:`steps`.

        Raises:
            LimitExceededError: see :meth:`steps`.
            CorruptionError: a document cannot be decoded.
        """
        with closing(self._gathering.into(self._groups)) as gathered:
            for _ in gathered:
                yield []
        started = perf_counter()
        chosen = ordered_groups(self.terms, self._groups)
        pace = Pace()
        finish = self._finish()
        for at in pace.parts(len(chosen)):
            pace.start()
            rows = [
                GroupRow(
                    keys,
                    results,
                    self._nodes(group.states, finish) if group is not None else (),
                )
                for keys, results, group in chosen[at]
            ]
            pace.stop(sum(len(node) for row in rows for node in row.nodes))
            self.count += len(rows)
            yield rows
        took = round((perf_counter() - started) * 1000, 3)
        self._done.append(PlanStep("groups", self.count, took))

    def _finish(self) -> Finish:
        fields = self._spec.fields
        return bytes if fields is None else projection(fields)

    def _nodes(self, states: list[State], finish: Finish) -> list[bytes]:
        if not self.terms.spec.nodes:
            return []
        nodes = states[1]
        assert isinstance(nodes, NodesState)  # noqa: S101 - see Terms.slots
        records = []
        for row in nodes.rows:
            record = self._snapshot.get_row(self._info, row)
            if record is not None:
                records.append(finish(record))
        return records


def run_aggregate(
    snapshot: Snapshot,
    spec: QuerySpec,
    group: GroupSpec,
    *,
    aids: Aids | None = None,
    memory_limit: int | None = None,
    predicate: Predicate | None = None,
    checked: CollectionDefinition | None = None,
    terms: Terms | None = None,
) -> Aggregation:
    """Check and plan an aggregation; nothing is read until its steps are taken.

    Args:
        snapshot: What is read; it has to stay open until the steps are closed.
        spec: The query for the documents. Its order matters to first, last and nodes,
            and with a limit or an offset chooses the documents.
        group: What is computed of them.
        aids: What helps; it makes no difference but in time.
        memory_limit: How many bytes groups may take; if not said, as ``aids`` say.
        predicate: What ``spec.predicate`` encodes, if the caller has it.
        checked: A definition for which the query is known to make sense.
        terms: What ``group`` asks, checked against that definition.

    Raises:
        CollectionNotFoundError: there is no such collection.
        InvalidFilterError: the query does not make sense for the collection.
    """
    aids = aids or Aids()
    limit = aids.memory_limit if memory_limit is None else memory_limit
    return Aggregation(snapshot, spec, group, aids, limit, predicate, checked, terms)


class CountAggregation(Aggregation):
    """The number of documents; gives no groups, but :attr:`count` is it at the end."""

    def steps(self) -> Generator[list[bytes]]:
        """Count."""
        total = 0
        with closing(self.groups()) as parts:
            for rows in parts:
                total += sum(cast("int", row.results[0]) for row in rows)
                yield []
        self.count = total


def run_count(
    snapshot: Snapshot,
    spec: QuerySpec,
    *,
    aids: Aids,
    predicate: Predicate | None = None,
    checked: CollectionDefinition | None = None,
) -> Execution | Aggregation:
    """A query that counts; where many documents are tested, as an aggregation.

    Takes what :func:`run_query` takes.

    Raises:
        CollectionNotFoundError: there is no such collection.
        InvalidFilterError: the query does not make sense for the collection.
    """
    count = snapshot.collection(spec.collection).count
    is_part = spec.limit is not None or spec.offset > 0
    if count < LEAST_SHARED or is_part or not spec.predicate:
        return run_query(
            snapshot, spec, aids=aids, predicate=predicate, checked=checked
        )
    limit = aids.memory_limit
    return CountAggregation(snapshot, spec, _COUNT, aids, limit, predicate, checked)


def explain_aggregate(
    snapshot: Snapshot, spec: QuerySpec, group: GroupSpec, *, aids: Aids | None = None
) -> Plan:
    """Run an aggregation to its end, throw the result away, and tell how it went.

    Raises:
        CollectionNotFoundError: there is no such collection.
        InvalidFilterError: the query does not make sense for the collection.
    """
    aggregation = run_aggregate(snapshot, spec, group, aids=aids)
    for _ in aggregation.groups():
        pass
    return aggregation.plan
