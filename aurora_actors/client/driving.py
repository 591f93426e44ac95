"""Running coroutines whose waits block: they end before they are ever suspended."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TypeVar, cast

from aurora_actors.errors import InternalError

__all__ = ["run_now"]

T = TypeVar("T")


def run_now(coroutine: Coroutine[object, object, T]) -> T:
    """Run a coroutine whose waits block: it never suspends.

    Raises:
        InternalError: it has suspended all the same.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    coroutine.close()
    raise InternalError("a call without an event loop tried to wait for one")
