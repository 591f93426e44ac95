"""A bound text as data: what is to be run, root field by root field.

Made by ``execution.compiling``, run by ``execution.running``. Frozen, and shared by all
runs of a text that has no variables.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from aurora_actors.aql import tree
from aurora_actors.aql.aggregates import AggregateTerm
from aurora_actors.aql.execution.selecting import Selected
from aurora_actors.aql.execution.shapes import Shape
from aurora_actors.aql.mutations import Mutation
from aurora_actors.aql.schema_ops import SchemaChange
from aurora_actors.messages.query import GroupSpec, QuerySpec
from aurora_actors.query.predicate import Predicate

__all__ = [
    "AggregateWish",
    "DocumentQuery",
    "EdgeWish",
    "GroupWish",
    "Introspection",
    "MutationRoot",
    "Page",
    "Program",
    "Root",
    "StatementRoot",
]


class AggregateWish(msgspec.Struct, frozen=True):
    """One ``aggregate { … }``: its name and what it has."""

    name: str
    terms: tuple[AggregateTerm, ...]


class GroupWish(msgspec.Struct, frozen=True, kw_only=True):
    """One ``groupBy``.

    Attributes:
        name: Its name in the result.
        spec: What is to be computed.
        query: The documents of the groups.
        parts: Each part of a group by its name, with what it is.
        keys: What groups are made by.
        aggregates: For each ``aggregate`` part, names with places in the results.
        key_shapes: For each ``keys`` part, names with the fields they show.
        nodes: What is seen of a group's documents.
        nodes_offset: How many of them to leave out.
        nodes_whole: No limit was said: more than can be given is an error.
    """

    name: str
    query: QuerySpec
    spec: GroupSpec
    parts: tuple[tuple[str, str], ...]
    keys: tuple[str, ...]
    key_shapes: dict[str, tuple[tuple[str, str], ...]] = {}
    aggregates: dict[str, tuple[tuple[str, int], ...]] = {}
    nodes: dict[str, Selected] = {}
    nodes_offset: int = 0
    nodes_whole: bool = False


class EdgeWish(msgspec.Struct, frozen=True):
    """One ``edges { … }``: its parts by name, and what is seen of nodes."""

    name: str
    cursors: tuple[str, ...]
    nodes: tuple[tuple[str, Selected], ...]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """The page a root field asks for."""

    first: int | None = None
    after: str | None = None
    last: int | None = None
    before: str | None = None


class DocumentQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A root field of a query.

    Attributes:
        name: Its name in the result.
        spec: The query.
        predicate: What ``spec.predicate`` encodes.
        selected: What is wanted of documents; ``None`` when they are not.
        page: Only a page of them is wanted.
        edges: What is wanted of edges.
        page_info: Names with what they are of ``pageInfo``, by response name.
        totals: The names of ``totalCount``.
        aggregates: What is to be computed of all.
        groups: What is to be computed of groups.
        distinct: Leave out repeated results, by these fields or all that is seen.
        explains: Tell how it is answered, too.
        subscribes: For a subscription ``events``, or ``live`` for one that begins with
            the present result.
    """

    name: str
    spec: QuerySpec
    predicate: Predicate | None
    selected: Selected | None
    page: Page | None = None
    edges: tuple[EdgeWish, ...] = ()
    page_info: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    totals: tuple[str, ...] = ()
    aggregates: tuple[AggregateWish, ...] = ()
    groups: tuple[GroupWish, ...] = ()
    distinct: bool | tuple[str, ...] = False
    explains: bool = False
    subscribes: Literal["", "events", "live"] = ""


class Introspection(msgspec.Struct, frozen=True, kw_only=True):
    """``__schema``: of one collection or all, and what is seen of it."""

    name: str
    collection: str | None
    shape: Shape


class MutationRoot(msgspec.Struct, frozen=True, kw_only=True):
    """A root field of a mutation; ``selected`` is wanted of what it changes."""

    name: str
    mutation: Mutation
    selected: Selected


class StatementRoot(msgspec.Struct, frozen=True):
    """A ``schema`` or ``migrate`` block, and what its statements change."""

    block: tree.Schema | tree.Migration
    changes: tuple[SchemaChange, ...] = ()


Root: TypeAlias = DocumentQuery | Introspection | MutationRoot | StatementRoot


class Program(msgspec.Struct, frozen=True):
    """All that a text does, in its order.

    Attributes:
        text: The text, for errors.
        roots: What it does.
        template: How a client answers it, see ``execution.templates``.
    """

    text: str
    roots: tuple[Root, ...]
    template: bytes = b""

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return any(
            isinstance(root, MutationRoot | StatementRoot) for root in self.roots
        )
