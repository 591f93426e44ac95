"""Look-ups: documents of another collection beside each document."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from support import no_process_left

from aurora_actors import (
    LimitExceededError,
    MutationResult,
    Plan,
    QueryResult,
    QueryValidationError,
    UsageError,
    blocking,
)

pytestmark = pytest.mark.processes

SCHEMA = """
schema {
  define collection users { name: String! @unique  team: Int @indexed  likes: [Int] }
  define collection orders { user: String @indexed  amount: Int  items: [Int]  more: Any }
  define collection items @open { code: Int @indexed }
}
"""


@pytest.fixture(scope="module")
def db(tmp_path_factory) -> Iterator[blocking.Aurora]:
    path = tmp_path_factory.mktemp("lookups") / "db"
    with blocking.open(path) as db:
        db.execute(SCHEMA)
        db.insert_many(
            "users",
            [
                {"id": "a", "name": "alice", "team": 1, "likes": [3, 1]},
                {"id": "b", "name": "bob", "team": 1},
                {"id": "c", "name": "carl", "likes": []},
            ],
        )
        db.insert_many(
            "orders",
            [
                {"id": "1", "user": "a", "amount": 5, "items": [1, 2], "more": True},
                {"id": "2", "user": "b", "amount": 7, "items": [2, 9], "more": 1},
                {"id": "3", "user": "a", "amount": 9, "more": {"a": [1]}},
                {"id": "4", "amount": 1, "items": []},
                {"id": "5", "user": "nobody", "amount": 2},
            ],
        )
        db.insert_many(
            "items", [{"id": f"i{n}", "code": n, "lookup": n * 10} for n in range(1, 4)]
        )
        yield db
    no_process_left(path)


def found(db, text, **variables):
    result = db.execute(text, variables)
    assert isinstance(result, QueryResult | MutationResult)
    return result.to_dicts()


def test_each_document_gets_what_belongs_to_it(db):
    assert found(
        db,
        """{ users(orderBy: name) { name
             orders: lookup(collection: "orders", localField: "id", foreignField: "user",
                            orderBy: {amount: DESC}) { amount } } }""",
    ) == [
        {"name": "alice", "orders": [{"amount": 9}, {"amount": 5}]},
        {"name": "bob", "orders": [{"amount": 7}]},
        {"name": "carl", "orders": []},
    ]


def test_filters_windows_and_variables_are_of_each_document(db):
    text = """query ($least: Int!, $n: Int) { users(orderBy: name) {
        orders: lookup(collection: orders, localField: id, foreignField: user, limit: $n,
                       where: {amount: {gte: $least}}, orderBy: {amount: ASC}) { amount } } }"""
    assert found(db, text, least=5, n=1) == [
        {"orders": [{"amount": 5}]}, {"orders": [{"amount": 7}]}, {"orders": []},
    ]  # fmt: skip
    assert found(db, text.replace("limit:", "offset: 1, limit:"), least=0, n=5) == [
        {"orders": [{"amount": 9}]}, {"orders": []}, {"orders": []},
    ]  # fmt: skip


def test_look_ups_nest_and_stand_in_fragments(db):
    text = """
    fragment Buyer on orders {
      buyer: lookup(collection: "users", localField: "user", foreignField: "id") {
        name
        mates: lookup(collection: "users", localField: "team", foreignField: "team",
                      where: {name: {ne: "carl"}}, orderBy: name) { name }
      }
    }
    { orders(where: {amount: {gt: 5}}, orderBy: amount) { ...Buyer amount } }"""
    mates = [{"name": "alice"}, {"name": "bob"}]
    assert found(db, text) == [
        {"buyer": [{"name": "bob", "mates": mates}], "amount": 7},
        {"buyer": [{"name": "alice", "mates": mates}], "amount": 9},
    ]


def test_arrays_stand_for_their_elements_on_either_side(db):
    there = """{ orders(orderBy: id) { id items
        parts: lookup(collection: "items", localField: "items", foreignField: "code",
                      orderBy: {code: DESC}) { code } } }"""
    assert {each["id"]: each["parts"] for each in found(db, there)} == {
        "1": [{"code": 2}, {"code": 1}], "2": [{"code": 2}], "3": [], "4": [], "5": [],
    }  # fmt: skip
    back = """{ items(orderBy: code) { code
        in: lookup(collection: "orders", localField: "code", foreignField: "items",
                   orderBy: id) { id } } }"""
    assert found(db, back) == [
        {"code": 1, "in": [{"id": "1"}]},
        {"code": 2, "in": [{"id": "1"}, {"id": "2"}]},
        {"code": 3, "in": []},
    ]
    both = """{ users(orderBy: name) { in: lookup(collection: "orders", localField: "likes",
                                                  foreignField: "items") { id } } }"""
    assert found(db, both) == [{"in": [{"id": "1"}]}, {"in": []}, {"in": []}]


def test_values_of_other_kinds_are_equal_to_nothing(db):
    text = """{ orders(orderBy: id) { lookup(collection: "items", localField: "more",
                                             foreignField: "code") { code } } }"""
    assert [each["lookup"] for each in found(db, text)] == [
        [], [{"code": 1}], [], [], [],
    ]  # fmt: skip


def test_pages_groups_everything_and_mutations_have_look_ups(db):
    ask = 'o: lookup(collection: "orders", localField: "id", foreignField: "user", orderBy: id)'
    page = db.execute(
        """{ users(first: 1, orderBy: name) { edges { node { name %s { id } } }
             pageInfo { hasNextPage } } }""".replace("%s", ask)
    )
    assert page.edges[0]["node"] == {"name": "alice", "o": [{"id": "1"}, {"id": "3"}]}
    assert page.page_info.has_next_page
    plain = db.execute(
        "{ users(first: 1, orderBy: name) { name %s { id } } }".replace("%s", ask)
    )
    assert plain.to_dicts() == [{"name": "alice", "o": [{"id": "1"}, {"id": "3"}]}]
    groups = db.execute(
        '{ users { groupBy(field: "team") { key nodes(orderBy: name) { name %s { id } } } } }'.replace(
            "%s", ask
        )
    )
    assert [each["nodes"] for each in groups.groups] == [
        [{"name": "carl", "o": []}],
        [
            {"name": "alice", "o": [{"id": "1"}, {"id": "3"}]},
            {"name": "bob", "o": [{"id": "2"}]},
        ],
    ]
    (whole,) = found(db, '{ users(id: "b") { * %s } }'.replace("%s", ask))
    assert whole["o"] == [{"id": "2", "user": "b", "amount": 7, "items": [2, 9], "more": 1}]  # fmt: skip
    assert (whole["id"], whole["name"], whole["team"]) == ("b", "bob", 1)
    done = db.execute(
        """mutation {
             insertInto(collection: "orders", data: {id: "9", user: "c"}) { id
               by: lookup(collection: "users", localField: "user", foreignField: "id") { name } }
             deleteFrom(collection: "orders", where: {id: "9"}) {
               by: lookup(collection: "users", localField: "user", foreignField: "id") { name } }
           }"""
    )
    assert done["insertInto"].to_dicts() == [{"id": "9", "by": [{"name": "carl"}]}]
    assert done["deleteFrom"].to_dicts() == [{"by": [{"name": "carl"}]}]


def test_a_field_of_this_name_stays_a_field(db):
    assert found(db, "{ items(orderBy: code, limit: 1) { lookup } }") == [
        {"lookup": 10}
    ]


def test_plans_tell_how_the_others_are_found(db):
    text = """query { orders { lookup(collection: "users", localField: "user",
                                      foreignField: "id") { name } } }"""
    plan = db.explain(text)
    assert isinstance(plan, Plan)
    assert any("by primary_key" in step.name for step in plan.steps)
    result = db.execute(text.replace("query", "query @explain"))
    assert any(step.name.startswith("lookup orders.lookup") for step in result.explain.steps)  # fmt: skip


@pytest.mark.parametrize(
    ("ask", "match"),
    [
        ('collection: "user", localField: "id", foreignField: "name"', "users"),
        ('collection: "users", localField: "idd", foreignField: "name"', "idd"),
        ('collection: "users", localField: "id", foreignField: "nme"', "name"),
        ('collection: "users", localField: "id", foreignField: "team"', "never equal"),
        ('collection: "users", localField: "id"', "foreignField"),
        ('collection: $c, localField: "id", foreignField: "id"', "variable"),
        ('collection: "users", localField: "id", foreignField: "id", wher: {}', "where"),
        ('collection: "users", localField: "id", foreignField: "id", limit: -1', "limit"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(db, ask, match):
    with pytest.raises(QueryValidationError, match=match):
        db.execute("{ users { lookup(%s) { id } } }".replace("%s", ask))


def test_subscriptions_have_no_look_ups(db):
    text = """subscription { orders { lookup(collection: "users", localField: "user",
                                             foreignField: "id") { id } } }"""
    with pytest.raises((QueryValidationError, UsageError), match="lookup"):
        db.stream(text).__enter__()


def test_many_documents_are_looked_up_together_like_one_by_one(db):
    rng = random.Random(5)
    db.execute(
        """schema { define collection many { at: Int  to: [Int] }
                    define collection ends { code: Int @indexed  rank: Int } }"""
    )
    ends = [{"id": f"{n:04}", "code": rng.randrange(900), "rank": rng.randrange(9)} for n in range(1500)]  # fmt: skip
    many = [{"id": f"{n:04}", "at": rng.randrange(1000), "to": rng.sample(range(1000), rng.randrange(4))} for n in range(2500)]  # fmt: skip
    db.insert_many("ends", ends)
    db.insert_many("many", many)
    text = """{ many(orderBy: id) { id at to
        one: lookup(collection: "ends", localField: "at", foreignField: "code", orderBy: id) { id }
        all: lookup(collection: "ends", localField: "to", foreignField: "code",
                    where: {rank: {lt: 7}}, orderBy: {rank: DESC, id: ASC}, limit: 2) { id } } }"""
    rows = found(db, text)
    assert len(rows) == len(many)
    ranked = sorted(ends, key=lambda end: (-end["rank"], end["id"]))
    for row in rows:
        assert row["one"] == [{"id": e["id"]} for e in ends if e["code"] == row["at"]]
        assert (
            row["all"]
            == [
                {"id": e["id"]}
                for e in ranked
                if e["code"] in row["to"] and e["rank"] < 7
            ][:2]
        )


def test_look_ups_that_multiply_each_other_are_refused(db):
    db.execute("schema { define collection twins { one: Int @indexed } }")
    db.insert_many("twins", [{"one": 1} for _ in range(300)])
    ask = 'lookup(collection: "twins", localField: "one", foreignField: "one")'
    text = "{ twins { %s { %s { %s { id } } } } }".replace("%s", ask)
    with pytest.raises(LimitExceededError, match="limit"):
        db.execute(text)
    assert len(found(db, "{ twins { %s { id } } }".replace("%s", ask))) == 300
