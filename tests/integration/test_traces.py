"""Traces: one request, followed through the processes, at a collector."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from aurora_supervisor.certificates import Made, make_certificate
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

INTERNAL, SERVER = 1, 2  # SPAN_KIND_…


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

    def traces(self) -> dict[bytes, dict]:
        """Spans by name, by trace."""
        found: dict[bytes, dict] = {}
        for span in list(self.spans):
            found.setdefault(span.trace_id, {})[span.name] = span
        return found

    def whole(self, names: set[str], kind: int = 0) -> dict:
        """A trace with these spans; the first of them, if given, of this kind."""

        def found() -> dict | None:
            for trace in self.traces().values():
                root = next((s for s in trace.values() if not s.parent_span_id), None)
                if names <= trace.keys() and (not kind or (root and root.kind == kind)):
                    return trace
            return None

        return wait_until(found, f"the trace of {sorted(names)}")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def collector():
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_certificate(tmp_path_factory.mktemp("tls"), ["localhost"], 2)


@pytest.fixture(scope="module")
def served(
    collector: Collector, made: Made, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[blocking.Aurora]:
    with blocking.open(
        tmp_path_factory.mktemp("traced") / "s.db",
        query_executors=1,
        telemetry=TelemetryConfig(endpoint=collector.endpoint),
        http=HttpConfig(port=0),
        remote=RemoteConfig(port=0, tls_certificate=made.certificate, tls_key=made.key),
    ) as db:
        db.new_collection("things", {"n": FieldType.INT})
        yield db


def test_a_request_is_one_trace_through_client_executor_and_storage(
    collector: Collector, served: blocking.Aurora
):
    served.insert_into("things", {"n": 7})
    changed = served.query("things").filter(field("n") == 7)
    assert changed.update({"n": Increment(1)})
    names = {"query.change", "run query.change", "commit storage.change_matching"}

    trace = collector.whole(names, INTERNAL)
    client, run, commit = (trace[name] for name in sorted(names, key=len))
    assert client.parent_span_id == b""
    assert run.parent_span_id == client.span_id
    assert commit.parent_span_id == run.span_id
    assert client.start_time_unix_nano <= client.end_time_unix_nano
    inserted = collector.whole({"storage.insert", "commit storage.insert"})
    commit = inserted["commit storage.insert"]
    assert commit.parent_span_id == inserted["storage.insert"].span_id


def port(db: blocking.Aurora, name: str) -> int:
    def told() -> float | None:
        return next(a for a in db.status().actors if a.name == name).values.get("port")

    return int(wait_until(told, f"the port of {name}"))


def test_a_request_over_http_or_from_afar_is_one_trace_down_to_the_commit(
    collector: Collector, served: blocking.Aurora, made: Made
):
    token = served.create_token("t", "admin")
    theirs = 0x0AF7651916CD43DD8448EB211C80319C
    headers = {
        "Authorization": f"Bearer {token}",
        "traceparent": f"00-{theirs:032x}-b7ad6b7169203331-01",
    }
    url = f"http://127.0.0.1:{port(served, 'http_gateway')}"
    text = 'mutation { insertInto(collection: "things", data: {n: 1}) { id } }'
    answer = httpx.post(f"{url}/aql", json={"query": text}, headers=headers, timeout=60)
    assert answer.status_code == 200
    assert httpx.get(f"{url}/nowhere", headers=headers, timeout=60).status_code == 404
    with blocking.connect(
        f"tls+tcp://localhost:{port(served, 'remote_gateway')}",
        token=token,
        ca=made.certificate,
    ) as db:
        assert db.query("things").filter(field("n") == 1).update({"n": Increment(1)})
    commit = "commit storage.commit"
    over_http = {"POST /aql", "aql.execute", "run aql.execute", commit}
    afar = {"query.change", "run query.change", "commit storage.change_matching"}

    trace = collector.whole(over_http, SERVER)
    request, client = trace["POST /aql"], trace["aql.execute"]
    assert request.parent_span_id == b""
    assert client.parent_span_id == request.span_id
    assert trace["run aql.execute"].parent_span_id == client.span_id
    assert [int.from_bytes(link.trace_id, "big") for link in request.links] == [theirs]
    assert {"http.route", "http.response.status_code"} <= {
        each.key for each in request.attributes
    }
    trace = collector.whole(afar, SERVER)
    client = trace["query.change"]
    assert client.parent_span_id == b""
    assert trace["run query.change"].parent_span_id == client.span_id


def test_ids_follow_from_the_request_alone():
    assert trace_id("c-1", 7) == trace_id("c-1", 7) != trace_id("c-1", 8)
    assert span_id("c-1", 7, "client") != span_id("c-1", 7, "storage")
    assert 0 < trace_id("c-1", 7) < 1 << 128
    assert 0 < span_id("c-1", 7, "client") < 1 << 64
