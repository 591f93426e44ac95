"""The parser: what it makes of texts, and what it says of those that are none."""

from __future__ import annotations

import time

import pytest

from aurora_actors.aql import tree
from aurora_actors.aql.limits import Limits
from aurora_actors.aql.parser import parse
from aurora_actors.aql.tree import (
    Argument,
    Document,
    Field,
    IntValue,
    Operation,
    Position,
    SelectionSet,
    StringValue,
)
from aurora_actors.errors import LimitExceededError, QuerySyntaxError


def value(text: str) -> tree.Value:
    document = parse(f"{{ a(b: {text}) }}")
    operation = document.definitions[0]
    assert isinstance(operation, Operation)
    field = operation.selection.items[0]
    assert isinstance(field, Field)
    return field.arguments[0].value


def test_a_small_query_has_the_expected_tree():
    assert parse("query Q { u: users(limit: 5) { id } }") == Document(
        (
            Operation(
                "query",
                SelectionSet(
                    (
                        Field(
                            "users",
                            "u",
                            (Argument("limit", IntValue(5)),),
                            selection=SelectionSet((Field("id"),)),
                        ),
                    )
                ),
                "Q",
            ),
        )
    )


def test_positions_are_kept_but_are_no_part_of_equality():
    first, second = parse("{a}"), parse("# x\n\n  {  a }")
    assert first == second
    assert hash(first) == hash(second)
    assert (
        second.definitions[0].position.line,
        second.definitions[0].position.column,
    ) == (3, 3)
    assert Position(1, 2) == Position(3, 4)
    assert Position(1, 2) != (1, 2)


def test_commas_are_white_space_everywhere():
    plain = parse("{ users(a: [1 2] b: {c: 1 d: 2}) { id name } }")
    commas = parse(",{,users,(,a,:,[,1,,2,],b:{c:1,d:2,},),{,id,name,},},")
    assert plain == commas


KEYWORDS = [
    "query",
    "mutation",
    "subscription",
    "fragment",
    "schema",
    "migrate",
    "define",
    "collection",
    "if",
    "not",
    "exists",
    "alter",
    "drop",
    "add",
    "rename",
    "to",
    "modify",
    "data",
    "in",
    "set",
    "where",
    "on",
    "true",
    "false",
    "null",
]


@pytest.mark.parametrize("word", KEYWORDS)
def test_every_keyword_is_a_name(word):
    text = f"""
        query {word}(${word}: {word} = 1) @{word}({word}: 1) {{
          {word}: {word}({word}: {{{word}: ${word}}}) {{ {word} {word} }}
        }}
        schema {{
          define collection {word} if not exists {{ {word}: {word} {word}: [{word}] }}
          alter collection {word} {{
            add {word}: {word} drop {word} rename {word} to {word} modify {word}: {word}
          }}
          drop collection {word} if exists
        }}
        migrate {{ {word}: {{ migrate data in {word} {{
          set {word} = 1 where {{{word}: 1}} set {word} = {word}
        }} }} }}
    """
    assert len(parse(text).definitions) == 3


@pytest.mark.parametrize(
    "word", [w for w in KEYWORDS if w not in {"on", "true", "false", "null"}]
)
def test_keywords_are_fragment_names_and_enum_words(word):
    parse(f"fragment {word} on {word} {{ ...{word} a(b: {word}) }}")


def test_no_fragment_is_called_on():
    with pytest.raises(QuerySyntaxError, match='cannot be called "on"'):
        parse("fragment on on users { id }")


@pytest.mark.parametrize("text", ["schema { dropcollection a }", "queryQ {a}{b"])
def test_keywords_end_where_names_end(text):
    with pytest.raises(QuerySyntaxError):
        parse(text)


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        (r'"a\"\\\/\b\f\n\r\t\u00e9"', 'a"\\/\b\f\n\r\té'),
        (r'"\ud83d\ude00"', "😀"),
        ('""', ""),
        ('"é, # no comment"', "é, # no comment"),
        ('"""a"""', "a"),
        ('""""""', ""),
        ('"""\n    one\n      two\n\n    three\n  """', "one\n  two\n\nthree"),
        ('"""say "hi" \\""" \\n"""', 'say "hi" """ \\n'),
        ('"""a\r\n b\r c"""', "a\nb\nc"),
    ],
)
def test_strings_give_their_text(literal, expected):
    assert value(literal) == StringValue(expected)


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        ("0", 0), ("-0", 0), ("42", 42), ("-7", -7), ("1.5", 1.5), ("-2e3", -2000.0),
        ("1E-2", 0.01), ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
    ],
)  # fmt: skip
def test_numbers_give_their_value(literal, expected):
    found = value(literal)
    assert isinstance(found, tree.IntValue | tree.FloatValue)
    assert found.value == expected
    assert type(found.value) is type(expected)


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("", 1, 1, "ends too early"),
        ("{ a", 1, 4, "ends too early"),
        ("qury { a }", 1, 1, 'did you mean "query"'),
        ("schema { defne collection a }", 1, 10, 'did you mean "define"'),
        ("{ a }\n}", 2, 1, 'unexpected "}"'),
        ("{\n  a(b: 01)\n}", 2, 8, "leading zeros"),
        ("{ a(b: 1.) }", 1, 8, '"1." is no number'),
        ("{ a(b: 1x) }", 1, 8, '"1x" is no number'),
        ("{ a(b: +1) }", 1, 8, "write 1.0, 0.5 or -1"),
        ('{ a(b: "x) }', 1, 8, "string is not closed"),
        ('{ a(b: """x) }', 1, 8, "block string is not closed"),
        (r'{ a(b: "a\qb") }', 1, 10, "unknown escape"),
        ('{ a(b: "a\tb") }', 1, 10, "control character"),
        ("{ a(b: 'x') }", 1, 8, "double quotes"),
        (r'{ a(b: "\ud800") }', 1, 8, "surrogate pair"),
        ("{ a \ud800 }", 1, 5, "surrogate pair"),
        ("{ a(b: 9223372036854775808) }", 1, 8, "64 bits"),
        ("{ a(b: 1e999) }", 1, 8, "too large for a Float"),
        ("{ a() }", 1, 5, "expected a name"),
        ("{ a(b: ) }", 1, 8, "expected a value"),
        ("{ }", 1, 3, 'unexpected "}"'),
        ("{ a % }", 1, 5, "unexpected character '%'"),
        ("query ($a) { b }", 1, 10, 'expected ":"'),
    ],
)
def test_syntax_errors_say_where_and_what(text, line, column, message):
    with pytest.raises(QuerySyntaxError) as caught:
        parse(text)
    assert message in caught.value.message
    assert caught.value.context["line"] == line
    assert caught.value.context["column"] == column
    assert f"line {line}, column {column}" in caught.value.message


