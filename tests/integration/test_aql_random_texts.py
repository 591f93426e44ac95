"""Texts cut and mixed at random, run for real: each ends in a result or a typed error.

No process may die of one, and none may hang: the timeout of a call is an error here.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from support import first_seed, no_process_left

from aurora_actors import InternalError, TimeoutError_, blocking
from aurora_actors.errors import DataError, UnavailableError, UsageError

pytestmark = pytest.mark.processes

FIXTURES = Path(__file__).parents[1] / "fixtures" / "aql"
EXAMPLES = [path.read_text("utf-8") for path in sorted(FIXTURES.rglob("*.aql"))]
LOOKUP = """{ users(where: {age: {gt: $x}} orderBy: username) { username
  o: lookup(collection: "orders", localField: "id", foreignField: "user_id" limit: 2) { amount
     u: lookup(collection: "users", localField: "user_id", foreignField: "id") { * } } } }"""
EXAMPLES.append(LOOKUP)
PIECES = [
    *'{}[]()"":,$@!=.*#', '"""', "...", " true ", " null ", "id", "users", "age", "-1",
    "99999999999999999999", "1e400", "9223372036854775807", "2000000000", "0", "1.5",
    " @include(if: $x)", "{and: [", "where: {age: {", "limit: ", "offset: ", "distinct: true",
    "orderBy: {age: DESC}", "first: 1", "last: 2", 'after: "u1"', "aggregate { count }",
    "groupBy(field: age) { key nodes { id } }", "$x", "name", "orders", "amount", "all: true",
]  # fmt: skip
KINDS = [
    ["username", "email", "name", "age", "active", "role", "country", "visits", "tags", "id"],
    ["user_id", "status", "amount", "id"],
    ["eq", "ne", "gt", "gte", "lt", "lte", "in", "isNull", "endsWith", "contains", "matches"],
    ["count", "sum", "avg", "min", "max", "stddev", "distinct"],
    ["ASC", "DESC", "ASC_NULLS_LAST", "DESC_NULLS_FIRST"],
    ["limit", "offset", "first", "last", "distinct"],
    ["0", "1", "2", "3", "10", "18", "20", "25", "-5", "9223372036854775807"],
    ["users", "orders", "readings", "none"],
    ["push", "increment", "unset", "addToSet"],
    ["true", "false", "null", '"admin"', '"pending"', '"2026-01-01T10:55:00Z"'],
]  # fmt: skip
SEED = (FIXTURES / "seed.aql").read_text("utf-8")


def exchanged(rng: random.Random, text: str) -> str:
    """One word of the text exchanged for another of its kind."""
    found = [
        (match.span(), kind)
        for match in re.finditer(r'"[^"]*"|-?\w+', text)
        for kind in KINDS
        if match.group() in kind
    ]
    if not found:
        return text
    (start, end), kind = rng.choice(found)
    return text[:start] + rng.choice(kind) + text[end:]


def mutated(rng: random.Random) -> str:
    """An example with parts cut out, doubled, moved, or replaced by words."""
    text = rng.choice(EXAMPLES)
    for _ in range(rng.randint(1, 3)):
        text = exchanged(rng, text)
    if rng.random() < 0.5:
        return text
    for _ in range(rng.randint(1, 3)):
        words = text.split(" ")
        at = rng.randrange(len(words))
        way = rng.randrange(5)
        if way == 0:
            del words[at]
        elif way == 1:
            words[at] = rng.choice(PIECES)
        elif way == 2:
            words.insert(at, rng.choice(PIECES))
        elif way == 3:
            other = rng.choice(EXAMPLES).split(" ")
            start = rng.randrange(len(other))
            words[at : at + 1] = other[start : start + rng.randint(1, 6)]
        else:
            words.insert(at, words[rng.randrange(len(words))])
        text = " ".join(words)
        if rng.random() < 0.2:
            start = rng.randrange(len(text) + 1)
            text = text[:start] + rng.choice(PIECES) + text[start + rng.randrange(3) :]
    return text


def run(path: Path, rounds: int, seed: int) -> None:
    rng = random.Random(seed)
    given = {"x": 1}
    answered = 0
    with blocking.open(path) as db:
        for number in range(rounds):
            if number % 50 == 0:
                for name in db.list_collections():
                    db.drop_collection(name)
                db.execute(SEED)
            text = mutated(rng)
            try:
                db.execute(text, given if "$x" in text else None)
            except (DataError, UsageError):
                pass
            except (InternalError, TimeoutError_, UnavailableError) as exc:
                raise AssertionError((seed, number, text)) from exc
            else:
                answered += 1
        restarts = {each.name: each.restarts for each in db.status().actors}
    assert not any(restarts.values()), restarts
    assert answered > rounds // 20
    no_process_left(path)


def test_random_texts_end_in_results_or_typed_errors(tmp_path):
    run(tmp_path / "db", 200, first_seed())


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_very_many_random_texts_end_in_results_or_typed_errors(tmp_path):
    run(tmp_path / "db", 20_000, random.randrange(2**32))
