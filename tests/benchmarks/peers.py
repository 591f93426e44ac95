"""Other databases that happen to be on this machine, measured in the same run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

_BINARIES = Path("/usr/lib/postgresql")
_LISTENER = """
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


def postgres_notify(directory: Path, count: int) -> list[float] | None:
    """Seconds from before an insert to its notification in another process.

    ``None`` where there is no PostgreSQL or no client for it.
    """
    versions = sorted(_BINARIES.glob("*/bin")) if _BINARIES.exists() else []
    if not versions or find_spec("psycopg") is None:
        return None
    home = directory / "postgres"
    home.mkdir()
    # The server refuses to run as root.
    prefix = []
    if os.geteuid() == 0:
        directory.chmod(0o755)
        shutil.chown(home, "nobody")
        prefix = ["runuser", "-u", "nobody", "--"]
    tool = str(versions[-1])
    data = str(home / "data")
    init = [f"{tool}/initdb", "-D", data, "-A", "trust", "-U", "peer", "--no-sync"]
    subprocess.run([*prefix, *init], check=True, capture_output=True)
    options = f"-k {home} -c listen_addresses= -c synchronous_commit=off"
    control = [*prefix, f"{tool}/pg_ctl", "-D", data, "-w", "-o", options]
    subprocess.run([*control, "-l", f"{home}/log", "start"], check=True, stdout=-3)
    try:
        return _measure(str(home), count)
    finally:
        subprocess.run([*control, "-m", "fast", "stop"], check=True, stdout=-3)


def _measure(host: str, count: int) -> list[float]:
    import psycopg

    where = f"host={host} dbname=postgres user=peer"
    with psycopg.connect(where, autocommit=True) as db:
        db.execute(_TRIGGER)
        command = [sys.executable, "-c", _LISTENER, host, str(count)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            sent = {}
            for number in range(count):
                sent[number] = time.monotonic()
                db.execute(
                    "insert into users values (%s, %s::jsonb)",
                    (number, '{"role": "watched"}'),
                )
            lines = child.stdout.read().splitlines()
    found = [line.split() for line in lines]
    return [float(at) - sent[int(number)] for number, at in found]
