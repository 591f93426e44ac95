from __future__ import annotations

import gc
import os
import random
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import python

from aurora_actors.errors import ConfigError, LimitExceededError, UsageError
from aurora_actors.transport.sockets import (
    MAX_MESSAGE_BYTES,
    Inbox,
    Outlet,
    mailbox_path,
)


def send(outlet: Outlet, data: bytes) -> None:
    while not outlet.send_nowait(data):
        assert select.select([outlet.send_fd], [], [], 60)[0]


def receive(inbox: Inbox) -> bytes:
    while (data := inbox.receive_nowait()) is None:
        assert select.select([inbox.fd], [], [], 60)[0]
    return data


def test_what_is_sent_arrives_in_order(runtime_dir: Path) -> None:
    path = mailbox_path(str(runtime_dir), "box")
    inbox, outlet = Inbox(path), Outlet(path)
    try:
        got = []
        for number in range(300):
            data = str(number).encode()
            while not outlet.send_nowait(data):
                got.append(receive(inbox))
        while len(got) < 300:
            got.append(receive(inbox))
        assert got == [str(number).encode() for number in range(300)]
        assert inbox.receive_nowait() is None
    finally:
        outlet.close()
        inbox.close()


def test_an_outlet_reaches_a_mailbox_that_appears_later(runtime_dir: Path) -> None:
    path = mailbox_path(str(runtime_dir), "late")
    outlet = Outlet(path)
    assert outlet.send_nowait(b"early") in (True, False)
    inbox = Inbox(path)
    try:
        while not select.select([inbox.fd], [], [], 0.5)[0]:
            send(outlet, b"early")
        assert receive(inbox) == b"early"
    finally:
        outlet.close()
        inbox.close()


def test_a_new_inbox_takes_the_place_of_a_dead_ones_file(runtime_dir: Path) -> None:
    path = mailbox_path(str(runtime_dir), "box")
    die = (
        "import os, sys; from aurora_actors.transport.sockets import Inbox;"
        "box = Inbox(sys.argv[1]); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", die, path], check=True)
    assert Path(path).exists()
    inbox, outlet = Inbox(path), Outlet(path)
    try:
        send(outlet, b"hello")
        assert receive(inbox) == b"hello"
    finally:
        outlet.close()
        inbox.close()


def test_an_outlet_goes_on_when_receivers_come_and_go(runtime_dir: Path) -> None:
    path = mailbox_path(str(runtime_dir), "box")
    outlet = Outlet(path)
    try:
        for number in range(15):
            inbox = Inbox(path)
            try:
                send(outlet, b"first")  # may go with the connection that is lost
                while True:
                    send(outlet, str(number).encode())
                    if not select.select([inbox.fd], [], [], 0.02)[0]:
                        continue
                    got = receive(inbox)
                    if got == str(number).encode():
                        break
            finally:
                inbox.close()
        assert outlet.lines > 1
    finally:
        outlet.close()


def test_who_waits_for_room_is_woken_when_the_receiver_is_gone(
    runtime_dir: Path,
) -> None:
    path = mailbox_path(str(runtime_dir), "box")
    inbox, outlet = Inbox(path), Outlet(path)
    large = bytes(1 << 20)
    send(outlet, large)
    while select.select([outlet.send_fd], [], [], 0.2)[0]:
        outlet.send_nowait(large)
    inbox.close()
    try:
        assert select.select([outlet.send_fd], [], [], 60)[0]
        inbox = Inbox(path)
        send(outlet, b"news")
        assert receive(inbox) == b"news"
    finally:
        outlet.close()
        inbox.close()


RECEIVERS = """
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
from aurora_actors.transport.sockets import Inbox
while sys.stdin.readline():
    pid = os.fork()
    if pid == 0:
        inbox = Inbox(sys.argv[1])
        while True:
            inbox.receive_nowait()
    print(pid, flush=True)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(3))
def test_killed_receivers_do_not_harm_the_sender(runtime_dir: Path, seed: int) -> None:
    """A PUSH socket used beyond its connection crashed in one of a thousand rounds."""
    path = mailbox_path(str(runtime_dir), "box")
    rng = random.Random(seed)
    with python(RECEIVERS, path, stdin=True) as source:
        assert source.stdin is not None
        assert source.stdout is not None
        outlet = Outlet(path)
        try:
            for _ in range(500):
                source.stdin.write("\n")
                source.stdin.flush()
                pid = int(source.stdout.readline())
                try:
                    for _ in range(rng.randrange(1, 200)):
                        send(outlet, b"x" * 200)
                finally:
                    os.kill(pid, signal.SIGKILL)
        finally:
            outlet.close()


def test_closing_an_inbox_removes_its_file_and_may_be_repeated(
    runtime_dir: Path,
) -> None:
    path = mailbox_path(str(runtime_dir), "box")
    inbox = Inbox(path)
    inbox.close()
    inbox.close()
    assert not Path(path).exists()
    with pytest.raises(UsageError, match="is closed"):
        inbox.receive_nowait()


def test_a_message_over_the_limit_is_refused_before_it_is_sent(
    runtime_dir: Path,
) -> None:
    outlet = Outlet(mailbox_path(str(runtime_dir), "box"))
    try:
        with pytest.raises(LimitExceededError, match="smaller chunks"):
            outlet.send_nowait(bytes(MAX_MESSAGE_BYTES + 1))
    finally:
        outlet.close()


def test_a_path_over_107_bytes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="longer than 107 bytes"):
        mailbox_path(str(tmp_path / ("x" * 100)), "storage")


def test_a_forked_child_may_not_use_its_parents_sockets(runtime_dir: Path) -> None:
    path = mailbox_path(str(runtime_dir), "box")
    inbox, outlet = Inbox(path), Outlet(path)
    try:
        pid = os.fork()
        if pid == 0:
            try:
                outlet.send_nowait(b"x")
            except UsageError:
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        send(outlet, b"still works in the parent")
        assert receive(inbox) == b"still works in the parent"
    finally:
        outlet.close()
        inbox.close()


def test_a_forked_child_may_drop_sockets_closed_before(runtime_dir: Path) -> None:
    path = mailbox_path(str(runtime_dir), "box")
    inbox, outlet = Inbox(path), Outlet(path)
    inbox.close()
    outlet.close()
    pid = os.fork()
    if pid == 0:
        del inbox, outlet
        gc.collect()  # calls the finalizers of what nng had behind both
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
