"""The ``aurora`` command as its users run it: in a process, from outside."""

from __future__ import annotations

import io
import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from support import no_process_left

from aurora_actors import FieldDefinition, FieldType, blocking
from aurora_actors.cli.main import main

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
AURORA = Path(sys.executable).with_name("aurora")
VERBS = [
    "status",
    "stats",
    "collections",
    "backup",
    "restore",
    "check",
    "repair",
    "compact",
    "checkpoint",
    "export",
    "import",
    "query",
    "shell",
    "token create",
    "token list",
    "token revoke",
    "schema",
    "migrate",
    "top",
    "watch",
    "completion",
]


def aurora(*arguments: object, stdin: str | None = None, code: int = 0) -> str:
    """Run the command; its output, the standard error for a failure."""
    done = subprocess.run(
        [str(AURORA), *map(str, arguments)],
        input=stdin,
        stdin=None if stdin is not None else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr if code in {1, 2} else done.stdout


def called(*arguments: object, code: int = 0) -> str:
    """The same without a process of its own, which takes longer than the command."""
    out, errors = io.StringIO(), io.StringIO()
    found: object
    with redirect_stdout(out), redirect_stderr(errors):
        try:
            found = main([*map(str, arguments)])
        except SystemExit as exc:
            found = exc.code
    assert found == code, (found, out.getvalue(), errors.getvalue())
    return errors.getvalue() if code in {1, 2} else out.getvalue()


def answer(*arguments: object, **options) -> dict[str, object]:
    return json.loads(aurora(*arguments, "--json", **options))


def told(*arguments: object, **options) -> dict[str, object]:
    """The same without a process of its own."""
    return json.loads(called(*arguments, "--json", **options))


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "template.db"
    with blocking.open(path, query_executors=1) as db:
        db.new_collection(
            "users",
            {
                "name": FieldDefinition(FieldType.STRING, nullable=False),
                "email": FieldDefinition(FieldType.STRING, unique=True),
                "born": FieldDefinition(FieldType.DATE),
            },
        )
        db.new_collection("events", open=True)
        db.insert_many(
            "users",
            [
                {"id": f"u{n}", "name": f"name {n}", "email": f"{n}@x.io"}
                for n in range(50)
            ],
        )
        db.insert_into(
            "events", {"id": "e", "blob": b"\x00\xff", "list": [1, {"a": 2}]}
        )
    no_process_left(path)
    return path


@pytest.fixture
def db(template, tmp_path) -> Iterator[Path]:
    """A stopped database of one's own; afterwards nothing of it may run."""
    path = tmp_path / "my.db"
    shutil.copytree(template, path)
    yield path
    no_process_left(path)


# ------------------------------------------------------------------ help
def test_every_command_has_help_with_an_example():
    overview = aurora("--help")
    for verb in VERBS:
        assert f"\n    {verb.partition(' ')[0]}" in overview
        text = called(*verb.split(), "--help")
        assert f"aurora {verb} " in text.partition("example:\n")[2]
        assert "exit codes:" in text
        assert "--json" in text


def test_wrong_usage_has_exit_code_2():
    assert "COMMAND" in aurora(code=2)
    called("fly", code=2)
    called("backup", "only-one", code=2)
    called("export", "a", "b", "c", "--format", "xml", code=2)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "completion"])
def test_no_command_makes_a_database_by_looking_at_it(verb, tmp_path):
    more = {
        "backup": ["out"],
        "export": ["users"],
        "import": ["users", "in.jsonl"],
        "migrate": [str(ROOT / "tests/fixtures/aql/seed.aql")],
        "query": ["{ users }"],
        "token create": ["name"],
        "token revoke": ["name"],
    }
    missing = tmp_path / "missing.db"
    arguments = ["nothing", missing] if verb == "restore" else [missing]
    text = called(*verb.split(), *arguments, *more.get(verb, []), code=1)
    assert str(missing) in text or "nothing" in text
    assert not missing.exists()
    (tmp_path / "empty.db").mkdir()
    if verb != "restore":
        called(*verb.split(), tmp_path / "empty.db", *more.get(verb, []), code=1)
    assert not list((tmp_path / "empty.db").iterdir())


# ------------------------------------------------------------------ looking
def test_status_does_not_start_what_is_stopped(db):
    assert answer("status", db, code=3) == {"running": False}
    assert "is not running" in called("status", db, code=3)


def test_status_shows_the_processes_of_what_runs(db):
    with blocking.open(db, query_executors=1):
        found = answer("status", db)
        assert found["running"] is True
        names = {actor["name"] for actor in found["actors"]}
        assert {"storage", "query_executor-0"} <= names
        (storage,) = (a for a in found["actors"] if a["name"] == "storage")
        assert "map_share_used" in storage["values"]
        text = called("status", db)
        assert "storage" in text
        assert "ready" in text


