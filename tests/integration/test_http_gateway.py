"""The HTTP gateway of a real tree: REST, tokens, conditions, bodies, live streams."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import httpx
import psutil
import pytest
from aurora_supervisor.certificates import make_certificate
from served import USERS, Served, events_of, port_of, problem, serving, take
from support import wait_until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from aurora_actors import AuroraConfig, Count, HttpConfig, blocking, field
from aurora_actors.errors import ConfigError, PermissionDeniedError

pytestmark = pytest.mark.processes

BODY_LIMIT = 4096


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = tmp_path_factory.mktemp("http") / "data.db"
    http = HttpConfig(port=0, max_body_bytes=BODY_LIMIT)
    with serving(path, http) as served:
        yield served


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway that waits for nobody, for those who are to be too slow for it."""
    path = tmp_path_factory.mktemp("hasty") / "data.db"
    http = HttpConfig(port=0, body_timeout_s=0.3, header_timeout_s=0.3)
    with serving(path, http) as served:
        yield served


# ------------------------------------------------------------------ documents
def test_a_document_lives_through_create_read_change_replace_and_remove(served: Served):
    docs = f"{served.collection('life')}/docs"
    document = {
        "name": "Ann",
        "age": 41,
        "born": "1985-02-01T10:00:00Z",
        "key": "AAEC",
        "tags": ["a"],
        "address": {"city": "Bern"},
    }
    created = served.http.post(docs, json=document)
    assert created.status_code == 201
    where = created.headers["location"]
    stored = served.db.get_document("life", created.json()["id"])
    assert stored is not None
    assert stored["born"] == datetime(1985, 2, 1, 10, tzinfo=UTC)
    assert stored["key"] == b"\x00\x01\x02"

    read = served.http.get(where)
    assert read.json() == {"id": stored.id, **document}
    assert read.headers["etag"] == f'"{stored.lsn}"'

    patch = {"age": {"$increment": 1}, "tags": {"$push": "b"}, "key": {"$unset": True}}
    changed = served.http.patch(where, json=patch).json()
    assert (changed["age"], changed["tags"], "key" in changed) == (
        42,
        ["a", "b"],
        False,
    )

    replaced = served.http.put(where, json={"name": "Bob"})
    assert replaced.status_code == 200
    assert replaced.json() == {"id": stored.id, "name": "Bob"}
    assert served.http.delete(where).status_code == 204
    problem(served.http.get(where), 404, "usage.not_found")
    problem(served.http.delete(where), 404, "usage.not_found")


def test_an_id_may_contain_anything_that_ids_may(served: Served):
    docs = f"{served.collection('odd_ids')}/docs"
    for name in ("a/b", "..%2F..", "ü ?#&", "x" * 200):
        url = httpx.URL(served.url).copy_with(
            raw_path=f"{docs}/{httpx.URL('', params={'q': name}).query.decode()[2:]}".replace(
                "+", "%20"
            ).encode()
        )
        put = served.http.put(url, json={"name": "n"})
        assert put.status_code == 201, (name, put.text)
        assert put.json()["id"] == name
        assert served.http.get(url).json()["name"] == "n"


def test_a_list_is_inserted_whole_or_not_at_all(served: Served):
    docs = f"{served.collection('lists')}/docs"
    fine = served.http.post(docs, json=[{"name": "a"}, {"name": "b"}])
    assert fine.status_code == 201
    assert len(fine.json()["ids"]) == 2
    bad = problem(
        served.http.post(docs, json=[{"name": "c"}, {"nam": "d"}]),
        422,
        "data.validation",
    )
    assert "did you mean 'name'" in str(bad["detail"])
    assert served.db.query("lists").count() == 2


