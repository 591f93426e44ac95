"""The audit log's file: where it goes on, how it rotates, what it says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from aurora_actors.errors import ConfigError, CorruptionError, UnavailableError
from aurora_actors.reactive.audit import AuditFile, audit_line, gap_line
from aurora_actors.schema.record import pack_record
from aurora_actors.schema.values import encode_document
from aurora_actors.storage.changes import Change, ChangeKind
from aurora_actors.storage.origins import Origin


def change(lsn, old, new):
    def record(fields):
        return (
            None if fields is None else pack_record(lsn, "d1", encode_document(fields))
        )

    kind = ChangeKind.UPDATE
    if old is None:
        kind = ChangeKind.INSERT
    elif new is None:
        kind = ChangeKind.DELETE
    return Change(lsn, kind, 3, 1, record(old), record(new))


def test_a_line_says_what_changed_who_did_it_and_when():
    origin = Origin(5, 1_767_225_600_123, "c-1")
    line = audit_line(
        change(7, {"a": 1, "b": 2}, {"a": 1.0, "c": None}), "users", origin
    )
    assert json.loads(line) == {
        "lsn": 7,
        "time": "2026-01-01T00:00:00.123Z",
        "operation": "update",
        "collection": "users",
        "id": "d1",
        "changed": ["b"],  # null is as if it were missing
        "client": "c-1",
    }
    assert line.endswith(b"\n")


def test_what_is_not_known_is_null():
    found = json.loads(
        audit_line(change(7, None, {"a": 1}), "users", Origin(7, 0, "c"))
    )
    assert (found["time"], found["client"]) == (None, "c")
    found = json.loads(audit_line(change(7, {"a": 1}, None), "users", None))
    assert (found["time"], found["client"]) == (None, None)
    assert (found["operation"], found["changed"]) == ("delete", ["a"])


def test_a_file_goes_on_behind_its_last_whole_line(tmp_path):
    path = tmp_path / "deep" / "audit.jsonl"
    file = AuditFile.open(path, 1 << 20)
    assert file.lsn == 0
    file.append([audit_line(change(1, None, {}), "a", None), gap_line(2, 9)], 9)
    file.sync()
    file.close()
    whole = path.read_bytes()
    for torn in range(len(whole) + 1):
        path.write_bytes(whole[:torn])
        file = AuditFile.open(path, 1 << 20)
        lines = whole[:torn].split(b"\n")[:-1]
        assert file.lsn == (json.loads(lines[-1])["lsn"] if lines else 0)
        assert path.read_bytes() == b"".join(line + b"\n" for line in lines)
        file.close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_line_longer_than_a_block_is_found(tmp_path):
    path = tmp_path / "audit.jsonl"
    first = audit_line(change(1, None, {"a": 1}), "a", None)
    long = audit_line(
        change(2, None, {f"field{n}": n for n in range(20_000)}), "a", None
    )
    path.write_bytes(first + long + b'{"lsn": 3')
    file = AuditFile.open(path, 1 << 30)
    assert file.lsn == 2
    file.close()
    assert path.read_bytes() == first + long


def test_a_file_that_has_grown_gets_its_last_lsn_into_its_name(tmp_path):
    path = tmp_path / "audit.jsonl"
    file = AuditFile.open(path, 200)
    for lsn in range(1, 8):
        file.append([audit_line(change(lsn, None, {"a": 1}), "users", None)], lsn)
    file.close()
    names = sorted(found.name for found in tmp_path.iterdir())
    assert names[-1] == "audit.jsonl"
    assert len(names) > 2
    lsns = [
        json.loads(line)["lsn"]
        for name in names
        for line in (tmp_path / name).read_text().splitlines()
    ]
    assert sorted(lsns) == list(range(1, 8))
    path.write_bytes(b"")
    file = AuditFile.open(path, 200)
    assert file.lsn == int(names[-2].split(".")[1])
    file.close()


def test_a_file_that_is_something_else_is_refused(tmp_path):
    path = tmp_path / "audit.jsonl"
    path.write_text("Dear diary\n")
    with pytest.raises(CorruptionError, match="not end with a line"):
        AuditFile.open(path, 100)
    with pytest.raises(ConfigError, match="cannot be written"):
        AuditFile.open(tmp_path, 100)
    with pytest.raises(ConfigError, match="regular"):
        AuditFile.open(Path("/dev/null"), 100)


@pytest.mark.parametrize("content", [b"Dear diary", b"\0" * 100_000 + b"page", b"{}"])
def test_a_file_that_is_something_else_stays_as_it_is(tmp_path, content):
    path = tmp_path / "data.mdb"
    path.write_bytes(content)
    with pytest.raises(CorruptionError, match="move it away"):
        AuditFile.open(path, 100)
    assert path.read_bytes() == content


def test_what_a_power_loss_has_left_of_a_first_line_is_cut_off(tmp_path):
    path = tmp_path / "audit.jsonl"
    for torn in (b"\0" * 100_000, b'{"ls', b'{"lsn":12,"ti'):
        path.write_bytes(torn)
        AuditFile.open(path, 100).close()
        assert path.read_bytes() == b""


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path):
    file = AuditFile.open(tmp_path / "audit.jsonl", 1 << 20)
    file.append([gap_line(1, 1)], 1)
    os.close(file._descriptor)
    file._descriptor = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(UnavailableError, match="No space"):
        file.append([gap_line(2, 2)], 2)
    assert file.lsn == 1
    file.close()
