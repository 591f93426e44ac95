"""Handlers: found by import path, run where they belong, described as jobs."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import job_handlers
import pytest

from aurora_actors import Backoff, Job, JobPriority, UsageError, ValidationError, job
from aurora_actors.client.jobs_function import runtime_of
from aurora_actors.client.jobs_model import new_job
from aurora_actors.client.jobs_pools import handler_paths
from aurora_actors.errors import ConfigError
from aurora_actors.jobs.handlers import check_allowed, load_handlers
from aurora_actors.schema.values import decode_value


def test_a_module_gives_all_that_is_marked_and_nothing_else():
    found = load_handlers("job_handlers")
    assert {"add", "plain", "under_asyncio"} <= found.keys()
    assert "unmarked" not in found
    assert found["plain"].runtime == "thread"
    assert found["under_asyncio"].runtime == "asyncio"
    assert found["under_trio"].runtime == "trio"


def test_a_path_gives_one_function_under_its_own_or_another_name():
    assert load_handlers(["job_handlers:add", "job_handlers:unmarked"]).keys() == {
        "add",
        "unmarked",
    }
    assert load_handlers({"sum": "job_handlers:add"})["sum"].job_type == "sum"


def test_what_is_no_handler_is_refused_with_its_reason(tmp_path: Path, monkeypatch):
    (tmp_path / "broken_handlers.py").write_text("raise RuntimeError('not today')")
    (tmp_path / "leaving_handlers.py").write_text("raise SystemExit(1)")
    (tmp_path / "twin_handlers.py").write_text(
        "from aurora_actors import job\n"
        "@job('same')\ndef a(context): ...\n"
        "@job('same')\ndef b(context): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for paths, reason in (
        ("broken_handlers", "RuntimeError: not today"),
        ("leaving_handlers", "ends the process"),
        ("twin_handlers", "two handlers"),
        ("job_handlers:nobody", "no function"),
        ("job_handlers:Path", "no function"),
        ("support", "@job"),
        ("__main__", "script"),
    ):
        with pytest.raises(ConfigError, match=reason):
            load_handlers(paths)
    sys.modules.pop("twin_handlers")


def test_only_allowed_modules_are_imported():
    check_allowed(["anything"], [])
    check_allowed(["myapp.jobs:send", "myapp"], ["myapp"])
    for path in ("myapplication", "os:system", "my"):
        with pytest.raises(ConfigError, match="handler_modules"):
            check_allowed([path], ["myapp"])


def test_handlers_are_named_for_other_processes():
    assert handler_paths(job_handlers) == "job_handlers"
    assert handler_paths(job_handlers.add) == "job_handlers:add"
    assert handler_paths([job_handlers, "m:f"]) == ["job_handlers", "m:f"]
    assert handler_paths({"x": job_handlers.unmarked}) == {"x": "job_handlers:unmarked"}
    with pytest.raises(UsageError, match="no handler"):
        handler_paths(lambda: None)
    with pytest.raises(UsageError, match="no handler"):
        handler_paths([3])  # type: ignore[list-item]


def test_a_marked_function_is_still_a_function():
    assert job_handlers.unmarked(None, n=2) == -2  # type: ignore[arg-type]
    assert job_handlers.fail.__name__ == "fail"
    made = job_handlers.add.job(a=1).with_priority(JobPriority.CRITICAL)
    assert (made.job_type, made.payload) == ("add", {"a": 1})
    assert made.priority is JobPriority.CRITICAL


def test_the_decorator_needs_a_name_and_a_place_where_the_function_can_run():
    with pytest.raises(UsageError, match="needs a name"):
        job(job_handlers.unmarked)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="cannot run as"):
        job("x", runtime="trio")(job_handlers.unmarked)
    with pytest.raises(UsageError, match="cannot run as"):
        job("x", runtime="thread")(job_handlers.add.function)
    assert runtime_of(job_handlers.unmarked) == "thread"


def test_a_job_is_described_step_by_step_and_never_changed():
    first = Job("send").add_field("to", "a")
    second = first.add_field("n", 1).with_queue("mail").with_unique_key("k", 60.0)
    assert first == Job("send", {"to": "a"})
    assert (second.queue, second.unique_key, second.unique_for_s) == ("mail", "k", 60.0)
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    later = second.with_run_at(moment).with_max_retries(9).with_timeout(5.0)
    new = new_job(later.with_backoff(Backoff(initial_s=2.0)).after_jobs("a", "b"))
    assert (new.run_at, new.max_retries, new.timeout_s) == (
        int(moment.timestamp() * 1e6),
        9,
        5.0,
    )
    assert decode_value(new.payload) == {"to": "a", "n": 1}
    assert new.after == ["a", "b"]
    assert later.with_delay(3.0).run_at is None


def test_a_job_that_cannot_be_stored_is_refused_before_it_is_sent():
    for wrong in (
        Job("x", {"a": object()}),
        Job("x", run_at=datetime(2030, 1, 1)),  # noqa: DTZ001 - what is refused
        Job("x", max_retries="many"),  # type: ignore[arg-type]
        Job("x", id=""),
        "x",
    ):
        with pytest.raises(ValidationError):
            new_job(wrong)  # type: ignore[arg-type]
