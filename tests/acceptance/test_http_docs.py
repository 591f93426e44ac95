"""The shell samples of docs/http.md run as printed, against a gateway of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import no_process_left

from aurora_actors import HttpConfig, blocking
from aurora_actors.errors import all_codes
from aurora_actors.http.api import ENDPOINTS
from aurora_actors.http.app import application
from aurora_actors.http.gate import Gateway
from aurora_actors.http.problems import status_of

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        shutil.which("curl") is None,
        reason="the page's samples are for curl, which .ci/run installs",
    ),
]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "http.md").read_text()
SAMPLES = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    path = tmp_path_factory.mktemp("docs") / "shop.db"
    with blocking.open(path, query_executors=1, http=HttpConfig(port=0)) as db:
        token = db.create_token("example", "admin")
        (gateway,) = [a for a in db.status().actors if a.name == "http_gateway"]
        url = f"http://127.0.0.1:{int(gateway.values['port'])}"
        yield {**os.environ, "AURORA": url, "TOKEN": token}
    no_process_left(path)


def test_the_shell_samples_run_as_printed(environment: dict[str, str]) -> None:
    shown = []
    for sample in SAMPLES[1:]:
        done = subprocess.run(
            ["sh", "-e", "-c", sample],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{sample}\n{done.stdout}\n{done.stderr}"
        shown.append(done.stdout)
    documents, texts, schemas, jobs, live = shown
    assert '"age":42' in documents
    assert '"imported":2' in documents
    assert '"old":[{"name":"Dee","age":64}]' in texts
    assert '"fields":["role","age"],"kind":' in schemas
    assert '"queues":{"default":{"pending":1' in jobs
    assert "event: initial_complete" in live


def test_every_path_is_in_the_page() -> None:
    paths = {route.path for route in application(Gateway(HttpConfig())).routes}  # type: ignore[attr-defined]
    assert len(paths) > len(ENDPOINTS) / 2
    missing = set()
    for path in paths - {"/", "/console/{name}"}:
        # The page writes names of its own for parameters.
        shown = re.sub(r"\\{[\w:]+\\}", r"[^/`\\s]+", re.escape(path).rstrip("/"))
        if not re.search(shown, PAGE):
            missing.add(path)
    assert not missing


def test_every_parameter_of_queries_is_in_the_page() -> None:
    names = {each.name for endpoint in ENDPOINTS for each in endpoint.parameters}
    assert {name for name in names if not re.search(rf"\b{name}\b", PAGE)} == set()


def test_every_error_of_the_gateways_own_is_in_the_page() -> None:
    source = "".join(
        file.read_text() for file in (ROOT / "aurora_actors" / "http").glob("*.py")
    )
    raised = {f"http.{n}" for n in re.findall(r"HTTPException\(\s*(\d{3})\b", source)}
    used = set(re.findall(r'(?:problem\(\s*\d+,\s*|: )"(http\.[a-z_]+)"', source))
    # These two have names.
    raised -= {"http.404", "http.405"}
    rows = "".join(re.findall(r"^\| (`http\..*?) \|", PAGE, re.MULTILINE))
    assert set(re.findall(r"`(http\.\w+)`", rows)) == used | raised


def test_the_page_tells_the_status_of_every_error() -> None:
    rows = re.findall(r"^\| (\d{3}) \| (`[a-z_.` ]+) \|$", PAGE, re.MULTILINE)
    told = {
        code.strip("`"): int(status) for status, codes in rows for code in codes.split()
    }
    assert told == {code: status_of(code) for code in all_codes()}
