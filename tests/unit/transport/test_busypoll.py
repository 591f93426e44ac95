"""Looking again before sleeping: it catches what comes soon, and gives up what does not."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator
from itertools import count

import pytest

from aurora_actors.transport import busypoll
from aurora_actors.transport.busypoll import BusyPoll


class Looks:
    """An epoll instance with a pipe, and how often it has been looked at."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self._epoll = select.epoll()
        self._epoll.register(self.reading, select.EPOLLIN)
        self.count = 0

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        self.count += 1
        return self._epoll.poll(timeout)

    def close(self) -> None:
        self._epoll.close()
        os.close(self.reading)
        os.close(self.writing)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Looks]:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    looks = Looks()
    yield looks
    looks.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a millisecond whenever it is looked at.

    The real one may go on by more than a whole moment between two looks.
    """
    ticks = count()
    monkeypatch.setattr(busypoll.time, "perf_counter", lambda: next(ticks) / 1000)


def test_what_comes_soon_is_caught(looks: Looks) -> None:
    busy = BusyPoll(looks, 60.0)
    sender = threading.Timer(0.01, os.write, (looks.writing, b"x"))
    sender.start()
    assert busy.poll() == [(looks.reading, select.EPOLLIN)]
    sender.join()


def test_after_a_look_in_vain_ever_more_are_left_out(looks: Looks, clock: None) -> None:
    busy = BusyPoll(looks, 0.02)
    pattern = ""
    for _ in range(1 + 1 + 1 + 3 + 1 + 7 + 1):
        before = looks.count
        assert busy.poll() == []
        pattern += "." if looks.count == before + 1 else "L"
    assert pattern == "L." + "L..." + "L......." + "L"
    os.write(looks.writing, b"x")
    assert busy.poll()


def test_at_most_63_are_left_out(looks: Looks, clock: None) -> None:
    busy = BusyPoll(looks, 0.01)
    for _ in range(1000):
        busy.poll()
    left_out = looks.count
    for _ in range(64):
        busy.poll()
    assert looks.count > left_out + 64


def test_it_looks_as_long_as_it_was_told_last(looks: Looks, clock: None) -> None:
    busy = BusyPoll(looks, 0.0)
    busy.poll()
    assert looks.count == 1
    busy.look_for(0.1)
    busy.poll()
    assert looks.count > 50
    long, looks.count = looks.count, 0
    busy = BusyPoll(looks, 0.1)
    busy.look_for(0.02)
    busy.poll()
    assert 1 < looks.count < long / 2


def test_none_are_left_out_after_a_success(looks: Looks) -> None:
    busy = BusyPoll(looks, 60.0)
    for _ in range(3):
        sender = threading.Timer(0.01, os.write, (looks.writing, b"x"))
        sender.start()
        assert busy.poll()
        sender.join()
        os.read(looks.reading, 1)


def test_it_never_looks_twice_on_a_single_core(
    looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    busy = BusyPoll(looks, 60.0)
    busy.look_for(60.0)
    for number in range(1, 10):
        assert busy.poll() == []
        assert looks.count == number
