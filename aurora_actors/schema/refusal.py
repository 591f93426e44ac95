"""How a value is refused: the fault, the path to it, and the public error.

Private to the schema package, used in every process. A walk over a document knows the
path only on its way out, so :class:`Refused` collects it while it unwinds: nothing is
paid for paths as long as documents are sound.
"""

from __future__ import annotations

from datetime import date, datetime, time
from difflib import get_close_matches
from typing import Final
from uuid import UUID

from aurora_actors.errors import ValidationError
from aurora_actors.schema.types import Kind

__all__ = ["Refused", "describe", "did_you_mean", "kind_of", "short"]

# A bool is an int and a datetime is a date: the narrower type stands first.
_KINDS: Final[tuple[tuple[type, Kind], ...]] = (
    (bool, Kind.BOOL),
    (int, Kind.INT),
    (float, Kind.FLOAT),
    (str, Kind.STRING),
    (UUID, Kind.UUID),
    (datetime, Kind.DATETIME),
    (date, Kind.DATE),
    (time, Kind.TIME),
    (bytes, Kind.BYTES),
    (list, Kind.ARRAY),
    (tuple, Kind.ARRAY),
    (dict, Kind.OBJECT),
)


class Refused(Exception):  # noqa: N818 - internal signal, becomes a ValidationError
    """A value is refused; callers above add where they found it."""

    def __init__(
        self,
        fault: str,
        *,
        expected: str | None = None,
        got: str | None = None,
        suggestion: str | None = None,
    ) -> None:
        super().__init__(fault)
        self.fault = fault
        self.expected = expected
        self.got = got
        self.suggestion = suggestion
        self.parts: list[str] = []

    def within(self, name: object) -> Refused:
        """The same refusal, seen from the object whose field ``name`` holds it."""
        # A name can be anything here, and the error may have to travel.
        text = str(name).encode(errors="backslashreplace").decode()
        self.parts.append(f".{text}")
        return self

    def at(self, position: int) -> Refused:
        """The same refusal, seen from the array that holds it at ``position``."""
        self.parts.append(f"[{position}]")
        return self

    @property
    def path(self) -> str:
        """Dotted, with positions in arrays in brackets: ``orders[2].price``."""
        return "".join(reversed(self.parts)).removeprefix(".")

    def error(self, collection: str | None = None) -> ValidationError:
        """The public error; its context has what is known and nothing else."""
        known = {
            "collection": collection,
            "path": self.path or None,
            "expected": self.expected,
            "got": self.got,
            "suggestion": self.suggestion,
        }
        context = {name: text for name, text in known.items() if text is not None}
        where = "" if collection is None else f"{collection}: "
        whole = "the value" if collection is None else "the document"
        field = f"field {self.path!r}" if self.path else whole
        hint = f"; did you mean {self.suggestion!r}?" if self.suggestion else ""
        return ValidationError(f"{where}{field} {self.fault}{hint}", **context)


def short(value: object) -> str:
    """``repr`` cut to a length that fits into a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def kind_of(value: object) -> Kind | None:
    """The kind of a value; ``None`` for null and for what no document can hold."""
    for python_type, kind in _KINDS:
        if isinstance(value, python_type):
            return kind
    return None


def describe(value: object) -> str:
    """A value for a message: its type in AQL's words and the value itself."""
    if value is None:
        return "null"
    kind = kind_of(value)
    name = type(value).__qualname__ if kind is None else kind.value
    return f"{name} {short(value)}"


def did_you_mean(name: str, known: list[str]) -> str | None:
    """The known name that is nearest to ``name``, if one is near."""
    return next(iter(get_close_matches(name, known, n=1)), None)