def test_the_caret_stands_below_the_fault():
    with pytest.raises(QuerySyntaxError) as caught:
        parse("{\n  users(limit: ) { id }\n}")
    assert (
        caught.value.context["caret"]
        == "2 |   users(limit: ) { id }\n  |                ^"
    )
    expected = caught.value.context["expected"]
    assert isinstance(expected, list)
    assert "a value" in expected


def test_excerpts_of_long_lines_are_cut():
    with pytest.raises(QuerySyntaxError) as caught:
        parse("{ " + "a " * 900 + "% " + "b " * 900 + "}")
    shown = caught.value.context["caret"]
    assert isinstance(shown, str)
    assert max(map(len, shown.splitlines())) < 90
    first, second = shown.splitlines()
    assert first[second.index("^")] == "%"


# ------------------------------------------------------------------ limits
@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("{ a } #" + "x" * (1 << 20), "text_bytes"),
        ("{ a } #" + "é" * (1 << 19), "text_bytes"),
        ("{" + "a " * 10_000 + "}", "tokens"),
        ("{a" * 33 + "}" * 33, "depth"),
        ("{ a(b: " + "[" * 33 + "]" * 33 + ") }", "depth"),
        ("{" * 100_000, "depth"),
        ("{ a(b: " + "{c:" * 100_000, "depth"),
        ("(" * 20_000, "tokens"),
        (
            "schema { define collection a { b: " + "[" * 50 + "Int" + "]" * 50 + " } }",
            "depth",
        ),
    ],
)
def test_texts_beyond_a_limit_are_refused(text, limit):
    with pytest.raises(LimitExceededError) as caught:
        parse(text)
    assert caught.value.context["limit"] == limit


def test_values_may_be_as_deep_as_documents_below_deep_selections():
    parse("{ a(b: " + "[" * 32 + "]" * 32 + ") { c { d } } }")
    parse("{a" * 32 + "}" * 32)


def test_limits_can_be_set():
    with pytest.raises(LimitExceededError, match="3 words and signs"):
        parse("{ a b }", Limits(tokens=3))


def test_brackets_in_strings_and_comments_do_not_count():
    brackets = "{" * 200
    parse(f'{{ a(b: "{brackets}", c: """{brackets}""") }} # {brackets}')


HUGE = {
    "one string": '{ a(b: "' + "x" * 1_000_000 + '") }',
    "one block string": '{ a(b: """' + '"\\' * 500_000 + '""") }',
    "one open string": '{ a(b: "' + "\\n" * 500_000,
    "one open block string": '{ a(b: """' + '\\"""' * 250_000,
    "one name": "{ " + "x" * 1_000_000 + " }",
    "one number": "{ a(b: " + "9" * 1_000_000 + ") }",
    "one float": "{ a(b: 1." + "9" * 1_000_000 + "e9) }",
    "one bad number": "{ a(b: " + "9" * 1_000_000 + "x) }",
    "one comment": "{ a } #" + "x" * 1_000_000,
    "white space": "{" + " ,\n" * 340_000 + "a }",
    "quotes": '"' * 1_000_000,
    "escapes": "\\" * 1_000_000,
    "dots": "{" + "." * 1_000_000,
    "signs": "{ a(b: " + "-" * 1_000_000,
}


@pytest.mark.parametrize("name", HUGE)
def test_texts_of_a_mebibyte_take_bounded_time(name):
    parse("{ a }")
    begun = time.process_time()
    try:
        parse(HUGE[name])
    except (QuerySyntaxError, LimitExceededError) as exc:
        assert len(exc.message) < 1_000  # noqa: PT017 - both ends are right
    assert time.process_time() - begun < 20
