"""What a remote client's letters need; nothing else passes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from aurora_actors.client.tokens import Grant, Role
from aurora_actors.errors import AuroraError, PermissionDeniedError, ProtocolError
from aurora_actors.messages.aql import ExecuteAql
from aurora_actors.messages.indexing import AwaitIndexed
from aurora_actors.messages.query import (
    ChangeDocuments,
    GrantCredit,
    QuerySpec,
    RunQuery,
)
from aurora_actors.messages.reactive import Listen, Watch
from aurora_actors.messages.remote import (
    BeginTransaction,
    ChangeInTransaction,
    ReadCatalog,
    ReadDocument,
    RunInTransaction,
)
from aurora_actors.messages.storage import (
    AwaitChanges,
    ChangeMatching,
    Checkpoint,
    Commit,
    DeleteDocument,
    DropCollection,
    ForgetClient,
    PointRead,
    RangeRead,
    SyncLog,
)
from aurora_actors.remote.rights import check_letter

DELETE = DeleteDocument(collection="a", id="x")
QUERY = QuerySpec(collection="a")
CHANGE = ChangeDocuments(query=QUERY, patch=None)


def raw(message):
    return msgspec.Raw(msgspec.msgpack.encode(message))


def commit(*operations, points=(), ranges=(), client=""):
    return Commit(
        snapshot_lsn=1,
        points=list(points),
        ranges=list(ranges),
        operations=list(operations),
        client=client,
    )


NEEDED = [
    ("storage", DELETE, Role.WRITE),
    ("storage", DropCollection(collection="a"), Role.ADMIN),
    ("storage", Checkpoint(), Role.ADMIN),
    ("storage", SyncLog(), Role.READ),
    ("storage", commit(DELETE), Role.WRITE),
    ("storage", commit(DELETE, DropCollection(collection="a")), Role.ADMIN),
    ("query_executor-0", RunQuery(query=QUERY), Role.READ),
    ("query_executor-0", CHANGE, Role.WRITE),
    ("query_executor-0", GrantCredit(query_id=1, chunks=1), Role.NONE),
    ("query_executor-0", ExecuteAql(text="query { a { x } }"), Role.READ),
    ("query_executor-0", ExecuteAql(text="mutation { x }"), Role.WRITE),
    ("query_executor-0", ExecuteAql(text="schema { drop collection a }"), Role.ADMIN),
    ("query_executor-0", ExecuteAql(text='migrate { "1": {} }'), Role.ADMIN),
    ("reactive_dispatcher", Watch(query=QUERY), Role.READ),
    ("reactive_dispatcher", Listen(collection="a"), Role.READ),
    ("reactive_dispatcher", Listen(), Role.ADMIN),
    ("index_builder", AwaitIndexed(), Role.READ),
    ("remote_gateway", ReadDocument(collection="a", id="x"), Role.READ),
    ("remote_gateway", BeginTransaction(), Role.NONE),
    ("remote_gateway", ReadCatalog(), Role.NONE),
    ("remote_gateway", ChangeInTransaction(transaction=1, part=DELETE), Role.WRITE),
    ("remote_gateway", RunInTransaction(transaction=1, query=CHANGE), Role.WRITE),
]


@pytest.mark.parametrize(("to", "message", "role"), NEEDED)
def test_a_letter_passes_with_its_role_and_not_with_less(to, message, role):
    for given_role in Role:
        grant = Grant("t", given_role)
        if given_role >= role:
            assert check_letter(grant, to, raw(message)) == message
        else:
            with pytest.raises(PermissionDeniedError):
                check_letter(grant, to, raw(message))


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("storage", ForgetClient(client="c-1")),
        ("storage", AwaitChanges(after_lsn=0)),
        ("storage", commit(DELETE, client="c-2")),
        (
            "storage",
            ChangeMatching(
                client="c-2",
                client_request_id=1,
                collection="a",
                rows=[],
                snapshot_lsn=1,
                predicate=b"",
                patch=None,
                exact=False,
            ),
        ),
        ("supervisor", SyncLog()),
        ("http_gateway", SyncLog()),
        ("c-0123456789abcdef", DELETE),
        ("../storage", DELETE),
    ],
)
def test_what_actors_say_to_each_other_is_refused(to, message):
    with pytest.raises(ProtocolError):
        check_letter(Grant("t", Role.ADMIN), to, raw(message))


def test_rules_of_single_collections_hold():
    grant = Grant("t", Role.READ, {"a": Role.WRITE, "b": Role.NONE})
    check_letter(grant, "storage", raw(DELETE))
    other = DeleteDocument(collection="c", id="x")
    for refused in (
        ("storage", other),
        ("storage", commit(DELETE, points=[PointRead("b", "x", 1)])),
        ("storage", commit(DELETE, ranges=[RangeRead("b", b"")])),
        ("remote_gateway", ReadDocument(collection="b", id="x")),
        ("remote_gateway", ReadDocument(collection="_sys_tokens", id="t")),
        ("query_executor-0", RunQuery(query=QuerySpec(collection="b"))),
        ("query_executor-0", ExecuteAql(text="query { a { x } }")),
    ):
        with pytest.raises(PermissionDeniedError):
            check_letter(grant, refused[0], raw(refused[1]))


@pytest.mark.parametrize(
    "request_",
    [
        ExecuteAql(text="query { _sys_tokens { hash } }"),
        ExecuteAql(text=r'query { a(x: "\u005fsys_tokens") { hash } }'),
        ExecuteAql(text="query { a }", variables=b"\xa5_sys_"),
    ],
)
def test_texts_do_not_reach_the_databases_own(request_):
    with pytest.raises(PermissionDeniedError):
        check_letter(Grant("t", Role.WRITE), "query_executor-0", raw(request_))
    check_letter(Grant("t", Role.ADMIN), "query_executor-0", raw(request_))


@settings(max_examples=100)
@given(
    st.sampled_from([to for to, *_ in NEEDED]),
    st.binary(max_size=60)
    | st.sampled_from([msgspec.msgpack.encode(m) for _, m, _ in NEEDED]).flatmap(
        lambda data: st.integers(0, len(data)).map(lambda end: data[:end] + b"\xc1")
    ),
)
def test_nonsense_is_refused_with_a_typed_error(to: str, body: bytes):
    with pytest.raises(AuroraError):
        check_letter(Grant("t", Role.READ), to, msgspec.Raw(body))
