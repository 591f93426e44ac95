"""The match index against trying every query on every document."""

from __future__ import annotations

from hypothesis import given, settings, strategies as st
from property.test_query_properties import bodies, ids, predicates, scalars

from aurora_actors.query.compile import Matcher, compile_predicate
from aurora_actors.query.predicate import Predicate
from aurora_actors.reactive.intervals import IntervalIndex
from aurora_actors.reactive.matching import MatchIndex
from aurora_actors.reactive.terms import Access, access_of
from aurora_actors.schema.values import decode_document, encode_document, sort_key
from examples import examples


class Filed:
    def __init__(self, predicate: Predicate) -> None:
        self.predicate = predicate
        self.access: Access = access_of(predicate)
        self.matches: Matcher = compile_predicate(predicate)

    def __repr__(self) -> str:
        return f"{self.predicate} by {self.access}"


@settings(max_examples=examples(400), deadline=None)
@given(
    st.lists(predicates, max_size=8),
    st.lists(st.tuples(bodies, ids), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)
def test_the_index_finds_exactly_the_queries_that_match(found, documents, random):
    queries = [Filed(predicate) for predicate in found]
    index: MatchIndex[Filed] = MatchIndex()
    for query in queries:
        index.add(query)
    gone = [query for query in queries if random.random() < 0.3]
    for query in gone:
        index.remove(query)
    left = [query for query in queries if query not in gone]
    for body, document_id in documents:
        fields = decode_document(encode_document(body))
        expected = {query for query in left if query.matches(fields, document_id)}
        assert set(index.matching(fields, document_id)) == expected
    for query in left:
        index.remove(query)
    assert not index
    assert not index._equal
    assert not index._elements
    assert not index._prefixes
    assert not index._ranges
    assert not index._rest


@settings(max_examples=200, deadline=None)
@given(
    st.lists(scalars, min_size=1, max_size=12),
    st.integers(0, 100),
    st.randoms(use_true_random=False),
)
def test_an_interval_index_gives_what_contains_the_value(values, many, random):
    # More intervals than hypothesis would care to draw: few are only looked through.
    index: IntervalIndex[int] = IntervalIndex()
    alive = {}
    for number in range(many):
        low, high = sorted(sort_key(random.choice(values)) for _ in range(2))
        index.add(low, high, number)
        alive[number] = (low, high)
        if len(alive) > 3 and random.random() < 0.4:
            gone = random.choice(sorted(alive))
            index.remove(*alive.pop(gone), gone)
    assert len(index) == len(alive)
    for value in values:
        key = sort_key(value)
        expected = {n for n, (low, high) in alive.items() if low <= key <= high}
        assert set(index.at(key)) == expected
