"""AQL under random input: trees survive printing, and every text ends in an answer.

Trees come from the grammar, texts from the examples, cut and mixed at random. An
answer is a tree, a checked text or one of three typed errors; nothing else may happen,
and nothing may take long.
"""

from __future__ import annotations

import random
import resource

import pytest
from aql_answers import EXAMPLES, check_answer
from hypothesis import HealthCheck, given, settings, strategies as st
from support import first_seed

from aurora_actors.aql import tree
from aurora_actors.aql.parser import parse
from aurora_actors.aql.printer import print_document

pytestmark = pytest.mark.timeout(300)

QUICK = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
LONG = settings(QUICK, max_examples=3_000)
MANY = 200_000
MOST_GROWTH = 200 << 20

# ------------------------------------------------------------------ trees
WORDS = [
    "users", "orders", "id", "name", "age", "tags", "address", "city", "where", "limit",
    "orderBy", "eq", "gt", "in", "and", "or", "not", "on", "query", "set", "data", "type",
    "aggregate", "groupBy", "edges", "node", "field", "collection", "insertInto", "update",
    "Int", "String", "_x", "A1", "include", "skip", "unique", "null", "true", "if", "drop",
]  # fmt: skip
names = st.sampled_from(WORDS) | st.from_regex(
    r"[_A-Za-z][_0-9A-Za-z]{0,8}", fullmatch=True
)
fragment_names = names.filter(lambda name: name != "on")
enum_names = names.filter(lambda name: name not in {"true", "false", "null"})
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)

scalars = st.one_of(
    st.just(tree.NullValue()),
    st.builds(tree.BooleanValue, st.booleans()),
    st.builds(tree.IntValue, st.integers(-(2**63), 2**63 - 1)),
    st.builds(tree.FloatValue, st.floats(allow_nan=False, allow_infinity=False)),
    st.builds(tree.StringValue, texts),
    st.builds(tree.EnumValue, enum_names),
    st.builds(tree.Variable, names),
)


def tuples(elements, **bounds):
    return st.lists(elements, **bounds).map(tuple)


def _containers(inner):
    entry = st.builds(tree.ObjectEntry, names | texts, inner)
    return st.builds(tree.ListValue, tuples(inner, max_size=3)) | st.builds(
        tree.ObjectValue, tuples(entry, max_size=3)
    )


values = st.recursive(scalars, _containers, max_leaves=6)
literals = values.filter(lambda value: not isinstance(value, tree.EnumValue))
arguments = tuples(st.builds(tree.Argument, names, values), max_size=3)
directives = tuples(st.builds(tree.Directive, names, arguments), max_size=2)


def _selections(inner):
    selection = st.builds(tree.SelectionSet, tuples(inner, min_size=1, max_size=3))
    return st.one_of(
        st.builds(
            tree.Field, names, st.none() | names, arguments, directives,
            st.none() | selection,
        ),
        st.builds(tree.InlineFragment, st.none() | names, selection, directives),
    )  # fmt: skip


leaves = st.one_of(
    st.builds(tree.Field, names),
    st.just(tree.EveryField()),
    st.builds(tree.FragmentSpread, fragment_names, directives),
)
selections = st.recursive(leaves, _selections, max_leaves=6)
selection_sets = st.builds(
    tree.SelectionSet, tuples(selections, min_size=1, max_size=3)
)
named_types = st.builds(tree.NamedType, names, st.booleans())
variable_types = st.recursive(
    named_types,
    lambda inner: st.builds(tree.ListType, inner, st.booleans()),
    max_leaves=2,
)


def _field_types(inner):
    declaration = st.builds(
        tree.FieldDeclaration, names, inner, st.none() | values, directives
    )
    return st.builds(tree.ListType, inner, st.booleans()) | st.builds(
        tree.ObjectType, tuples(declaration, min_size=1, max_size=2), st.booleans()
    )


field_types = st.recursive(named_types, _field_types, max_leaves=3)
declarations = st.builds(
    tree.FieldDeclaration, names, field_types, st.none() | values, directives
)
alterations = st.one_of(
    st.builds(tree.AddField, declarations),
    st.builds(tree.DropField, names),
    st.builds(tree.RenameField, names, names),
    st.builds(tree.ModifyField, declarations),
)
statements = st.one_of(
    st.builds(
        tree.DefineCollection, names, tuples(declarations, max_size=3), st.booleans(),
        directives,
    ),
    st.builds(tree.AlterCollection, names, tuples(alterations, min_size=1, max_size=3)),
    st.builds(tree.DropCollection, names, st.booleans()),
)  # fmt: skip
references = st.builds(
    tree.FieldReference,
    st.tuples(enum_names, st.lists(names, max_size=2)).map(
        lambda parts: ".".join([parts[0], *parts[1]])
    ),
)
assignments = st.builds(
    tree.Assignment, names | texts, literals | references, st.none() | literals
)
steps = statements | st.builds(
    tree.MigrateData, names, tuples(assignments, min_size=1, max_size=2)
)
definitions = st.one_of(
    st.builds(
        tree.Operation,
        st.sampled_from(["query", "mutation", "subscription"]),
        selection_sets,
        st.none() | names,
        tuples(
            st.builds(
                tree.VariableDefinition, names, variable_types, st.none() | values,
                directives,
            ),
            max_size=2,
        ),
        directives,
    ),
    st.builds(tree.Fragment, fragment_names, names, selection_sets, directives),
    st.builds(tree.Schema, tuples(statements, min_size=1, max_size=3)),
    st.builds(
        tree.Migration,
        tuples(
            st.builds(tree.Version, names | texts, tuples(steps, max_size=2)),
            min_size=1,
            max_size=2,
        ),
    ),
)  # fmt: skip
documents = st.builds(tree.Document, tuples(definitions, min_size=1, max_size=3))


