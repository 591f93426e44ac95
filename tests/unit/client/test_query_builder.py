"""What a query says before it runs."""

from __future__ import annotations

import msgspec
import pytest

from aurora_actors import Aurora, AuroraConfig, Document, Query, blocking, field
from aurora_actors.client.builder import QueryBuilder, asked_of
from aurora_actors.errors import ConfigError, InvalidFilterError, UsageError
from aurora_actors.query.predicate import decode_predicate


class User(msgspec.Struct):
    name: str


def builder():
    return QueryBuilder(lambda: pytest.fail("the query was run"), asked_of("users"))


def test_a_query_says_what_was_asked():
    spec = (
        builder()
        .filter(field("age") > 25)
        .filter(lambda f: f.eq("active", True))
        .order_by("age", ascending=False)
        .order_by("name")
        .limit(10)
        .offset(5)
        ._spec()
    )
    both = (field("age") > 25) & (field("active") == True)  # noqa: E712
    assert decode_predicate(spec.predicate) == both.predicate
    assert [(key.field, key.ascending) for key in spec.order] == [
        ("age", False),
        ("name", True),
    ]
    assert (spec.limit, spec.offset, spec.fields) == (10, 5, None)


def test_builders_are_immutable():
    first = builder().limit(3)
    first.filter(field("a") == 1).order_by("b").limit(9).offset(1)
    assert first._spec() == builder().limit(3)._spec()


def test_a_smaller_limit_of_the_caller_stands():
    assert builder().limit(0)._spec(at_most=2).limit == 0
    assert builder()._spec(at_most=2).limit == 2


@pytest.mark.parametrize("bad", [-1, 1.5, "3", None, True])
def test_a_limit_that_is_no_count_is_refused(bad):
    with pytest.raises(InvalidFilterError, match="limit"):
        builder().limit(bad)
    with pytest.raises(InvalidFilterError, match="offset"):
        builder().offset(bad)


@pytest.mark.parametrize("bad", ["", None, 3])
def test_a_field_that_is_no_name_is_refused(bad):
    with pytest.raises(InvalidFilterError, match="field name"):
        builder().order_by(bad)
    with pytest.raises(InvalidFilterError, match="field name"):
        builder()._selecting((bad,))


@pytest.mark.parametrize("bad", [True, "age > 3", lambda f: None])
def test_a_filter_that_is_none_is_refused(bad):
    with pytest.raises(InvalidFilterError, match="lambda f"):
        builder().filter(bad)


def test_selecting_nothing_is_refused():
    with pytest.raises(InvalidFilterError, match="at least one"):
        builder()._selecting(())


def test_a_query_can_be_read_in_a_shell():
    text = repr(builder().filter(field("age") > 25).order_by("age", False).limit(3))
    assert text.startswith("<QueryBuilder on users where ")
    assert text.endswith(" by age descending limit 3>")


def test_a_database_that_is_not_open_says_so():
    db = Aurora.open("x")
    with pytest.raises(UsageError, match="not open"):
        db._open()
    query = db.query("users")
    assert isinstance(query, Query)
    with pytest.raises(UsageError, match="not open"):
        query.stream()
    with pytest.raises(UsageError, match="not open"):
        blocking.open("x").query(User).collect()


@pytest.mark.parametrize("opener", [Aurora.open, blocking.open])
def test_an_unknown_setting_is_refused_with_a_hint(opener):
    with pytest.raises(ConfigError, match="did you mean durability_mode"):
        opener("x", durability_mod=1)
    with pytest.raises(ConfigError, match="query_executors"):
        opener("x", query_executors=0)


def test_settings_for_type_checkers_are_those_of_the_configuration():
    from aurora_actors.client.settings import Settings

    fields = {each.name: each.type for each in msgspec.structs.fields(AuroraConfig)}
    assert set(Settings.__annotations__) == set(fields) - {"db_path"}


def test_documents_are_exported():
    assert Document("a", {}).id == "a"
