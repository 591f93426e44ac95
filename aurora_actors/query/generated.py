"""Generated code: constants, and building functions from text.

Used in every process, by the rest of this package alone. The text of a function depends
on the shape of what it is made for and holds no name or value of a user's: these are
constants, passed in. So compiled code is remembered by its text, and a second function
of the same shape costs microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from functools import lru_cache
from types import CodeType
from typing import Final, cast
from uuid import UUID

from aurora_actors.errors import InvalidFilterError

__all__ = ["Constants", "build"]

_LONGEST_KEPT: Final = 16_384
# Python's compiler takes quadratic time over the names of a closure, so there are not
# many; the other constants are items of a list.
_NAMED: Final = 64

_GLOBALS: Final[dict[str, object]] = {
    "UUID": UUID,
    "datetime": datetime,
    "date": date,
    "time": time,
}
"""What generated code may name besides constants and builtins."""


class Constants:
    """The constants of one generated function, by what its text calls them."""

    def __init__(self) -> None:
        self._values: list[object] = []

    def add(self, value: object) -> str:
        """Keep ``value``; returns the text that stands for it."""
        number = len(self._values)
        self._values.append(value)
        return f"k{number}" if number < _NAMED else f"k[{number}]"

    def parameters(self) -> dict[str, object]:
        """All by name; ``k`` is the list of all."""
        named = {
            f"k{number}": value for number, value in enumerate(self._values[:_NAMED])
        }
        return {"k": self._values, **named}


def build(lines: Sequence[str], constants: Constants) -> object:
    """Run the lines of a function that returns a function; returns the latter.

    Raises:
        InvalidFilterError: they are too large or too deep for Python's compiler.
    """
    parameters = constants.parameters()
    body = "\n    ".join(lines)
    source = f"def make({', '.join(parameters)}):\n    {body}\n"
    try:
        code = _code(source) if len(source) <= _LONGEST_KEPT else _compiled(source)
    except (RecursionError, MemoryError, SyntaxError) as exc:
        raise InvalidFilterError("the filter is too deeply nested") from exc
    namespace = dict(_GLOBALS)
    exec(code, namespace)  # noqa: S102 - text of ours alone, see above
    make = cast("Callable[..., object]", namespace["make"])
    return make(*parameters.values())


def _compiled(source: str) -> CodeType:
    return compile(source, "<generated>", "exec")


_code = lru_cache(maxsize=512)(_compiled)
