"""The examples of live queries run as written."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from support import wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.processes


def test_the_board_of_orders_ends_when_all_are_served():
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / "live_orders.py")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert "the board is open" in done.stdout
    assert done.stdout.endswith("insert: 40\nupdate: 40\n")


def test_a_browser_resumes_though_the_server_was_restarted(tmp_path):
    command = [sys.executable, str(EXAMPLES / "live_orders_sse.py")]
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    base = f"http://127.0.0.1:{port}"

    def serve():
        process = subprocess.Popen(
            [*command, str(tmp_path / "orders.db"), str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

        def answers():
            try:
                return httpx.get(base).status_code == 200
            except httpx.TransportError:
                return False

        wait_until(answers, "the example serves")
        return process

    def read(count, last=None):
        headers = {} if last is None else {"last-event-id": last}
        found = []
        with httpx.stream("GET", f"{base}/events", headers=headers) as response:
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    found.append([value, ""])
                elif name == "id":
                    found[-1][1] = value
                elif not line and len(found) == count:
                    return found
        raise AssertionError(found)

    server = serve()
    try:
        order = httpx.post(f"{base}/orders", json={"dish": "ramen", "total": 12})
        assert order.status_code == 201
        assert httpx.post(f"{base}/orders", json={"dish": 3}).status_code == 422
        events = read(2)
        assert [name for name, _ in events] == ["put", "alive"]
        number = order.json()["id"]
        assert httpx.post(f"{base}/orders/{number}/served").status_code == 204
        httpx.post(f"{base}/orders", json={"dish": "udon", "total": 9})
        server.terminate()
        server.wait(20)
        server = serve()
        resumed = read(2, last=events[-1][1])
        assert [name for name, _ in resumed] == ["remove", "put"]
        assert httpx.get(f"{base}/events", headers={"last-event-id": "x"}).is_error
    finally:
        server.terminate()
        server.wait(20)
