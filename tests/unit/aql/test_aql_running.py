"""From a checked text and its variables to arguments that can be run."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from aurora_actors.aql import tree
from aurora_actors.aql.aggregates import (
    AggregateTerm,
    GroupArguments,
    read_aggregate,
    read_group_arguments,
)
from aurora_actors.aql.binding import bind_operation, check_variables
from aurora_actors.aql.data_changes import DataChange, Reference, read_data_change
from aurora_actors.aql.mutations import Change, Enqueue, Insert, read_mutation
from aurora_actors.aql.ordering import OrderTerm
from aurora_actors.aql.queries import QueryArguments, read_query_arguments
from aurora_actors.aql.schema_ops import (
    FieldChange,
    SchemaChange,
    apply_change,
    read_statement,
)
from aurora_actors.aql.scope import Scope, Session
from aurora_actors.aql.selections import collect
from aurora_actors.errors import QueryValidationError
from aurora_actors.query.predicate import And, Compare
from aurora_actors.schema.patch import Increment, Push, Unset
from aurora_actors.schema.types import CollectionDefinition, FieldDefinition, FieldType
from aurora_actors.schema.values import encode_value


@pytest.fixture
def run(check, definitions):
    """The scope and the root field of the first operation of a text."""

    def bound(text, **given):
        checked = check(text)
        check_variables(checked, given)
        operation = checked.operations[0]
        scope = bind_operation(checked, operation, definitions, given)
        assert isinstance(operation.definition, tree.Operation)
        field = operation.definition.selection.items[0]
        assert isinstance(field, tree.Field)
        return scope, field

    return bound


@pytest.fixture
def query(run, definitions):
    def read(text, **given) -> QueryArguments:
        scope, field = run(text, **given)
        found = read_query_arguments(scope, field, definitions[field.name])
        scope.session.finish()
        return found

    return read


@pytest.fixture
def mutation(run):
    def read(text, **given):
        scope, field = run(text, **given)
        found = read_mutation(scope, field)
        scope.session.finish()
        return found

    return read


# ------------------------------------------------------------------ queries
def test_root_arguments_are_read_in_every_spelling(query):
    plain = query('{ users(where: {age: 1} orderBy: "age" limit: 2 offset: 3) }')
    other = query(
        "{ users(filter: {age: {eq: 1}} orderBy: {age: ASC} take: 2 skip: 3) }"
    )
    assert plain == other
    assert plain == QueryArguments(
        predicate=Compare("eq", "age", 1),
        order=(OrderTerm("age"),),
        limit=2,
        offset=3,
    )


def test_pages_ids_and_distinct_are_read(query):
    assert query(
        '{ users(first: 2 after: "c" id: "x" where: {age: 1} distinct: true) }'
    ) == (
        QueryArguments(
            predicate=And([Compare("eq", "id", "x"), Compare("eq", "age", 1)]),
            first=2,
            after="c",
            distinct=True,
        )
    )
    assert query('{ users(last: 2 before: null distinct: [age, "name"]) }') == (
        QueryArguments(last=2, distinct=("age", "name"))
    )


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("age", [OrderTerm("age")]),
        ('"address.city"', [OrderTerm("address.city")]),
        ("{age: DESC, name: asc}", [OrderTerm("age", False, False), OrderTerm("name")]),
        ('{field: "age", direction: DESC}', [OrderTerm("age", False, False)]),
        ('{field: age, direction: "ASC"}', [OrderTerm("age")]),
        ('{field: "age"}', [OrderTerm("age")]),
        (
            '["age", {name: ASC_NULLS_LAST}, {field: "email", direction: DESC_NULLS_FIRST}]',
            [
                OrderTerm("age"),
                OrderTerm("name", True, False),
                OrderTerm("email", False, True),
            ],
        ),
        ("[{age: ASC}, {age: DESC}]", [OrderTerm("age")]),
        ("[]", []),
        ("null", []),
    ],
)
def test_orderings_are_read_in_every_form(query, order, expected):
    assert list(query(f"{{ users(orderBy: {order}) }}").order) == expected


def test_a_collection_may_have_a_field_called_field(check):
    known = {"a": CollectionDefinition("a", {"field": FieldDefinition(FieldType.INT)})}
    check("{ a(orderBy: {field: DESC}) }", known)
    check('{ a(orderBy: {field: "field", direction: DESC}) }', known)


# ------------------------------------------------------------------ variables
def test_variables_give_arguments_their_values(query):
    text = """query($min: Int! = 18, $roles: [String], $dir: String, $n: Int) {
      users(where: {age: {gte: $min}, role: {in: $roles}}, orderBy: {age: $dir}, limit: $n)
    }"""
    found = query(text, roles=["a", None], dir="DESC", n=5)
    assert found.predicate == And(
        [Compare("gte", "age", 18), Compare("in", "role", ["a", None])]
    )
    assert found.order == (OrderTerm("age", False, False),)
    assert found.limit == 5
    assert query(text, roles=[], dir="ASC").limit is None


def test_undeclared_variables_take_the_type_of_their_place(query):
    at = datetime(2027, 1, 1, tzinfo=UTC)
    text = "{ users(where: {seen: {gt: $at}, score: $x, visits: $x}) }"
    for given in (at, "2027-01-01T00:00:00Z"):
        predicate = query(text, at=given, x=5).predicate
        assert isinstance(predicate, And)
        assert predicate.parts[0] == Compare("gt", "seen", at)


def test_objects_and_python_values_may_be_given(query, mutation):
    token = UUID(int=7)
    found = query("{ users(where: $f, orderBy: $o) }", f={"token": token}, o=["age"])
    assert found.predicate == Compare("eq", "token", token)
    assert found.order == (OrderTerm("age"),)
    inserted = mutation(
        "mutation { insertMany(collection: users, data: $docs) }",
        docs=[{"username": "a", "avatar": b"x"}, {"username": "b", "id": "b"}],
    )
    assert inserted == Insert(
        operation="insertMany",
        collection="users",
        documents=[(None, {"username": "a", "avatar": b"x"}), ("b", {"username": "b"})],
    )


@pytest.mark.parametrize(
    ("text", "given", "message"),
    [
        ("query($x: Int!) { users(limit: $x) }", {}, r"\$x of type Int! is missing"),
        ("{ users(limit: $x) }", {}, r"\$x of type Int is missing"),
        ("query($x: Int!) { users(limit: $x) }", {"x": None}, "must not be null"),
        ("query($x: Int) { users(limit: $x) }", {"x": "5"}, "expected Int, got String"),
        (
            "query($x: Int) { users(limit: $x) }",
            {"x": True},
            "expected Int, got Boolean",
        ),
        ("query($x: Int) { users(limit: $x) }", {"x": 2**63}, "64 bits"),
        ("query($x: Int) { users(limit: $x) }", {"x": -1}, "negative"),
        ("query($x: Float) { users(where: {score: $x}) }", {"x": float("nan")}, "nan"),
        ("{ users(where: {seen: $x}) }", {"x": "soon"}, "expected DateTime"),
        ("{ users(where: {name: $x}) }", {"x": object()}, "a object is no value"),
        ("{ users(where: {name: $x}) }", {"x": "\ud800"}, "surrogate"),
        ("{ users(where: {age: {in: $x}}) }", {"x": [1, "a"]}, "expected Int"),
        ("{ users(where: $x) }", {"x": {"agee": 1}}, 'did you mean "age"'),
        ("{ users(where: $x) }", {"x": {1: 1}}, "keys are text"),
        ("{ users(where: {extra: $x}) }", {"x": {"a": [[{"b": 2**64}]]}}, "64 bits"),
        (
            "query($min: Int = 1) { users(limit: $min) }",
            {"mim": 5},
            'did you mean "min"',
        ),
    ],
)
def test_variables_of_a_wrong_kind_are_refused(query, text, given, message):
    with pytest.raises(QueryValidationError, match=message):
        query(text, **given)


def test_a_given_value_that_is_its_own_part_is_refused(query):
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(QueryValidationError, match="levels deep"):
        query("{ users(where: {extra: $x}) }", x=loop)


# ------------------------------------------------------------------ selections
def test_fragments_and_directives_are_put_in_place(run):
    text = """query($yes: Boolean!, $no: Boolean!) {
      users { id ...F @include(if: $yes) ... @skip(if: $yes) { name } *
              email @skip(if: $no) nick @include(if: $no) }
    }
    fragment F on users { years: age ...G id }
    fragment G on users { address { city } }"""
    scope, field = run(text, yes=True, no=False)
    found = collect(scope, [field.selection])
    assert list(found.fields) == ["id", "years", "address", "email"]
    assert len(found.fields["id"]) == 2
    assert found.every


# ------------------------------------------------------------------ aggregates
def test_aggregates_and_groups_are_read(run, definitions):
    scope, field = run(
        """{ users { groupBy(field: "role", having: {count: {gt: 1}, a: {lt: 9.5}},
            orderBy: {a: DESC}, limit: 5, offset: 1) {
              key aggregate { a: avg(field: "age") count sum(field: "age") } } } }"""
    )
    group = field.selection.items[0]
    assert read_group_arguments(scope, group, definitions["users"]) == GroupArguments(
        fields=("role",),
        having=And([Compare("gt", "count", 1), Compare("lt", "a", 9.5)]),
        order=(OrderTerm("a", False, False),),
        limit=5,
        offset=1,
    )
    functions = group.selection.items[1].selection.items
    assert [
        read_aggregate(scope, each, definitions["users"]) for each in functions
    ] == [
        AggregateTerm("a", "avg", "age", FieldType.FLOAT),
        AggregateTerm("count", "count", None, FieldType.INT),
        AggregateTerm("sum", "sum", "age", FieldType.INT),
    ]


def test_intervals_are_seconds(run, definitions):
    scope, field = run('{ readings { groupBy(field: "at", interval: "15m") { key } } }')
    group = field.selection.items[0]
    found = read_group_arguments(scope, group, definitions["readings"])
    assert found == GroupArguments(fields=("at",), interval_s=900)


# ------------------------------------------------------------------ mutations
def test_documents_to_insert_have_typed_values(mutation):
    assert mutation(
        'mutation { insertInto(collection: "users", data: {id: "me", username: "a", '
        'seen: "2027-01-01T00:00:00Z", extra: {a: [1.5, null]}}) { id } }'
    ) == Insert(
        operation="insertInto",
        collection="users",
        documents=[
            (
                "me",
                {
                    "username": "a",
                    "seen": datetime(2027, 1, 1, tzinfo=UTC),
                    "extra": {"a": [1.5, None]},
                },
            )
        ],
    )


def test_changes_have_values_and_modifiers(mutation):
    assert mutation(
        'mutation { update(collection: "users", where: {age: 1}, set: {active: false, '
        "visits: {increment: 2}, tags: {push: $t}, nick: {unset: true}, name: null, "
        '"address.city": "x", extra: {increment: 1, push: 2}}) { id } }',
        t="vip",
    ) == Change(
        operation="update",
        collection="users",
        predicate=Compare("eq", "age", 1),
        changes={
            "active": False,
            "visits": Increment(2),
            "tags": Push("vip"),
            "nick": Unset(),
            "name": None,
            "address.city": "x",
            "extra": {"increment": 1, "push": 2},
        },
    )


def test_a_modifier_may_come_with_a_variable(mutation):
    found = mutation(
        'mutation { upsert(collection: "users", where: {}, data: $d) }',
        d={"visits": {"increment": 1}},
    )
    assert found.changes == {"visits": Increment(1)}


def test_a_null_filter_does_not_change_every_document(mutation):
    text = 'mutation($w: Object) { deleteFrom(collection: "users", where: $w) }'
    assert mutation(text, w={}).predicate is None
    for given in ({"w": None}, {}):
        with pytest.raises(QueryValidationError, match="where must not be null"):
            mutation(text, **given)


def test_all_may_be_a_variable_but_must_be_true(mutation):
    text = 'mutation { deleteFrom(collection: "users", all: $all) }'
    assert mutation(text, all=True).predicate is None
    with pytest.raises(QueryValidationError, match="would change every document"):
        mutation(text, all=False)


def test_jobs_are_read(mutation):
    assert mutation(
        'mutation { enqueueJob(jobType: "mail", payload: {to: "a"}, priority: HIGH, '
        'maxRetries: 3, runAt: "2027-01-01T00:00:00Z", uniqueKey: "k") { id } }'
    ) == Enqueue(
        operation="enqueueJob",
        job_type="mail",
        payloads=[{"to": "a"}],
        priority="HIGH",
        max_retries=3,
        run_at=datetime(2027, 1, 1, tzinfo=UTC),
        unique_key="k",
    )
    found = mutation(
        'mutation { enqueueJobs(jobType: "a", payloads: [{n: 1}, {n: 2}]) }'
    )
    assert found.payloads == [{"n": 1}, {"n": 2}]
    assert found.priority == "NORMAL"


# ------------------------------------------------------------------ schema
def statements(text, definitions):
    from aurora_actors.aql.parser import parse

    schema = parse(text).definitions[0]
    assert isinstance(schema, tree.Schema)
    scope = Scope(Session(text, definitions, {}, {}))
    changes = []
    for statement in schema.statements:
        change = read_statement(scope, statement)
        assert change is not None
        apply_change(scope, change)
        changes.append(change)
    scope.session.finish()
    return changes, scope.session.definitions


def test_a_definition_is_read_with_types_directives_and_defaults():
    text = """schema { define collection users if not exists {
      username: String! @unique  age: Int @indexed  active: Boolean = true
      tags: [String!] = ["new"]  address: { city: String! zip: ID }  any: Any @indexed
    } define collection users if not exists { other: Int } }"""
    (first, second), after = statements(text, {})
    definition = CollectionDefinition(
        "users",
        {
            "username": FieldDefinition(FieldType.STRING, unique=True, nullable=False),
            "age": FieldDefinition(FieldType.INT, indexed=True),
            "active": FieldDefinition(FieldType.BOOL, default=encode_value(True)),
            "tags": FieldDefinition(
                FieldType.array(FieldType.STRING), default=encode_value(["new"])
            ),
            "address": FieldDefinition(
                FieldType.object(
                    {
                        "city": FieldDefinition(FieldType.STRING, nullable=False),
                        "zip": FieldType.STRING,
                    }
                )
            ),
            "any": FieldDefinition(FieldType.ANY, indexed=True),
        },
    )
    assert first == SchemaChange(
        action="define",
        collection="users",
        before=None,
        after=definition,
    )
    assert second.action == "none"
    assert second.after == definition
    assert after == {"users": definition}


def test_alterations_follow_each_other():
    before = CollectionDefinition(
        "a", {"x": FieldDefinition(FieldType.INT, indexed=True)}, open=True
    )
    text = """schema { alter collection a {
      add y: String! = "new" @unique  rename x to z  modify z: Float  drop y
    } drop collection a }"""
    (altered, dropped), after = statements(text, {"a": before})
    y = FieldDefinition(
        FieldType.STRING, unique=True, nullable=False, default=encode_value("new")
    )
    assert altered.fields == (
        FieldChange(action="add", field="y", definition=y, default="new"),
        FieldChange(
            action="rename", field="x", new_name="z", definition=before.fields["x"]
        ),
        FieldChange(
            action="modify", field="z", definition=FieldDefinition(FieldType.FLOAT)
        ),
        FieldChange(action="drop", field="y"),
    )
    assert altered.before == before
    assert altered.after == CollectionDefinition(
        "a", {"z": FieldDefinition(FieldType.FLOAT)}, open=True
    )
    assert dropped == SchemaChange(
        action="drop", collection="a", before=altered.after, after=None
    )
    assert after == {}


def test_the_same_definition_again_changes_nothing():
    text = "schema { define collection a { b: Int } define collection a { b: Int } }"
    (first, second), _ = statements(text, {})
    assert (first.action, second.action) == ("define", "none")


def test_data_migrations_are_read(definitions):
    from aurora_actors.aql.parser import parse

    text = """migrate { 1: { migrate data in users {
      set role = "admin" where {email: {endsWith: "@x.io"}}
      set nick = username
      set score = age
      set "address.city" = null
    } } }"""
    migration = parse(text).definitions[0]
    assert isinstance(migration, tree.Migration)
    step = migration.versions[0].steps[0]
    assert isinstance(step, tree.MigrateData)
    scope = Scope(Session(text, definitions, {}, {}))
    found = [
        read_data_change(scope, each, definitions["users"]) for each in step.assignments
    ]
    scope.session.finish()
    assert found == [
        DataChange(
            collection="users",
            path="role",
            value="admin",
            predicate=Compare("ends_with", "email", "@x.io"),
        ),
        DataChange(
            collection="users", path="nick", value=Reference("username"), predicate=None
        ),
        DataChange(
            collection="users", path="score", value=Reference("age"), predicate=None
        ),
        DataChange(collection="users", path="address.city", value=None, predicate=None),
    ]
