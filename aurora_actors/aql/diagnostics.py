"""How a fault in a text is told: place, caret excerpt, hint.

Pure; the one place that words and builds :class:`~aurora_actors.errors.QuerySyntaxError`
and :class:`~aurora_actors.errors.QueryValidationError`. Excerpts are cut to a line's
worth of text around the caret, so a message is short whatever the text was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Final

import msgspec

from aurora_actors.aql.tree import NOWHERE, Position
from aurora_actors.errors import (
    ContextValue,
    QuerySyntaxError,
    QueryValidationError,
)

__all__ = [
    "Fault",
    "Problem",
    "did_you_mean",
    "excerpt",
    "position_at",
    "shorten",
    "syntax_error",
    "validation_error",
]

_WIDTH: Final = 76
_NAME_SHOWN: Final = 40
_MOST_CANDIDATES: Final = 1_000


class Fault(Exception):  # noqa: N818 - internal signal, becomes a QuerySyntaxError
    """A literal that is no value, found while the tree is built."""

    def __init__(self, message: str, position: Position, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.hint = hint


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong with a text that parses.

    Attributes:
        message: What is wrong, without its place.
        position: Where.
        path: The way to it by response names, dotted: ``users.where.age``.
        hint: What to do instead; may be empty.
    """

    message: str
    position: Position = NOWHERE
    path: str = ""
    hint: str = ""


def position_at(text: str, offset: int) -> Position:
    """The line and column of a character; only a newline ends a line."""
    start = text.rfind("\n", 0, offset) + 1
    return Position(text.count("\n", 0, offset) + 1, offset - start + 1)


def shorten(text: str, width: int = _NAME_SHOWN) -> str:
    """A word of the text, quoted for a message and cut when it is long."""
    return f'"{text}"' if len(text) <= width else f'"{text[: width - 1]}…"'


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint that names the nearest of ``known``, or nothing when none is near."""
    if len(word) > 100:
        return ""
    candidates = list(islice(known, _MOST_CANDIDATES))
    near = get_close_matches(word, candidates, n=1, cutoff=0.65)
    if not near:
        folded = {name.casefold(): name for name in candidates}
        near = [
            folded[match]
            for match in get_close_matches(word.casefold(), folded, n=1, cutoff=0.65)
        ]
    return f'did you mean "{near[0]}"?' if near else ""


def excerpt(text: str, position: Position) -> str:
    """The line of ``position`` and a caret below it, as two lines of text."""
    if position.line < 1:
        return ""
    line = _line(text, position.line).rstrip("\r")
    index = min(position.column - 1, len(line))
    start = max(0, min(index - _WIDTH // 2, len(line) - _WIDTH))
    shown = "".join(
        character if character.isprintable() else " "
        for character in line[start : start + _WIDTH]
    )
    gutter = str(position.line)
    ahead = "…" if start else ""
    tail = "…" if start + _WIDTH < len(line) else ""
    pad = " " * (len(ahead) + index - start)
    return f"{gutter} | {ahead}{shown}{tail}\n{' ' * len(gutter)} | {pad}^"


def _line(text: str, number: int) -> str:
    start = 0
    for _ in range(number - 1):
        start = text.find("\n", start) + 1
    end = text.find("\n", start)
    return text[start:] if end < 0 else text[start:end]


def _said(problem: Problem) -> str:
    where = problem.position
    path = f" ({problem.path})" if problem.path else ""
    place = f"line {where.line}, column {where.column}{path}: " if where.line else ""
    hint = f"; {problem.hint}" if problem.hint else ""
    return f"{place}{problem.message}{hint}"


def syntax_error(
    text: str,
    position: Position,
    message: str,
    *,
    hint: str = "",
    expected: Sequence[str] = (),
) -> QuerySyntaxError:
    """The error for a text that does not parse.

    Its context has ``line``, ``column``, ``caret`` (the excerpt) and, where known,
    ``hint`` and ``expected`` (the words or signs that could stand there).
    """
    caret = excerpt(text, position)
    context: dict[str, ContextValue] = {
        "line": position.line,
        "column": position.column,
        "caret": caret,
    }
    if hint:
        context["hint"] = hint
    if expected:
        context["expected"] = list(expected)
    said = _said(Problem(message, position, hint=hint))
    return QuerySyntaxError(f"{said}\n{caret}", **context)


def validation_error(
    text: str, problems: Sequence[Problem], *, shown: int = 50
) -> QueryValidationError:
    """The error for all that is wrong with a text, in the order of the text.

    Its context has ``line``, ``column``, ``path``, ``caret`` and ``hint`` of the first
    problem and one line for each in ``problems``, at most ``shown``.
    """
    # Positions are equal to each other, so they are taken apart here.
    unlike = {(p.position.line, p.position.column, p.message): p for p in problems}
    ordered = [unlike[key] for key in sorted(unlike)]
    first = ordered[0]
    listed = [_said(problem) for problem in ordered[:shown]]
    if len(ordered) > shown:
        listed.append(f"and {len(ordered) - shown} more")
    caret = excerpt(text, first.position)
    parts = [listed[0], caret, *listed[1:]] if caret else listed
    return QueryValidationError(
        "\n".join(parts),
        line=first.position.line,
        column=first.position.column,
        path=first.path,
        caret=caret,
        hint=first.hint,
        problems=listed,
    )
