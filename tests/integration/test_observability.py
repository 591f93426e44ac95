"""What a running tree tells about itself: metrics, and the log of slow queries."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import job_handlers
import pytest
from aurora_supervisor.certificates import Made, make_certificate
from support import wait_until

from aurora_actors import FieldType, HttpConfig, Job, blocking, field
from aurora_actors.config import RemoteConfig
from aurora_actors.http.observe import metric_lines

pytestmark = pytest.mark.processes

SAMPLE = re.compile(r'aurora_[a-z0-9_]+(\{[a-z]+="[^"]*"(,le="[^"]*")?\})? \S+\n')


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_certificate(tmp_path_factory.mktemp("tls"), ["localhost"], 2)


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory, tls: Made):
    """A tree with a process of every kind, each of which has had something to do."""
    path = tmp_path_factory.mktemp("observed") / "o.db"
    with blocking.open(
        path,
        query_executors=1,
        heartbeat_interval_ms=50,
        slow_query_ms=1,
        log_format="json",
        audit_log_path=str(path.with_name("audit.jsonl")),
        http=HttpConfig(port=0),
        remote=RemoteConfig(port=0, tls_certificate=tls.certificate, tls_key=tls.key),
    ) as db:
        db.start_pool("p", handlers=job_handlers)
        db.new_collection("things", {"n": FieldType.INT, "s": FieldType.STRING})
        db.insert_many("things", ({"n": n, "s": f"text {n}"} for n in range(20_000)))
        db.sync()
        db.wait_indexed(timeout=60)
        use_everything(db, tls)
        yield db


def slow_queries(db: blocking.Aurora) -> list[dict]:
    text = (Path(db.config.path) / "aurora.log").read_text()
    # The last line may be half written.
    entries = (json.loads(line) for line in text.split("\n")[:-1])
    slow = [e["extra"] for e in entries if e["message"] == "slow query"]
    return [e for e in slow if "text" in e or e["collection"] == "things"]


def test_slow_queries_are_logged_with_their_plans(db: blocking.Aurora):
    slow = field("s").matches("9.*9.*1")
    assert db.query("things").filter(slow).order_by("s").collect()

    def with_its_filter() -> list[dict]:
        return [e for e in slow_queries(db) if "matches" in str(e["plans"])]

    (entry, *_) = wait_until(with_its_filter, "the entry")
    assert entry["collection"] == "things"
    assert entry["milliseconds"] >= 1
    (plan,) = entry["plans"]
    assert plan["rows_read"] >= plan["rows"] > 0
    text = 'query { things(where: {s: {contains: "77"}}, orderBy: {s: ASC}) { n } }'
    assert db.execute(text).documents

    def with_its_text() -> list[dict]:
        return [e for e in slow_queries(db) if e.get("text") == text]

    (entry, *_) = wait_until(with_its_text, "the second entry")
    assert entry["plans"][0]["collection"] == "things"
    wait_until(
        lambda: db.stats()["query_executor-0"]["slow_queries"] >= 2, "both are counted"
    )


def test_every_actor_tells_its_rates_and_times(db: blocking.Aurora):
    assert db.query("things").filter(field("s").matches("9.*9.*1")).collect()

    def is_there() -> bool:
        values = {a.name: a.values for a in db.status().actors}
        return (
            values["storage"].get("commit_seconds_count", 0) > 0
            and values["storage"].get("log_sync_seconds_count", 0) > 0
            and values["query_executor-0"].get("query_seconds_count", 0) > 0
            and values["index_builder"].get("catch_up_seconds_count", 0) > 0
        )

    wait_until(is_there, "the histograms")
    stats = db.stats()
    assert stats["storage"]["commit_seconds_bucket:+Inf"] > 0
    assert all(
        {"messages_in", "letters_in"} <= actor.values.keys()
        for actor in db.status().actors
    )


def test_metrics_are_prometheus_text(db: blocking.Aurora):
    lines = metric_lines(db.status(), {"requests_open": 1, "request_seconds_sum": 0.5})
    assert "# TYPE aurora_commit_seconds histogram\n" in lines
    assert 'aurora_up{actor="storage"} 1\n' in lines
    for line in lines:
        assert line.startswith("# TYPE ") or SAMPLE.fullmatch(line), line
    names = [line.split()[2] for line in lines if line.startswith("#")]
    assert len(names) == len(set(names))


# ------------------------------------------------------------------ every metric
def use_everything(db: blocking.Aurora, tls: Made) -> None:
    """Give every process something to count."""
    assert db.query("things").filter(field("s").matches("9.*9.*1")).collect()
    assert db.query("things").filter(field("n") == 3).update({"s": "x"}) == 1
    token = db.create_token("user", "admin")
    ports = {a.name: a.values.get("port") for a in db.status().actors}
    headers = {"Authorization": f"Bearer {token}"}
    url = f"http://127.0.0.1:{ports['http_gateway']}/collections"
    assert httpx.get(url, headers=headers, timeout=60).status_code == 200
    with blocking.connect(
        f"tls+tcp://localhost:{ports['remote_gateway']}",
        token=token,
        ca=tls.certificate,
    ) as remote:
        remote.insert_into("things", {"n": -1, "s": "remote"})
    with db.listen("things") as events:
        db.insert_into("things", {"n": -2, "s": "heard"})
        next(iter(events))
    assert db.wait_job(db.enqueue_job(Job("nothing")), timeout=60) is None


def told(db: blocking.Aurora) -> dict[str, set[str]]:
    """The names of what each kind of process tells."""
    found: dict[str, set[str]] = {}
    for actor in db.status().actors:
        kind = re.sub(r"-.*", "", actor.name)
        found.setdefault(kind, set()).update(
            re.sub(r"_(bucket|sum|count)$", "", key.partition(":")[0])
            if key.endswith(("_sum", "_count")) or ":" in key
            else key
            for key in actor.values
        )
    return found


HISTOGRAMS = {
    "storage": {"commit_seconds", "log_sync_seconds"},
    "index_builder": {"catch_up_seconds"},
    "query_executor": {"query_seconds", "statement_seconds"},
    "reactive_dispatcher": {"event_seconds", "batch_changes"},
    "worker_pool": {"run_seconds", "wait_seconds"},
    "http_gateway": {"request_seconds"},
}


def test_every_metric_is_documented_and_what_is_documented_is_told(
    db: blocking.Aurora,
):
    def all_are_there() -> bool:
        names = told(db)
        return all(names[kind] >= wanted for kind, wanted in HISTOGRAMS.items())

    wait_until(all_are_there, "every histogram")
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    names = told(db)
    assert set(names) >= {*HISTOGRAMS, "remote_gateway", "audit_writer"}
    documented = set(re.findall(r"`([a-z0-9_]+)`", page))
    for kind, found in names.items():
        assert found <= documented, (kind, found - documented)
    rows = "".join(
        line.split("|")[1] for line in page.splitlines() if line[:3] == "| `"
    )
    elsewhere = {"up", "restarts", "mailbox_depth", "resident_memory_bytes", "lsn"}
    elsewhere |= {f"responses_{n}xx" for n in range(1, 6)} | {"clients"}
    stale = set(re.findall(r"`([a-z0-9_]+)`", rows)) - set().union(*names.values())
    assert stale <= elsewhere, stale - elsewhere


def test_a_scrape_has_the_metrics_of_every_process(db: blocking.Aurora):
    token = db.create_token("scraper", "read")
    port = next(
        a.values["port"] for a in db.status().actors if a.name == "http_gateway"
    )
    headers = {"Authorization": f"Bearer {token}"}
    scraped = httpx.get(
        f"http://127.0.0.1:{port}/metrics", headers=headers, timeout=60
    ).text
    for actor in db.status().actors:
        assert f'aurora_up{{actor="{actor.name}"}} 1\n' in scraped
    assert "# TYPE aurora_batch_changes histogram\n" in scraped
    assert "aurora_http_requests_open 1\n" in scraped
