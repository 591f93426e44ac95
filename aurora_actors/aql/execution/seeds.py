"""Ids that a repeat of a text makes again.

A mutation that is run twice, because of a conflict or because the executor died, has to
insert the same documents. So ids are made from a seed that came with the text: UUIDv7
(RFC 9562) of the seed's time, the random part drawn from a hash of seed and number,
ascending within a text by a counter of 26 bits.
"""

from __future__ import annotations

import os
import time
from hashlib import blake2b
from typing import Final

__all__ = ["Seed", "new_seed"]

_COUNTER_BITS: Final = 26
_MILLISECONDS: Final = 6


def new_seed() -> bytes:
    """A seed: the time in milliseconds, and 10 random bytes."""
    millis = time.time_ns() // 1_000_000
    return millis.to_bytes(_MILLISECONDS, "big") + os.urandom(10)


class Seed:
    """Makes the ids of one run of a text.

    Args:
        seed: As :func:`new_seed` gives it.
    """

    def __init__(self, seed: bytes) -> None:
        self._seed = seed or new_seed()
        self._count = 0

    @property
    def name(self) -> str:
        """Names the run, however often it is begun."""
        return self._seed.hex()

    def new_id(self) -> str:
        """The next id, greater than those before."""
        number = self._count
        self._count += 1
        millis = int.from_bytes(self._seed[:_MILLISECONDS], "big")
        digest = blake2b(self._seed + number.to_bytes(8, "big"), digest_size=6).digest()
        # 74 free bits: 26 that count from a random start below a quarter, 48 random.
        start = int.from_bytes(self._seed[6:10], "big") >> 8
        counted = (start + number) & ((1 << _COUNTER_BITS) - 1)
        high, rest = counted >> 14, counted & 0x3FFF
        stamp = f"{millis & ((1 << 48) - 1):012x}"
        return (
            f"{stamp[:8]}-{stamp[8:]}-{0x7000 | high:04x}-{0x8000 | rest:04x}-"
            f"{digest.hex()}"
        )
