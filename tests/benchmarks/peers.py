"""Other systems that tell another process of a write, measured in the same run.

Each is started by this module in a directory of its own, without a TCP port, and only
where it is installed (Debian: ``redis-server``, ``postgresql``; and their Python
clients, which are in the ``bench`` group).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

__all__ = ["Lane", "postgres", "redis_pubsub"]

_BINARIES = Path("/usr/lib/postgresql")
_POSTGRES_LISTENER = """
import sys, time
import psycopg
total = int(sys.argv[2])
arrived = []
with psycopg.connect(f"host={sys.argv[1]} dbname=postgres user=peer", autocommit=True) as db:
    db.execute("listen changes")
    print("ready", flush=True)
    for note in db.notifies():
        arrived.append((note.payload, time.monotonic()))
        if len(arrived) == total:
            break
print("\\n".join(f"{number} {at}" for number, at in arrived), flush=True)
"""
_TRIGGER = """
create table users (number int, body jsonb);
create function tell() returns trigger language plpgsql as
'begin perform pg_notify(''changes'', new.number::text); return new; end';
create trigger told after insert on users for each row execute function tell();
"""
_REDIS_LISTENER = """
import sys, time
import redis
total = int(sys.argv[2])
arrived = []
with redis.Redis(unix_socket_path=sys.argv[1]).pubsub() as listener:
    listener.subscribe("changes")
    for message in listener.listen():
        if message["type"] == "subscribe":
            print("ready", flush=True)
            continue
        arrived.append((message["data"].decode(), time.monotonic()))
        if len(arrived) == total:
            break
print("\\n".join(f"{number} {at}" for number, at in arrived), flush=True)
"""


class Lane:
    """A way for a write to be noticed in another process.

    Args:
        title: What it is called.
        insert: Writes document ``number``.
        child: The process that notices; it prints the arrivals when it has them all.
    """

    def __init__(
        self,
        title: str,
        insert: Callable[[int, dict[str, object]], object],
        child: subprocess.Popen[str],
    ) -> None:
        self.title = title
        self._insert = insert
        self._child = child
        self._sent: dict[int, float] = {}

    def write(self, number: int, document: dict[str, object]) -> None:
        """Write a document, and remember when that was begun."""
        self._sent[number] = time.monotonic()
        self._insert(number, document)

    def delays(self) -> list[float]:
        """Seconds from before each write to its arrival."""
        assert self._child.stdout is not None
        found = [line.split() for line in self._child.stdout.read().splitlines()]
        return [float(at) - self._sent[int(number)] for number, at in found]


@contextmanager
def listening(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs ``script`` and has said that it is ready.

    It finds the modules that this one does.
    """
    command = [sys.executable, "-c", script, *arguments]
    pipe = subprocess.PIPE
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, env=env
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.kill()


@contextmanager
def postgres(directory: Path, count: int) -> Iterator[Lane | None]:
    """An insert whose trigger notifies; ``None`` where there is no PostgreSQL."""
    versions = sorted(_BINARIES.glob("*/bin")) if _BINARIES.exists() else []
    if not versions or find_spec("psycopg") is None:
        yield None
        return
    home = directory / "postgres"
    home.mkdir()
    # The server refuses to run as root.
    prefix = []
    if os.geteuid() == 0:
        directory.chmod(0o755)
        shutil.chown(home, "nobody")
        prefix = ["runuser", "-u", "nobody", "--"]
    tool, data = str(versions[-1]), str(home / "data")
    init = [f"{tool}/initdb", "-D", data, "-A", "trust", "-U", "peer", "--no-sync"]
    subprocess.run([*prefix, *init], check=True, capture_output=True)
    options = f"-k {home} -c listen_addresses= -c synchronous_commit=off"
    control = [*prefix, f"{tool}/pg_ctl", "-D", data, "-w", "-o", options]
    subprocess.run([*control, "-l", f"{home}/log", "start"], check=True, stdout=-3)
    try:
        with _postgres_lane(str(home), count) as lane:
            yield lane
    finally:
        subprocess.run([*control, "-m", "fast", "stop"], check=True, stdout=-3)


@contextmanager
def _postgres_lane(host: str, count: int) -> Iterator[Lane]:
    import psycopg

    where = f"host={host} dbname=postgres user=peer"
    with psycopg.connect(where, autocommit=True) as db:
        db.execute(_TRIGGER)

        def insert(number: int, document: dict[str, object]) -> None:
            values = (number, json.dumps(document))
            db.execute("insert into users values (%s, %s::jsonb)", values)

        with listening(_POSTGRES_LISTENER, host, str(count)) as child:
            yield Lane("PostgreSQL: insert, NOTIFY, LISTEN", insert, child)


@contextmanager
def redis_pubsub(directory: Path, count: int) -> Iterator[Lane | None]:
    """SET and PUBLISH in one request; ``None`` where there is no Redis."""
    server = shutil.which("redis-server")
    if server is None or find_spec("redis") is None:
        yield None
        return
    import redis

    path = str(directory / "redis.sock")
    options = ["--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no"]
    with subprocess.Popen(
        [server, *options, "--dir", str(directory)], stdout=subprocess.DEVNULL
    ) as process:
        try:
            while not Path(path).exists():
                time.sleep(0.01)
            client = redis.Redis(unix_socket_path=path)

            def insert(number: int, document: dict[str, object]) -> None:
                both = client.pipeline(transaction=False)
                both.set(f"user:{number}", json.dumps(document))
                both.publish("changes", number)
                both.execute()

            with listening(_REDIS_LISTENER, path, str(count)) as child:
                yield Lane("Redis: SET, PUBLISH, SUBSCRIBE", insert, child)
        finally:
            process.terminate()
