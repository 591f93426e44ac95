"""Texts and lists of values, by Arrow's own kernels where these mean the same.

Executors only; a part of :mod:`~aurora_actors.query.vector`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from aurora_actors.schema.types import INT_MAX, INT_MIN, Kind

__all__ = ["word_mask"]

_TEXT: Final[dict[str, Callable[..., Any]]] = {
    "starts_with": pc.starts_with,
    "ends_with": pc.ends_with,
    "contains": pc.match_substring,
}


def word_mask(
    operator: str,
    value: object,
    column: Any,  # noqa: ANN401 - pyarrow has no types for mypy
    kind: Kind,
    types: Mapping[Kind, type],
) -> Any | None:  # noqa: ANN401
    """The mask of a term, null where the column is; ``None`` if Arrow cannot say.

    Args:
        operator: The term's operator.
        value: Its operand.
        column: The values, not as a dictionary.
        kind: The declared type.
        types: What Python type an operand has to have, by kind.
    """
    text = _TEXT.get(operator)
    if text is not None and kind is Kind.STRING and type(value) is str:
        return text(column, pattern=value)
    if operator == "in" and isinstance(value, (list, tuple)):
        return _member_mask(value, column, kind, types)
    return None


def _member_mask(
    values: Sequence[object],
    column: Any,  # noqa: ANN401
    kind: Kind,
    types: Mapping[Kind, type],
) -> Any | None:  # noqa: ANN401
    wanted = int if kind is Kind.INT else types.get(kind)
    if kind is Kind.UUID or any(type(value) is not wanted for value in values):
        return None
    if kind is Kind.INT:
        values = [v for v in values if isinstance(v, int) and INT_MIN <= v <= INT_MAX]
    return pc.is_in(column, value_set=pa.array(values, column.type))
