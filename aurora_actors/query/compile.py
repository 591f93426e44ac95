"""Predicates as functions: generated code over a document's fields.

Used in storage (re-checks inside the write transaction), in executors and in the
client. The text of the code comes from ``query.expressions`` and depends on the
predicate's shape alone, so its compilation is remembered by that text: a second
predicate of the same shape costs a function object. Measured for two terms: 0.49 us per
scanned document, decoding included, against 0.68 with composed closures.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import CodeType
from typing import Final, TypeAlias, cast

from aurora_actors.errors import InvalidFilterError
from aurora_actors.query.expressions import GLOBALS, Constants, expression
from aurora_actors.query.predicate import Predicate

__all__ = ["Matcher", "build", "compile_predicate"]

Matcher: TypeAlias = Callable[[dict[str, object], str], bool]
"""Whether a document matches, given its fields as decoded and its id."""

_LONGEST_KEPT: Final = 16_384


def compile_predicate(predicate: Predicate) -> Matcher:
    """A function of (fields, id) that says whether a document matches.

    The fields are as ``decode_document`` gives them. The function is pure, never
    raises, and always gives ``True`` or ``False``.

    Raises:
        InvalidFilterError: an operand is no document value, or a pattern is no RE2
            pattern.
    """
    constants = Constants()

    def leaf(name: str) -> str:
        return "i" if name == "id" else f"d.get({constants.add(name)})"

    test = expression(predicate, leaf, constants)
    body = f"    def matches(d, i):\n        return {test}\n    return matches\n"
    return cast("Matcher", build(body, constants))


def build(body: str, constants: Constants) -> object:
    """Run generated code; returns what it returns.

    Args:
        body: The indented statements of a function whose parameters are the constants.
        constants: The values of these.

    Raises:
        InvalidFilterError: the code is too large for Python's compiler.
    """
    source = f"def make({', '.join(constants.names())}):\n{body}"
    try:
        code = _code(source) if len(source) <= _LONGEST_KEPT else _compiled(source)
    except (RecursionError, MemoryError, SyntaxError) as exc:
        raise InvalidFilterError("the filter is too deeply nested") from exc
    namespace: dict[str, object] = dict(GLOBALS)
    exec(code, namespace)  # noqa: S102 - text of ours, see query.expressions
    make = cast("Callable[..., object]", namespace["make"])
    return make(*constants.values)


def _compiled(source: str) -> CodeType:
    return compile(source, "<predicate>", "exec")


_code = lru_cache(maxsize=512)(_compiled)
