"""From an actor's pipe to the log."""

from __future__ import annotations

import json
import logging
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from aurora_supervisor.journal import Journal, LogHandler
from aurora_supervisor.logs import ActorLog, LogFile

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ")


class Lines:
    """A sink that keeps what it gets, without the time."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def write(self, text: str) -> None:
        assert TIME.match(text)
        self.texts.append(TIME.sub("", text, count=1))


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def log(lines: Lines) -> ActorLog:
    return ActorLog("storage", Journal(lines))


async def forward(log: ActorLog, *chunks: bytes) -> None:
    for chunk in chunks:
        os.write(log.writing_end, chunk)
        log.drain()
    log.sent()
    await log.run()


async def test_a_json_record_keeps_its_level_logger_and_values(log, lines):
    record = {
        "level": "INFO",
        "logger": "aurora_actors.storage.engine",
        "message": "opened",
        "extra": {"lsn": 7, "path": "x"},
    }
    await forward(log, json.dumps(record).encode() + b"\n")
    assert lines.texts == [
        "INFO storage aurora_actors.storage.engine: opened lsn=7 path=x"
    ]


async def test_any_other_line_is_a_warning_as_it_is(log, lines):
    await forward(log, b"Traceback:\n  File x\n\n{broken\n\xff\n")
    assert lines.texts == [
        "WARNING storage: Traceback:",
        "WARNING storage:   File x",
        "WARNING storage: {broken",
        "WARNING storage: \\xff",
    ]


async def test_lines_may_arrive_in_pieces_and_the_last_without_an_end(log, lines):
    await forward(log, b"one", b" line\nand ", b"another")
    assert lines.texts == ["WARNING storage: one line", "WARNING storage: and another"]


async def test_a_line_without_end_is_cut_and_not_kept(log, lines):
    writing = os.dup(log.writing_end)
    os.set_blocking(writing, False)
    for _ in range(3):
        assert os.write(writing, b"x" * 40_000) == 40_000
        log.drain()
    os.close(writing)
    await forward(log)
    assert len(lines.texts) == 2
    assert sum(text.count("x") for text in lines.texts) == 120_000


async def test_an_exception_follows_its_record_and_its_end_is_the_last_word(log, lines):
    record = {
        "level": "ERROR",
        "logger": "a",
        "message": "failed",
        "exception": "Traceback\nValueError: bad",
    }
    await forward(log, json.dumps(record).encode() + b"\n")
    assert lines.texts == ["ERROR storage a: failed\nTraceback\nValueError: bad"]
    assert log.last_words == "ValueError: bad"


# ------------------------------------------------------------------ the sinks
@pytest.fixture
def keep_descriptor_2() -> Iterator[None]:
    kept = os.dup(2)
    yield
    os.dup2(kept, 2)
    os.close(kept)


@pytest.mark.usefixtures("keep_descriptor_2")
def test_the_log_file_stays_small_and_keeps_one_predecessor(tmp_path: Path):
    path = tmp_path / "aurora.log"
    file = LogFile(path, max_bytes=1000, is_stderr=True)
    for number in range(100):
        file.write(f"{number:099}")
    os.write(2, b"a cry\n")
    file.close()
    assert path.stat().st_size <= 1006
    assert (tmp_path / "aurora.log.1").stat().st_size <= 1000
    assert path.read_text().endswith("99\na cry\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.usefixtures("keep_descriptor_2")
def test_the_log_file_goes_on_where_it_was(tmp_path: Path):
    for word in ("one", "two"):
        file = LogFile(tmp_path / "aurora.log")
        file.write(word)
        file.close()
    assert (tmp_path / "aurora.log").read_text() == "one\ntwo\n"


def test_the_supervisors_own_records_are_written_alike(lines: Lines):
    logger = logging.getLogger("aurora_supervisor.a_test")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(LogHandler(Journal(lines)))
    logger.info("tree started", extra={"tree_id": "t"})
    try:
        int("bad")
    except ValueError:
        logger.exception("failed")
    assert (
        lines.texts[0]
        == "INFO supervisor aurora_supervisor.a_test: tree started tree_id=t"
    )
    assert lines.texts[1].endswith("base 10: 'bad'")
