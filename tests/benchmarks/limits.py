"""What this machine can do at best: the figures the others are compared with."""

from __future__ import annotations

import os
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

import lmdb
import msgspec

from aurora_actors.transport.sockets import Inbox, Outlet

ROUNDS = 3000

ECHO = """
import select, sys
from aurora_actors.transport.sockets import Inbox, Outlet
inbox, outlet = Inbox(sys.argv[1]), Outlet(sys.argv[2])
print("ready", flush=True)
while True:
    data = inbox.receive_nowait()
    if data is None:
        select.select([inbox.fd], [], [])
    elif not data:
        break
    else:
        while not outlet.send_nowait(data):
            select.select([outlet.send_fd], [], [])
inbox.close(); outlet.close()
"""


class Limits(NamedTuple):
    """Median seconds of one bare operation."""

    lmdb_get_s: float
    lmdb_find_s: float
    nng_s: float
    append_s: float
    fdatasync_s: float
    commit_s: float

    @property
    def write_s(self) -> float:
        """What an awaited write cannot do without: ask, log, commit, answer."""
        return self.nng_s + self.append_s + self.commit_s


def median(work: Callable[[int], object], rounds: int = ROUNDS) -> float:
    """The median time of ``work``."""
    samples = []
    for number in range(rounds):
        start = time.perf_counter()
        work(number)
        samples.append(time.perf_counter() - start)
    return statistics.median(samples)


def measure_limits(directory: Path) -> Limits:
    """Measure all limits, in a directory on the disk the database will be on."""
    return Limits(
        lmdb_get_s=_lmdb_get(directory),
        lmdb_find_s=_lmdb_find(directory),
        nng_s=_nng_round_trip(directory),
        append_s=_append(directory, sync=False),
        fdatasync_s=_append(directory, sync=True),
        commit_s=_commit(directory),
    )


def sample_document(number: int) -> dict[str, object]:
    """A document of about 250 bytes, ten fields."""
    return {
        "name": f"User {number}",
        "email": f"user{number}@example.com",
        "age": number % 80,
        "role": f"role-{number % 8}",
        "active": number % 3 == 0,
        "score": number * 0.5,
        "created": "2026-01-01T00:00:00Z",
        "tags": ["a", "b", f"t{number % 100}"],
        "address": {"city": f"City {number % 500}", "zip": f"{number % 99999:05d}"},
        "bio": "x" * 60,
    }


def _lmdb_get(directory: Path) -> float:
    path = directory / "bare.lmdb"
    encode = msgspec.msgpack.Encoder().encode
    decode = msgspec.msgpack.Decoder(dict[str, object]).decode
    count = 20_000
    with lmdb.open(str(path), map_size=1 << 30, subdir=False, sync=False) as env:
        with env.begin(write=True) as txn:
            for number in range(count):
                txn.put(f"{number:08d}".encode(), encode(sample_document(number)))

        def get(number: int) -> object:
            with env.begin(buffers=True) as txn:
                value = txn.get(f"{number * 7919 % count:08d}".encode())
                assert value is not None
                return decode(value)

        return median(get)


def _lmdb_find(directory: Path) -> float:
    """The same by a field: its value leads to the key, and that to the document."""
    path = directory / "find.lmdb"
    encode = msgspec.msgpack.Encoder().encode
    decode = msgspec.msgpack.Decoder(dict[str, object]).decode
    count = 20_000
    with lmdb.open(
        str(path), map_size=1 << 30, subdir=False, sync=False, max_dbs=2
    ) as env:
        docs, emails = env.open_db(b"docs"), env.open_db(b"emails")
        with env.begin(write=True) as txn:
            for number in range(count):
                document = sample_document(number)
                key = f"{number:08d}".encode()
                txn.put(key, encode(document), db=docs)
                txn.put(str(document["email"]).encode(), key, db=emails)

        asked = [f"user{n * 7919 % count}@example.com" for n in range(ROUNDS)]

        def find(number: int) -> object:
            with env.begin(buffers=True) as txn:
                key = txn.get(asked[number].encode(), db=emails)
                assert key is not None
                value = txn.get(key, db=docs)
                assert value is not None
                return decode(value)

        return median(find)


def _commit(directory: Path) -> float:
    """One document, its id, a unique value, its change and its outcome; no sync."""
    path = directory / "commit.lmdb"
    tables = (b"docs", b"ids", b"unique", b"changes", b"requests", b"meta")
    body = msgspec.msgpack.encode(sample_document(1))
    with lmdb.open(
        str(path), map_size=1 << 30, subdir=False, sync=False, max_dbs=8
    ) as env:
        opened = [env.open_db(name) for name in tables]

        def write(number: int) -> None:
            with env.begin(write=True) as txn:
                key = f"{number:016d}".encode()
                txn.put(key, body, db=opened[0], append=True)
                txn.put(key * 2, key, db=opened[1])
                txn.put(f"{number * 7919 % 10**9:020d}".encode(), key, db=opened[2])
                txn.put(key, key, db=opened[3], append=True)
                txn.put(key, key, db=opened[4])
                txn.put(b"state", key, db=opened[5])

        with env.begin(write=True) as txn:
            for number in range(-50_000, 0):
                key = f"{number + 50_000:032d}".encode()
                txn.put(key, b"x" * 8, db=opened[1])
                txn.put(f"{number * 7919 % 10**9:020d}".encode(), key, db=opened[2])
        return median(write)


def _nng_round_trip(directory: Path) -> float:
    with echo(directory) as round_trip:
        return median(lambda _number: round_trip())


@contextmanager
def echo(directory: Path) -> Iterator[Callable[[], None]]:
    """A process that sends back what it gets; gives a function that asks it once."""
    there, back = str(directory / "there.ipc"), str(directory / "back.ipc")
    command = [sys.executable, "-c", ECHO, there, back]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        inbox, outlet = Inbox(back), Outlet(there)

        def send(data: bytes) -> None:
            while not outlet.send_nowait(data):
                select.select([outlet.send_fd], [], [])

        def round_trip() -> None:
            send(b"x" * 300)
            while inbox.receive_nowait() is None:
                select.select([inbox.fd], [], [])

        try:
            yield round_trip
        finally:
            send(b"")
            process.wait(10)
            inbox.close()
            outlet.close()


class BareLog:
    """A preallocated file to which blocks are appended, each synced or none."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_CREAT | os.O_RDWR)
        self._end = 0
        os.pwrite(self._fd, bytes(2 << 20), 0)
        os.fdatasync(self._fd)

    def append(self, data: bytes, *, sync: bool = True) -> None:
        """Append one block."""
        os.pwrite(self._fd, data, self._end)
        self._end += len(data)
        if sync:
            os.fdatasync(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _append(directory: Path, *, sync: bool) -> float:
    data = b"x" * 300
    with BareLog(directory / "bare.log") as log:
        return median(lambda _: log.append(data, sync=sync), 1000)
