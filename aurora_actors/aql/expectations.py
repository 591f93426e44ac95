"""Why a text does not parse, in words: what stood there, what could have.

Translates lark's exceptions, the only ones that may leave the parser. Pure.
"""

from __future__ import annotations

import re
from typing import Final

from lark import UnexpectedCharacters, UnexpectedInput, UnexpectedToken
from lark.parsers.lalr_interactive_parser import InteractiveParser

from aurora_actors.aql.diagnostics import (
    did_you_mean,
    position_at,
    shorten,
    syntax_error,
)
from aurora_actors.errors import QuerySyntaxError

__all__ = ["explain_unexpected"]

_SIGNS: Final = {
    "LBRACE": '"{"', "RBRACE": '"}"', "LPAR": '"("', "RPAR": '")"',
    "LBRACKET": '"["', "LSQB": '"["', "RSQB": '"]"', "COLON": '":"',
    "EQUAL": '"="', "DOT": '"."', "SPREAD": '"..."', "STAR": '"*"',
    "DOLLAR": '"$"', "AT": '"@"', "BANG": '"!"',
    "NAME": "a name", "STRING": "a string", "BLOCK_STRING": "a string",
    "INT": "a number", "FLOAT": "a number", "$END": "the end of the text",
}  # fmt: skip
_VALUE: Final = frozenset({"INT", "FLOAT", "STRING", "TRUE", "NULL", "LBRACKET"})
_VALUE_TOKENS: Final = _VALUE | {
    "BLOCK_STRING", "FALSE", "DOLLAR", "LBRACE", "NAME", "LSQB",
}  # fmt: skip
_STRING_PREFIX: Final = re.compile(
    r'"(?:[^"\\\x00-\x1f]++|\\["\\/bfnrt]|\\u[0-9A-Fa-f]{4})*+'
)
_NUMBER: Final = re.compile(r"[-+.]?[0-9][-+_.0-9A-Za-z]*+|-")


def explain_unexpected(text: str, error: UnexpectedInput) -> QuerySyntaxError:
    """The public error for what lark found; it must still hold its parser state."""
    terminals = _accepted(error)
    expected = _words(terminals)
    if isinstance(error, UnexpectedCharacters):
        return _lexical(text, error.pos_in_stream or 0, expected)
    token = error.token if isinstance(error, UnexpectedToken) else None
    if token is None or token.type == "$END":
        return syntax_error(
            text,
            position_at(text, len(text.rstrip())),
            f"the text ends too early: expected {_joined(expected)}",
            expected=expected,
        )
    offset = token.start_pos or 0
    if text[offset] in '"-0123456789' and _is_cut(text, offset, str(token)):
        return _lexical(text, offset, expected)
    return syntax_error(
        text,
        position_at(text, offset),
        f"unexpected {shorten(str(token))}: expected {_joined(expected)}",
        hint=did_you_mean(str(token), _keywords(terminals)),
        expected=expected,
    )


def _accepted(error: UnexpectedInput) -> set[str]:
    """The terminals that could have stood there, by the parser's tables."""
    state = getattr(error, "interactive_parser", None)
    if not isinstance(state, InteractiveParser):
        return set()
    return set(state.accepts())  # type: ignore[no-untyped-call]  # lark has no type


def _is_cut(text: str, offset: int, token: str) -> bool:
    """Whether ``token`` is only the start of a longer, malformed literal."""
    match = _NUMBER.match(text, offset)
    return match is not None and match[0] != token


def _keywords(terminals: set[str]) -> list[str]:
    """The keywords among ``terminals``; none where any name would do."""
    if "NAME" in terminals:
        return []
    return sorted(name.lower() for name in terminals if name not in _SIGNS)


def _words(terminals: set[str]) -> list[str]:
    rest = set(terminals)
    words: list[str] = []
    if rest >= _VALUE:
        words.append("a value")
        rest -= _VALUE_TOKENS
        keywords: list[str] = []
    else:
        keywords = [f'"{word}"' for word in _keywords(rest)]
    signs = sorted({_SIGNS[name] for name in rest if name in _SIGNS})
    return [*words, *keywords, *signs]


def _joined(words: list[str]) -> str:
    if len(words) < 2:
        return "".join(words) or "nothing more"
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _lexical(text: str, offset: int, expected: list[str]) -> QuerySyntaxError:
    """The error for characters that begin no token."""
    where, message, hint = _character_fault(text, offset)
    if not message:
        message = f"unexpected character {text[offset]!r}: expected {_joined(expected)}"
    return syntax_error(
        text, position_at(text, where), message, hint=hint, expected=expected
    )


def _character_fault(text: str, offset: int) -> tuple[int, str, str]:
    """Where the fault is, what it is (empty when nothing special), and a hint."""
    if text.startswith('"""', offset):
        return offset, "the block string is not closed", 'end it with """'
    if text[offset] == '"':
        return _string_fault(text, offset)
    if number := _NUMBER.match(text, offset):
        return offset, f"{shorten(number[0])} is no number", _number_hint(number[0])
    if text[offset] == "'":
        return offset, "strings stand in double quotes", 'write "…"'
    return offset, "", ""


def _string_fault(text: str, offset: int) -> tuple[int, str, str]:
    match = _STRING_PREFIX.match(text, offset)
    end = match.end() if match else offset
    if end >= len(text) or text[end] in "\r\n":
        return offset, "the string is not closed", 'use """ for several lines'
    if text[end] == "\\":
        shown = text[end : end + 2]
        hint = r"use one of \" \\ \/ \b \f \n \r \t \uXXXX"
        return end, f"unknown escape {shown!r}", hint
    hint = r"write \t, \n or \uXXXX"
    return end, f"control character {text[end]!r} in a string", hint


def _number_hint(number: str) -> str:
    digits = number.lstrip("-")
    if digits[:1] == "0" and digits[1:2].isdigit():
        return "numbers have no leading zeros"
    if number.startswith(("+", ".")) or number.endswith("."):
        return "write 1.0, 0.5 or -1"
    return ""
