"""What a remote client's letters need, and whether its token gives it.

Every letter is decoded here before an actor sees it. What is not listed is refused: the
requests that actors make of each other, and mailboxes that serve no applications.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from aurora_actors.aql.words import may_define, may_write
from aurora_actors.client.tokens import Grant, Role
from aurora_actors.errors import PermissionDeniedError, ProtocolError
from aurora_actors.messages.aql import ExecuteAql
from aurora_actors.messages.base import Message
from aurora_actors.messages.indexing import decode_indexing_request
from aurora_actors.messages.jobs import (
    AwaitJob,
    CancelJobs,
    EnqueueJobs,
    LimitQueue,
    PauseQueue,
    PurgeJobs,
    ReadJobStatistics,
    ResumeQueue,
    RetryJobs,
)
from aurora_actors.messages.pools import POOL
from aurora_actors.messages.query import (
    CancelQuery,
    ChangeDocuments,
    Explain,
    GrantCredit,
    RunQuery,
    decode_query_request,
)
from aurora_actors.messages.reactive import (
    Listen,
    Watch,
    decode_reactive_request,
)
from aurora_actors.messages.remote import (
    REMOTE_GATEWAY,
    BeginBackup,
    ChangeInTransaction,
    EndBackup,
    ReadBackup,
    ReadCatalog,
    ReadDocument,
    ReadTokens,
    RunInTransaction,
    decode_desk_request,
)
from aurora_actors.messages.schedules import SchedulePart
from aurora_actors.messages.storage import (
    Checkpoint,
    Commit,
    Compact,
    DefineCollection,
    DeleteDocument,
    DropCollection,
    InsertDocuments,
    ReadStatistics,
    RedefineCollection,
    ReplaceDocument,
    SyncLog,
    UpdateDocument,
    UpsertDocument,
    decode_storage_request,
)
from aurora_actors.messages.supervision import ReadStatus, ScaleGroup
from aurora_actors.schema.types import SYSTEM_PREFIX

__all__ = ["check_letter", "check_tree"]

_ADMINISTRATION: Final = (
    DefineCollection
    | DropCollection
    | RedefineCollection
    | CancelJobs
    | RetryJobs
    | PauseQueue
    | ResumeQueue
    | LimitQueue
    | PurgeJobs
    | SchedulePart
    | Checkpoint
    | Compact
)
_EXECUTOR: Final = "query_executor-"
_ESCAPED: Final = re.compile(r"\\u([0-9A-Fa-f]{4})")

_Need = tuple[Role, str | None]


def check_letter(grant: Grant, to: str, body: msgspec.Raw) -> Message:
    """The letter's message, if ``grant`` allows to send it to the mailbox ``to``.

    Raises:
        ProtocolError: it is no request that this mailbox takes of an application.
        PermissionDeniedError: a role is missing.
    """
    try:
        message, needs = _needs(to, body)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ProtocolError(
            f"{to[:60]} does not understand the request: {exc}"
        ) from exc
    for role, collection in needs:
        grant.need(role, collection)
    if isinstance(message, ExecuteAql):
        _check_text(grant, message)
    elif isinstance(message, Listen) and message.collection is None:
        # The changes of the database's own collections are among them.
        _check_everywhere(grant, Role.ADMIN)
    return message


def check_tree(grant: Grant, request: ReadStatus | ScaleGroup) -> None:
    """Let pass what the supervisor may be asked: the status, and how large a pool is.

    Raises:
        PermissionDeniedError: a role is missing, or something would be started.
    """
    if isinstance(request, ScaleGroup):
        grant.need(Role.ADMIN)
        if request.group is not None or not request.name.startswith(POOL):
            raise PermissionDeniedError(
                "worker pools are started on the database's own machine: "
                "what they import is there"
            )


def _needs(to: str, body: msgspec.Raw) -> tuple[Message, list[_Need]]:
    if to == "storage":
        request = decode_storage_request(body)
        return request, list(_of_storage(request))
    if to.startswith(_EXECUTOR):
        query = decode_query_request(body)
        return query, list(_of_query(query))
    if to == "reactive_dispatcher":
        live = decode_reactive_request(body)
        return live, list(_of_feed(live))
    if to == "index_builder":
        return decode_indexing_request(body), [(Role.READ, None)]
    if to == REMOTE_GATEWAY:
        asked = decode_desk_request(body)
        return asked, list(_of_desk(asked))
    raise ProtocolError(f"{to[:60]!r} serves no remote clients")


def _of_storage(request: Message) -> Iterator[_Need]:
    match request:
        case Commit(operations=operations, points=points, ranges=ranges):
            for part in operations:
                yield from _of_storage(part)
            names = {each.collection for each in points}
            names |= {each.collection for each in ranges}
            yield from ((Role.READ, name) for name in names)
            if request.client:
                raise ProtocolError("a client commits in its own name")
        case (
            InsertDocuments()
            | UpdateDocument()
            | ReplaceDocument()
            | UpsertDocument()
            | DeleteDocument()
        ):
            yield Role.WRITE, request.collection
        case EnqueueJobs() | AwaitJob():
            yield Role.WRITE, None
        case SyncLog() | ReadStatistics() | ReadJobStatistics():
            yield Role.READ, None
        case _ if isinstance(request, _ADMINISTRATION):
            yield Role.ADMIN, None
        case _:
            raise ProtocolError(f"{type(request).__name__} is not for remote clients")


def _of_query(request: Message) -> Iterator[_Need]:
    match request:
        case RunQuery(query=query) | Explain(query=query):
            yield Role.READ, query.collection
        case ChangeDocuments(query=query):
            yield Role.WRITE, query.collection
        case ExecuteAql() | GrantCredit() | CancelQuery() | ReadStatistics():
            yield Role.NONE, None
        case _:
            raise ProtocolError(f"{type(request).__name__} is not for remote clients")


def _of_feed(request: Message) -> Iterator[_Need]:
    match request:
        case Watch(query=query):
            yield Role.READ, query.collection
        case Listen(collection=collection):
            yield Role.READ, collection
        case ReadStatistics():
            yield Role.READ, None
        case _:
            yield Role.NONE, None


def _of_desk(request: Message) -> Iterator[_Need]:
    match request:
        case ReadDocument(collection=collection):
            yield Role.READ, collection
        case ReadCatalog(collection=collection):
            # All of them: the answer has those that may be read.
            yield (Role.READ, collection) if collection else (Role.NONE, None)
        case ReadTokens() | BeginBackup() | ReadBackup() | EndBackup():
            yield Role.ADMIN, None
        case ChangeInTransaction(part=part):
            yield from _of_storage(part)
        case RunInTransaction(query=query):
            yield from _of_query(query)
        case _:
            yield Role.NONE, None


def _check_text(grant: Grant, request: ExecuteAql) -> None:
    """A text may reach every collection, so it needs its role on all of them."""
    needed = Role.READ
    if may_write(request.text):
        needed = Role.ADMIN if may_define(request.text) else Role.WRITE
    _check_everywhere(grant, needed)
    if grant.role is not Role.ADMIN and _names_own(request):
        raise PermissionDeniedError(
            "the database's own collections are for the role admin",
            role=grant.role.name.lower(),
        )


def _check_everywhere(grant: Grant, role: Role) -> None:
    grant.need(role)
    for collection in grant.collections:
        grant.need(role, collection)


def _names_own(request: ExecuteAql) -> bool:
    """Whether the prefix of the database's own stands anywhere, escaped or not."""
    text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), request.text)
    return SYSTEM_PREFIX in text or SYSTEM_PREFIX.encode() in request.variables
