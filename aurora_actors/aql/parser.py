"""From text to tree.

Imports lark (60 ms), so nothing that runs at start-up may import this module. The
parser itself is made once per process, at its first use, and serves all threads: its
tables are read-only, and each parse has a state of its own.

The grammar is LALR(1): time is linear in the text, and the parser's stack lies on the
heap and grows with the nesting alone, which :mod:`aurora_actors.aql.limits` bounds.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from lark import Lark, UnexpectedInput

from aurora_actors.aql.builder import TreeBuilder
from aurora_actors.aql.diagnostics import Fault, position_at, syntax_error
from aurora_actors.aql.expectations import explain_unexpected
from aurora_actors.aql.limits import DEFAULT_LIMITS, Limits, check_limits
from aurora_actors.aql.tree import Document

__all__ = ["parse", "prepare"]


@cache
def prepare() -> Lark:
    """Make the parser now rather than at the first text (about 0.1 s)."""
    grammar = files("aurora_actors.aql").joinpath("grammar.lark").read_text("utf-8")
    return Lark(grammar, parser="lalr", lexer="contextual", transformer=TreeBuilder())


def parse(text: str, limits: Limits = DEFAULT_LIMITS) -> Document:
    """Parse an AQL text.

    Raises:
        QuerySyntaxError: it is no AQL; the context has ``line``, ``column``, ``caret``
            and, where known, ``expected`` and ``hint``.
        LimitExceededError: it is longer, deeper or has more tokens than allowed.
    """
    check_limits(text, limits)
    _check_encodable(text)
    try:
        document = prepare().parse(text)
    except UnexpectedInput as exc:
        raise explain_unexpected(text, exc) from exc
    except Fault as exc:
        raise syntax_error(text, exc.position, exc.message, hint=exc.hint) from exc
    # With a transformer, parse() returns what the builder made of the start rule.
    assert isinstance(document, Document)  # noqa: S101 - narrows lark's return type
    return document


def _check_encodable(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise syntax_error(
            text,
            position_at(text, exc.start),
            "half of a surrogate pair is no character",
        ) from exc
