"""AQL through the whole tree: what ``execute`` and ``explain`` give."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import date

import msgspec
import pytest
import trio
from processes import kill_async
from support import no_process_left

from aurora_actors import (
    Added,
    Aurora,
    BatchResult,
    InitialComplete,
    MigrationResult,
    MutationResult,
    QueryResult,
    QuerySyntaxError,
    QueryValidationError,
    Removed,
    SchemaResult,
    SubscriptionEvent,
    UniqueViolationError,
    UsageError,
    ValidationError,
    blocking,
)

pytestmark = pytest.mark.processes

SCHEMA = """
schema {
  define collection users {
    username: String! @unique
    email: String @unique
    age: Int @indexed
    role: String
    active: Boolean
    visits: Int
    tags: [String]
    address: { city: String zip: String }
  }
  define collection orders @open { user: String @indexed }
}
"""
PEOPLE = """
mutation {
  insertMany(collection: "users", data: [
    {id: "a", username: "alice", email: "alice@example.com", age: 30, role: "admin", active: true,
     tags: ["x"], address: {city: "Bonn", zip: "53111"}}
    {id: "b", username: "bob", age: 20, role: "member", active: true}
    {id: "c", username: "carl", age: 40, role: "member", active: false}
  ])
  other: insertMany(collection: "orders", data: [
    {id: "1", user: "alice", amount: 5} {id: "2", user: "bob", amount: 7} {id: "3", user: "alice"}
  ])
}
"""


@pytest.fixture(scope="module")
def open_db(tmp_path_factory) -> Iterator[blocking.Aurora]:
    path = tmp_path_factory.mktemp("aql") / "db"
    with blocking.open(path) as db:
        yield db
    no_process_left(path)


@pytest.fixture
def db(open_db) -> blocking.Aurora:
    """The same database for each test, as it was."""
    for name in open_db.list_collections():
        open_db.drop_collection(name)
    open_db.execute(SCHEMA)
    open_db.execute(PEOPLE)
    return open_db


def rows(db, text, **variables):
    result = db.execute(text, variables)
    assert isinstance(result, QueryResult | MutationResult)
    return result.to_dicts()


# ------------------------------------------------------------------ queries
def test_filters_orders_aliases_nested_selections_and_variables(db):
    text = """
    query people($min: Int! = 18, $full: Boolean!) {
      users(where: {age: {gte: $min}}, orderBy: {age: DESC}, limit: 2) {
        id name: username ...Rest tags @include(if: $full)
        ... on users @skip(if: $full) { role }
      }
    }
    fragment Rest on users { address { town: city } }
    """
    assert rows(db, text, full=True) == [
        {"id": "c", "name": "carl", "address": None, "tags": None},
        {"id": "a", "name": "alice", "address": {"town": "Bonn"}, "tags": ["x"]},
    ]
    assert rows(db, text, full=False, min=35) == [
        {"id": "c", "name": "carl", "address": None, "role": "member"}
    ]


def test_a_document_of_a_result_has_what_was_selected_and_its_id(db):
    class Person(msgspec.Struct):
        id: str
        username: str

    result = db.execute('{ users(where: {username: "bob"}) { username } }')
    match result:
        case QueryResult(collection="users", documents=[bob]):
            assert bob.id == bob["id"] == "b"
            assert bob.data == bob.to_dict() == {"username": "bob"}
            assert bob.get("age") is None
            assert bob.to(Person) == Person("b", "bob")
        case _:
            raise AssertionError(result)
    assert result.to(Person) == [Person("b", "bob")]
    assert json.loads(result.to_json()) == {"users": [{"username": "bob"}]}
    whole = rows(db, '{ users(where: {username: "bob"}) }')
    assert whole == rows(db, '{ users(id: "b") { * } }')
    assert whole[0]["age"] == 20


def test_several_root_fields_are_a_batch_of_one_state(db):
    result = db.execute(
        "{ young: users(where: {age: {lt: 25}}) { id } orders { id } } { users { id } }"
    )
    assert isinstance(result, BatchResult)
    assert [each.name for each in result] == ["young", "orders", "users"]
    young = result["young"]
    assert isinstance(young, QueryResult)
    assert [each.id for each in young.documents] == ["b"]
    assert json.loads(result.to_json())["orders"] == [
        {"id": "1"}, {"id": "2"}, {"id": "3"},
    ]  # fmt: skip


def test_pages_follow_each_other_in_both_directions(db):
    text = """query ($after: String) { users(first: 2, after: $after, orderBy: {age: ASC}) {
        edges { cursor node { username } } pageInfo { hasNextPage endCursor } totalCount } }"""
    first = db.execute(text, {"after": None})
    assert isinstance(first, QueryResult)
    assert [each["username"] for each in first.documents] == ["bob", "alice"]
    assert first.page_info is not None
    assert first.page_info.has_next_page
    assert first.total_count == 3
    assert first.edges is not None
    assert first.edges[1]["cursor"] == first.page_info.end_cursor
    second = db.execute(text, {"after": first.page_info.end_cursor})
    assert isinstance(second, QueryResult)
    assert second.value["edges"][0]["node"] == {"username": "carl"}
    assert second.value["pageInfo"]["hasNextPage"] is False
    back = db.execute('{ users(last: 1, before: "a", orderBy: {age: ASC}) { id } }')
    assert isinstance(back, QueryResult)
    assert back.to_dicts() == [{"id": "b"}]
    assert back.page_info is not None
    assert not back.page_info.has_previous_page


def test_aggregates_and_groups(db):
    result = db.execute(
        """{ orders { totalCount aggregate { count sum(field: "amount") } } }"""
    )
    assert isinstance(result, QueryResult)
    assert result.aggregate == {"count": 3, "sum": 12}
    assert result.value == {"aggregate": result.aggregate, "totalCount": 3}
    result = db.execute(
        """{ users { groupBy(field: "role", having: {oldest: {gt: 1}}, orderBy: {count: DESC}) {
             key count aggregate { oldest: max(field: "age") } nodes(orderBy: "age") { username } } } }"""
    )
    assert isinstance(result, QueryResult)
    assert result.groups == [
        {
            "key": "member",
            "count": 2,
            "aggregate": {"oldest": 40},
            "nodes": [{"username": "bob"}, {"username": "carl"}],
        },
        {
            "key": "admin",
            "count": 1,
            "aggregate": {"oldest": 30},
            "nodes": [{"username": "alice"}],
        },
    ]


def test_distinct_results_and_introspection(db):
    assert rows(db, "{ users(distinct: true, orderBy: role) { role } }") == [
        {"role": "admin"}, {"role": "member"},
    ]  # fmt: skip
    assert rows(db, '{ users(distinct: "role", offset: 1) { id } }') == [{"id": "b"}]
    told = db.execute('{ __schema(name: "orders") { collections { name count open fields { name indexed } } } }')  # fmt: skip
    assert told.value["collections"] == [
        {
            "name": "orders",
            "count": 3,
            "open": True,
            "fields": [{"name": "user", "indexed": True}],
        }
    ]


def test_plans_are_told_with_and_without_results(db):
    text = 'query @explain { users(where: {username: "bob"}) { age } }'
    result = db.execute(text)
    assert isinstance(result, QueryResult)
    assert result.explain is not None
    assert result.explain.access == "unique_lookup"
    plan = db.explain('{ users(where: {username: "bob"}) { age } }')
    assert not isinstance(plan, list)
    assert (plan.access, plan.actual_rows) == ("unique_lookup", 1)
    plans = db.explain("{ users orders }")
    assert isinstance(plans, list)
    assert [each.collection for each in plans] == ["users", "orders"]
    with pytest.raises(UsageError, match="only read"):
        db.explain('mutation { deleteFrom(collection: "users", all: true) }')


def test_numbers_at_the_end_of_their_range_are_numbers(db):
    most = 2**63 - 1
    for order in ("username", "age", "id", "role"):
        text = f"{{ users(orderBy: {order}, limit: 20, offset: {most}) {{ id }} }}"
        assert rows(db, text) == []
        assert len(rows(db, f"{{ users(orderBy: {order}, limit: {most}, offset: 1) }}")) == 2  # fmt: skip


# ------------------------------------------------------------------ mutations
def test_all_mutations_of_a_text_see_each_other_and_happen_together(db):
    result = db.execute(
        """
        mutation {
          insertInto(collection: "users", data: {username: "dora", visits: 1}) { id username }
          update(collection: "users", where: {username: "dora"},
                 data: {visits: {increment: 2}, tags: {push: "new"}}) { visits tags }
          upsert(collection: "users", where: {username: "emil"}, data: {age: 9}) { username age }
          gone: deleteFrom(collection: "users", where: {age: {gte: 30}}) { username age }
        }
        { users(orderBy: username) { username } }
        """
    )
    assert isinstance(result, BatchResult)
    assert result.to_dict() | {"insertInto": []} == {
        "insertInto": [],
        "update": [{"visits": 3, "tags": ["new"]}],
        "upsert": [{"username": "emil", "age": 9}],
        "gone": [{"username": "alice", "age": 30}, {"username": "carl", "age": 40}],
        "users": [{"username": "bob"}, {"username": "dora"}, {"username": "emil"}],
    }
    gone = result["gone"]
    assert isinstance(gone, MutationResult)
    assert (gone.operation, gone.affected_count) == ("deleteFrom", 2)
    with pytest.raises(UniqueViolationError):
        db.execute(
            """mutation { update(collection: "users", all: true, data: {age: 1})
                          insertInto(collection: "users", data: {username: "bob"}) }"""
        )
    assert rows(db, '{ users(where: {username: "bob"}) { age } }') == [{"age": 20}]


def test_upsert_refuses_several_and_variables_bring_documents(db):
    with pytest.raises(UsageError, match="several"):
        db.execute('mutation { upsert(collection: "users", where: {role: "member"}, data: {age: 1}) }')  # fmt: skip
    result = db.execute(
        'mutation ($d: Object!) { insertInto(collection: "orders", data: $d) { id n } }',
        {"d": {"id": "9", "n": [1, {"deep": None}]}},
    )
    assert isinstance(result, MutationResult)
    assert result.to_dicts() == [{"id": "9", "n": [1, {"deep": None}]}]


async def test_concurrent_increments_are_all_counted(tmp_path):
    path = tmp_path / "db"
    text = 'mutation { update(collection: "n", where: {id: "x"}, data: {v: {increment: 1}}) { v } }'
    seen = []
    async with Aurora.open(path, query_executors=2) as db:
        await db.execute("schema { define collection n { v: Int } }")
        await db.insert_into("n", {"id": "x", "v": 0})

        async def count() -> None:
            for _ in range(15):
                result = await db.execute(text)
                assert isinstance(result, MutationResult)
                seen.append(result.documents[0]["v"])

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(count)
        assert sorted(seen) == list(range(1, 61))
    no_process_left(path)


async def test_a_mutation_takes_effect_once_when_its_executor_is_killed(tmp_path):
    path = tmp_path / "db"
    text = 'mutation { insertInto(collection: "n", data: {v: 1}) { id } }'
    ids = []
    async with Aurora.open(path, query_executors=1) as db:
        await db.execute("schema { define collection n { v: Int } }")

        async def insert() -> None:
            for _ in range(40):
                result = await db.execute(text, timeout=60)
                assert isinstance(result, MutationResult)
                ids.append(result.documents[0].id)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(insert)
            for wanted in (20, 60):
                with trio.fail_after(60):
                    while len(ids) < wanted:
                        await trio.sleep(0.002)
                await kill_async(db, "query_executor-0")
        assert len(set(ids)) == 120
        found = await db.execute("{ n { id } }")
        assert isinstance(found, QueryResult)
        assert {each.id for each in found.documents} == set(ids)
    no_process_left(path)


# ------------------------------------------------------------------ schema
def test_schema_statements_and_migrations(db):
    result = db.execute(
        """schema { alter collection users { add nick: String rename age to years }
                    drop collection none if exists define collection logs @open {} }"""
    )
    assert isinstance(result, BatchResult)
    assert [(each.operation, each.collection, each.status) for each in result
            if isinstance(each, SchemaResult)] == [
        ("alter", "users", "altered"),
        ("drop", "none", "unchanged"),
        ("define", "logs", "created"),
    ]  # fmt: skip
    text = 'migrate { "v9": { migrate data in users { set nick = username } } }'
    name = f'"v{os.urandom(4).hex()}"'
    done = db.execute(text.replace('"v9"', name))
    assert isinstance(done, MigrationResult)
    assert (done.status, done.steps_applied) == ("applied", 1)
    again = db.execute(text.replace('"v9"', name))
    assert isinstance(again, MigrationResult)
    assert (again.status, again.steps_applied) == ("skipped", 0)
    assert rows(db, '{ users(id: "a") { nick years } }') == [
        {"nick": "alice", "years": 30}
    ]
    with pytest.raises(UsageError, match="put it first"):
        db.execute(
            'mutation { insertInto(collection: "logs", data: {}) } '
            "schema { drop collection logs }"
        )


def test_a_collection_is_defined_with_indexes_on_several_fields(db):
    text = """schema { define collection visits if not exists
                    @index(fields: ["who", "at"]) @index(fields: at)
                    { who: String at: DateTime place: { city: String } } }"""
    statuses = [db.execute(text).status for _ in range(2)]
    assert statuses == ["created", "unchanged"]
    found = {each.fields for each in db.list_indexes("visits")}
    assert found == {("who", "at"), ("at",)}
    for wrong, match in (
        ('@index(fields: ["when"])', "when"),
        ("@index", "needs the argument fields"),
        ("@index(fields: [1])", "names of fields"),
        ("@indexx(fields: [who])", "index"),
        ('@index(fields: ["who", "who"])', "different"),
    ):
        with pytest.raises(QueryValidationError, match=match):
            db.execute(text.replace("@index(fields: at)", wrong))
    other = text.replace("@index(fields: at)", "@index(fields: [at, who])")
    assert db.execute(other).status == "unchanged"
    with pytest.raises(QueryValidationError, match="another definition"):
        db.execute(other.replace("if not exists", ""))


def test_a_text_may_define_what_it_then_fills(db):
    result = db.execute(
        """schema { define collection notes { text: String } }
           mutation { insertInto(collection: "notes", data: {text: "hi"}) { text } }
           { notes { text } }"""
    )
    assert result.to_dict()["notes"] == [{"text": "hi"}]


def test_new_documents_get_the_defaults_of_fields_they_lack(db):
    db.execute(
        """schema { define collection items {
             name: String! @unique  active: Boolean = true  tags: [String!]! = ["new"]
             at: Date = "2026-01-31"  kind: String } }"""
    )
    at = date(2026, 1, 31)
    first = rows(db, 'mutation { insertInto(collection: "items", data: {id: "1", name: "a"}) { active tags at kind } }')  # fmt: skip
    assert first == [{"active": True, "tags": ["new"], "at": at, "kind": None}]
    db.insert_into("items", {"id": "2", "name": "b", "active": None, "tags": []})
    assert db.get_document("items", "2").data == {
        "name": "b", "active": None, "tags": [], "at": at,
    }  # fmt: skip
    rows(db, 'mutation { upsert(collection: "items", where: {name: "c"}, data: {at: null}) { id } }')  # fmt: skip
    assert rows(db, '{ items(where: {name: "c"}) { active at tags } }') == [
        {"active": True, "at": None, "tags": ["new"]}
    ]
    db.update_document("items", "2", {"name": "bb"})
    with pytest.raises(ValidationError, match="tags"):
        db.insert_into("items", {"name": "d", "tags": None})
    db.execute('schema { alter collection items { add role: String! = "member" } }')
    db.execute("schema { alter collection items { add role: String } }")
    db.insert_into("items", {"name": "e"})
    assert rows(db, "{ items(orderBy: name) { role } }") == [{"role": "member"}] * 4
    with pytest.raises(QueryValidationError, match="use modify"):
        db.execute("schema { alter collection items { add role: Int } }")


# ------------------------------------------------------------------ refusals
@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("{ users( }", QuerySyntaxError, "line 1"),
        ("{ user }", QueryValidationError, "users"),
        ("{ users { agee } }", QueryValidationError, "age"),
        ("{ users(where: {age: $x}) }", QueryValidationError, "missing"),
        ('mutation { deleteFrom(collection: "users") }', QueryValidationError, "all"),
        ('{ users(first: 1, after: "nope") { id } }', UsageError, "no cursor"),
        ("{ users(first: 1, offset: 2) { id } }", UsageError, "offset"),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(db, text, error, match):
    with pytest.raises(error, match=match):
        db.execute(text)
    assert db.query("users").count() == 3


def test_look_ups_known_to_the_client_follow_data_and_schema(db):
    text = "query ($n: String!) { users(where: {username: {eq: $n}}) { id age } }"
    for _ in range(3):
        assert rows(db, text, n="bob") == [{"id": "b", "age": 20}]
        assert rows(db, text, n="nobody") == []
    db.execute('mutation { update(collection: "users", where: {id: "b"}, data: {age: 21}) }')  # fmt: skip
    assert rows(db, text, n="bob") == [{"id": "b", "age": 21}]
    with pytest.raises(QueryValidationError, match="String"):
        db.execute(text, {"n": 7})
    with pytest.raises(QueryValidationError, match="missing"):
        db.execute(text)
    with pytest.raises(QueryValidationError, match="none of this name"):
        db.execute(text, {"n": "bob", "m": 1})
    db.execute("schema { alter collection users { drop age } }")
    with pytest.raises(QueryValidationError, match="age"):
        db.execute(text, {"n": "bob"})
    db.drop_collection("users")
    with pytest.raises(QueryValidationError, match="users"):
        db.execute(text, {"n": "bob"})


# ------------------------------------------------------------------ subscriptions
def test_subscriptions_tell_changes_of_what_matches(db):
    text = """subscription ($user: String!) {
      orders(where: {user: {eq: $user}}) { id total: amount } }"""
    with db.stream(text, {"user": "bob"}) as events:
        db.execute('mutation { insertInto(collection: "orders", data: {id: "7", user: "bob", amount: 1}) }')  # fmt: skip
        db.execute('mutation { update(collection: "orders", where: {id: "7"}, data: {amount: 2}) }')  # fmt: skip
        db.execute('mutation { update(collection: "orders", where: {id: "7"}, data: {user: "x"}) }')  # fmt: skip
        found = [events.next(10) for _ in range(3)]
        token = found[0].token
    shown = [event.to_dict() for event in found if isinstance(event, SubscriptionEvent)]
    assert shown == [
        {"type": "INSERT", "id": "7", "data": {"id": "7", "total": 1}},
        {"type": "UPDATE", "id": "7", "data": {"id": "7", "total": 2}},
        {"type": "DELETE", "id": "7", "data": {"id": "7", "total": 2}},
    ]
    with db.stream(text, {"user": "bob"}, since=token) as events:
        again = events.next(10)
        assert isinstance(again, SubscriptionEvent)
        assert (again.type, again.data["total"]) == ("UPDATE", 2)


def test_a_live_subscription_begins_with_the_present_result(db):
    text = 'subscription @live { users(where: {role: "member"}, orderBy: {age: DESC}) { username } }'  # fmt: skip
    with db.stream(text) as updates:
        first, second, ready = (updates.next(10) for _ in range(3))
        assert isinstance(first, Added)
        assert first.document.data == {"username": "carl"}
        assert isinstance(second, Added)
        assert isinstance(ready, InitialComplete)
        db.execute('mutation { deleteFrom(collection: "users", where: {id: "b"}) }')
        gone = updates.next(10)
        assert isinstance(gone, Removed)
        assert gone.document.to_dict() == {"username": "bob"}


def test_what_is_no_subscription_is_not_streamed(db):
    with pytest.raises(UsageError, match="one subscription"), db.stream("{ users }"):
        pass
    with pytest.raises(UsageError, match="stream"):
        db.execute("subscription { users { id } }")
