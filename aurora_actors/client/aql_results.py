"""What ``db.execute`` gives: the result of a text, as the application sees it.

Public. Results are values; ``match`` takes them apart. Each has :meth:`to_dict` (or
:attr:`value`) for plain Python values and :meth:`to_json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec

from aurora_actors.client.aql_document import ResultDocument
from aurora_actors.client.paging import PageInfo
from aurora_actors.query.plan import Plan

__all__ = [
    "BatchResult",
    "ExecutionResult",
    "MigrationResult",
    "MutationResult",
    "QueryResult",
    "ResultDocument",
    "SchemaResult",
    "json_text",
]

M = TypeVar("M")

Value: TypeAlias = Any
"""Plain Python values; only the text can say which."""


class _Result(msgspec.Struct, kw_only=True):
    if TYPE_CHECKING:

        @property
        def value(self) -> Value:
            """The result in plain Python values, shaped as the text says."""

    def to_dict(self) -> dict[str, Value]:
        """The result under its name."""
        return {getattr(self, "name", ""): self.value}

    def to_json(self) -> str:
        """:meth:`to_dict` as JSON; moments in ISO 8601, bytes in base64."""
        return json_text(self.to_dict())


class QueryResult(_Result, kw_only=True):
    """The result of a root field of a query.

    Attributes:
        collection: Whose documents.
        documents: What was found: documents, the nodes of a page, or groups.
        page_info: For a page, where it lies.
        explain: For ``@explain``, how the query was answered.
        name: The name of the root field in the result.
        aggregate: What the first ``aggregate`` has computed.
        groups: The groups of the first ``groupBy``, as dicts.
        edges: The edges of the page, as dicts.
        total_count: How many documents match, page or not.
        extras: What was selected beside documents, by name.
    """

    collection: str
    documents: list[ResultDocument]
    page_info: PageInfo | None = None
    explain: Plan | None = None
    name: str = ""
    aggregate: dict[str, Value] | None = None
    groups: list[dict[str, Value]] | None = None
    edges: list[dict[str, Value]] | None = None
    total_count: int | None = None
    extras: dict[str, Value] = {}
    has_documents: bool = True

    @property
    def value(self) -> Value:
        """Dicts of the documents; with more beside them, a dict of it all."""
        rows = [document.to_dict() for document in self.documents]
        if not self.extras:
            return rows
        shown = dict(self.extras)
        if self.has_documents:
            shown["documents"] = rows
        return shown

    def to_dicts(self) -> list[dict[str, Value]]:
        """The documents as dicts."""
        return [document.to_dict() for document in self.documents]

    def to(self, model: type[M]) -> list[M]:
        """The documents as instances of ``model``.

        Raises:
            ValidationError: a field is missing or of another type; has ``path``.
        """
        return [document.to(model) for document in self.documents]

    def __iter__(self) -> Iterator[ResultDocument]:
        return iter(self.documents)

    def __len__(self) -> int:
        return len(self.documents)


class MutationResult(_Result, kw_only=True):
    """The result of a root field of a mutation.

    Attributes:
        operation: ``insertInto``, ``insertMany``, ``update``, ``upsert``,
            ``deleteFrom``, ``enqueueJob`` or ``enqueueJobs``.
        collection: Whose documents.
        affected_count: How many were inserted, changed or removed.
        documents: They, as selected; removed ones as they were. Without a selection
            they have their ids alone.
        name: The name of the root field in the result.
    """

    operation: str
    collection: str
    affected_count: int
    documents: list[ResultDocument]
    name: str = ""

    @property
    def value(self) -> Value:
        """Dicts of the documents."""
        return [document.to_dict() for document in self.documents]

    def to_dicts(self) -> list[dict[str, Value]]:
        """The documents as dicts."""
        return [document.to_dict() for document in self.documents]

    def to(self, model: type[M]) -> list[M]:
        """The documents as instances of ``model``."""
        return [document.to(model) for document in self.documents]


class SchemaResult(_Result, kw_only=True):
    """What a schema statement has done.

    Attributes:
        operation: ``define``, ``alter`` or ``drop``.
        collection: To which collection.
        status: ``created``, ``altered``, ``dropped`` or ``unchanged``.
    """

    operation: str
    collection: str
    status: str
    name: str = ""

    @property
    def value(self) -> Value:
        """The same as a dict."""
        return {
            "operation": self.operation,
            "collection": self.collection,
            "status": self.status,
        }


class MigrationResult(_Result, kw_only=True):
    """What a ``migrate`` block has done.

    Attributes:
        version: The last version it names.
        steps_applied: How many versions were applied now.
        status: ``applied``, or ``skipped`` when all had been applied before.
    """

    version: str
    steps_applied: int
    status: str
    name: str = "migrate"

    @property
    def value(self) -> Value:
        """The same as a dict."""
        return {
            "version": self.version,
            "steps_applied": self.steps_applied,
            "status": self.status,
        }


class BatchResult(_Result, kw_only=True):
    """The results of a text with several operations or root fields, in order."""

    results: list[QueryResult | MutationResult | SchemaResult | MigrationResult]

    def __iter__(
        self,
    ) -> Iterator[QueryResult | MutationResult | SchemaResult | MigrationResult]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(
        self, which: int | str
    ) -> QueryResult | MutationResult | SchemaResult | MigrationResult:
        """A result by its place or its name.

        Raises:
            IndexError: there is no such place.
            KeyError: there is no such name.
        """
        if isinstance(which, int):
            return self.results[which]
        for result in self.results:
            if result.name == which:
                return result
        raise KeyError(which)

    @property
    def value(self) -> Value:
        """The values of the results by name."""
        return {result.name: result.value for result in self.results}

    def to_dict(self) -> dict[str, Value]:
        """The values of the results by name."""
        return {result.name: result.value for result in self.results}


ExecutionResult: TypeAlias = (
    QueryResult | MutationResult | SchemaResult | MigrationResult | BatchResult
)
"""What ``db.execute`` gives."""


def json_text(value: Value) -> str:
    """Plain values as JSON; moments in ISO 8601, bytes in base64."""
    try:
        return msgspec.json.encode(value).decode()
    except OverflowError:
        # A sum may have more than 64 bits, which JSON does not mind.
        return json.dumps(value, default=msgspec.to_builtins, ensure_ascii=False)
