"""Document ids: making them (UUIDv7, RFC 9562) and checking those that are given.

Used in every process that inserts. Ids made by one process are strictly increasing,
even when its clock goes back, and from any thread; those of several processes are
unique by 73 random bits for each millisecond. A forked child starts afresh.

The 74 bits behind the timestamp are one counter (RFC 9562, section 6.2, method 2): a
new millisecond seeds it at random, each id within the millisecond adds a random step.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from threading import Lock
from typing import Final

from aurora_actors.errors import ValidationError

__all__ = ["MAX_ID_BYTES", "IdSource", "check_id", "new_id", "new_ids"]

MAX_ID_BYTES: Final = 255

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LOW_BITS: Final = 48
_LOW_MASK: Final = (1 << _LOW_BITS) - 1
_SEED_MASK: Final = (1 << 73) - 1
_STOCK: Final = 512


class IdSource:
    """Makes ids; one per process, reachable as :func:`new_id` and :func:`new_ids`.

    Args:
        clock_ns: Nanoseconds since 1970.
    """

    def __init__(self, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._clock_ns = clock_ns
        self.reset()

    def reset(self) -> None:
        """Forget the last id and all entropy; what a forked child must do."""
        self._lock = Lock()
        self._millis = 0
        self._counter = 0
        self._stock: list[int] = []
        self._start = ""

    def one(self) -> str:
        """The next id: what ``take(1)`` gives, for a third of the time."""
        with self._lock:
            counter = self._counter
            if self._stock and self._clock_ns() // 1_000_000 <= self._millis:
                low = (counter & _LOW_MASK) + self._stock.pop() + 1
                if low <= _LOW_MASK:
                    self._counter = (counter & ~_LOW_MASK) | low
                    return f"{self._start}{low:012x}"
        return self.take(1)[0]

    def take(self, count: int) -> list[str]:
        """The next ``count`` ids, increasing."""
        ids: list[str] = []
        if count < 1:
            return ids
        with self._lock:
            millis = self._clock_ns() // 1_000_000
            if millis > self._millis:
                self._millis = millis
                # The top bit stays free: 2**41 ids until the counter could run over.
                high, middle, low = self._random(3)
                self._counter = (high << 41 ^ middle << 20 ^ low) & _SEED_MASK
            prefix = self._prefix()
            low = self._counter & _LOW_MASK
            for step in self._random(count):
                low += step + 1
                if low > _LOW_MASK:
                    self._counter = (self._counter & ~_LOW_MASK) + low
                    prefix = self._prefix()
                    low &= _LOW_MASK
                ids.append(f"{prefix}{low:012x}")
            self._counter = (self._counter & ~_LOW_MASK) | low
            self._start = prefix
        return ids

    def _random(self, count: int) -> list[int]:
        """``count`` random numbers of 32 bits, from a stock: a system call costs 1 µs."""
        if count > len(self._stock):
            size = max(count, _STOCK)
            self._stock = memoryview(os.urandom(4 * size)).cast("I").tolist()
        taken = self._stock[-count:]
        del self._stock[-count:]
        return taken

    def _prefix(self) -> str:
        """All of the text that does not change with the low bits of the counter."""
        stamp, counter = f"{self._millis:012x}", self._counter
        version = 0x7000 | (counter >> 62 & 0xFFF)
        variant = 0x8000 | (counter >> _LOW_BITS & 0x3FFF)
        return f"{stamp[:8]}-{stamp[8:]}-{version:04x}-{variant:04x}-"


_source = IdSource()
os.register_at_fork(after_in_child=_source.reset)


def new_id() -> str:
    """A new id: the text of a UUIDv7, greater than all this process made before."""
    return _source.one()


def new_ids(count: int) -> list[str]:
    """``count`` new ids, increasing."""
    return _source.take(count)


def check_id(document_id: str) -> str:
    """Return ``document_id`` if it can be a document's id.

    Raises:
        ValidationError: it is no text, empty, longer than 255 bytes of UTF-8, or has
            control characters or lone surrogates.
    """
    if not isinstance(document_id, str):
        raise _refused(document_id, f"must be text, not {type(document_id).__name__}")
    if not document_id:
        raise _refused(document_id, "must not be empty")
    if document_id.isascii():
        size = len(document_id)
    else:
        try:
            size = len(document_id.encode())
        except UnicodeEncodeError:
            raise _refused(document_id, "must not have lone surrogates") from None
    if size > MAX_ID_BYTES:
        raise _refused(
            document_id, f"must have at most {MAX_ID_BYTES} bytes, has {size}"
        )
    if not document_id.isprintable() and _CONTROL.search(document_id):
        raise _refused(document_id, "must not have control characters")
    return document_id


def _refused(document_id: object, fault: str) -> ValidationError:
    shown = repr(document_id)[:60]
    return ValidationError(f"an id {fault}: {shown}", path="id", got=shown)
