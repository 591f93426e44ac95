"""Executing AQL: texts go to an executor, results come back as values.

A text that reads is asked like a query, and asked again if its executor dies. A text
that writes keeps its number, by which storage knows it: it takes effect once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from aurora_actors.aql.execution.keys import decode_template
from aurora_actors.aql.execution.notes import Note, decode_note, decode_result
from aurora_actors.aql.execution.seeds import new_seed
from aurora_actors.aql.execution.shapes import shaper_of
from aurora_actors.aql.words import may_write
from aurora_actors.client.aql_document import ResultDocument
from aurora_actors.client.aql_migrating import (
    MigrationProgress,
    read_migration,
    run_migration,
)
from aurora_actors.client.aql_results import (
    BatchResult,
    ExecutionResult,
    MigrationResult,
    MutationResult,
    QueryResult,
    SchemaResult,
)
from aurora_actors.client.aql_stream import AqlStream
from aurora_actors.client.encoding import encode_variables
from aurora_actors.client.handle import Handle
from aurora_actors.client.paging import PageInfo
from aurora_actors.client.session import Session
from aurora_actors.client.watch import OnLag
from aurora_actors.errors import InternalError, ProtocolError, UsageError
from aurora_actors.messages.aql import AqlPart, AqlReply, ExecuteAql
from aurora_actors.query.plan import Plan, decode_plan
from aurora_actors.schema.record import unpack_record
from aurora_actors.schema.values import decode_document

__all__ = ["AqlHandle"]

_Single = QueryResult | MutationResult | SchemaResult | MigrationResult
_OVERHEAD: Final = 512
_BREATH: Final = 2_000
_LONGEST_KEPT: Final = 8 << 10


class AqlHandle(Handle):
    """The part of a database object that speaks AQL."""

    async def execute(
        self,
        text: str,
        variables: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
    ) -> ExecutionResult:
        """Run an AQL text.

        All root fields of a query see one state. Everything that stands between blocks
        of schema statements is one transaction, when there are mutations: it is run
        again on a conflict, and takes effect once even if processes die meanwhile.

        Args:
            text: The text.
            variables: The values of its variables, by name without the dollar sign.
            timeout: In seconds.

        Returns:
            The result of the one root field or statement; of several a
            :class:`BatchResult`.

        Raises:
            QuerySyntaxError: the text is no AQL; has ``line`` and ``column``.
            QueryValidationError: it does not fit the schema, or a variable does not.
            LimitExceededError: it is too large, or its result.
            ConflictError: what it reads or changes was changed again and again.
            DataError: a mutation was refused, and with it the whole text.
        """
        session = self._session or self._open()
        known = session.texts.get(text)
        if known is not None:
            if session.cancel_point is not None:
                await session.cancel_point()
            found = known.run(session.lookup, variables)
            if found is not None:
                return QueryResult(
                    collection=known.collection, documents=found, name=known.name
                )
        request = _request(session, text, variables, timeout)
        parts = await _ask(session, request, timeout)
        _learn(session, text, parts)
        return _one_or_all(await _results(session, parts))

    async def explain(
        self,
        text: str,
        variables: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
    ) -> Plan | list[Plan]:
        """Run the queries of a text and tell how: access, rows read, time of each step.

        Args:
            text: A text that only reads.
            variables: As for :meth:`execute`.
            timeout: In seconds.

        Returns:
            The plan of the one root field; of several a list.

        Raises:
            UsageError: the text writes.
            QuerySyntaxError: see :meth:`execute`.
            QueryValidationError: see :meth:`execute`.
        """
        session = self._open()
        request = _request(session, text, variables, timeout)
        if request.writes:
            raise UsageError("explain is for texts that only read")
        request = msgspec.structs.replace(request, explains=True)
        parts = await _ask(session, request, timeout)
        plans = [decode_plan(decode_note(part.note).explain) for part in parts]
        return plans[0] if len(plans) == 1 else plans

    async def migrate(
        self,
        source: str | os.PathLike[str],
        *,
        progress: MigrationProgress | None = None,
        timeout: float | None = None,
    ) -> MigrationResult:
        """Apply a ``migrate`` block: what is applied already is skipped.

        Each version is one transaction, recorded with it in ``_sys_migration``. A
        migration that was stopped, in whatever way, goes on when it is run again. Large
        collections are copied in bounded memory while they are read and written.

        Args:
            source: The path of a file, or the text itself.
            progress: Called with what is done, how much of it, and of how much.
            timeout: In seconds; by default it may take a day.

        Raises:
            UsageError: the file cannot be read, or is another text.
            QuerySyntaxError: see :meth:`execute`.
            QueryValidationError: the text does not fit the schema, or that of a version
                that is applied already has changed.
            DataError: documents cannot be brought to the new state.
        """
        text = read_migration(source)
        return await run_migration(self._open().shell, text, progress, timeout)

    def stream(
        self,
        text: str,
        variables: Mapping[str, object] | None = None,
        *,
        since: str | None = None,
        on_lag: OnLag = "coalesce",
    ) -> AqlStream:
        """The events of a subscription: ``async with db.stream(text) as events``.

        Gives a :class:`SubscriptionEvent` for each change of what matches, from the
        moment it is entered. A ``subscription @live`` gives what ``watch()`` gives: the
        present result as ``Added``, ``InitialComplete``, then its changes.

        Args:
            text: One subscription.
            variables: As for :meth:`execute`.
            since: A token of an earlier event: go on right behind it instead.
            on_lag: When this consumer is slower than the changes: ``"coalesce"`` tells
                it the difference, once for each document; ``"raise"`` gives
                ``LaggedError``.

        Raises:
            UsageError: on entering, when the text is no subscription.
            QuerySyntaxError: on entering, see :meth:`execute`.
            QueryValidationError: on entering, see :meth:`execute`.
        """
        return AqlStream(self._open, text, variables, since, on_lag)


def _request(
    session: Session,
    text: str,
    variables: Mapping[str, object] | None,
    timeout: float | None,
) -> ExecuteAql:
    if not isinstance(text, str):
        raise UsageError(f"a text is needed, not {type(text).__name__}")
    writes = may_write(text)
    seconds = session.config.request_timeout_s if timeout is None else timeout
    return ExecuteAql(
        text=text,
        variables=encode_variables(variables),
        seed=new_seed() if writes else b"",
        writes=writes,
        deadline_s=seconds,
    )


async def _ask(
    session: Session, request: ExecuteAql, timeout: float | None
) -> Sequence[AqlPart]:
    shell = session.shell
    if not request.writes:
        chunks = await shell.gather(request, timeout)
        return [AqlPart(c.note, c.records) for c in chunks if c.note or c.records]
    size = _OVERHEAD + len(request.text) + len(request.variables)
    reply = await shell.call(shell.pick_executor(), request, timeout, size)
    if not isinstance(reply, AqlReply):
        raise InternalError(f"a text was answered by {type(reply).__name__}")
    return reply.parts


def _learn(session: Session, text: str, parts: Sequence[AqlPart]) -> None:
    """Keep what the executor says about running the text here."""
    template = decode_note(parts[0].note).template if parts and parts[0].note else b""
    if template and len(text) <= _LONGEST_KEPT:
        session.texts.keep(text, decode_template(template))
    else:
        session.texts.forget(text)


# ------------------------------------------------------------------ results
def _one_or_all(results: list[_Single]) -> ExecutionResult:
    return results[0] if len(results) == 1 else BatchResult(results=results)


async def _results(session: Session, parts: Iterable[AqlPart]) -> list[_Single]:
    builders: list[_Builder] = []
    taken = 0
    for part in parts:
        if part.note:
            note = decode_note(part.note)
            if note.kind == "more" and builders:
                builders[-1].add(note)
            else:
                builders.append(_Builder(note))
        if part.records:
            if not builders:
                raise ProtocolError("rows came before what they belong to")
            builders[-1].take(part.records)
            taken += len(part.records)
            if taken > _BREATH:
                taken = 0
                await session.shell.breathe()
    return [builder.result() for builder in builders]


class _Builder:
    """Puts one result together."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self._documents: list[ResultDocument] = []
        self._plan: Plan | None = None
        self._shape = None if note.shape is None else shaper_of(note.shape)
        self.add(note)

    def add(self, note: Note) -> None:
        """Take what is said behind the rows."""
        if note.explain:
            self._plan = decode_plan(note.explain)

    def take(self, records: Sequence[bytes]) -> None:
        """Take rows."""
        shape, append = self._shape, self._documents.append
        for record in records:
            lsn, document_id, body = unpack_record(record)
            if shape is None:
                data = decode_result(body)
            else:
                data = shape(document_id, decode_document(body))
            append(ResultDocument(document_id, data, lsn))

    def result(self) -> _Single:
        """The finished result."""
        note = self._note
        match note.kind:
            case "mutation":
                return MutationResult(
                    operation=note.operation,
                    collection=note.collection,
                    affected_count=note.affected,
                    documents=self._documents,
                    name=note.name,
                )
            case "schema":
                return SchemaResult(
                    operation=note.operation,
                    collection=note.collection,
                    status=note.status,
                    name=note.name,
                )
            case "migration":
                return MigrationResult(
                    version=note.version,
                    steps_applied=note.steps,
                    status=note.status,
                )
            case _:
                return self._query()

    def _query(self) -> QueryResult:
        note = self._note
        extras = decode_result(note.extras) if note.extras else {}
        result = QueryResult(
            collection=note.collection,
            documents=self._documents,
            explain=self._plan,
            name=note.name,
            extras=extras,
            has_documents=note.form == "rows",
        )
        for name, kind in note.kinds.items():
            _place(result, kind, extras.get(name))
        if note.form == "edges":
            _paged(result, note, self._documents)
        elif note.form == "groups":
            result.groups = [each.data for each in self._documents]
            result.extras = {note.operation: result.groups}
        elif note.form == "extras" and result.aggregate is not None:
            result.documents = [ResultDocument("aggregate", extras)]
        return result


def _place(result: QueryResult, kind: str, value: object) -> None:
    """Give what was selected beside documents its own attribute, too."""
    if getattr(result, kind, None) is None:
        setattr(result, kind, value)


def _paged(result: QueryResult, note: Note, rows: list[ResultDocument]) -> None:
    """The rows of a page are its edges; its documents are their nodes."""
    info = note.page
    if info is not None:
        has_next, has_previous, start, end = info
        result.page_info = PageInfo(
            has_next_page=has_next,
            has_previous_page=has_previous,
            start_cursor=start,
            end_cursor=end,
        )
    if not note.edges:
        result.has_documents = True
        return
    names = list(note.edges)
    for name in names:
        result.extras[name] = [row.data[name] for row in rows]
    first = names[0]
    node = note.edges[first]
    result.edges = result.extras[first]
    result.documents = [
        ResultDocument(row.id, row.data[first][node], row.lsn) for row in rows if node
    ]
