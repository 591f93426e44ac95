"""What a text touches, told from the text alone."""

from __future__ import annotations

import pytest

from aurora_actors.aql.reach import Reach, reach_of
from aurora_actors.errors import QuerySyntaxError

LOOKED_UP = 'lookup(collection: "b", localField: "x", foreignField: "y") { id }'


def reach(reads: str = "", writes: str = "", **flags: bool) -> Reach:
    return Reach(
        reads=frozenset(reads.split()), writes=frozenset(writes.split()), **flags
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{ a { id } }", reach("a")),
        ("query { one: a { id } two: b { id } } { c }", reach("a b c")),
        ("subscription { a { id } }", reach("a")),
        ("{ a { id " + LOOKED_UP + " } }", reach("a b")),
        ("{ a { edges { node { deep: " + LOOKED_UP + " } } } }", reach("a b")),
        ("fragment F on a { " + LOOKED_UP + " } { a { ...F } }", reach("a b")),
        ("{ a { ... on a { " + LOOKED_UP + " } } }", reach("a b")),
        (
            (
                'mutation { insertInto(collection: "a", data: {}) { id } '
                "update(collection: b, all: true, data: {}) { id } }"
            ),
            reach(writes="a b"),
        ),
        (
            'mutation { insertInto(collection: """a""", data: {}) { '
            + LOOKED_UP
            + " } }",
            reach("b", "a"),
        ),
        (
            'mutation { deleteFrom(collection: "a", collection: "b", all: true) }',
            reach(writes="a b"),
        ),
        ('mutation { enqueueJob(jobType: "a") { id } }', reach(enqueues=True)),
        ("schema { drop collection a }", reach(defines=True)),
        ('migrate { "1": { drop collection a } }', reach(defines=True)),
        ("{ __schema { collections { name } } a }", reach("a", introspects=True)),
    ],
)
def test_a_text_tells_what_it_touches(text: str, found: Reach):
    assert reach_of(text) == found


def test_a_text_that_is_none_is_refused():
    with pytest.raises(QuerySyntaxError):
        reach_of("{ a(")
