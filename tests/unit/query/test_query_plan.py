"""The planner's choices."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from unit.query.library import USERS, spec

from aurora_actors.errors import ProtocolError
from aurora_actors.messages.query import ResultMode
from aurora_actors.query.filters import Filter, field
from aurora_actors.query.plan import (
    Access,
    Plan,
    PlanStep,
    choose_access,
    decode_plan,
    encode_plan,
    plan_query,
)
from aurora_actors.query.predicate import And

ADULT = field("age") > 18
MAIL = field("email") == "a@x.io"


def access(condition: Filter | None) -> Access:
    return choose_access(USERS, None if condition is None else condition.predicate)


def plan(condition: Filter | None = None, count: int = 10_000, **more: Any) -> Plan:
    predicate = None if condition is None else condition.predicate
    return plan_query(USERS, spec("users", condition, **more), predicate, count)


def test_an_id_is_looked_up_and_the_rest_tested() -> None:
    found = access((field("id") == "u1") & ADULT)
    assert (found.kind, found.values) == ("primary_key", ["u1"])
    assert found.residual == And([ADULT.predicate])


def test_an_id_comes_before_a_unique_field() -> None:
    assert access(MAIL & field("id").in_(["u1", "u2", "u1"])).values == ["u1", "u2"]


def test_a_uuid_is_looked_up_as_its_text_and_what_is_no_text_not_at_all() -> None:
    found = access(field("id").in_([UUID(int=1), 5, None]))
    assert found.values == [str(UUID(int=1))]


def test_a_unique_field_is_looked_up() -> None:
    found = access(ADULT & MAIL)
    assert (found.kind, found.field, found.values) == (
        "unique_lookup",
        "email",
        ["a@x.io"],
    )
    assert access(MAIL).residual is None


@pytest.mark.parametrize(
    "condition",
    [
        None,
        ADULT,
        MAIL | ADULT,
        ~MAIL,
        field("email") == None,  # noqa: E711
        field("email").in_(["a", None]),
        field("email") > "a",
        field("age") == 3,
    ],
    ids=repr,
)
def test_everything_else_is_a_scan(condition: Filter | None) -> None:
    found = access(condition)
    assert found.kind == "document_scan"
    assert found.residual == (None if condition is None else condition.predicate)


def test_what_reads_few_documents_may_run_in_the_caller() -> None:
    assert plan(MAIL).where == "caller"
    assert plan(limit=10, offset=10).where == "caller"
    assert plan(mode=ResultMode.COUNT).where == "caller"
    assert plan(ADULT, count=100).where == "caller"


def test_what_may_read_many_belongs_to_an_executor() -> None:
    assert plan(ADULT, limit=10).where == "executor"
    assert plan(limit=10, order=["age"]).where == "executor"
    assert plan(limit=10, offset=1000).where == "executor"
    assert plan().where == "executor"
    assert plan(field("id").in_([str(n) for n in range(1000)])).where == "executor"


def test_estimates_follow_the_filter_and_the_limit() -> None:
    assert plan().estimated_rows == 10_000
    assert plan(offset=9_995, limit=10).estimated_rows == 5
    assert plan(MAIL).estimated_rows == 1
    narrow, wide = plan(ADULT & ADULT), plan(ADULT | ADULT)
    assert 0 < narrow.estimated_rows < plan(ADULT).estimated_rows < wide.estimated_rows
    assert plan(~ADULT).estimated_rows + plan(ADULT).estimated_rows == 10_000


def test_a_plan_reads_well_and_survives_the_wire() -> None:
    made = plan(ADULT, order=["age", "-name"], limit=5, fields=["name"])
    assert made.filter == "age > 18"
    assert made.order == "age ascending, name descending"
    ran = Plan(
        collection="users",
        access="document_scan",
        where="executor",
        actual_rows=3,
        steps=[PlanStep("document scan", 3, 0.5)],
    )
    for item in (made, ran):
        assert decode_plan(encode_plan(item)) == item
    with pytest.raises(ProtocolError, match="not an encoded plan"):
        decode_plan(b"\xc1")