def test_stats_and_checkpoint_start_and_stop_the_database(db):
    assert answer("stats", db)["storage"]["documents"] == 51
    with blocking.open(db, query_executors=1):  # these attach, which is quicker
        assert told("checkpoint", db)["lsn"] == 53
        assert "53" in called("checkpoint", db)


def test_collections_lists_fields_and_counts(db):
    found = answer("collections", db)
    assert found["users"]["documents"] == 50
    assert found["users"]["fields"]["email"] == "String @unique"
    assert found["events"]["open"] is True
    assert "users: 50 documents" in called("collections", db)


# ------------------------------------------------------------------ backups
def test_backup_and_restore_round_trip(db, tmp_path):
    report = answer("backup", db, tmp_path / "a.backup")
    assert report["manifest"]["documents"] == 51
    assert "not empty" in called("restore", tmp_path / "a.backup", db, code=2)
    assert "exists already" in called("backup", db, tmp_path / "a.backup", code=2)
    called("backup", db, tmp_path / "a.backup", "--overwrite")
    text = aurora("restore", tmp_path / "a.backup", tmp_path / "new.db")
    assert "51 in 2 collections" in text
    assert told("check", tmp_path / "new.db")["ok"] is True
    with blocking.open(tmp_path / "new.db", query_executors=1) as restored:
        assert restored.query("users").count() == 50
        assert restored.get_document("events", "e")["blob"] == b"\x00\xff"
    no_process_left(tmp_path / "new.db")


def test_a_damaged_backup_is_refused_with_its_place(db, tmp_path):
    file = tmp_path / "a.backup"
    called("backup", db, file)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    done = aurora("restore", file, tmp_path / "new.db", "--json", code=1)
    error = json.loads(done)["error"]
    assert error["code"] == "corruption"
    assert error["context"]["offset"] > 0
    assert not (tmp_path / "new.db").exists()


# ------------------------------------------------------------------ check, repair
def test_check_works_on_a_running_and_on_a_stopped_database(db):
    assert answer("check", db)["documents"] == 51
    with blocking.open(db, query_executors=1) as opened:
        opened.insert_into("users", {"name": "late"})
        report = told("check", db)
        assert report["ok"] is True
        assert report["documents"] == 52
        assert "no fault found" in called("check", db)


def test_damage_is_found_and_repaired(db):
    import lmdb

    with lmdb.open(str(db / "data.mdb"), subdir=False, max_dbs=8) as env:
        table = env.open_db(b"unique")
        with env.begin(write=True) as txn:
            txn.drop(table, delete=False)
    report = answer("check", db, code=4)
    assert report["ok"] is False
    assert report["counts"]["unique"] >= 50
    assert "unique: " in called("check", db, code=4)
    report = answer("repair", db)
    assert report["documents"] == 51
    assert (Path(report["kept"]) / "data.mdb").exists()
    assert told("check", db)["ok"] is True
    with blocking.open(db, query_executors=1) as opened:
        found = opened.query("users").filter(lambda f: f.eq("email", "7@x.io"))
        assert found.one().id == "u7"


def test_pages_that_kill_their_reader_are_reported_as_damage(db):
    file = db / "data.mdb"
    data = bytearray(file.read_bytes())
    for page in range(2 * 4096, len(data), 4096):
        data[page + 16 : page + 4096] = b"\xfe" * 4080
    file.write_bytes(data)
    done = subprocess.run(
        [str(AURORA), "check", str(db)], capture_output=True, text=True, check=False
    )
    assert done.returncode in {1, 4}
    assert "damaged" in done.stdout + done.stderr or "pages" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_running_database_is_not_repaired(db):
    with blocking.open(db, query_executors=1):
        assert "is running" in called("repair", db, code=1)


# ------------------------------------------------------------------ compact
def test_compact_makes_the_file_smaller(db):
    with blocking.open(db, query_executors=1) as opened:
        opened.new_collection("bulk", open=True)
        opened.insert_many("bulk", ({"t": "t" * 1_000} for _ in range(8_000)))
        opened.drop_collection("bulk")
        opened.checkpoint()
        found = answer("compact", db)
        assert found["after_bytes"] < found["before_bytes"] // 2
        # The application that has it open goes on with the new file.
        opened.insert_into("users", {"id": "late", "name": "late"})
        assert opened.get_document("users", "late") is not None
        assert opened.query("users").count() == 51
    assert "after" in called("compact", db)
    assert told("check", db)["ok"] is True


