"""Compiled predicates: what the operators mean, on examples."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from uuid import UUID

import pytest

from aurora_actors.errors import InvalidFilterError
from aurora_actors.query.compile import compile_predicate
from aurora_actors.query.filters import Filter, field
from aurora_actors.query.predicate import And, Compare, Not, Or, Predicate

TOKEN = UUID("0198c0de-0000-7000-8000-00000000abcd")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def matches(condition: Filter | Predicate, fields: dict[str, object], id_: str = "x"):
    predicate = condition.predicate if isinstance(condition, Filter) else condition
    result = compile_predicate(predicate)(fields, id_)
    assert isinstance(result, bool)
    return result


def test_a_missing_field_equals_null() -> None:
    assert matches(field("a") == None, {})  # noqa: E711
    assert matches(field("a").is_null(), {"a": None})
    assert not matches(field("a").is_not_null(), {})
    assert matches(field("a").in_([1, None]), {})


def test_ne_is_the_complement_of_eq() -> None:
    for value in (None, 1, "x", [1]):
        equal = matches(field("a") == 1, {"a": value})
        assert matches(field("a") != 1, {"a": value}) is not equal


def test_a_bool_is_no_number() -> None:
    assert not matches(field("a") == 1, {"a": True})
    assert not matches(field("a") == True, {"a": 1})  # noqa: E712
    assert not matches(field("a").in_([0, 1]), {"a": False})
    assert not matches(field("a") > 0, {"a": True})
    assert not matches(field("a").contains(1), {"a": [True]})
    assert not matches(field("a") == [1], {"a": [True]})


def test_int_and_float_compare_by_value() -> None:
    assert matches(field("a") == 1.0, {"a": 1})
    assert matches(field("a") > 1, {"a": 1.5})
    assert not matches(field("a") == float(2**53), {"a": 2**53 + 1})
    assert matches(field("a").in_([2.0]), {"a": 2})


def test_a_uuid_equals_its_text_both_ways() -> None:
    text = str(TOKEN)
    assert matches(field("a") == text, {"a": TOKEN})
    assert matches(field("a") == TOKEN, {"a": text})
    assert matches(field("a").in_([text]), {"a": TOKEN})
    assert matches(field("a").contains(text), {"a": [TOKEN]})
    assert matches(field("a") >= text, {"a": TOKEN})
    assert not matches(field("a") == text.upper(), {"a": TOKEN})


@pytest.mark.parametrize("value", [None, "text", True, [1], {"a": 1}, b"1", NOON])
def test_a_range_is_false_across_kinds(value: object) -> None:
    condition = field("a") > 0
    assert not matches(condition, {"a": value})
    assert not matches(field("a") <= 0, {"a": value})


def test_a_date_is_not_a_date_time() -> None:
    assert not matches(field("a") > date(2025, 1, 1), {"a": NOON})
    assert matches(field("a") > date(2025, 1, 1), {"a": date(2026, 1, 1)})


def test_date_times_compare_as_instants() -> None:
    paris = NOON.astimezone(timezone(timedelta(hours=1)))
    assert matches(field("a") == paris, {"a": NOON})
    assert matches(field("a") <= paris, {"a": NOON})


def test_between_includes_its_bounds() -> None:
    inside = field("a").between(1, 3)
    assert [matches(inside, {"a": value}) for value in (0, 1, 3, 4)] == [
        False,
        True,
        True,
        False,
    ]
    assert not matches(field("a").between(3, 1), {"a": 2})
    assert not matches(Compare("between", "a", [1, "z"]), {"a": 2})


def test_contains_is_for_texts_and_arrays() -> None:
    assert matches(field("a").contains("ell"), {"a": "hello"})
    assert matches(field("a").contains("ell"), {"a": ["ell", "x"]})
    assert not matches(field("a").contains("ell"), {"a": ["hello"]})
    assert not matches(field("a").contains("ell"), {"a": {"ell": 1}})
    assert matches(field("a").contains([1, 2]), {"a": [[1, 2.0]]})


def test_contains_any_and_all_are_for_arrays() -> None:
    assert matches(field("a").contains_any([9, 2]), {"a": [1, 2]})
    assert matches(field("a").contains_all([2, 1]), {"a": [1, 2, 3]})
    assert not matches(field("a").contains_all([2, 9]), {"a": [1, 2, 3]})
    assert not matches(field("a").contains_any([]), {"a": [1]})
    assert matches(field("a").contains_all([]), {"a": []})
    assert not matches(field("a").contains_all([]), {"a": "text"})


def test_text_operators_are_false_on_anything_else() -> None:
    for value in (None, 1, TOKEN, ["ab"], b"ab"):
        assert not matches(field("a").starts_with(""), {"a": value})
        assert not matches(field("a").ends_with(""), {"a": value})
        assert not matches(field("a").matches(""), {"a": value})
    assert matches(field("a").starts_with("ab"), {"a": "abc"})
    assert matches(field("a").ends_with("bc"), {"a": "abc"})


def test_a_pattern_may_occur_anywhere() -> None:
    assert matches(field("a").matches("b+"), {"a": "abbc"})
    assert not matches(field("a").matches("^b"), {"a": "abbc"})
    assert matches(field("a").matches("^.$"), {"a": "ö"})


def test_a_catastrophic_pattern_takes_linear_time() -> None:
    evil = field("a").matches("^(a+)+$")
    assert not matches(evil, {"a": "a" * 50_000 + "b"})


@pytest.mark.parametrize(
    "pattern", ["(", "a{2000}{2000}", r"(a)\1", "(?=a)", "x" * 5000]
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidFilterError, match="pattern"):
        compile_predicate(Compare("matches", "a", pattern))


def test_a_path_reaches_into_objects_but_not_arrays() -> None:
    document: dict[str, object] = {"a": {"b": {"c": {"d": {"e": 5}}}}, "l": [{"b": 1}]}
    assert matches(field("a.b.c.d.e") == 5, document)
    assert matches(field("a.b.c.d.e.f").is_null(), document)
    assert matches(field("a.b").is_not_null(), document)
    assert matches(field("l.b").is_null(), document)
    assert matches(field("l.0").is_null(), document)


def test_id_reads_the_id() -> None:
    assert matches(field("id") == "x", {}, "x")
    assert matches(field("id").starts_with("u"), {}, "u1")
    assert matches(field("id.part").is_null(), {}, "u1")


def test_empty_connectives() -> None:
    assert matches(And([]), {})
    assert not matches(Or([]), {})
    assert matches(Not(Or([])), {})


def test_names_and_operands_are_never_part_of_the_code() -> None:
    name = "x') or __import__('os')[0] or ('"
    text = "'; raise SystemExit #\n"
    assert matches(field(name) == text, {name: text})
    assert not matches(field(name) == text, {name: "other"})
    assert matches(field("{0}%s").starts_with("{}"), {"{0}%s": "{}x"})


def test_a_wide_predicate_compiles() -> None:
    wide = Or([Compare("eq", "a", number) for number in range(9_999)])
    predicate = compile_predicate(wide)
    assert predicate({"a": 9_998}, "x")
    assert not predicate({"a": -1}, "x")


def test_a_deep_predicate_compiles() -> None:
    path = ".".join("abcdefghijklmnopqrstuvwxyz")
    deep: Predicate = Compare("between", path, ["a", "b"])
    for _ in range(16):
        deep = And([Not(Or([Not(deep), Compare("eq", "b", 1)])), Compare("ne", "b", 2)])
    assert compile_predicate(deep)({}, "x") in (True, False)


def test_an_operand_no_document_can_hold_is_refused() -> None:
    with pytest.raises(InvalidFilterError, match="finite"):
        compile_predicate(Compare("eq", "a", float("nan")))
    with pytest.raises(InvalidFilterError, match="64 signed bits"):
        compile_predicate(Compare("in", "a", [2**63]))
