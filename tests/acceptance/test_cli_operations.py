"""The commands for schemas, for watching, for moving data, as their users run them."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from remote import Served
from support import no_process_left

from aurora_actors import FieldDefinition, FieldType, blocking
from aurora_actors.cli.completion import script
from aurora_actors.cli.main import COMMANDS, main

pytestmark = pytest.mark.processes

AURORA = Path(sys.executable).with_name("aurora")
MIGRATION = 'migrate { "v1": { alter collection users { add city: String } } }'


def aurora(*arguments: object, code: int = 0, **environment: str) -> str:
    """Run the command in this process; its output, the errors for a failure."""
    out, errors = io.StringIO(), io.StringIO()
    kept = dict(os.environ)
    os.environ.update(environment)
    try:
        with redirect_stdout(out), redirect_stderr(errors):
            found = main([str(argument) for argument in arguments])
    finally:
        os.environ.clear()
        os.environ.update(kept)
    assert found == code, (found, out.getvalue(), errors.getvalue())
    return errors.getvalue() if code else out.getvalue()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory):
    directory = tmp_path_factory.mktemp("cli")
    served = Served(directory)
    served.db.new_collection(
        "users",
        {
            "name": FieldDefinition(FieldType.STRING, unique=True, nullable=False),
            "age": FieldDefinition(FieldType.INT, indexed=True),
            "address": FieldType.object({"city": FieldDefinition(FieldType.STRING)}),
        },
    )
    yield served
    served.close()
    no_process_left(directory / "served.db")


@pytest.fixture
def path(served: Served) -> str:
    return str(served.db.config.path)


def test_a_schema_is_printed_as_aql_that_makes_it_anew(path: str, tmp_path: Path):
    text = aurora("schema", path, "users")
    assert "define collection users {" in text
    assert "name: String! @unique" in text
    value = json.loads(aurora("schema", path, "--json"))
    assert value["users"]["fields"]["age"] == "Int @indexed"
    with blocking.open(tmp_path / "copy.db", query_executors=1) as copy:
        copy.execute(text)
        assert "unique" in aurora("schema", tmp_path / "copy.db")
    missing = aurora("schema", path, "nothing", code=1)
    assert "usage.collection_not_found" in missing or "nothing" in missing


def test_migrations_are_applied_once(path: str, tmp_path: Path):
    file = tmp_path / "migrations.aql"
    file.write_text(MIGRATION)
    done = json.loads(aurora("migrate", path, file, "--json"))
    assert done["steps_applied"] == 1
    assert "skipped" in aurora("migrate", path, file)
    assert "city: String" in aurora("schema", path, "users")
    assert "no file" in aurora("migrate", path, tmp_path / "none.aql", code=2)


def test_changes_and_live_results_are_watched_line_by_line(served: Served, path: str):
    with subprocess.Popen(
        [str(AURORA), "watch", path, "users", "--events", "2"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        # It follows from an unknown moment on: insert until it has seen enough.
        number = 0
        while process.poll() is None and number < 30_000:
            served.db.insert_into("users", {"name": f"w{number}", "age": 30})
            number += 1
            if number > 20:
                try:
                    process.wait(0.01)
                except subprocess.TimeoutExpired:
                    continue
        lines = [json.loads(line) for line in process.stdout]
    assert [line["event"] for line in lines] == ["insert", "insert"]
    assert lines[0]["document"]["age"] == 30
    again = aurora(
        *("watch", path, "users", "--events", "1", "--since", lines[0]["token"])
    )
    assert json.loads(again)["document"] == lines[1]["document"]
    where = ("--where", 'name: {eq: "w0"}')
    found = aurora("watch", path, "users", *where, "--events", "2").splitlines()
    first, second = map(json.loads, found)
    assert (first["event"], first["document"]["name"]) == ("Added", "w0")
    assert second["event"] == "InitialComplete"
    assert "needs a collection" in aurora("watch", path, *where, code=2)


def test_top_shows_what_the_processes_do(path: str):
    value = json.loads(
        aurora("top", path, "--json", "--count", "1", "--interval", "0.2")
    )
    assert {row["name"] for row in value["actors"]} >= {"storage", "remote_gateway"}
    assert all(row["state"] == "ready" for row in value["actors"])
    assert all(row["cpu"] is not None for row in value["actors"])
    text = aurora("top", path, "--count", "1", "--interval", "0.1")
    assert "memory" in text
    assert "interval" in aurora("top", path, "--interval", "0", code=2)


def test_a_database_elsewhere_is_named_by_its_address(served: Served):
    environment = {"AURORA_TOKEN": served.token, "AURORA_CA": served.made.certificate}
    assert "users" in aurora("schema", served.url, **environment)
    assert "AURORA_TOKEN" in aurora("schema", served.url, code=2, AURORA_TOKEN="")
    file = Path(served.db.config.path) / "users.csv"
    assert "documents" in aurora("export", served.url, "users", file, **environment)
    refused = aurora("backup", served.url, file, code=2, **environment)
    assert "on its machine" in refused
    looked = aurora("top", served.url, "--count", "1", "--json", **environment)
    assert json.loads(looked)["lsn"]


def test_documents_go_through_parquet_and_come_back(
    served: Served, path: str, tmp_path: Path
):
    fields = {
        "when": FieldType.DATETIME,
        "day": FieldType.DATE,
        "ratio": FieldType.FLOAT,
        "key": FieldType.UUID,
        "data": FieldType.BYTES,
        "tags": FieldType.array(FieldType.STRING),
        "place": FieldType.OBJECT,
    }
    served.db.new_collection("wide", fields, open=True)
    served.db.insert_many(
        "wide",
        (
            {
                "id": f"{n:03}",
                "when": datetime(2026, 1, 31, 12, n % 60, tzinfo=UTC),
                "day": date(2026, 1, 31) if n % 2 else None,
                "ratio": n,
                "data": bytes([n % 256]),
                "tags": ["a", str(n)],
                "place": {"lat": n, "when": date(2020, 1, 1)},
                "extra": n if n % 3 else "text",
            }
            for n in range(300)
        ),
    )
    file = tmp_path / "wide.parquet"
    assert "300 documents" in aurora("export", path, "wide", file)
    served.db.new_collection("again", fields, open=True)
    done = json.loads(aurora("import", path, "again", file, "--json"))
    assert done["documents"] == 300
    found, wanted = (
        [
            {name: value for name, value in doc.data.items() if value is not None}
            for doc in served.db.query(name).order_by("id").collect()
        ]
        for name in ("again", "wide")
    )
    assert found == wanted
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(file.read_bytes()[:100])
    assert "Parquet" in aurora("import", path, "again", broken, code=1)


def test_an_interrupted_import_goes_on_where_it_was(
    served: Served, path: str, tmp_path: Path
):
    served.db.new_collection("bulk", {"n": FieldType.INT})
    file = tmp_path / "bulk.jsonl"
    with file.open("w") as out:
        for n in range(5000):
            out.write(json.dumps({"n": n if n != 4500 else "four"}) + "\n")
    state = Path(f"{file}.aurora-import")
    error = aurora("import", path, "bulk", file, "--resume", code=1)
    assert "line 4501" in error
    kept = json.loads(state.read_text())
    assert 0 < kept["line"] <= 4500
    assert served.db.query("bulk").count() == 4500
    aurora("import", path, "bulk", file, "--resume", "--skip-errors", code=4)
    assert not state.exists()
    found = served.db.query("bulk").order_by("n").collect()
    assert [doc["n"] for doc in found] == [n for n in range(5000) if n != 4500]
    # Ids follow the lines.
    assert [doc.id for doc in found] == sorted(doc.id for doc in found)
    state.write_text(json.dumps({**kept, "size": 1}))
    assert "another import" in aurora("import", path, "bulk", file, "--resume", code=2)


def test_shells_complete_every_verb_and_option():
    for shell in ("bash", "zsh", "fish"):
        text = script(shell, COMMANDS)
        for name, command in COMMANDS.items():
            assert all(word in text for word in name.split())
            for each in command.arguments:
                for flag in each.names:
                    if flag.startswith("--"):
                        assert flag.removeprefix("--") in text
    bash = shutil.which("bash")
    if bash is not None:
        words = "COMP_WORDS=(aurora comp); COMP_CWORD=1; compopt() { :; }; "
        run = '_aurora; echo "${COMPREPLY[@]}"'
        completed = subprocess.run(
            [bash, "-c", aurora("completion", "bash") + words + run],
            capture_output=True,
            text=True,
            check=True,
        )
        assert completed.stdout.split() == ["compact", "completion"]