# ------------------------------------------------------------------ export, import
def test_what_was_exported_imports_as_it_was(db, tmp_path):
    file = tmp_path / "out.jsonl"
    with blocking.open(db, query_executors=1) as opened:  # the commands attach
        assert answer("export", db, "users", file)["documents"] == 50
        assert "exists already" in aurora("export", db, "users", file, code=2)
        aurora("import", db, "users_jsonl", file, "--create")
        for collection, kind in itertools.product(
            ["users", "events"], ["jsonl", "json", "csv"]
        ):
            copy, file = f"{collection}_{kind}", tmp_path / f"{collection}.{kind}"
            report = told("export", db, collection, file)
            assert report["documents"] == (50 if collection == "users" else 1)
            assert "exists already" in called("export", db, collection, file, code=2)
            if copy != "users_jsonl":
                called("import", db, copy, file, "--create")
            before = {doc.id: doc.data for doc in opened.query(collection).collect()}
            after = {doc.id: doc.data for doc in opened.query(copy).collect()}
            assert after == before, kind


def test_export_and_import_through_pipes(db):
    with blocking.open(db):
        lines = aurora("export", db, "users")
        assert len(lines.splitlines()) == 50
        assert json.loads(lines.splitlines()[7])["email"] == "7@x.io"
        assert "--format" in aurora("import", db, "copy", "-", stdin=lines, code=2)
        report = answer(
            "import", db, "copy", "-", "--format", "jsonl", "--create", stdin=lines
        )
        assert report["documents"] == 50


def test_an_import_stops_at_the_line_that_is_wrong(db, tmp_path):
    file = tmp_path / "in.jsonl"
    rows = [{"id": f"n{n}", "name": f"n{n}"} for n in range(100)]
    lines = [json.dumps(row) for row in rows]
    lines[60] = '{"id": "n60", "nam": "n60"}'
    file.write_text("\n".join(lines))
    error = json.loads(aurora("import", db, "users", file, "--json", code=1))["error"]
    assert error["code"] == "data.validation"
    assert error["message"].startswith("line 61: ")
    assert "name" in error["message"]
    assert error["context"]["line"] == 61
    assert error["context"]["inserted"] == 60
    assert told("collections", db)["users"]["documents"] == 110


def test_an_import_can_skip_what_is_wrong_and_says_what(db, tmp_path):
    file = tmp_path / "in.csv"
    file.write_text(
        "id,name,email,born\n"
        "a,Ann,ann@x.io,1990-01-31\n"
        "b,Ben,7@x.io,\n"
        "c,Cyd,,yesterday\n"
        "d,Dan\n"
        "e,,,\n"
        'f,"Flo, the\nsecond",,\n'
    )
    report = told("import", db, "users", file, "--skip-errors", code=4)
    assert report["documents"] == 2
    assert [fault["line"] for fault in report["faults"]] == [3, 4, 5, 6]
    assert [fault["code"] for fault in report["faults"]] == [
        "data.unique_violation",
        "data.validation",
        "data.validation",
        "data.validation",
    ]
    assert "line 4: born: 'yesterday' is no Date" in aurora(
        "import", db, "users", file, "--skip-errors", code=4
    )
    assert told("collections", db)["users"]["documents"] == 52


def test_unknown_collections_and_files_are_named(db, tmp_path):
    half, missing = tmp_path / "list.json", tmp_path / "no.jsonl"
    half.write_text('[{"name": "a"}, {"name": ')
    with blocking.open(db):
        assert "did you mean 'users'" in aurora("export", db, "user", code=1)
        assert "did you mean 'users'" in called("import", db, "user", "x.jsonl", code=1)
        assert "no.jsonl" in aurora("import", db, "users", missing, code=1)
        assert "line 2" not in called("import", db, "users", half, code=1)


def test_tokens_are_made_listed_and_revoked(db):
    with blocking.open(db):
        token = aurora(
            "token", "create", db, "dash", "--collection", "users=write"
        ).strip()
        assert token.startswith("aur.dash.")
        called("token", "create", db, "dash", code=2)
        called("token", "create", db, "other", "--role", "king", code=2)
        called("token", "create", db, "other", "--days", "-1", code=2)
        assert told("token", "create", db, "root", "--role", "admin")["token"]
        (dash, root) = json.loads(called("token", "list", db, "--json"))
        assert (dash["role"], dash["collections"]) == ("read", {"users": "write"})
        assert (root["name"], root["expires"]) == ("root", None)
        assert token.rpartition(".")[2] not in called("token", "list", db)
        assert "revoked" in called("token", "revoke", db, "dash")
        assert "dash" in called("token", "revoke", db, "dash", code=1)
