"""The notifications to systemd."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from aurora_supervisor.notify import ServiceManager


@pytest.fixture
def manager(runtime_dir: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(runtime_dir / "notify"))
        listener.setblocking(False)
        yield listener


def test_a_state_is_sent_as_one_datagram(manager: socket.socket):
    service = ServiceManager({"NOTIFY_SOCKET": manager.getsockname()})
    service.notify("READY=1\nSTATUS=serving")
    assert manager.recv(100) == b"READY=1\nSTATUS=serving"


def test_an_abstract_address_begins_with_an_at_sign():
    name = f"aurora-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).notify("READY=1")
        assert listener.recv(100) == b"READY=1"


def test_a_manager_that_is_gone_is_no_error():
    ServiceManager({"NOTIFY_SOCKET": "/nowhere/notify"}).notify("READY=1")


async def test_the_watchdog_is_fed_at_half_its_interval(
    manager: socket.socket, autojump_clock: trio.abc.Clock
):
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "4000000"}
    with trio.move_on_after(7):
        await ServiceManager(environ).keep_watchdog()
    assert [manager.recv(100) for _ in range(4)] == [b"WATCHDOG=1"] * 4
    with pytest.raises(BlockingIOError):
        manager.recv(100)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
    ],
)
async def test_without_a_watchdog_of_ours_nothing_is_sent(environ):
    await ServiceManager(environ).keep_watchdog()
