"""Running a function in a transaction until it goes through."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from aurora_actors.client.transaction import Transaction
from aurora_actors.errors import AuroraError, ConflictError

__all__ = ["run_transaction"]

T = TypeVar("T")

_FIRST_PAUSE_S: Final = 0.001
_LONGEST_PAUSE_S: Final = 0.1


async def run_transaction(
    begin: Callable[[], Transaction],
    pause: Callable[[float], Awaitable[None]],
    function: Callable[[Transaction], Awaitable[T]],
    retries: int,
) -> T:
    """Run ``function`` in a transaction; again, up to ``retries`` times, on a conflict.

    A unique value that was taken between the check and the commit is a conflict here,
    too: run again, ``function`` meets it where it can do something about it. Pauses
    are random up to a bound that doubles each time ("full jitter": Brooker, Exponential
    Backoff And Jitter, 2015), so that those who have met do not meet again.
    """
    attempt = 0
    while True:
        transaction = begin()
        try:
            async with transaction:
                return await function(transaction)
        except AuroraError as error:
            again = isinstance(error, ConflictError) or transaction.was_refused
            if not again or attempt >= retries:
                raise
        bound = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt)
        await pause(random.uniform(0.0, bound))  # noqa: S311 - no secret
        attempt += 1
