"""The limits of a text, checked before it is parsed.

Pure; used wherever texts are parsed. The check is one pass of one regular expression
without backtracking, so its time grows with the text alone, and it is skipped for
texts too short to break a limit: these are nearly all.

Depth is the number of selection sets and blocks within each other; between the
parentheses of arguments it is counted anew, so that a value there may be as deep as
a document may.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from aurora_actors.aql.diagnostics import position_at
from aurora_actors.errors import LimitExceededError

__all__ = ["DEFAULT_LIMITS", "Limits", "check_limits"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one text may be.

    Attributes:
        text_bytes: Its length in UTF-8.
        depth: Brackets within each other.
        tokens: Names, numbers, strings and punctuation marks.
        selections: Selections looked at when fragments are put in place.
        patterns: Regular expressions; a short one may take 0.3 s to compile.
        problems: Faults reported at once; the rest is only counted.
    """

    text_bytes: int = 1 << 20
    depth: int = 32
    tokens: int = 10_000
    selections: int = 50_000
    patterns: int = 32
    problems: int = 50


DEFAULT_LIMITS: Final = Limits()

# Skips what is no token; a string that is not closed runs to its line's end.
_TOKEN: Final = re.compile(
    r"""(?x)
    [\s,\ufeff]++ | \#[^\r\n]*+
    | ( \"\"\" (?: [^"\\]++ | \\\"\"\" | \\(?!\"\"\") | "(?!"") )*+ (?: \"\"\" )?
      | " (?: [^"\\\r\n]++ | \\[^\r\n] )*+ "?
      | [-_0-9A-Za-z+]++ | \.\.\. | . )
    """,
    re.DOTALL,
)


def check_limits(text: str, limits: Limits = DEFAULT_LIMITS) -> None:
    """Refuse a text that is too long, too deep or has too many tokens.

    Raises:
        LimitExceededError: with ``limit`` (its name), ``maximum`` and, where one place
            is to blame, ``line`` and ``column``.
    """
    length = len(text)
    if length * 4 > limits.text_bytes:
        size = len(text.encode("utf-8", "surrogatepass"))
        if size > limits.text_bytes:
            raise LimitExceededError(
                f"the text has {size:,} bytes, more than the {limits.text_bytes:,} "
                "allowed: send it in several parts",
                limit="text_bytes",
                maximum=limits.text_bytes,
            )
    opening = text.count("{") + text.count("[") + text.count("(")
    if length > limits.tokens or opening > limits.depth:
        _scan(text, limits)


def _scan(text: str, limits: Limits) -> None:
    tokens = depth = 0
    outside: list[int] = []
    for match in _TOKEN.finditer(text):
        sign = match[1]
        if sign is None:
            continue
        tokens += 1
        if tokens > limits.tokens:
            _refuse(text, match.start(), "tokens", limits.tokens)
        if sign in "{[":
            depth += 1
            if depth > limits.depth:
                _refuse(text, match.start(), "depth", limits.depth)
        elif sign in "}]":
            depth -= 1
        elif sign == "(":
            outside.append(depth)
            depth = 0
        elif sign == ")" and outside:
            depth = outside.pop()


def _refuse(text: str, offset: int, limit: str, maximum: int) -> None:
    where = position_at(text, offset)
    what = {
        "tokens": f"the text has more than {maximum:,} words and signs",
        "depth": f"brackets are more than {maximum} levels deep",
    }[limit]
    raise LimitExceededError(
        f"{what} at line {where.line}, column {where.column}",
        limit=limit,
        maximum=maximum,
        line=where.line,
        column=where.column,
    )
