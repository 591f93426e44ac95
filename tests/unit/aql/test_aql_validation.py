"""Validation: every kind of fault, told with its place and a hint, all at once."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from aurora_actors.aql.data_changes import version_checksum
from aurora_actors.aql.parser import parse
from aurora_actors.aql.tree import Migration
from aurora_actors.aql.validation import validate
from aurora_actors.errors import LimitExceededError, QueryValidationError
from aurora_actors.schema.types import CollectionDefinition, FieldDefinition, FieldType

FIXTURES = Path(__file__).parents[2] / "fixtures" / "aql"
BEFORE = {
    "seed": [],
    "schema": [
        CollectionDefinition("old", {"a": FieldDefinition(FieldType.INT)}),
    ],
    "migrations": [
        CollectionDefinition(
            "users",
            {
                name: FieldDefinition(FieldType.STRING)
                for name in ("username", "email", "nick")
            },
        ),
    ],
}


@pytest.mark.parametrize(
    "path", sorted(FIXTURES.rglob("*.aql")), ids=lambda p: f"{p.parent.name}-{p.stem}"
)
def test_every_example_is_valid(path, check, definitions):
    known = {each.name: each for each in BEFORE.get(path.stem, definitions.values())}
    assert check(path.read_text("utf-8"), known).operations


def problems(check, text, **options):
    with pytest.raises(QueryValidationError) as caught:
        check(text, **options)
    return caught.value


FAULTS = [
    # names
    ("{ usrs { id } }", 3, "usrs", 'no collection "usrs"; did you mean "users"'),
    ("{ users { emial } }", 11, "users.emial", 'did you mean "email"'),
    ("{ users(limt: 1) }", 9, "users", 'no argument "limt"; did you mean "limit"'),
    ("{ users(where: {agee: 1}) }", 17, "users.where.agee", 'did you mean "age"'),
    ('{ users(where: {"address.cty": "x"}) }', 17, "users.where.address.cty", '"city"'),
    ('{ users(where: {"tags.x": "x"}) }', 17, "users.where.tags.x", "do not enter arrays"),
    ('{ users(where: {"a..b": 1}) }', 17, "users.where.a..b", "no field path"),
    ("{ users(where: {age: {gtt: 1}}) }", 23, "users.where.age.gtt", "no operator"),
    ("{ users(orderBy: {nme: ASC}) }", 19, "users.orderBy.nme", 'did you mean "name"'),
    ("{ users(orderBy: {age: DOWN}) }", 24, "users.orderBy.age", "no direction"),
    ("{ users { ...F } }", 11, "users", 'no fragment "F"'),
    ("{ users { ... on usrs { id } } }", 11, "users", 'did you mean "users"'),
    ("fragment F on usrs { id } { users }", 1, "F", 'no collection "usrs"'),
    ("query @explian { users }", 7, "", 'did you mean "explain"'),
    ("subscription @explain { users }", 14, "", "no directive @explain"),
    ("{ users @explain { id } }", 9, "users", "it can have @include, @skip"),
    ("{ users { id @incude(if: true) } }", 14, "users", 'did you mean "include"'),
    ("{ users { id @include } }", 14, "users", "needs the argument if"),
    ("{ users { id @skip(if: 1) } }", 24, "users.@skip.if", "expected Boolean"),
    ("{ users { id @skip(if: true) @skip(if: true) } }", 30, "users", "stands twice"),
    ("mutation { insrtInto }", 12, "insrtInto", 'did you mean "insertInto"'),
    # fragments
    ("fragment F on users { id } fragment F on users { id } { users { ...F } }", 28, "",
     'another fragment "F" at line 1, column 1'),
    ("query A { users } query A { users }", 19, "", 'another operation "A"'),
    ("fragment F on orders { id } { users { ...F } }", 39, "users", "does not fit users"),
    ("{ users { ... on orders { id } } }", 11, "users", "does not fit users"),
    ("fragment F on users { id } { users { address { ...F } } }", 48, "users.address",
     "no named fragment fits here"),
    ("fragment F on users { totalCount } { users { edges { node { ...F } } } }", 61,
     "users.edges.node", "more than the fields of one document"),
    ("fragment F on users { ...F } { users { ...F } }", 23, "F", "F → F"),
    ("fragment F on users { id }", 1, "", "only fragments"),
    ("{ ...F }", 3, "", "cannot stand at the root"),
    # response names
    ("{ users { a: name a: email } }", 19, "users.a", "another alias"),
    ("{ users { address { city } address { city: zip } } }", 38, "users.address.city",
     '"city" means "zip" here'),
    ("{ users users }", 9, "users", "two root fields"),
    ('{ users { aggregate { a: sum(field: "age") a: sum(field: "visits") } } }', 44,
     "users.aggregate.a", "other arguments"),
    # selections
    ("{ users { name { x } } }", 16, "users.name", "no fields to select from"),
    ("{ users { name(x: 1) } }", 16, "users.name", "it takes none"),
    ("{ users { edges } }", 11, "users.edges", "needs a selection"),
    ("{ users { edges { nodes } } }", 19, "users.edges.nodes", 'did you mean "node"'),
    ("{ users { pageInfo { * } } }", 22, "users.pageInfo", "no fields for *"),
    ("{ users { name edges { cursor } } }", 11, "users", "cannot stand beside edges"),
    ('{ users { groupBy(field: "role") { key } edges { cursor } } }', 11, "users",
     "cannot stand beside edges"),
    ("subscription { users { aggregate { count } } }", 24, "users.aggregate",
     "directly below a query's root"),
    ("subscription { users orders }", 22, "", "one root field"),
    ("subscription { users(limit: 1) }", 22, "users", 'no argument "limit"'),
    # operators and values
    ('{ users(where: {age: {startsWith: "a"}}) }', 23, "users.where.age.startsWith",
     "no operator startsWith"),
    ("{ users(where: {tags: {gt: 1}}) }", 24, "users.where.tags.gt", "no operator gt"),
    ('{ users(where: {age: {eq: "x"}}) }', 27, "users.where.age.eq",
     'expected Int, got String "x"'),
    ("{ users(where: {age: 1.5}) }", 22, "users.where.age", "expected Int, got Float"),
    ("{ users(where: {role: admin}) }", 23, "users.where.role", 'write "admin"'),
    ("{ users(where: {age: {in: 1}}) }", 27, "users.where.age.in", "expected a list"),
    ("{ users(where: {age: {between: [1]}}) }", 32, "users.where.age.between", "two ends"),
    ("{ users(where: {age: {isNull: 1}}) }", 31, "users.where.age.isNull", "Boolean"),
    ('{ users(where: {name: {matches: "(a"}}) }', 33, "users.where.name.matches", "RE2"),
    ("{ users(where: {tags: {size: {gt: 1.5}}}) }", 35, "users.where.tags.size.gt", "Int"),
    ("{ users(where: {tags: {size: {foo: 1}}}) }", 31, "users.where.tags.size.foo",
     "no operator"),
    ("{ users(where: 5) }", 16, "users.where", "a filter is an object"),
    ("{ users(where: {not: [5]}) }", 22, "users.where.not", "a filter is an object"),
    ("{ users(where: {age: 1 age: 2}) }", 24, "users.where", "stands twice"),
    ('{ users(where: {"address": {city: {eq: "x"}}}) }', 29, "users.where.address.city",
     'write "address.city"'),
    ('{ users(where: {seen: {gt: "2027-01-01"}}) }', 28, "users.where.seen.gt", "DateTime"),
    ('{ users(where: {born: {gt: "2027-02-30"}}) }', 28, "users.where.born.gt", "Date"),
    ('{ users(where: {token: "x"}) }', 24, "users.where.token", "Uuid"),
    # arguments
    ("{ users(limit: -1) }", 16, "users.limit", "negative"),
    ("{ users(first: 1 last: 2) }", 18, "users", "exclude each other"),
    ("{ users(limit: 1 take: 2) }", 18, "users", "twice (as limit)"),
    ("{ users(where: {}, filter: {}) }", 20, "users", "twice (as where)"),
    ("{ users(id: 3) }", 13, "users.id", "expected String"),
    ('{ users(distinct: "nme") }', 19, "users.distinct", 'did you mean "name"'),
    ('{ users { aggregate { avg(field: "name") } } }', 27, "users.aggregate.avg", "no avg"),
    ("{ users { aggregate { sum } } }", 23, "users.aggregate.sum", "needs the argument"),
    ("{ users { groupBy { key } } }", 11, "users.groupBy", "either field or fields"),
    ('{ users { groupBy(field: "role", having: {cnt: 1}) { key } } }', 43,
     "users.groupBy.having.cnt", 'did you mean "count"'),
    ('{ readings { groupBy(field: "at", interval: "1y") { key } } }', 45,
     "readings.groupBy.interval", "no interval"),
    ('{ readings { groupBy(field: "value", interval: "1h") { key } } }', 38,
     "readings.groupBy.interval", "DateTime and Date"),
    ('{ __schema(name: "nope") { collections { name } } }', 18, "__schema", "no collection"),
    ("{ __schema { collections { nme } } }", 28, "__schema.collections.nme", '"name"'),
    # mutations
    ('mutation { insertInto(collection: "users", data: {}) }', 50, "insertInto.data",
     'needs the field "username"'),
    ('mutation { insertInto(collection: "users", data: {username: null}) }', 61,
     "insertInto.data.username", "must not be null"),
    ('mutation { insertInto(collection: "users", data: {username: "a" agee: 1}) }', 65,
     "insertInto.data.agee", 'did you mean "age"'),
    ('mutation { insertInto(collection: "users", data: {username: "a" tags: ["b" 1]}) }',
     76, "insertInto.data.tags[1]", "expected String"),
    (('mutation { insertInto(collection: "users", data: {username: "a" address: {cty: "b"}}'
     ") }"), 75, "insertInto.data.address.cty", 'did you mean "city"'),
    ('mutation { insertInto(collection: "users", data: {username: "a" id: ""}) }', 65,
     "insertInto.data.id", "id"),
    ('mutation { insertMany(collection: "users", data: {}) }', 50, "insertMany.data",
     "list of documents"),
    ("mutation { insertInto(collection: $c, data: {}) }", 35, "insertInto.collection",
     "cannot be a variable"),
    ('mutation { update(collection: "users", data: {}) }', 12, "update", "all: true"),
    ('mutation { deleteFrom(collection: "users", all: false) }', 12, "deleteFrom",
     "all: true"),
    ('mutation { deleteFrom(collection: "users", all: true, where: {}) }', 44, "deleteFrom",
     "exclude each other"),
    ('mutation { update(collection: "users", where: null, data: {}) }', 47, "update.where",
     "must not be null"),
    ('mutation { upsert(collection: "users", data: {}) }', 12, "upsert", "argument where"),
    ('mutation { update(collection: "users", where: {}, data: {age: {increment: "x"}}) }',
     75, "update.data.age.increment", "expected Int"),
    ('mutation { update(collection: "users", where: {}, data: {name: {push: "x"}}) }', 65,
     "update.data.name.push", "no modifier"),
    ('mutation { update(collection: "users", where: {}, data: {username: {unset: true}}) }',
     69, "update.data.username.unset", "not unset"),
    ('mutation { update(collection: "users", where: {}, data: {id: "x"}) }', 58,
     "update.data.id", "cannot be changed"),
    (('mutation { update(collection: "users", where: {}, data: {address: {}, "address.city":'
     ' "x"}) }'), 57, "update.data", "change the same field"),
    ('mutation { enqueueJob(jobType: "a", priority: URGENT) }', 47, "enqueueJob.priority",
     "no priority"),
    ('mutation { enqueueJob(jobType: "a", runAt: "soon") }', 44, "enqueueJob.runAt",
     "DateTime"),
    # variables
    ("query($x: Int) { users }", 7, "$x", "declared but not used"),
    ("query($x: Itn) { users(limit: $x) }", 11, "$x", 'did you mean "Int"'),
    ("query($x: Int $x: Int) { users(limit: $x) }", 15, "$x", "declared twice"),
    ('query($x: Int = "a") { users(limit: $x) }', 17, "$x", "expected Int"),
    ("query($x: Int = $y) { users(limit: $x) }", 17, "$x", "has no value"),
    ("query($x: String) { users(limit: $x) }", 34, "users.limit", "of type String, where Int"),
    ("{ users(limit: $x where: {name: $x}) }", 33, "users.where.name", "use two variables"),
    ("schema { define collection a { b: Int = $x } }", 41, "a.b", "have no variables"),
    # schema
    ("schema { define collection users { a: Int } }", 10, "users", "another definition"),
    ("schema { define collection a {} }", 10, "a", "has no fields"),
    ("schema { define collection a { b: Itn } }", 35, "a.b", 'did you mean "Int"'),
    ("schema { define collection a { b: Int b: Int } }", 39, "a.b", "stands twice"),
    ("schema { define collection a { b: Int @uniqe } }", 39, "a.b", 'did you mean "unique"'),
    ("schema { define collection a { b: [Int] @unique } }", 10, "a", "cannot be unique"),
    ("schema { define collection a { id: Int } }", 10, "a", "document's own id"),
    ("schema { define collection _sys_a { b: Int } }", 10, "_sys_a", "kept for the database"),
    ("schema { define collection a @opn { b: Int } }", 30, "a", 'did you mean "open"'),
    ("schema { define collection a { b: Int! = null } }", 42, "a.b", "must not be null"),
    ('schema { define collection a { b: Int = "x" } }', 41, "a.b", "expected Int"),
    ("schema { drop collection usrs }", 10, "usrs", 'did you mean "users"'),
    ("schema { alter collection users { add age: String } }", 39, "users.age", "use modify"),
    ("schema { alter collection users { add x: Int! } }", 39, "users.x", "give it a default"),
    ("schema { alter collection users { drop agee } }", 35, "users.agee", '"age"'),
    ("schema { alter collection users { rename age to name } }", 35, "users.age", "already"),
    ("schema { alter collection users { modify agee: Int } }", 42, "users.agee", '"age"'),
    ('migrate { "1": { migrate data in users { set agee = 1 } } }', 42, '"1".users.agee',
     'did you mean "age"'),
    ('migrate { "1": { migrate data in users { set age = name } } }', 52, '"1".users.age',
     "cannot take a String"),
    ('migrate { "1": { migrate data in users { set age = "x" } } }', 52, '"1".users.age',
     "expected Int"),
    ('migrate { "1": {} "1": {} }', 19, '"1"', "stands twice"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "column", "path", "message"), FAULTS)
def test_a_fault_is_told_with_its_place(check, text, column, path, message):
    error = problems(check, text)
    told = error.context["problems"]
    place = f"line 1, column {column}{f' ({path})' if path else ''}: "
    assert any(line.startswith(place) and message in line for line in told), told


def test_all_faults_are_told_at_once_in_the_order_of_the_text(check):
    error = problems(
        check, "{\n  users(limt: 1) {\n    emial\n    agee\n  }\n  ordrs { id }\n}"
    )
    assert [line.split(" (")[0] for line in error.context["problems"]] == [
        "line 2, column 9",
        "line 3, column 5",
        "line 4, column 5",
        "line 6, column 3",
    ]
    assert error.context["line"] == 2
    assert error.context["column"] == 9
    assert error.context["path"] == "users"
    assert error.context["hint"] == 'did you mean "limit"?'
    assert error.context["caret"] == "2 |   users(limt: 1) {\n  |         ^"


def test_equal_faults_at_two_places_are_both_told(check):
    error = problems(check, "{ a: users { x } b: orders { x } c: users { x } }")
    assert len(error.context["problems"]) == 3


def test_long_lists_of_faults_are_cut(check):
    error = problems(
        check, "{ users { " + " ".join(f"x{n}" for n in range(900)) + " } }"
    )
    assert len(error.context["problems"]) == 51
    assert error.context["problems"][-1] == "and 850 more"


@pytest.mark.parametrize(
    "text",
    [
        "{ users }",
        "{ users { * } }",
        "{ users { id *, extra { anything { at all } } address { * } } }",
        "{ events { what { ever } } }",
        '{ events(where: {"a.b": {contains: 1}, x: {size: 3}}, orderBy: "y") }',
        "{ users { name name address { city } address { zip } } }",
        "{ users { aggregate { count } totalCount edges { node } pageInfo { endCursor } } }",
        "{ users { name aggregate { count } } }",
        ("fragment F on users { ...G } fragment G on users { id } "
        "{ users { ...F ...G ... on users @skip(if: $s) { ...F } ... { name } } }"),
        'query($a: Int!, $b: [String] = ["x"]) { users(where: {age: $a, role: {in: $b}}) }',
        "query($f: Object) { users(where: $f, orderBy: $o, limit: $n) }",
        'query($d: String) { users(where: {seen: {gt: $d}}) }',
        'mutation { insertInto(collection: users, data: $d) { * } }',
        ('mutation { a: deleteFrom(collection: "users", all: true) '
        'b: deleteFrom(collection: "orders", where: {}) { id } }'),
        ('mutation { update(collection: "users", where: {}, data: {score: {increment: 1}, '
        'address: {city: "x"}, visits: {decrement: 2}, tags: {addToSet: "x"}, '
        '"extra.n": {increment: 1.5}, nick: {unset: true}, name: null}) }'),
        'subscription @live { users(orderBy: age, take: 3) { id } }',
        ('schema { define collection a { b: Int } } { a { b } } '
        'schema { alter collection a { rename b to c } } { a { c } }'),
        'schema { drop collection orders if exists drop collection orders if exists }',
        '{ orders(distinct: status) { status } }',
        '{ orders(distinct: ["status"], orderBy: {field: amount, direction: "desc"}) }',
    ],
)  # fmt: skip
def test_sound_texts_pass(check, text):
    check(text)


def test_declared_fields_win_over_special_names(check):
    known = {"a": CollectionDefinition("a", {"edges": FieldDefinition(FieldType.INT)})}
    check("{ a { edges totalCount: id } }", known)
    assert (
        "no fields" in problems(check, "{ a { edges { node } } }", known=known).message
    )


def test_a_recorded_version_is_skipped_unless_its_text_has_changed(check):
    text = 'migrate { "1": { alter collection users { add age: String } } }'
    assert "use modify" in problems(check, text).message
    migration = parse(text).definitions[0]
    assert isinstance(migration, Migration)
    checksum = version_checksum(migration.versions[0])
    check(text.replace(" ", "\n") + "# laid out differently", recorded={"1": checksum})
    error = problems(check, text, recorded={"1": "0" * 32})
    assert "applied with another text" in error.message


# ------------------------------------------------------------------ bombs
def chain(count: int, body: str) -> str:
    parts = [f"fragment F{n} on users {{ {body.format(n + 1)} }}" for n in range(count)]
    return " ".join(
        [*parts, f"fragment F{count} on users {{ id }} {{ users {{ ...F0 }} }}"]
    )


HARD = r"(\\pL|\\pN){90}"
BOMBS = {
    "spreads doubled": chain(800, "...F{0} ...F{0}"),
    "spreads in inline fragments": chain(500, "... {{ ...F{0} }} ... {{ ...F{0} }}"),
    "a long chain": chain(1_200, "...F{0}"),
    "through groups": chain(
        150,
        'a: groupBy(field: "role") {{ nodes {{ ...F{0} }} }} '
        'b: groupBy(field: "role") {{ nodes {{ ...F{0} }} }}',
    ),
    "a wide cycle": " ".join(
        f"fragment F{n} on users {{ {' '.join(f'...F{m}' for m in range(60))} }}"
        for n in range(60)
    )
    + " { users { ...F0 } }",
    "many roots and a chain": chain(700, "...F{0}")
    + " {"
    + " ".join(f"r{n}: users {{ ...F0 }}" for n in range(500))
    + "}",
    "many faults": "{ users { " + " ".join(f"emai{n}" for n in range(9_000)) + " } }",
    "many values": "{ users(where: {age: {in: [" + "1 " * 9_900 + "]}}) { id } }",
    "one name, many times": "{ users { " + "id " * 9_900 + "} }",
    "many aliases of one name": "{ users { " + "a: id a: name " * 1_600 + "} }",
    "many patterns": "{ users(where: {or: ["
    + " ".join(f'{{name: {{matches: "{n}{HARD}"}}}}' for n in range(900))
    + "]}) }",
    "variables in fragments": "fragment F on users {"
    + " ".join(f"f{n}: id @skip(if: $v{n})" for n in range(500))
    + "} "
    + " ".join("{ users { ...F } }" for n in range(400)),
    "many variables": "{ users(where: {and: ["
    + " ".join(f"{{age: $v{n}}}" for n in range(1_200))
    + "]}) }",
}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", BOMBS)
def test_texts_that_multiply_take_bounded_time(name, definitions):
    document = parse(BOMBS[name])
    with suppress(QueryValidationError, LimitExceededError):
        validate(document, definitions, text=BOMBS[name])


def test_many_selections_through_fragments_are_a_limit(definitions):
    with pytest.raises(LimitExceededError, match="its fragments put in place"):
        validate(parse(BOMBS["many roots and a chain"]), definitions)


def test_a_variable_deep_in_a_default_is_refused(check):
    text = 'schema { define collection fresh { tags: [String] = [$tag, "b"] } }'
    assert "schemas and migrations have no variables" in str(problems(check, text))
