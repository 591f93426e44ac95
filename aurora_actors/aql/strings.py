"""String literals: from their spelling to their text, and back.

Pure. Ordinary strings have JSON's escapes; block strings lose their common indentation
and their blank first and last lines (GraphQL specification, October 2021, 2.9.4).
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

__all__ = ["block_text", "quote", "string_text"]

_INDENT: Final = re.compile(r"[ \t]*")
_LINE_END: Final = re.compile(r"\r\n|\n|\r")
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def string_text(literal: str) -> str | None:
    """The text of ``"…"``; ``None`` when an escape is half of a surrogate pair."""
    if "\\" not in literal:
        return literal[1:-1]
    # The grammar admits exactly JSON's escapes.
    try:
        text: str = msgspec.json.decode(literal.encode(), type=str)
        if _SURROGATE.search(literal):
            text.encode()
    except (msgspec.DecodeError, UnicodeError):
        return None
    return text


def block_text(literal: str) -> str:
    '''The text of ``"""…"""``.'''
    lines = _LINE_END.split(literal[3:-3].replace('\\"""', '"""'))
    indents = [indent for line in lines[1:] if (indent := _indent(line)) < len(line)]
    common = min(indents, default=0)
    dedented = [lines[0], *(line[common:] for line in lines[1:])]
    first, last = 0, len(dedented)
    while first < last and not dedented[first].strip(" \t"):
        first += 1
    while last > first and not dedented[last - 1].strip(" \t"):
        last -= 1
    return "\n".join(dedented[first:last])


def _indent(line: str) -> int:
    match = _INDENT.match(line)
    return match.end() if match else 0


def quote(text: str) -> str:
    """The literal of ``text``; only what must be escaped is."""
    return msgspec.json.encode(text).decode()
