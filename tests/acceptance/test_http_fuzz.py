"""Requests made up from the OpenAPI document: the gateway never fails, only refuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Served, serving
from support import first_seed

pytestmark = pytest.mark.processes

# Streams that do not end, and JSON lines, have tests of their own.
LEFT_OUT = "(watch|changes|events|import)$"
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,negative_data_rejection,unsupported_method"
)
# The requests are to reach what there is, not to find that there is nothing.
CONFIG = """
[parameters]
"path.collection" = "things"
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("fuzz") / "data.db") as served:
        served.db.new_collection("things", open=True)
        served.db.insert_many("things", [{"id": str(n), "n": n} for n in range(10)])
        yield served


def fuzz(served: Served, where: Path, phases: str, examples: int) -> None:
    (where / "schemathesis.toml").write_text(CONFIG)
    command = [
        str(Path(sys.executable).parent / "schemathesis"),
        "run", f"{served.url}/openapi.json",
        "-H", f"Authorization: Bearer {served.token}",
        "--exclude-path-regex", LEFT_OUT,
        "--exclude-operation-id", "drop_collection",
        "--phases", phases,
        "--max-examples", str(examples),
        "--checks", CHECKS,
        "--request-timeout", "60",
        "--seed", str(first_seed()),
        "--suppress-health-check", "all",
        "--generation-database", "none",
        "--no-color",
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=where, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    assert served.http.get("/ready").status_code == 200
    (gateway,) = [a for a in served.db.status().actors if a.name == "http_gateway"]
    assert gateway.restarts == 0
    assert gateway.values.get("responses_5xx", 0) <= served.refusals


def test_made_up_requests_are_answered_or_refused(served: Served, tmp_path: Path):
    fuzz(served, tmp_path, "fuzzing", 3)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_thousands_of_made_up_requests_are_answered_or_refused(
    served: Served, tmp_path: Path
):
    fuzz(served, tmp_path, "examples,coverage,fuzzing,stateful", 100)
