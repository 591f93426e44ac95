"""The table ``jobs``: entries that follow from the documents of ``_sys_jobs``.

========================================================= ======================
key                                                       value
========================================================= ======================
``p`` queue, type, priority u8, kind u8, due u64, row u64 empty: may be started
``r`` row u64                                             empty: is running
``x`` moment u64, row u64                                 empty: to be removed then
``u`` digest of the unique key, 16 bytes                  row u64 of who has it
``n`` status u8, queue                                    u64, number of such jobs
========================================================= ======================

Queue and type stand as one byte of length and UTF-8; moments are microseconds since
1970. A *lane* is all of a ``p`` key but its last 16 bytes: the jobs of one queue, type,
priority and kind (1: not before ``due``, which is ``run_at``; 0: at any time, and
``due`` is when it was enqueued), in the order in which they are to be started. So the
next jobs are found at the heads of the lanes, however many wait behind them and
whatever the time is.

A document has at most one entry of ``p``, ``r`` and ``x``. Everything can be made again
from the documents: see :func:`keys_of`. Pure functions; any process.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Final, NamedTuple

from aurora_actors.storage.jobs.document import (
    BLOCKED,
    CANCELLED,
    COMPLETED,
    DEAD_LETTER,
    ENDED,
    FAILED,
    PENDING,
    RUNNING,
    WAITING,
    JobDocument,
    to_micros,
)

__all__ = [
    "COUNT",
    "EXPIRES",
    "NO_KEYS",
    "READY",
    "RUNS",
    "UNIQUE",
    "JobKeys",
    "Lane",
    "count_key",
    "keys_of",
    "parse_count",
    "parse_lane",
    "row_of_key",
    "running_keys",
    "unique_entry",
    "waiting_keys",
]

READY: Final = b"p"
RUNS: Final = b"r"
EXPIRES: Final = b"x"
UNIQUE: Final = b"u"
COUNT: Final = b"n"

_U64: Final = struct.Struct(">Q")
_PAIR: Final = struct.Struct(">QQ")
_TAIL: Final = struct.Struct(">BBQQ")
_CODES: Final = {
    PENDING: 0,
    RUNNING: 1,
    COMPLETED: 2,
    FAILED: 3,
    DEAD_LETTER: 4,
    CANCELLED: 5,
    BLOCKED: 6,
}
_STATUSES: Final = {code: status for status, code in _CODES.items()}


class JobKeys(NamedTuple):
    """The entries of one document.

    Attributes:
        place: Its key of ``p``, ``r`` or ``x``; empty for none.
        counter: The counter that counts it; empty for a document that is not there.
        unique: Its key of ``u`` while it is unfinished; empty for none.
    """

    place: bytes
    counter: bytes
    unique: bytes


class Lane(NamedTuple):
    """What the jobs of one lane have in common."""

    queue: str
    job_type: str
    priority: int
    scheduled: bool


NO_KEYS: Final = JobKeys(b"", b"", b"")


def keys_of(row: int, job: JobDocument) -> JobKeys:
    """The entries that a document has in this row."""
    status = job.status
    queue = job.queue.encode()
    unique = b""
    if job.unique_key and status not in ENDED:
        unique = unique_entry(job.unique_key)
    if status == RUNNING:
        place = RUNS + _U64.pack(row)
    elif status in WAITING:
        if job.waits_for:
            return JobKeys(b"", COUNT + b"\6" + queue, unique)
        place = _ready(row, job, queue)
    elif job.expires_at is not None:
        place = EXPIRES + _PAIR.pack(to_micros(job.expires_at), row)
    else:
        place = b""
    return JobKeys(place, COUNT + bytes((_CODES[status],)) + queue, unique)


def running_keys(row: int, job: JobDocument) -> JobKeys:
    """What :func:`keys_of` says of a job that runs."""
    unique = unique_entry(job.unique_key) if job.unique_key else b""
    return JobKeys(RUNS + _U64.pack(row), COUNT + b"\1" + job.queue.encode(), unique)


def waiting_keys(place: bytes, job: JobDocument) -> JobKeys:
    """What :func:`keys_of` says of a job that may be started, found at ``place``."""
    unique = unique_entry(job.unique_key) if job.unique_key else b""
    counter = COUNT + bytes((_CODES[job.status],)) + job.queue.encode()
    return JobKeys(place, counter, unique)


def _ready(row: int, job: JobDocument, queue: bytes) -> bytes:
    kind = bytes((len(queue),)) + queue
    name = job.job_type.encode()
    scheduled = job.run_at is not None
    due = max(0, to_micros(job.run_at or job.created_at))
    tail = _TAIL.pack(job.priority, scheduled, due, row)
    return b"".join((READY, kind, bytes((len(name),)), name, tail))


def row_of_key(key: bytes) -> int:
    """The row of a key of ``p``, ``r`` or ``x``."""
    return int.from_bytes(key[-8:], "big")


def parse_lane(lane: bytes) -> Lane:
    """What a lane's bytes say."""
    end = 2 + lane[1]
    return Lane(
        lane[2:end].decode(), lane[end + 1 : -2].decode(), lane[-2], bool(lane[-1])
    )


def unique_entry(unique_key: str) -> bytes:
    """The key of a unique key's entry."""
    return UNIQUE + blake2b(unique_key.encode(), digest_size=16).digest()


def count_key(status: str, queue: str) -> bytes:
    """The key of a counter."""
    return COUNT + bytes((_CODES[status],)) + queue.encode()


def parse_count(key: bytes) -> tuple[str, str]:
    """The status and the queue that a counter counts."""
    return _STATUSES[key[1]], key[2:].decode()
