"""Resume tokens as texts."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from aurora_actors.errors import UsageError
from aurora_actors.reactive.tokens import Token, parse_token

numbers = st.integers(0, 10**19)
tokens = st.one_of(
    st.tuples(numbers).map(lambda parts: Token(1, *parts)),
    st.tuples(numbers, numbers, st.integers(1, 10**9)).map(lambda p: Token(10**9, *p)),
    st.just(Token(3, 0, partial=True)),
)


@given(tokens)
def test_a_token_comes_back_from_its_text(token):
    assert parse_token(str(token)) == token


@pytest.mark.parametrize(
    "text", ["", "1", "1.", ".1", "1.x", "1.2.3", "1.2.3.4.5", "-1.2", "1.٢", "1.2\n"]
)
def test_what_is_no_token_is_refused(text):
    with pytest.raises(UsageError, match="not a resume token"):
        parse_token(text)


@given(st.text())
def test_any_text_is_a_token_or_refused(text):
    with suppress(UsageError):
        assert str(parse_token(text)).startswith(str(int(text.split(".")[0])))