def check_prints(document: tree.Document) -> None:
    printed = print_document(document)
    assert parse(printed) == document
    assert print_document(parse(printed)) == printed


@QUICK
@given(documents)
def test_a_printed_tree_parses_to_itself(document):
    check_prints(document)


@pytest.mark.slow
@pytest.mark.timeout(900)
@LONG
@given(documents)
def test_many_printed_trees_parse_to_themselves(document):
    check_prints(document)


# ------------------------------------------------------------------ answers
@QUICK
@given(documents)
def test_every_tree_is_valid_or_refused(document):
    check_answer(print_document(document))


PIECES = [
    *'{}[]()"":,$@!=.*#\\-+019eE\n\t\x00é😀', '"""', "...", "... on ", " true ", " null ",
    " query ", " fragment F on users {", "...F", " @include(if: $x)", "99999999999999999999",
    "1e400", "\\u12", "{and: [", "where: {age: {", "\ud800", "id", " ", "$x", "_",
]  # fmt: skip


@st.composite
def mutants(draw) -> str:
    """An example with parts cut out, doubled, moved, or replaced by pieces."""
    text: str = draw(st.sampled_from(EXAMPLES))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        part = text[start:end]
        other = draw(st.sampled_from(EXAMPLES))[start:end]
        new = draw(st.sampled_from([*PIECES, "", part * 2, other]))
        text = text[:start] + new + text[end:]
    return text


@QUICK
@given(mutants())
def test_every_mutated_text_gets_an_answer(text):
    check_answer(text)


@pytest.mark.slow
@pytest.mark.timeout(900)
@LONG
@given(mutants() | documents.map(print_document))
def test_very_many_texts_get_an_answer(text):
    check_answer(text)


def cut_and_mixed(rng: random.Random) -> str:
    """As :func:`mutants`, without hypothesis, which takes ten times as long."""
    text = rng.choice(EXAMPLES)
    for _ in range(rng.randint(1, 6)):
        start = rng.randint(0, len(text))
        end = min(len(text), start + rng.randint(0, 12))
        part, other = text[start:end], rng.choice(EXAMPLES)[start:end]
        new = rng.choice([*PIECES, "", part * 2, other])
        text = text[:start] + new + text[end:]
    return text


def as_bytes(rng: random.Random) -> str:
    """An example of which single bits have been flipped."""
    data = bytearray(rng.choice(EXAMPLES).encode())
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data.decode("utf-8", "surrogateescape")


def answer_many(count: int, seed: int) -> None:
    """Check many texts, and that nothing of them stays in memory."""
    rng = random.Random(seed)
    before = 0
    for number in range(count):
        if number == count // 10:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        text = rng.choice([cut_and_mixed, as_bytes])(rng)
        try:
            check_answer(text)
        except BaseException as exc:
            exc.add_note(f"seed {seed}, text {number}: {text!r}")
            raise
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert growth << 10 < MOST_GROWTH, seed


def test_many_texts_get_an_answer():
    answer_many(500, first_seed())


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_thousand_texts_get_an_answer():
    answer_many(MANY, seed=random.randrange(2**32))


WIDE = (1 << 20) - 40
BOMBS = {
    "brackets": "{" * 40_000,
    "lists": "{ users(where: {age: {in: " + "[" * 5_000 + "}",
    "negations": "{ users(where: " + "{not: " * 31 + "{}" + "}" * 31 + ") { id } }",
    "selections": "{ users " + "{ extra " * 5_000,
    "digits": "{ users(limit: " + "9" * 9_000 + ") { id } }",
    "exponents": "{ users(where: {score: {gt: 1e" + "9" * 9_000 + "}}) { id } }",
    "a long string": '{ users(where: {name: "' + "a" * WIDE + '"}) { id } }',
    "an open string": '{ users(id: "' + "\\\\" * (WIDE // 2),
    "an open block": '"""' + '"' * WIDE,
    "a long name": "{ " + "u" * WIDE + " }",
    "commas": "{" + "," * WIDE + "users }",
    "a long comment": "#" * WIDE + "\n{ users { id } }",
    "bits": "\x00" * WIDE,
    "too long": "{ users }" + " " * (1 << 20),
    "spreads": "{ users { " + "...F " * 5_000 + "} }",
    "fragments": "".join(f"fragment F{n} on users {{ ...F{n + 1} ...F{n + 1} }} " for n in range(600))
    + "fragment F600 on users { id } { users { ...F0 } }",
    "aliases": "{ " + " ".join(f"a{n}: users {{ id }}" for n in range(1_800)) + " }",
    "variables": "query (" + " ".join(f"$v{n}: Int" for n in range(2_500)) + ") { users }",
    "directives": "{ users { id " + "@skip(if: $a) " * 1_400 + "} }",
}  # fmt: skip


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", BOMBS)
def test_every_bomb_gets_an_answer(name):
    check_answer(BOMBS[name])


@QUICK
@given(st.text(max_size=60) | st.text('{}[]()"\\$@.:#!=*-01eE aQ\n', max_size=200))
def test_every_noise_gets_an_answer(text):
    check_answer(text)


@QUICK
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_a_text_survives_its_literal(text):
    value = tree.StringValue(text)
    selection = tree.SelectionSet(
        (tree.Field("a", arguments=(tree.Argument("b", value),)),)
    )
    document = tree.Document((tree.Operation("query", selection),))
    assert parse(print_document(document)) == document


@QUICK
@given(mutants(), st.integers(0, 40))
def test_every_cut_text_gets_an_answer(text, cut):
    check_answer(text[: max(0, len(text) - cut)])
