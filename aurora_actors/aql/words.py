"""What can be told of a text without parsing it. Pure; used by clients."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

__all__ = ["is_subscription", "may_define", "may_write"]

_WRITING: Final = re.compile(r"\b(?:mutation|schema|migrate)\b")
_SUBSCRIBING: Final = re.compile(r"\bsubscription\b")
_LONGEST: Final = 10_000
# Comments, strings, brackets and names; what else there is makes no difference.
_TOKEN: Final = re.compile(
    r"""(?x)
    \#[^\r\n]*+
    | \"\"\" (?: [^"\\]++ | \\\"\"\" | \\(?!\"\"\") | "(?!"") )*+ (?: \"\"\" )?
    | " (?: [^"\\\r\n]++ | \\[^\r\n] )*+ "?
    | (?P<open>[{(\[]) | (?P<close>[})\]])
    | (?P<name>[_A-Za-z][_0-9A-Za-z]*+)
    """,
    re.DOTALL,
)


def may_write(text: str) -> bool:
    """Whether a text has an operation that changes something."""
    if _WRITING.search(text) is None:
        return False
    return bool({"mutation", "schema", "migrate"} & _operations(text))


def may_define(text: str) -> bool:
    """Whether a text has an operation that changes what collections there are."""
    if _WRITING.search(text) is None:
        return False
    return bool({"schema", "migrate"} & _operations(text))


def is_subscription(text: str) -> bool:
    """Whether a text has a subscription."""
    if _SUBSCRIBING.search(text) is None:
        return False
    return "subscription" in _operations(text)


def _operations(text: str) -> frozenset[str]:
    return _kept(text) if len(text) <= _LONGEST else _scan(text)


def _scan(text: str) -> frozenset[str]:
    """The first word of each definition."""
    found: set[str] = set()
    depth = 0
    begins = True
    for match in _TOKEN.finditer(text):
        if match["open"]:
            depth += 1
        elif match["close"]:
            depth -= 1
            # A definition ends with its braces; those of variables do not end it.
            begins = depth == 0 and match["close"] == "}"
        elif match["name"] and depth == 0:
            if begins:
                found.add(match["name"])
            begins = False
    return frozenset(found)


_kept = lru_cache(1_000)(_scan)
