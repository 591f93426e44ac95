"""Nonsense in a query is refused with what would be right."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest
from unit.query.library import THINGS, USERS, spec

from aurora_actors.errors import InvalidFilterError
from aurora_actors.query.check import check_query, field_type
from aurora_actors.query.filters import Filter, field
from aurora_actors.query.predicate import Compare
from aurora_actors.schema.types import Kind

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def check(condition: Filter | Compare | None = None, **more: Any) -> None:
    predicate = condition.predicate if isinstance(condition, Filter) else condition
    check_query(USERS, spec("users", predicate, **more), predicate)


@pytest.mark.parametrize(
    "condition",
    [
        field("age") > 25,
        field("age") > 25.5,
        field("age") == None,  # noqa: E711
        field("age").in_([1, None, 2.5]),
        field("score").between(1, 2.5),
        field("name") >= "b",
        field("name").contains("b"),
        field("name").matches("^b"),
        field("id").starts_with("01"),
        field("id").in_([UUID(int=1)]),
        field("token") == "01",
        field("token") > UUID(int=1),
        field("seen") < NOW,
        field("born") < date(2026, 1, 1),
        field("photo") == b"1",
        field("tags").contains("a"),
        field("tags").contains_any(["a"]),
        field("tags") == ["a"],
        field("tags").is_null(),
        field("address.geo.lat") > 1,
        field("address") == {"city": "Rome"},
        field("free.anything.at.all") > 1,
        field("extra").contains_all([1]),
        field("extra.inner").matches("x"),
        field("extra") > "x",
        field("active") == True,  # noqa: E712
    ],
    ids=repr,
)
def test_what_makes_sense_passes(condition: Filter) -> None:
    check(condition)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (field("agee") > 1, "'agee': users has no such field; did you mean age?"),
        (field("address.cty") == "x", "did you mean address.city?"),
        (field("address.geo.height") > 1, "its fields are lat, lon"),
        (field("name.first") == "x", "name is of type String, which has no fields"),
        (field("id.part") == "x", "id is of type String"),
        (field("tags.0") == "x", "arrays are searched with contains"),
        (field("active") > False, "type Boolean, which has no operator gt"),
        (field("photo") < b"x", "type Bytes, which has no operator lt"),
        (field("tags") > "x", r"\[String\], which has no operator gt"),
        (field("age").contains(1), "no operator contains; use eq"),
        (field("age").starts_with("1"), "no operator starts_with"),
        (field("token").matches("1"), "no operator matches"),
        (field("tags").ends_with("x"), "for an element use contains"),
        (field("name").contains_any(["x"]), "for part of a text use contains"),
        (field("age") > "25", "gt on field 'age' needs Int, not String '25'"),
        (field("age") > None, "needs a number, a text, or a date or time, not null"),
        (field("age") == "25", "eq on field 'age' needs Int, not String '25'"),
        (field("age") == True, "needs Int, not Boolean True"),  # noqa: E712
        (field("age").in_([1, "2"]), "needs Int, not String '2'"),
        (field("age").between(1, "2"), "needs Int, not String '2'"),
        (field("extra").between(1, "2"), "two values of one kind"),
        (field("extra") > [1], "not Array"),
        (field("extra") > True, "not Boolean"),
        (field("seen") > date(2026, 1, 1), "needs DateTime, not Date"),
        (field("name").contains(1), "needs String, not Int 1"),
        (field("tags").contains(1), "needs String, not Int 1"),
        (field("tags") == [1], r"needs \[String\], not Array"),
        (field("name").matches("("), "no RE2 pattern: missing"),
        (field("extra").matches("("), "no RE2 pattern"),
    ],
    ids=repr,
)
def test_nonsense_is_refused(condition: Filter, message: str) -> None:
    with pytest.raises(InvalidFilterError, match=message):
        check(condition)
    with pytest.raises(InvalidFilterError, match=message):
        check(~(condition | condition))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"limit": -1}, "limit must be a number from 0 on, not -1"),
        ({"offset": -1}, "offset must be"),
        ({"limit": 2**63}, "limit must be"),
        ({"order": ["agee"]}, "cannot order by 'agee'.*did you mean age"),
        ({"fields": ["nam"]}, "cannot select 'nam'.*did you mean name"),
        ({"fields": ["a..b"]}, "no field name"),
        ({"fields": [""]}, "no field name"),
    ],
)
def test_other_parts_of_a_query_are_checked(more: Any, message: str) -> None:
    with pytest.raises(InvalidFilterError, match=message):
        check(**more)


def test_an_unknown_field_says_what_is_known() -> None:
    with pytest.raises(InvalidFilterError) as caught:
        check(field("agee") > 1)
    assert caught.value.context["suggestion"] == "age"
    assert "email" in str(caught.value.context["known"])


def test_an_open_collection_has_any_field() -> None:
    condition = (field("what.ever") > 1) & field("else").matches("x")
    check_query(THINGS, spec("things", condition, order=["x"]), condition.predicate)
    assert field_type(THINGS, "a.b").kind is Kind.ANY
