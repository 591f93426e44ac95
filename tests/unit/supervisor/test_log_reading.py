"""Reading a log that grows: nothing is lost between what was there and what comes."""

from __future__ import annotations

from pathlib import Path

import pytest
from aurora_supervisor.logreading import LogReader, Wanted
from aurora_supervisor.logs import LOG_NAME


def line(number: int, actor: str = "supervisor") -> str:
    return f"2026-01-31T12:00:00.{number:03}Z INFO {actor}: entry {number}\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / LOG_NAME


def append(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def read(log: Path, **wanted: str) -> LogReader:
    return LogReader(log.parent, Wanted(**wanted))


def test_what_is_added_after_the_last_entries_follows_them(log: Path):
    append(log, line(1) + line(2) + line(3))
    with read(log) as reader:
        assert [e.message for e in reader.last_entries(2)] == ["entry 2", "entry 3"]
        append(log, line(4))
        following = reader.follow()
        assert next(following).message == "entry 4"
        append(log, line(5) + line(6, "storage"))
        assert [next(following).message for _ in range(2)] == ["entry 5", "entry 6"]


def test_a_line_that_is_half_written_comes_when_it_is_whole(log: Path):
    append(log, line(1) + line(2)[:30])
    with read(log) as reader:
        assert [entry.message for entry in reader.last_entries(9)] == ["entry 1"]
        append(log, line(2)[30:])
        assert next(reader.follow()).message == "entry 2"


def test_the_reader_goes_over_to_the_new_file_when_the_log_is_renamed(log: Path):
    older = log.with_name(f"{LOG_NAME}.1")
    append(older, line(1))
    append(log, line(2))
    with read(log) as reader:
        assert [e.message for e in reader.last_entries(9)] == ["entry 1", "entry 2"]
        append(log, line(3))
        log.replace(older)
        append(log, line(4))
        following = reader.follow()
        assert [next(following).message for _ in range(2)] == ["entry 3", "entry 4"]


def test_a_log_renamed_while_it_is_opened_is_not_told_twice(log: Path):
    append(log, line(1))
    with read(log) as reader:
        log.replace(log.with_name(f"{LOG_NAME}.1"))
        append(log, line(2))
        assert [entry.message for entry in reader.last_entries(9)] == ["entry 1"]
        assert next(reader.follow()).message == "entry 2"


def test_lines_of_a_traceback_belong_to_their_entry_and_others_are_left_out(log: Path):
    append(log, line(1) + "Traceback\n  here\n" + line(2, "storage"))
    with read(log, actor="supervisor") as reader:
        (entry,) = reader.last_entries(9)
        assert entry.exception == "Traceback\n  here"


def test_a_log_that_is_not_there_yet_is_waited_for(log: Path):
    with read(log) as reader:
        assert reader.last_entries(3) == []
        append(log, line(1))
        assert next(reader.follow()).message == "entry 1"
