"""The audit log of a running tree: one line for each change, whoever dies."""

from __future__ import annotations

import json

import pytest
from processes import kill_actor
from support import wait_until

from aurora_actors import blocking, field

pytestmark = pytest.mark.processes


def lines_of(directory):
    """All whole lines of an audit log, its older files first.

    What follows the last line's end is a line that is being written.
    """
    files = [*sorted(directory.glob("audit.*.jsonl")), directory / "audit.jsonl"]
    texts = [file.read_text() for file in files if file.exists()]
    return [json.loads(line) for text in texts for line in text.split("\n")[:-1]]


def recorded_up_to(db, directory, lsn):
    def reached():
        found = lines_of(directory)
        return found and found[-1]["lsn"] >= lsn

    wait_until(reached, f"the audit log has reached {lsn}")


def test_each_change_is_one_line(tmp_path):
    path = tmp_path / "a.db"
    with blocking.open(path, audit_log_path=str(tmp_path / "audit.jsonl")) as db:
        db.new_collection("users", open=True)
        db.insert_into("users", {"id": "a", "name": "A", "age": None})
        db.update_document("users", "a", {"age": 3})
        db.insert_many("users", [{"n": n} for n in range(1200)])
        db.query("users").filter(field("n") < 10).delete()
        lsn = db.sync()
        recorded_up_to(db, tmp_path, lsn)
    found = lines_of(tmp_path)
    assert [line["lsn"] for line in found] == list(range(1, lsn + 1))
    assert [line["operation"] for line in found[:4]] == [
        "create_collection",
        "insert",
        "update",
        "insert",
    ]
    assert [found[n]["changed"] for n in (1, 2)] == [["name"], ["age"]]
    assert found[2]["collection"] == "users"
    assert {line["operation"] for line in found[-10:]} == {"delete"}
    # What an executor carried out was asked for by the client, too.
    assert len({line["client"] for line in found}) == 1
    times = [line["time"] for line in found]
    assert times == sorted(times)


@pytest.mark.faults
def test_a_change_is_recorded_once_whoever_dies(tmp_path):
    path, rounds, many = tmp_path / "a.db", 6, 500
    settings = {"audit_log_path": str(tmp_path / "audit.jsonl"), "max_restarts": 1000}
    with blocking.open(path, audit_log_rotate_mb=1, **settings) as db:
        db.new_collection("users", open=True)
        for number in range(rounds):
            for step in range(40):
                db.insert_into("users", {"id": f"{number}-{step}"})
                if step == 20:
                    name = ("audit_writer", "storage")[number % 2]
                    kill_actor(db, name)
            # Long names fill the file, so that it is rotated.
            long = [{"id": f"{number}-{step:0240}"} for step in range(many)]
            db.insert_many("users", long)
        lsn = db.sync()
        recorded_up_to(db, tmp_path, lsn)
    assert len(list(tmp_path.glob("audit.*.jsonl"))) > 0
    found = lines_of(tmp_path)
    assert [line["lsn"] for line in found] == list(range(1, lsn + 1))
    assert len({line["id"] for line in found}) == rounds * (40 + many) + 1
    assert all(line["client"] for line in found)


def test_the_log_goes_on_in_another_run_and_says_what_it_missed(tmp_path):
    path = tmp_path / "a.db"
    log = str(tmp_path / "audit.jsonl")
    with blocking.open(path, audit_log_path=log, change_retention=20) as db:
        db.new_collection("users", open=True)
        db.insert_into("users", {})
        recorded_up_to(db, tmp_path, 2)
    with blocking.open(path, change_retention=20) as db:
        for _ in range(5):
            db.insert_many("users", [{} for _ in range(400)])
            db.checkpoint()
        before = db.sync()
    with blocking.open(path, audit_log_path=log, change_retention=20) as db:
        db.insert_into("users", {"id": "last"})
        recorded_up_to(db, tmp_path, before + 1)
    found = lines_of(tmp_path)
    assert [line["lsn"] for line in found[:2]] == [1, 2]
    assert found[2]["gap"][0] == 3
    # The log may be trimmed again while it is read: then there is another gap.
    spoken_of: list[int] = []
    for line in found[2:]:
        first, last = line.get("gap", (line["lsn"], line["lsn"]))
        spoken_of += range(first, last + 1)
    assert spoken_of == list(range(3, before + 2))
    assert "gap" not in found[-1]
    assert found[-1]["id"] == "last"
    assert found[-1]["client"].startswith("c-")
