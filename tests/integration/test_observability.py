"""What a running tree tells about itself: metrics, and the log of slow queries."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support import wait_until

from aurora_actors import FieldType, blocking, field
from aurora_actors.http.observe import metric_lines

pytestmark = pytest.mark.processes

SAMPLE = re.compile(r'aurora_[a-z0-9_]+(\{[a-z]+="[^"]*"(,le="[^"]*")?\})? \S+\n')


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("observed") / "o.db"
    with blocking.open(
        path,
        query_executors=1,
        heartbeat_interval_ms=50,
        slow_query_ms=1,
        log_format="json",
    ) as db:
        db.new_collection("things", {"n": FieldType.INT, "s": FieldType.STRING})
        db.insert_many("things", ({"n": n, "s": f"text {n}"} for n in range(20_000)))
        db.sync()
        db.wait_indexed()
        yield db


def slow_queries(db: blocking.Aurora) -> list[dict]:
    path = Path(db.config.path) / "aurora.log"
    entries = (json.loads(line) for line in path.read_text().splitlines())
    return [e["extra"] for e in entries if e["message"] == "slow query"]


def test_slow_queries_are_logged_with_their_plans(db: blocking.Aurora):
    assert (
        db.query("things").filter(field("s").matches("9.*9.*1")).order_by("s").collect()
    )
    wait_until(lambda: slow_queries(db), "the entry")
    entry = slow_queries(db)[0]
    assert entry["collection"] == "things"
    assert entry["milliseconds"] >= 1
    (plan,) = entry["plans"]
    assert plan["rows_read"] >= plan["rows"] > 0
    assert "matches" in plan["filter"]
    text = 'query { things(where: {s: {contains: "77"}}, orderBy: {s: ASC}) { n } }'
    assert db.execute(text).documents
    wait_until(lambda: any("text" in e for e in slow_queries(db)), "the second entry")
    entry = next(e for e in slow_queries(db) if "text" in e)
    assert entry["text"] == text
    assert entry["plans"][0]["collection"] == "things"
    assert db.stats()["query_executor-0"]["slow_queries"] >= 2


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


def test_every_metric_is_documented(db: blocking.Aurora):
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    documented = set(re.findall(r"`([a-z0-9_]+)`", page))
    told = [a.values.keys() for a in db.status().actors]
    told += [values.keys() for values in db.stats().values()]
    for key in {key.partition(":")[0] for keys in told for key in keys}:
        name = re.sub(r"_(bucket|sum|count)$", "", key)
        assert {key, name} & documented, key
