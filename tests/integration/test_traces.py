"""Traces: one request, followed through the processes, at a collector."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from aurora_supervisor.certificates import make_certificate
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from support import wait_until

from aurora_actors import (
    FieldType,
    HttpConfig,
    Increment,
    RemoteConfig,
    TelemetryConfig,
    blocking,
    field,
)
from aurora_actors.telemetry import span_id, trace_id

pytestmark = pytest.mark.processes

SERVER = 2  # SPAN_KIND_SERVER


class Collector:
    """Takes OTLP over HTTP, and keeps the spans."""

    def __init__(self) -> None:
        self.spans: list = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                found = ExportTraceServiceRequest.FromString(body)
                for resource in found.resource_spans:
                    for scope in resource.scope_spans:
                        collector.spans.extend(scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1/traces"

    def traces(self) -> dict[bytes, dict[str, object]]:
        """Spans by name, by trace."""
        found: dict[bytes, dict[str, object]] = {}
        for span in list(self.spans):
            found.setdefault(span.trace_id, {})[span.name] = span
        return found

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.close()


def test_a_request_is_one_trace_through_client_executor_and_storage(
    collector: Collector, tmp_path
):
    telemetry = TelemetryConfig(endpoint=collector.endpoint)
    with blocking.open(tmp_path / "t.db", query_executors=1, telemetry=telemetry) as db:
        db.new_collection("things", {"n": FieldType.INT})
        db.insert_into("things", {"n": 1})
        assert db.query("things").filter(field("n") == 1).update({"n": Increment(1)})
    names = {"query.change", "run query.change", "commit storage.change_matching"}

    def whole() -> dict | None:
        return next((t for t in collector.traces().values() if names <= t.keys()), None)

    trace = wait_until(whole, "the whole trace")
    client, run, commit = (trace[name] for name in sorted(names, key=len))
    assert client.parent_span_id == b""
    assert run.parent_span_id == client.span_id
    assert commit.parent_span_id == run.span_id
    assert client.start_time_unix_nano <= client.end_time_unix_nano
    inserted = next(t for t in collector.traces().values() if "storage.insert" in t)
    commit = inserted["commit storage.insert"]
    assert commit.parent_span_id == inserted["storage.insert"].span_id


@pytest.fixture
def served(collector: Collector, tmp_path: Path) -> Iterator[blocking.Aurora]:
    made = make_certificate(tmp_path / "tls", ["localhost"], 2)
    with blocking.open(
        tmp_path / "s.db",
        query_executors=1,
        telemetry=TelemetryConfig(endpoint=collector.endpoint),
        http=HttpConfig(port=0),
        remote=RemoteConfig(port=0, tls_certificate=made.certificate, tls_key=made.key),
    ) as db:
        db.new_collection("things", {"n": FieldType.INT})
        yield db


def port(db: blocking.Aurora, name: str) -> int:
    def told() -> float | None:
        return next(a for a in db.status().actors if a.name == name).values.get("port")

    return int(wait_until(told, f"the port of {name}"))


def test_a_request_over_http_or_from_afar_is_one_trace_down_to_the_commit(
    collector: Collector, served: blocking.Aurora, tmp_path: Path
):
    token = served.create_token("t", "admin")
    theirs = 0x0AF7651916CD43DD8448EB211C80319C
    headers = {
        "Authorization": f"Bearer {token}",
        "traceparent": f"00-{theirs:032x}-b7ad6b7169203331-01",
    }
    url = f"http://127.0.0.1:{port(served, 'http_gateway')}"
    text = 'mutation { insertInto(collection: "things", data: {n: 1}) { id } }'
    answer = httpx.post(f"{url}/aql", json={"query": text}, headers=headers, timeout=20)
    assert answer.status_code == 200
    assert httpx.get(f"{url}/nowhere", headers=headers, timeout=20).status_code == 404
    with blocking.connect(
        f"tls+tcp://localhost:{port(served, 'remote_gateway')}",
        token=token,
        ca=str(tmp_path / "tls" / "server.pem"),
    ) as db:
        assert db.query("things").filter(field("n") == 1).update({"n": Increment(1)})
    commit = "commit storage.commit"
    over_http = {"POST /aql", "aql.execute", "run aql.execute", commit}
    afar = {"query.change", "run query.change", "commit storage.change_matching"}

    def whole(names: set[str]) -> dict | None:
        return next((t for t in collector.traces().values() if names <= t.keys()), None)

    trace = wait_until(lambda: whole(over_http), "the trace of the request over HTTP")
    request, client = trace["POST /aql"], trace["aql.execute"]
    assert request.parent_span_id == b""
    assert client.parent_span_id == request.span_id
    assert trace["run aql.execute"].parent_span_id == client.span_id
    assert request.kind == SERVER
    assert [int.from_bytes(link.trace_id, "big") for link in request.links] == [theirs]
    assert {"http.route", "http.response.status_code"} <= {
        each.key for each in request.attributes
    }
    trace = wait_until(lambda: whole(afar), "the trace of the remote client's request")
    client = trace["query.change"]
    assert (client.kind, client.parent_span_id) == (SERVER, b"")
    assert trace["run query.change"].parent_span_id == client.span_id


def test_ids_follow_from_the_request_alone():
    assert trace_id("c-1", 7) == trace_id("c-1", 7) != trace_id("c-1", 8)
    assert span_id("c-1", 7, "client") != span_id("c-1", 7, "storage")
    assert 0 < trace_id("c-1", 7) < 1 << 128
    assert 0 < span_id("c-1", 7, "client") < 1 << 64
