"""What tests of the gateway share: a served database, its clients, its streams."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from support import DEADLINE_S, no_process_left, wait_until
from websockets.sync.client import ClientConnection, connect

from aurora_actors import AuroraConfig, HttpConfig, blocking

USERS = {
    "name": "users",
    "fields": {
        "name": {"type": "String", "nullable": False},
        "email": {"type": "String", "unique": True},
        "age": {"type": "Int", "indexed": True},
        "born": {"type": "DateTime"},
        "key": {"type": "Bytes"},
        "tags": {"type": "[String]"},
        "address": {"type": {"city": {"type": "String"}}},
    },
}


class Served:
    """A database with a gateway.

    Attributes:
        refusals: How often it answered 503 while its tree was still starting.
    """

    def __init__(self, db: blocking.Aurora) -> None:
        self.db = db
        self.port = port_of(db)
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = db.create_token("admin", "admin")
        self.http = self.client(self.token)
        self.refusals = 0
        wait_until(self._is_ready, "ready")

    def _is_ready(self) -> bool:
        status = self.http.get("/ready").status_code
        self.refusals += status == 503
        return status == 200

    def client(self, token: str | None) -> httpx.Client:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=DEADLINE_S)

    def collection(self, name: str) -> str:
        """A fresh collection like ``users``; its path."""
        created = self.http.post("/collections", json={**USERS, "name": name})
        assert created.status_code == 201, created.text
        return f"/collections/{name}"

    def socket(self, token: str | None = None) -> ClientConnection:
        given = self.token if token is None else token
        headers = {"Authorization": f"Bearer {given}"}
        return connect(
            f"ws://127.0.0.1:{self.port}/ws",
            additional_headers=headers,
            open_timeout=DEADLINE_S,
        )


def port_of(db: blocking.Aurora) -> int:
    (gateway,) = [a for a in db.status().actors if a.name == "http_gateway"]
    return int(gateway.values["port"])


@contextmanager
def serving(path: Path, http: HttpConfig | None = None) -> Iterator[Served]:
    """A fresh database at ``path`` with a gateway."""
    config = AuroraConfig(
        db_path=str(path), query_executors=1, http=http or HttpConfig(port=0)
    )
    with blocking.with_config(config) as db:
        served = Served(db)
        try:
            yield served
        finally:
            served.http.close()
    no_process_left(path)
    # It has ended as it should, too.
    log = (path / "aurora.log").read_text().splitlines()
    assert not [line for line in log if " ERROR http_gateway " in line]


def problem(response: httpx.Response, status: int, code: str) -> dict[str, object]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["detail"]
    return dict(body)


def events_of(response: httpx.Response) -> Iterator[tuple[str, str, dict[str, object]]]:
    """The events of a stream, after a first empty one which says that it is open."""
    kind = token = ""
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if line == ": open":
            yield "open", "", {}
        elif name == "event":
            kind = value
        elif name == "id":
            token = value
        elif name == "data" and kind != "heartbeat":
            yield kind, token, json.loads(value)


def take(connection: ClientConnection) -> dict[str, object]:
    while True:
        frame: dict[str, object] = json.loads(connection.recv(timeout=DEADLINE_S))
        if frame["type"] not in {"heartbeat", "open"}:
            return frame