def test_filters_order_selection_and_limits_are_parameters(served: Served):
    docs = f"{served.collection('lookup')}/docs"
    people = [
        {"name": f"p{n}", "age": n, "address": {"city": "Rome" if n % 2 else "Bern"}}
        for n in range(20)
    ]
    served.http.post(docs, json=people)
    where = {
        "age": {"gte": 3, "lt": 15},
        "or": [{"address.city": "Rome"}, {"name": {"in": ["p4", "p6"]}}],
        "not": {"age": 5},
    }
    found = served.http.get(
        docs,
        params={
            "where": json.dumps(where),
            "order": "-age",
            "limit": 3,
            "offset": 1,
            "select": "name,address.city",
            "count": "true",
        },
    ).json()
    assert [d["name"] for d in found["documents"]] == ["p11", "p9", "p7"]
    assert found["documents"][0].keys() == {"id", "name", "address"}
    assert found["count"] == 7


@pytest.mark.parametrize(
    ("parameters", "status", "code"),
    [
        ({"where": "{"}, 400, "http.400"),
        ({"where": "[]"}, 400, "usage.invalid_filter"),
        ({"where": '{"age":{"gtt":1}}'}, 400, "usage.invalid_filter"),
        ({"where": '{"age":{}}'}, 400, "usage.invalid_filter"),
        ({"where": '{"born":{"gt":"yesterday"}}'}, 422, "data.validation"),
        ({"where": '{"a":' * 5000 + "1" + "}" * 5000}, 400, "http.400"),
        (
            {"where": '{"not":' * 50 + '{"age":1}' + "}" * 50},
            400,
            "usage.invalid_filter",
        ),
        ({"limit": "-1"}, 400, "http.400"),
        ({"limit": "10001"}, 400, "http.400"),
        ({"limit": "1e3"}, 400, "http.400"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(
    served: Served, parameters: dict[str, str], status: int, code: str
):
    served.http.post("/collections", json={**USERS, "name": "refusing"})
    if len(parameters.get("where", "")) > 20_000:
        parameters = {"where": parameters["where"][:20_000]}
    problem(
        served.http.get("/collections/refusing/docs", params=parameters), status, code
    )


# ------------------------------------------------------------------ conditions
def test_a_version_guards_against_lost_updates(served: Served):
    docs = f"{served.collection('versions')}/docs"
    where = served.http.post(docs, json={"name": "a"}).headers["location"]
    tag = served.http.get(where).headers["etag"]
    assert served.http.get(where, headers={"If-None-Match": tag}).status_code == 304
    first = served.http.patch(where, json={"age": 1}, headers={"If-Match": tag})
    assert first.status_code == 200
    second = served.http.patch(where, json={"age": 2}, headers={"If-Match": tag})
    problem(second, 412, "http.412")
    problem(served.http.delete(where, headers={"If-Match": tag}), 412, "http.412")
    new = {"If-None-Match": "*"}
    problem(served.http.put(where, json={"name": "b"}, headers=new), 412, "http.412")
    now = {"If-Match": first.headers["etag"]}
    assert served.http.put(where, json={"name": "b"}, headers=now).status_code == 200


def test_an_idempotency_key_makes_a_post_take_effect_once(served: Served):
    docs = f"{served.collection('once')}/docs"
    key = {"Idempotency-Key": "order-7"}
    answers = [
        served.http.post(docs, json={"name": "a"}, headers=key) for _ in range(3)
    ]
    assert {a.status_code for a in answers} == {201}
    assert len({a.json()["id"] for a in answers}) == 1
    assert served.db.query("once").count() == 1
    problem(served.http.post(docs, json={"name": "b"}, headers=key), 422, "http.422")
    document = answers[0].headers["location"]
    more = {"age": {"$increment": 1}}
    problem(served.http.patch(document, json=more, headers=key), 422, "http.422")
    key = {"Idempotency-Key": "birthday"}
    served.http.patch(document, json={"age": 40})
    for _ in range(3):
        changed = served.http.patch(document, json=more, headers=key)
        assert changed.json()["age"] == 41


def test_errors_have_the_code_of_the_database(served: Served):
    docs = f"{served.collection('unique')}/docs"
    served.http.post(docs, json={"name": "a", "email": "x@y.z"})
    taken = served.http.post(docs, json={"name": "b", "email": "x@y.z"})
    body = problem(taken, 409, "data.unique_violation")
    assert body["context"] == {
        "collection": "unique",
        "field": "email",
        "value": "x@y.z",
    }
    problem(served.http.get("/collections/none"), 404, "usage.collection_not_found")
    problem(served.http.get("/nowhere"), 404, "http.no_such_path")
    problem(served.http.put("/collections"), 405, "http.method")


# ------------------------------------------------------------------ bulk
def test_json_lines_go_in_and_out_in_any_amount(served: Served):
    path = served.collection("bulk")
    lines = b"".join(
        json.dumps({"id": f"{n:05}", "name": "x" * 50}).encode() + b"\n"
        for n in range(2_500)
    )
    assert len(lines) > BODY_LIMIT * 10
    done = served.http.post(
        f"{path}/import",
        content=lines,
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert done.json() == {"imported": 2_500}
    out = served.http.get(f"{path}/export", params={"order": "id"})
    assert out.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["id"] for line in out.text.splitlines()] == [
        f"{n:05}" for n in range(2_500)
    ]


def test_a_bad_line_is_named(served: Served):
    path = served.collection("bad_lines")
    body = b'{"name": "a"}\n\n{"name": '
    failure = problem(
        served.http.post(f"{path}/import", content=body), 422, "data.validation"
    )
    assert "line 3" in str(failure["detail"])


# ------------------------------------------------------------------ who may what
def test_without_a_valid_token_there_is_nothing(served: Served):
    with served.client(None) as stranger:
        refused = stranger.get("/collections")
        problem(refused, 401, "http.401")
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert stranger.get("/health").status_code == 200
    for wrong in ("x", "aur.admin.x", "aur.nobody.x", served.token[:-1], "aur.admin."):
        with served.client(wrong) as stranger:
            problem(stranger.get("/collections"), 401, "http.401")
    basic = served.http.get("/collections", headers={"Authorization": "Basic eDp5"})
    problem(basic, 401, "http.401")


def test_roles_bound_what_a_token_may_do(served: Served):
    docs = f"{served.collection('mine')}/docs"
    served.collection("theirs")
    with served.client(served.db.create_token("reader", "read")) as reader:
        assert reader.get(docs).status_code == 200
        problem(reader.post(docs, json={"name": "a"}), 403, "permission_denied")
        problem(reader.post("/collections", json=USERS), 403, "permission_denied")
    rules = {"mine": "write"}
    with served.client(
        served.db.create_token("narrow", "none", collections=rules)
    ) as narrow:
        assert narrow.post(docs, json={"name": "a"}).status_code == 201
        problem(narrow.get("/collections/theirs/docs"), 403, "permission_denied")
        names = [c["name"] for c in narrow.get("/collections").json()["collections"]]
        assert names == ["mine"]
        problem(narrow.get("/collections/_sys_tokens/docs"), 403, "permission_denied")
        problem(narrow.delete("/collections/mine"), 403, "permission_denied")


def test_what_is_the_databases_own_is_read_by_administrators_and_changed_by_nobody(
    served: Served,
):
    path = "/collections/_sys_tokens"
    served.http.post(
        f"{served.collection('keyed')}/docs",
        json={"name": "a"},
        headers={"Idempotency-Key": "own"},
    )
    own = served.http.get("/collections/_sys_http_requests/docs")
    assert own.status_code == 200
    for answer in (
        served.http.put(f"{path}/docs/admin", json={"role": "admin"}),
        served.http.patch(f"{path}/docs/admin", json={"role": "read"}),
        served.http.delete(f"{path}/docs/admin"),
        served.http.post(f"{path}/docs", json={"role": "admin"}),
        served.http.post(f"{path}/import", content=b"{}"),
        served.http.post(f"{path}/indexes", json={"fields": ["role"]}),
        served.http.delete(path),
    ):
        problem(answer, 422, "data.validation")
    assert served.http.get("/whoami").json()["role"] == "admin"


def test_the_hashes_of_tokens_are_shown_to_nobody(served: Served, tmp_path: Path):
    db, path = served.db, "/collections/_sys_tokens"
    text = "{ _sys_tokens { id hash } }"
    where = {"where": '{"role": "admin"}'}
    for answer in (
        served.http.get(f"{path}/docs"),
        served.http.get(f"{path}/docs", params={**where, "select": "role"}),
        served.http.get(f"{path}/docs/admin"),
        served.http.get(f"{path}/export"),
        served.http.get(f"{path}/watch"),
        served.http.get(f"{path}/changes"),
        served.http.post("/aql", json={"query": text}),
        served.http.get("/aql/events", params={"query": f"subscription {text}"}),
    ):
        problem(answer, 403, "permission_denied")
    for refused in (
        lambda: db.get_document("_sys_tokens", "admin"),
        lambda: db.query("_sys_tokens").select("role").collect(),
        lambda: db.query("_sys_tokens").filter(field("id") == "admin").one(),
        lambda: db.query("_sys_tokens").count(),
        lambda: db.query("_sys_tokens").group_by("hash").aggregate(n=Count()),
        lambda: db.execute(text),
        lambda: db.run_transaction(lambda tx: tx.get_document("_sys_tokens", "admin")),
        lambda: db.export_collection("_sys_tokens", tmp_path / "out.jsonl"),
    ):
        with pytest.raises(PermissionDeniedError, match="shown to nobody"):
            refused()
    listed = served.http.get("/tokens").json()["tokens"]
    assert "admin" in {token["name"] for token in listed}
    assert not any("hash" in token for token in listed)


def test_listeners_to_everything_are_not_told_of_tokens(served: Served):
    served.collection("heard")
    with served.db.listen_all() as events:
        served.db.create_token("unheard", "read")
        served.db.insert_into("heard", {"name": "a"})
        assert next(iter(events)).collection == "heard"


def test_a_revoked_token_ends_at_once(served: Served):
    with served.client(served.db.create_token("brief", "read")) as client:
        assert client.get("/collections").status_code == 200
        assert served.db.revoke_token("brief")
        problem(client.get("/collections"), 401, "http.401")
    assert not served.db.revoke_token("brief")


def test_streams_end_with_their_token(served: Served):
    path = served.collection("followed")
    token = served.db.create_token("follower", "read")
    with (
        served.socket(token) as connection,
        served.client(token) as client,
        client.stream("GET", f"{path}/watch") as response,
    ):
        events = events_of(response)
        assert next(events)[0] == "open"
        connection.send(
            json.dumps({"op": "listen", "stream": "1", "collection": "followed"})
        )
        assert take_any(connection)["type"] == "open"
        served.db.revoke_token("follower")
        assert [kind for kind, _, _ in events if kind != "initial_complete"] == []
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=60)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


def take_any(connection: ClientConnection) -> dict[str, object]:
    frame: dict[str, object] = json.loads(connection.recv(timeout=60))
    return frame


def test_secrets_are_not_kept(served: Served):
    secret = served.token.rpartition(".")[2]
    served.db.checkpoint()
    # By another process: closing a lock file drops the locks of the one that does.
    directory = served.db.config.db_path
    found = subprocess.run(
        ["grep", "-rlaF", secret, directory], check=False, capture_output=True
    )
    assert found.returncode != 0
    assert found.stdout == b""
    # Files may go while it reads: those of the log, the columns and checkpoints do.
    gone = b"No such file or directory"
    assert all(line.endswith(gone) for line in found.stderr.splitlines())


def test_other_hosts_and_origins_are_refused(served: Served):
    problem(
        served.http.get("/health", headers={"Host": "evil.example"}), 403, "http.host"
    )
    evil = {"Origin": "https://evil.example"}
    problem(served.http.get("/collections", headers=evil), 403, "http.origin")
    own = {"Origin": served.url}
    assert served.http.get("/collections", headers=own).status_code == 200
    with pytest.raises(Exception, match="403"):
        connect(f"ws://127.0.0.1:{served.port}/ws", additional_headers=evil)


# ------------------------------------------------------------------ bodies
def test_large_and_truncated_bodies_are_refused(served: Served):
    docs = f"{served.collection('bodies')}/docs"
    large = served.http.post(docs, json={"name": "x" * BODY_LIMIT})
    problem(large, 413, "data.limit_exceeded")

    def pieces() -> Iterator[bytes]:
        yield b'{"name": "'
        for _ in range(20):
            yield b"x" * 1000

    problem(served.http.post(docs, content=pieces()), 413, "data.limit_exceeded")
    problem(served.http.post(docs, content=b'{"name": '), 400, "http.400")
    plain = {"Content-Type": "text/plain"}
    problem(served.http.post(docs, content=b"x", headers=plain), 415, "http.415")
    with raw(served) as torn:
        torn.sendall(head_of_a_body(served, docs) + b"{")
    assert served.db.query("bodies").count() == 0
    assert served.http.get("/health").status_code == 200


def head_of_a_body(served: Served, docs: str) -> bytes:
    return (
        f"POST {docs} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
        f"Authorization: Bearer {served.token}\r\n\r\n"
    ).encode()


def test_a_body_that_does_not_come_is_not_waited_for(hasty: Served):
    docs = f"{hasty.collection('bodies')}/docs"
    with raw(hasty) as slow:
        slow.sendall(head_of_a_body(hasty, docs) + b"{")
        assert slow.recv(100).startswith(b"HTTP/1.1 408")
    assert hasty.db.query("bodies").count() == 0


def raw(served: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", served.port), timeout=60)


def all_of(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    received = b""
    while data := connection.recv(4096):
        received += data
    return received


def test_heads_that_do_not_come_are_not_waited_for(hasty: Served):
    request = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with raw(hasty) as patient, ExitStack() as stack:
        patient.sendall(request)
        assert patient.recv(4096).startswith(b"HTTP/1.1 200")
        for length in (1, 22, len(request) - 2):
            slow = stack.enter_context(raw(hasty))
            slow.sendall(request[:length])
            stack.callback(refused_for_its_head, slow)
        stack.pop_all().close()
        # So much time has passed; what waits between two requests has more.
        patient.sendall(request)
        assert patient.recv(4096).startswith(b"HTTP/1.1 200")


def refused_for_its_head(connection: socket.socket) -> None:
    head, _, body = all_of(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["code"] == "http.slow_head"


def test_a_second_head_has_its_own_time_and_trickling_gains_none(hasty: Served):
    request = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with raw(hasty) as slow:
        slow.sendall(request + request[:10])
        first = slow.recv(4096)
        assert first.startswith(b"HTTP/1.1 200"), first
        ends = time.monotonic() + 60
        with suppress(OSError):
            while time.monotonic() < ends:
                slow.sendall(b"x")
                slow.settimeout(0.1)
                with suppress(TimeoutError):
                    if not (first := slow.recv(4096)):
                        break
                    assert first.startswith(b"HTTP/1.1 408")
        assert time.monotonic() < ends


def test_a_body_that_trickles_is_not_waited_for(hasty: Served):
    docs = f"{hasty.collection('trickled')}/docs"
    with raw(hasty) as slow:
        slow.sendall(head_of_a_body(hasty, docs))
        slow.settimeout(0.1)
        for _ in range(200):
            slow.sendall(b" ")
            with suppress(TimeoutError):
                assert slow.recv(4096).startswith(b"HTTP/1.1 408")
                break
        else:
            pytest.fail("a byte now and then keeps a request open")
    assert hasty.db.query("trickled").count() == 0


def test_http2_is_spoken_and_nonsense_in_it_ends_one_connection(served: Served):
    for path, status in ((b"/health", b"200"), (b"/\xff\xfe", None)):
        client = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        client.initiate_connection()
        headers = [
            (b":method", b"GET"), (b":path", path), (b":scheme", b"http"),
            (b":authority", b"127.0.0.1"),
        ]  # fmt: skip
        client.send_headers(1, headers, end_stream=True)
        found: bytes | None = None
        with raw(served) as connection:
            connection.sendall(client.data_to_send())
            while found is None and (data := connection.recv(4096)):
                for event in client.receive_data(data):
                    if isinstance(event, h2.events.ResponseReceived):
                        found = dict(event.headers)[b":status"]
        assert found == status
    assert served.http.get("/health").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd", "//etc/passwd", "/collections/../openapi.json/x",
        "/collections/%2e%2e/docs", "/collections/a%00b/docs", "/collections/%ff/docs",
        "/collections/users%2Fdocs%2F..", "/console/%2e%2e%2fapp.py", "/" + "a" * 5000,
        "/collections/x/docs/" + "%F0%9F%98%80" * 100,
    ],
)  # fmt: skip
def test_tricks_with_paths_lead_nowhere(served: Served, path: str):
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as raw:
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        raw.sendall(f"{head}Authorization: Bearer {served.token}\r\n\r\n".encode())
        status = int(raw.recv(4096).split()[1])
    assert status in {307, 400, 404, 422}


# ------------------------------------------------------------------ live
def test_a_watch_streams_and_resumes_behind_its_last_event(served: Served):
    path = served.collection("watched")
    served.db.insert_into("watched", {"id": "a", "name": "a", "age": 1})
    parameters = {"where": '{"age": {"gte": 1}}'}
    with served.http.stream("GET", f"{path}/watch", params=parameters) as response:
        events = events_of(response)
        assert next(events)[0] == "open"
        kind, _, data = next(events)
        assert (kind, data["document"]) == ("added", {"id": "a", "name": "a", "age": 1})
        assert next(events)[0] == "initial_complete"
        served.db.update_document("watched", "a", {"age": 2})
        kind, token, data = next(events)
        assert (kind, data["old"]["age"], data["document"]["age"]) == ("modified", 1, 2)  # type: ignore[index]
    served.db.insert_into("watched", {"id": "b", "name": "b", "age": 0})
    served.db.insert_into("watched", {"id": "c", "name": "c", "age": 5})
    since = {"Last-Event-ID": token}
    with served.http.stream(
        "GET", f"{path}/watch", params=parameters, headers=since
    ) as response:
        events = events_of(response)
        assert next(events)[0] == "open"
        kind, _, data = next(events)
        assert (kind, data["document"]["id"]) == ("added", "c")  # type: ignore[index]


def test_changes_stream_with_kinds_and_fields(served: Served):
    path = served.collection("changing")
    parameters = {"types": "update,delete", "fields": "age"}
    with served.http.stream("GET", f"{path}/changes", params=parameters) as response:
        events = events_of(response)
        assert next(events)[0] == "open"
        served.db.insert_into("changing", {"id": "a", "name": "a"})
        served.db.update_document("changing", "a", {"name": "b"})
        served.db.update_document("changing", "a", {"age": 3})
        kind, _, data = next(events)
        assert (kind, data["changed"]) == ("update", ["age"])
    problem(served.http.get(f"{path}/changes", params={"types": "x"}), 400, "usage")


def test_one_websocket_carries_many_streams(served: Served):
    served.collection("sockets")
    with served.socket() as connection:
        watch = {"op": "watch", "stream": "w", "collection": "sockets", "order": "-age"}
        connection.send(json.dumps({**watch, "where": {"age": {"gt": 0}}, "limit": 2}))
        assert take(connection)["type"] == "initial_complete"
        connection.send(
            json.dumps({"op": "listen", "stream": "l", "collection": "sockets"})
        )
        assert json.loads(connection.recv(timeout=60)) == {
            "stream": "l",
            "type": "open",
        }
        connection.send(json.dumps({**watch, "stream": "bad", "collection": "none"}))
        failure = take(connection)
        assert (failure["stream"], failure["code"]) == (
            "bad",
            "usage.collection_not_found",
        )
        served.db.insert_into("sockets", {"id": "a", "name": "a", "age": 7})
        frames = {str(f["stream"]): f for f in (take(connection), take(connection))}
        assert frames["w"]["type"] == "added"
        assert frames["w"]["position"] == 0
        assert frames["l"]["type"] == "insert"
        connection.send(json.dumps({"op": "stop", "stream": "w"}))
        assert take(connection) == {"stream": "w", "type": "stopped"}
        connection.send("nonsense")
        assert take(connection)["code"] == "protocol"


def test_a_websocket_authenticates_by_its_first_frame(served: Served):
    url = f"ws://127.0.0.1:{served.port}/ws"
    served.collection("framed")
    with connect(url, open_timeout=60) as connection:
        connection.send(json.dumps({"op": "auth", "token": served.token}))
        connection.send(
            json.dumps({"op": "listen", "stream": "1", "collection": "framed"})
        )
        assert json.loads(connection.recv(timeout=60)) == {
            "stream": "1",
            "type": "open",
        }
        served.db.insert_into("framed", {"name": "x"})
        assert take(connection)["type"] == "insert"
    with connect(url, open_timeout=60) as connection:
        connection.send(json.dumps({"op": "auth", "token": "aur.admin.wrong"}))
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=60)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


# ------------------------------------------------------------------ as a process
def test_metrics_and_the_tree_show_every_process(served: Served):
    names = {actor["name"] for actor in served.http.get("/tree").json()["actors"]}
    assert {"storage", "index_builder", "http_gateway"} <= names
    text = served.http.get("/metrics").text
    assert 'aurora_up{actor="storage"} 1' in text
    assert "aurora_http_responses_2xx" in text


def test_the_description_names_every_path(served: Served):
    paths = served.http.get("/openapi.json").json()["paths"]
    assert "/collections/{collection}/docs/{id}" in paths
    page = served.http.get("/docs")
    assert page.status_code == 200
    for path in paths:
        assert path in page.text


def test_a_killed_gateway_comes_back_at_the_same_address(served: Served):
    (gateway,) = [a for a in served.db.status().actors if a.name == "http_gateway"]
    os.kill(gateway.pid, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(gateway.pid), "its end")
    served.port = wait_until(lambda: came_back(served, gateway.pid), "its return")
    served.url = f"http://127.0.0.1:{served.port}"
    served.http.close()
    served.http = served.client(served.token)
    wait_until(lambda: served.http.get("/ready").status_code == 200, "ready again")


def came_back(served: Served, old_pid: int) -> int:
    (gateway,) = [a for a in served.db.status().actors if a.name == "http_gateway"]
    is_new = gateway.pid != old_pid and gateway.state == "ready"
    return int(gateway.values.get("port", 0)) if is_new else 0


def test_tls_serves_and_a_taken_port_is_named(tmp_path: Path):
    made = make_certificate(tmp_path / "tls", ["localhost"], 2)
    http = HttpConfig(port=0, tls_certificate=made.certificate, tls_key=made.key)
    config = AuroraConfig(
        db_path=str(tmp_path / "tls.db"), query_executors=1, http=http
    )
    with blocking.with_config(config) as db:
        port = port_of(db)
        context = ssl.create_default_context(cafile=made.certificate)
        url = f"https://localhost:{port}/health"
        assert httpx.get(url, verify=context).json() == {"status": "alive"}
        other = AuroraConfig(
            db_path=str(tmp_path / "other.db"), http=HttpConfig(port=port)
        )
        with (
            pytest.raises(ConfigError, match=f"cannot listen at .* port {port}"),
            blocking.with_config(other),
        ):
            pass
