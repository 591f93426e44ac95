"""``aurora top``: the processes of a tree as they work, and what they have done since.

A look is the tree's status; two of them give rates. On a terminal it is drawn in place
(rich); elsewhere each look is printed below the last, with ``--json`` as one object.
"""

from __future__ import annotations

import argparse
import os
import select
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from aurora_actors import blocking
from aurora_actors.cli.opening import opened
from aurora_actors.cli.output import Output, size_text, table
from aurora_actors.errors import UnavailableError, UsageError
from aurora_actors.messages.supervision import ActorStatus, TreeStatus

__all__ = ["Look", "Row", "compare", "top"]

_HEAD: Final = (
    "actor",
    "pid",
    "state",
    "cpu",
    "memory",
    "lsn",
    "lag",
    "in/s",
    "work/s",
)
_WORK: Final = (
    "commits",
    "queries",
    "statements",
    "changes",
    "events",
    "records",
    "responses_2xx",
)
"""The counters of what an actor is there for; an actor has some of them."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One process between two looks.

    Attributes:
        cpu: The share of one core, in percent; ``None`` when it cannot be known.
        lag: How many changes it is behind; ``None`` for actors that follow none.
        received: Letters taken from the mailbox, a second.
        work: What it is there for, a second.
    """

    name: str
    pid: int
    state: str
    restarts: int
    cpu: float | None
    rss_bytes: int
    lsn: int
    lag: int | None
    received: float
    work: float


class Look(NamedTuple):
    """The tree at one moment.

    Attributes:
        at: When, on the monotonic clock.
        status: What the supervisor says.
        cpu_s: Seconds of processor time by process id, of processes on this machine.
    """

    at: float
    status: TreeStatus
    cpu_s: Mapping[int, float]


def top(given: argparse.Namespace, output: Output) -> int:
    """Look again and again."""
    if not 0.05 <= given.interval <= 3600:
        raise UsageError("--interval is between 0.05 and 3600 seconds")
    is_local = "://" not in given.path
    with opened(given.path) as db:
        if given.json or not sys.stdout.isatty():
            for status, rows in _looks(db, given, is_local=is_local):
                _print(output, status, rows)
        else:
            _draw(db, given, is_local=is_local)
    return 0


def _looks(
    db: blocking.Aurora, given: argparse.Namespace, *, is_local: bool
) -> Iterator[tuple[TreeStatus, list[Row]]]:
    before = _look(db, is_local=is_local)
    left = given.count
    while left is None or left > 0:
        if _is_told_to_end(given.interval):
            return
        now = _look(db, is_local=is_local)
        yield now.status, compare(before, now)
        before = now
        left = None if left is None else left - 1


def _look(db: blocking.Aurora, *, is_local: bool) -> Look:
    status = db.status()
    cpu_s = {}
    if is_local:
        found = ((actor.pid, _cpu_s(actor.pid)) for actor in status.actors)
        cpu_s = {pid: seconds for pid, seconds in found if seconds is not None}
    return Look(time.monotonic(), status, cpu_s)


def _cpu_s(pid: int) -> float | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def compare(before: Look, now: Look) -> list[Row]:
    """What each process has done between two looks."""
    seconds = max(1e-9, now.at - before.at)
    earlier = {actor.name: actor for actor in before.status.actors}
    return [
        _row(actor, earlier.get(actor.name), seconds, before, now)
        for actor in now.status.actors
    ]


def _row(
    actor: ActorStatus,
    earlier: ActorStatus | None,
    seconds: float,
    before: Look,
    now: Look,
) -> Row:
    cpu = None
    if actor.pid in before.cpu_s and actor.pid in now.cpu_s:
        used = now.cpu_s[actor.pid] - before.cpu_s[actor.pid]
        cpu = max(0.0, 100 * used / seconds)
    # A restarted process counts from nothing.
    known = earlier.values if earlier is not None and earlier.pid == actor.pid else {}
    return Row(
        name=actor.name,
        pid=actor.pid,
        state=actor.state,
        restarts=actor.restarts,
        cpu=cpu,
        rss_bytes=actor.rss_bytes,
        lsn=actor.lsn,
        lag=max(0, now.status.lsn - actor.lsn) if actor.lsn else None,
        received=_rate(actor.values, known, ("letters_in",), seconds),
        work=_rate(actor.values, known, _WORK, seconds),
    )


def _rate(
    values: Mapping[str, float],
    earlier: Mapping[str, float],
    names: Sequence[str],
    seconds: float,
) -> float:
    grown = sum(values.get(name, 0) - earlier.get(name, 0) for name in names)
    return max(0.0, grown / seconds)


# ------------------------------------------------------------------ showing
def _print(output: Output, status: TreeStatus, rows: list[Row]) -> None:
    value = {
        "lsn": status.lsn,
        "timeline": status.timeline,
        "clients": status.clients,
        "actors": rows,
    }
    output.result(value, [_headline(status), *table([_HEAD, *map(_cells, rows)]), ""])
    sys.stdout.flush()


def _headline(status: TreeStatus) -> str:
    return (
        f"lsn {status.lsn:,}  timeline {status.timeline}  "
        f"applications {status.clients}  supervisor {status.supervisor_pid}"
    )


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        str(row.pid),
        row.state if not row.restarts else f"{row.state} ({row.restarts})",
        "-" if row.cpu is None else f"{row.cpu:.0f} %",
        size_text(row.rss_bytes),
        f"{row.lsn:,}" if row.lsn else "-",
        "-" if row.lag is None else f"{row.lag:,}",
        f"{row.received:,.0f}",
        f"{row.work:,.0f}",
    )


def _draw(db: blocking.Aurora, given: argparse.Namespace, *, is_local: bool) -> None:
    try:
        # An extra; and only a terminal needs it.
        from rich.live import Live  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
    except ImportError as exc:
        raise UnavailableError(
            'on a terminal this needs the extra shell: pip install "aurora-actors[shell]"'
        ) from exc
    with _keys(), Live(screen=True, auto_refresh=False) as live:
        for status, rows in _looks(db, given, is_local=is_local):
            shown = Table(title=_headline(status), caption="q ends", expand=True)
            for name in _HEAD:
                shown.add_column(name, justify="left" if name == "actor" else "right")
            for row in rows:
                style = None if row.state == "ready" else "bold red"
                shown.add_row(*_cells(row), style=style)
            live.update(shown, refresh=True)


@contextmanager
def _keys() -> Iterator[None]:
    """Single keys can be read, without echo, until the end."""
    import termios  # noqa: PLC0415 - only a terminal has it
    import tty  # noqa: PLC0415

    if not sys.stdin.isatty():
        yield
        return
    fd = sys.stdin.fileno()
    kept = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, kept)


def _is_told_to_end(seconds: float) -> bool:
    """Wait, or less if the key q is pressed."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        select.select([], [], [], seconds)
        return False
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(ready) and sys.stdin.read(1) in {"q", "Q", ""}
