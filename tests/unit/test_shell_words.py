"""Completion in the shell: what can stand at the cursor, and when a text is complete."""

from __future__ import annotations

import pytest

from aurora_actors.cli.shell_words import is_complete, suggest
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition as Field,
    FieldType as T,
)

KNOWN = {
    "users": CollectionDefinition(
        "users",
        {
            "name": Field(T.STRING),
            "age": Field(T.INT),
            "address": Field(T.object({"city": T.STRING})),
        },
    ),
    "orders": CollectionDefinition("orders", {"amount": Field(T.FLOAT)}),
}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("qu", ["query"]),
        ("{ u", ["users"]),
        ("query Q($n: Int) @explain { __", ["__schema"]),
        ("{ users { na", ["name"]),
        ("{ users(limit: 1) { name ag", ["age", "aggregate"]),
        ("{ a: users { addr", ["address"]),
        ("{ users { address { ", ["city"]),
        ("{ users { aggregate { a", ["avg"]),
        ('{ users { groupBy(field: "ag', ["age"]),
        ("{ users { edges { n", ["node"]),
        ("{ users { edges { node { na", ["name"]),
        ("{ users(wh", ["where"]),
        ("{ users(where: {n", ["name", "not"]),
        ("{ users(where: {age: {l", ["lt", "lte"]),
        ("{ users(where: {or: [{age: {gt: 1}} {na", ["name"]),
        ("{ users(where: {age: {gt: 1}}, orderBy: {a", ["age", "address"]),
        ("{ users(orderBy: {age: D", ["DESC", "DESC_NULLS_FIRST"]),
        ('{ users { # note {\n lookup(collection: "or', ["orders"]),
        (
            '{ users { lookup(collection: "orders", localField: "id") { am',
            ["amount"],
        ),
        ('{ users { lookup(collection: "orders", localField: "na', ["name"]),
        ('{ users { lookup(collection: "orders", foreignField: "am', ["amount"]),
        ("mutation { up", ["update", "upsert"]),
        ("mutation { insertInto(", ["collection", "data"]),
        ('mutation { insertInto(collection: "users", data: {ag', ["age"]),
        ('mutation { update(collection: "users", where: {name: {starts', ["startsWith"]),
        ("schema { al", ["alter collection"]),
        ("schema { alter collection us", ["users"]),
        ("schema { alter collection users { re", ["rename"]),
        ('{ users(where: {name: {eq: "a', []),
        ("{ } query { or", ["orders"]),
    ],
)  # fmt: skip
def test_words_that_can_stand_there_are_suggested(text, words):
    assert suggest(text, KNOWN).words == words


def test_quotes_are_given_where_none_stand():
    found = suggest("mutation { deleteFrom(collection: ", KNOWN)
    assert found == (['"users"', '"orders"'], 0)
    assert suggest('mutation { deleteFrom(collection: "us', KNOWN) == (["users"], 2)


def test_every_beginning_of_a_text_gets_an_answer():
    text = '{ users(where: {and: [{name: "a\\"b"}]}) { ...F } } ) ] } """x" $1 \x00é'
    for end in range(len(text) + 1):
        suggest(text[:end], KNOWN)
        is_complete(text[:end])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", False),
        ("# note", False),
        ("query", False),
        ("query {", False),
        ("query { users(where: {", False),
        ("{ users }", True),
        ("{ users } }", True),
        ('{ users(id: "}', False),
        ('{ users(id: """}', False),
        ("{ users # }", False),
        ("users", True),
    ],
)
def test_a_text_is_complete_when_its_brackets_are_closed(text, expected):
    assert is_complete(text) is expected
