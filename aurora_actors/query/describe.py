"""Predicates as text for people: plans, error messages, ``repr``.

Pure functions, used in every process. The text is not parsed by anything.
"""

from __future__ import annotations

from typing import Final

from aurora_actors.query.predicate import And, Compare, Not, Or, Predicate

__all__ = ["describe_predicate"]

_SIGNS: Final = {"eq": "==", "ne": "!=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_LONGEST: Final = 400
_MOST_PARTS: Final = 8


def describe_predicate(predicate: Predicate | None) -> str:
    """One line that says what ``predicate`` demands; cut when it is long."""
    text = "true" if predicate is None else _text(predicate)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _text(predicate: Predicate) -> str:
    match predicate:
        case Compare():
            return _term(predicate)
        case And(parts):
            return _joined(parts, " and ", "true")
        case Or(parts):
            return _joined(parts, " or ", "false")
        case Not(part):
            return f"not {_text(part)}"


def _joined(parts: list[Predicate], word: str, empty: str) -> str:
    if not parts:
        return empty
    texts = [_text(part) for part in parts[:_MOST_PARTS]]
    if len(parts) > _MOST_PARTS:
        texts.append(f"({len(parts) - _MOST_PARTS} more)")
    return f"({word.join(texts)})"


def _term(term: Compare) -> str:
    if term.op in ("is_null", "is_not_null"):
        return f"{term.field} {term.op.replace('_', ' ')}"
    sign = _SIGNS.get(term.op, term.op.replace("_", " "))
    value = repr(term.value)
    shown = value if len(value) <= 60 else f"{value[:57]}..."
    return f"{term.field} {sign} {shown}"
