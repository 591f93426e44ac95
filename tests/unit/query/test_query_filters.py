"""Filters: both spellings, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aurora_actors.errors import InvalidFilterError, UsageError
from aurora_actors.query.filters import FilterBuilder, field
from aurora_actors.query.predicate import And, Compare, Not, Or

BUILDER = FilterBuilder()


def test_operators_make_terms() -> None:
    age = field("age")
    made = [age > 1, age >= 1, age < 1, age <= 1, age == 1, age != 1, age > 1]
    ops = [item.predicate.op for item in made if isinstance(item.predicate, Compare)]
    assert ops == ["gt", "gte", "lt", "lte", "eq", "ne", "gt"]


def test_both_spellings_give_the_same_filter() -> None:
    f = BUILDER
    pairs = [
        (f.eq("a", 1), field("a") == 1),
        (f.ne("a", 1), field("a") != 1),
        (f.gt("a", 1), field("a") > 1),
        (f.gte("a", 1), field("a") >= 1),
        (f.lt("a", 1), field("a") < 1),
        (f.lte("a", 1), field("a") <= 1),
        (f.in_values("a", (1, 2)), field("a").in_([1, 2])),
        (f.not_in("a", {1}), field("a").not_in([1])),
        (f.contains("a", 1), field("a").contains(1)),
        (f.contains_any("a", [1]), field("a").contains_any([1])),
        (f.contains_all("a", [1]), field("a").contains_all([1])),
        (f.starts_with("a", "x"), field("a").starts_with("x")),
        (f.ends_with("a", "x"), field("a").ends_with("x")),
        (f.matches("a", "x"), field("a").matches("x")),
        (f.between("a", 1, 2), field("a").between(1, 2)),
        (f.is_null("a"), field("a").is_null()),
        (f.is_not_null("a"), field("a").is_not_null()),
        (f.not_(f.eq("a", 1)), ~(field("a") == 1)),
        (
            f.and_(f.eq("a", 1), f.eq("b", 2)),
            (field("a") == 1) & (field("b") == 2),
        ),
        (f.or_(f.eq("a", 1), f.eq("b", 2)), (field("a") == 1) | (field("b") == 2)),
    ]
    for built, written in pairs:
        assert built == written, built


def test_filters_combine_flat() -> None:
    a, b, c = (field(name) == 1 for name in "abc")
    parts = [item.predicate for item in (a, b, c)]
    assert (a & b & c).predicate == And(parts)
    assert (a | b | c).predicate == Or(parts)
    assert (~a).predicate == Not(parts[0])
    assert ((a | b) & c).predicate == And([Or(parts[:2]), parts[2]])


def test_a_filter_has_no_truth_value() -> None:
    a = field("a") == 1
    wrongs: list[Callable[[], object]] = [
        lambda: bool(a),
        lambda: not a,
        lambda: 1 < field("a") < 3,
    ]
    for wrong in wrongs:
        with pytest.raises(UsageError, match=r"with & \| ~"):
            wrong()


def test_a_field_alone_is_no_condition() -> None:
    with pytest.raises(UsageError, match=r"field\('a'\) == True"):
        bool(field("a"))
    with pytest.raises(UsageError, match=r"contains\('x'\)"):
        "x" in field("a")  # noqa: B015
    with pytest.raises(TypeError):
        iter(field("a"))  # type: ignore[call-overload]


def test_a_filter_combines_with_filters_alone() -> None:
    a = field("a") == 1
    with pytest.raises(InvalidFilterError, match="parentheses"):
        a & 5
    with pytest.raises(InvalidFilterError, match="another filter"):
        BUILDER.and_(a, "b == 2")  # type: ignore[arg-type]
    with pytest.raises(InvalidFilterError, match="another filter"):
        BUILDER.not_(True)  # type: ignore[arg-type]


def test_a_list_operator_refuses_a_lone_text() -> None:
    with pytest.raises(InvalidFilterError, match="in_ needs a list"):
        field("a").in_("abc")
    with pytest.raises(InvalidFilterError, match="not_in needs a list"):
        field("a").not_in(5)  # type: ignore[arg-type]


def test_a_name_that_no_field_can_have_is_refused() -> None:
    with pytest.raises(InvalidFilterError, match="not the name of a field"):
        field("a..b") == 1  # noqa: B015
    with pytest.raises(InvalidFilterError, match="not the name of a field"):
        BUILDER.eq(5, 1)  # type: ignore[arg-type]


def test_the_repr_reads_like_the_condition() -> None:
    condition = (field("age") > 25) & ~field("email").ends_with("@x.io")
    assert repr(condition) == ("<Filter (age > 25 and not email ends with '@x.io')>")
    many = BUILDER.or_(*(field("a") == number for number in range(100)))
    assert "(92 more)" in repr(many)
