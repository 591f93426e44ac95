"""The examples of live queries run as written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from support import DEADLINE_S, free_port, wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.processes


def test_the_board_of_orders_ends_when_all_are_served():
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / "live_orders.py")],
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert "the board is open" in done.stdout
    assert done.stdout.endswith("insert: 40\nupdate: 40\n")


def test_a_browser_resumes_though_the_server_was_restarted(tmp_path):
    command = [sys.executable, str(EXAMPLES / "live_orders_sse.py")]
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    http = httpx.Client(base_url=base, timeout=60)

    def serve():
        process = subprocess.Popen(
            [*command, str(tmp_path / "orders.db"), str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

        def answers():
            try:
                return http.get("/").status_code == 200
            except httpx.TransportError:
                return False

        wait_until(answers, "the example serves")
        return process

    def read(count, last=None):
        headers = {} if last is None else {"last-event-id": last}
        found = []
        with http.stream("GET", "/events", headers=headers) as response:
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
        order = http.post("/orders", json={"dish": "ramen", "total": 12})
        assert order.status_code == 201
        assert http.post("/orders", json={"dish": 3}).status_code == 422
        events = read(2)
        assert [name for name, _ in events] == ["put", "alive"]
        number = order.json()["id"]
        assert http.post(f"/orders/{number}/served").status_code == 204
        http.post("/orders", json={"dish": "udon", "total": 9})
        server.terminate()
        server.wait(DEADLINE_S)
        server = serve()
        resumed = read(2, last=events[-1][1])
        assert [name for name, _ in resumed] == ["remove", "put"]
        assert http.get("/events", headers={"last-event-id": "x"}).is_error
    finally:
        http.close()
        server.terminate()
        server.wait(DEADLINE_S)
