"""G3: a small log cut at every byte, and flipped at every byte, as a whole engine sees it.

Behind a checkpoint, seven batches are in the log, the first four known to be synced. The
log is damaged at one place, and the database is opened: after a crash of the process, when
the data file still has everything, and after a crash of the machine, when all behind the
checkpoint comes from the log. Either it is refused, naming the file and the damaged
frame, or what is there is a state it had: after a crash of the machine none before
what was synced, else the last one.
"""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from faults.small_engine import (
    BOOT,
    Contents,
    call,
    calls,
    contents,
    insertion,
    make,
    open_engine,
)
from support import Figures

from aurora_actors.config import DurabilityMode
from aurora_actors.errors import CorruptionError
from aurora_actors.storage.frames import Frame, scan_frames

pytestmark = pytest.mark.faults

WORK = ["insert", "increment", "upsert", "where", "transaction", "delete", "replace"]
SYNCED = 4
MODES = [DurabilityMode.WAL, DurabilityMode.STRICT]


class Original(NamedTuple):
    """The database that is damaged, and every state that it has had."""

    path: Path
    log: Path
    data: bytes
    frames: list[Frame]
    states: dict[int, Contents]


def told(path: Path, boot: str) -> Contents:
    """What documents and changes there are; not what the machine's crash changes."""
    found = contents(path, boot)
    return {name: found[name] for name in ("docs", "ids", "unique", "changes")}


def original(directory: Path, mode: DurabilityMode) -> Original:
    """Make it."""
    path = directory / "original.db"
    make(path, mode)
    engine = open_engine(path, mode)
    engine.checkpoint()
    states = {engine.lsn: told(path, BOOT)}
    seed = engine._store.log._seed  # type: ignore[union-attr]
    for number, name in enumerate(WORK):
        engine.execute(calls(name, number))
        states[engine.lsn] = told(path, BOOT)
        if number == SYNCED - 1:
            engine.sync()
    engine.abandon()
    (log,) = (path / "wal").iterdir()
    frames = scan_frames(log.read_bytes(), seed).frames
    assert len(frames) == len(WORK)
    return Original(path, log, log.read_bytes()[: frames[-1].end + 50], frames, states)


def damages(of: Original, step: int) -> Iterator[tuple[str, int, bytes]]:
    """Every damage: what it is, where, and what the log is then."""
    data = of.data
    for at in range(0, len(data), step):
        yield "cut", at, data[:at]
        flipped = data[at] ^ (1 << (at // step) % 8)
        yield "flip", at, data[:at] + bytes([flipped]) + data[at + 1 :]


def outcome(of: Original, path: Path, mode: DurabilityMode, boot: str) -> int | str:
    """The LSN that the damaged database opens with, or where it says the damage is."""
    try:
        engine = open_engine(path, mode, boot=boot)
    except CorruptionError as exc:
        return f"refused, {exc.context['file']} at {exc.context['offset']}"
    try:
        lsn = engine.lsn
        assert told(path, boot) == of.states[lsn]
        (reply,) = engine.execute([call(1000, insertion(z={"n": 1}))])
        assert reply.lsn == lsn + 1
    finally:
        engine.abandon()
    engine = open_engine(path, mode, boot=boot)
    assert engine.lsn == lsn + 1
    engine.abandon()
    return lsn


def expected(of: Original, path: Path, what: str, at: int, boot: str) -> int | str:
    """What has to come of a damage."""
    first, last = min(of.states), max(of.states)
    reached = [first, *[frame.last_lsn for frame in of.frames]]
    whole = sum(frame.end <= at for frame in of.frames)
    torn = what == "cut" or whole >= len(of.frames) - 1
    if torn and boot == BOOT:
        return last
    later = of.frames[whole + 1 :]
    known = any(frame.synced_lsn > reached[whole] for frame in later)
    if torn or (boot != BOOT and not known):
        # The machine may have lost it: nothing tells that it was there for good.
        return reached[whole]
    log = path / of.log.relative_to(of.path)
    return f"refused, {log} at {of.frames[whole].offset}"


def damage_everywhere(directory: Path, mode: DurabilityMode, step: int) -> str:
    """Try all damages; returns a line of figures."""
    of = original(directory, mode)
    seen: Counter[str] = Counter()
    path = directory / "damaged.db"
    places = damages(of, step)
    for (what, at, data), boot in itertools.product(places, (BOOT, "another")):
        shutil.copytree(of.path, path)
        (path / of.log.relative_to(of.path)).write_bytes(data)
        found = outcome(of, path, mode, boot)
        assert found == expected(of, path, what, at, boot), (what, at, boot)
        kind = "refused" if isinstance(found, str) else "a state it had"
        seen[f"{what}, {kind}"] += 1
        shutil.rmtree(path)
    figures = ", ".join(f"{what} {count:,}" for what, count in sorted(seen.items()))
    return f"log damaged, {mode.value}, {len(of.data):,} bytes: {figures}"


@pytest.mark.parametrize("mode", MODES)
def test_a_log_damaged_at_some_bytes(tmp_path: Path, mode: DurabilityMode) -> None:
    damage_everywhere(tmp_path, mode, step=79)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", MODES)
def test_a_log_damaged_at_every_byte(
    tmp_path: Path, mode: DurabilityMode, figures: Figures
) -> None:
    figures.add(damage_everywhere(tmp_path, mode, step=1))
