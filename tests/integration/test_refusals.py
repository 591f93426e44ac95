"""Bad input, from outside: a clear typed error, and nothing has changed."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from support import a_locked_directory, no_process_left, tree_processes, wait_until

from aurora_actors import (
    AuroraConfig,
    AuroraError,
    CollectionExistsError,
    CollectionNotFoundError,
    ConfigError,
    DurabilityMode,
    FieldDefinition,
    FieldType,
    Increment,
    InvalidFilterError,
    LimitExceededError,
    NotFoundError,
    Push,
    UniqueViolationError,
    UsageError,
    ValidationError,
    blocking,
    field,
)
from aurora_actors.location import read_published
from aurora_actors.messages.base import Letter, encode_envelope
from aurora_actors.messages.supervision import ShutDown
from aurora_actors.transport.sockets import Outlet, mailbox_path

pytestmark = pytest.mark.processes

USERS = {
    "name": FieldDefinition(FieldType.STRING, nullable=False),
    "email": FieldDefinition(FieldType.STRING, unique=True),
    "age": FieldDefinition(FieldType.INT),
    "score": FieldDefinition(FieldType.FLOAT),
    "tags": FieldDefinition(FieldType.array(FieldType.STRING)),
    "address": FieldDefinition(FieldType.object({"city": FieldType.STRING})),
}
ALICE = {"name": "Alice", "email": "alice@example.com", "age": 30}

Db = blocking.Aurora


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Db]:
    path = tmp_path_factory.mktemp("refusals") / "refusals.db"
    with blocking.open(path, query_executors=1, max_document_bytes=4096) as db:
        db.new_collection("users", USERS)
        db.new_collection("events", open=True)
        db.insert_into("users", {"id": "alice", **ALICE})
        yield db
    no_process_left(path)


def state(db: Db) -> object:
    users = [document.to_dict() for document in db.query("users").collect()]
    lsn = db.stats()["storage"]["lsn"]
    return users, db.query("events").count(), db.list_collections(), lsn


Call = Callable[[Db], object]


def insert(**fields: object) -> Call:
    return lambda db: db.insert_into("users", {"name": "x", **fields})


def insert_event(**fields: object) -> Call:
    return lambda db: db.insert_into("events", fields)


def update(**patch: object) -> Call:
    return lambda db: db.update_document("users", "alice", patch)


def deep(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


REFUSED: dict[str, tuple[Call, type[AuroraError], str]] = {
    "wrong type": (insert(age="thirty"), ValidationError, "age.*Int"),
    "bool for int": (insert(age=True), ValidationError, "age"),
    "float for int": (insert(age=1.0), ValidationError, "age"),
    "wrong element": (insert(tags=["a", 1]), ValidationError, r"tags"),
    "wrong nested": (insert(address={"city": 1}), ValidationError, r"address\.city"),
    "unknown nested": (insert(address={"cty": "x"}), ValidationError, "cty"),
    "missing required": (
        lambda db: db.insert_into("users", {"age": 1}),
        ValidationError,
        "name",
    ),
    "null required": (insert(name=None), ValidationError, "name"),
    "unknown field": (insert(emial="x"), ValidationError, "email"),
    "NaN": (insert(score=math.nan), ValidationError, "score"),
    "infinity": (insert(score=-math.inf), ValidationError, "score"),
    "NaN inside": (insert_event(a=[{"b": math.nan}]), ValidationError, "a"),
    "2**63": (insert(age=2**63), ValidationError, "age"),
    "-2**63-1": (insert(age=-(2**63) - 1), ValidationError, "age"),
    "2**63 inside": (insert_event(a={"b": [2**63]}), ValidationError, "a"),
    "2**64 inside": (insert_event(a={"b": [2**64]}), ValidationError, "a"),
    "naive date-time": (
        insert_event(at=datetime(2026, 1, 1)),  # noqa: DTZ001
        ValidationError,
        "at",
    ),
    "other type": (insert_event(a=object()), ValidationError, "a"),
    "set": (insert_event(a={1, 2}), ValidationError, "a"),
    "key not text": (insert_event(a={1: 2}), ValidationError, "a"),
    "lone surrogate": (insert_event(a="\ud800"), ValidationError, "a"),
    "too deep": (insert_event(a=deep(40)), ValidationError, "a"),
    "dotted name": (insert_event(**{"a.b": 1}), ValidationError, r"a\.b"),
    "empty name": (insert_event(**{"": 1}), ValidationError, "name"),
    "unique taken": (insert(email="alice@example.com"), UniqueViolationError, "email"),
    "id taken": (insert(id="alice"), UniqueViolationError, "alice"),
    "id too long": (insert(id="x" * 256), ValidationError, "255"),
    "id empty": (insert(id=""), ValidationError, "id"),
    "id not text": (insert(id=7), ValidationError, "id"),
    "id with control character": (insert(id="a\x00b"), ValidationError, "id"),
    "document too large": (insert_event(a="x" * 5000), LimitExceededError, "4,096"),
    "one bad among many": (
        lambda db: db.insert_many("users", [{"name": "a"}, {"name": 1}]),
        ValidationError,
        "name",
    ),
    "twice in one call": (
        lambda db: db.insert_many("users", [{"name": "a", "email": "e"}] * 2),
        UniqueViolationError,
        "email",
    ),
    "unknown collection": (
        lambda db: db.insert_into("user", {"name": "x"}),
        CollectionNotFoundError,
        "users",
    ),
    "get from unknown collection": (
        lambda db: db.get_document("user", "alice"),
        CollectionNotFoundError,
        "users",
    ),
    "query on unknown collection": (
        lambda db: db.query("user").count(),
        CollectionNotFoundError,
        "users",
    ),
    "drop unknown collection": (
        lambda db: db.drop_collection("user"),
        CollectionNotFoundError,
        "users",
    ),
    "other definition": (
        lambda db: db.new_collection("users", {"name": FieldType.STRING}),
        CollectionExistsError,
        "users",
    ),
    "bad collection name": (
        lambda db: db.new_collection("no spaces", open=True),
        AuroraError,
        "no spaces",
    ),
    "system collection": (
        lambda db: db.new_collection("_sys_mine", open=True),
        AuroraError,
        "_sys_",
    ),
    "update of nothing": (
        lambda db: db.update_document("users", "bob", {"age": 1}),
        NotFoundError,
        "bob",
    ),
    "replacement of nothing": (
        lambda db: db.replace_document("users", "bob", {"name": "x"}),
        NotFoundError,
        "bob",
    ),
    "update to wrong type": (update(age="x"), ValidationError, "age"),
    "update to unknown field": (update(agee=1), ValidationError, "age"),
    "update required to null": (update(name=None), ValidationError, "name"),
    "increment of text": (update(name=Increment(1)), ValidationError, "name"),
    "push to text": (update(name=Push("x")), ValidationError, "name"),
    "increment past 64 bits": (
        update(age=Increment(2**63 - 1)),
        ValidationError,
        "age",
    ),
    "filter on unknown field": (
        lambda db: db.query("users").filter(field("agee") > 1).count(),
        InvalidFilterError,
        "age",
    ),
    "order by unknown field": (
        lambda db: db.query("users").order_by("agee").collect(),
        InvalidFilterError,
        "age",
    ),
    "negative limit": (
        lambda db: db.query("users").limit(-1).collect(),
        InvalidFilterError,
        "limit",
    ),
    "bad pattern": (
        lambda db: db.query("users").filter(field("name").matches("(")).count(),
        InvalidFilterError,
        "pattern",
    ),
    "one of none": (
        lambda db: db.query("users").filter(field("name") == "nobody").one(),
        NotFoundError,
        "users",
    ),
    "truth of a filter": (
        lambda db: db.query("users").filter((field("age") > 1) and (field("age") < 9)),
        UsageError,
        "&",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_and_changes_nothing(db: Db, name: str) -> None:
    call, kind, says = REFUSED[name]
    before = state(db)
    with pytest.raises(kind, match=says):
        call(db)
    assert state(db) == before


def test_garbage_sent_to_a_mailbox_is_refused_and_counted(db: Db) -> None:
    before = state(db)
    runtime_dir = Path(f"/proc/{db.status().supervisor_pid}")  # exists: it lives
    assert runtime_dir.exists()
    directory = runtime_directory(db)
    outlet = Outlet(mailbox_path(str(directory), "storage"))
    refused = db.status().actors[0].values.get("refused", 0)
    garbage = [
        os.urandom(100),
        b"",
        b"\x94\x01\xa7storage\x00",
        b"\xff" * 65536,
        encode_envelope("c-0", 0, [Letter(1, ShutDown(grace_s=0.0))]),
    ]
    try:
        for data in garbage:
            deliver(outlet, data)
        wait_until(
            lambda: db.status().actors[0].values.get("refused", 0) >= refused + 4,
            "the refusals are counted",
        )
    finally:
        outlet.close()
    assert state(db) == before
    assert db.status().actors[0].restarts == 0


def deliver(outlet: Outlet, data: bytes) -> None:
    wait_until(lambda: outlet.send_nowait(data), "the mailbox takes it")


def runtime_directory(db: Db) -> Path:
    published = read_published(db.config.path)
    assert published is not None
    return Path(published.attach).parent


def test_files_and_sockets_are_the_owners_alone(db: Db) -> None:
    for path in (db.config.path, runtime_directory(db)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"durability_mode": DurabilityMode.STRICT}, "durability_mode.*strict.*wal"),
        ({"query_executors": 3}, "query_executors: 3.*1"),
        ({"max_document_bytes": 5000}, "max_document_bytes: 5000.*4096"),
    ],
)
def test_other_settings_than_the_running_trees_are_named(
    db: Db, settings: dict[str, object], says: str
) -> None:
    second = blocking.open(db.config.path, **settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=says), second:
        pass
    assert db.query("users").count() == 1


def refuse_to_open(path: Path, says: str) -> None:
    with pytest.raises(ConfigError, match=says), blocking.open(path):
        pass
    assert not tree_processes(path)


def test_a_path_that_cannot_be_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    refuse_to_open(file, "is a file")
    refuse_to_open(tmp_path / "no" / "such" / "parent.db", "does not exist")
    refuse_to_open(Path("/proc/aurora.db"), "/proc/aurora.db")
    assert file.read_text() == "x"


def test_an_unwritable_directory_is_refused() -> None:
    with a_locked_directory() as directory:
        refuse_to_open(directory / "x.db", "Permission denied")


@pytest.mark.parametrize(
    "settings",
    [
        {"max_size_gb": 0},
        {"query_executors": "two"},
        {"durability": "wal"},
        {"audit_log_path": ""},
    ],
)
def test_settings_that_make_no_sense_are_refused(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    with pytest.raises(ConfigError):
        blocking.open(tmp_path / "x.db", **settings)  # type: ignore[arg-type]
    assert not (tmp_path / "x.db").exists()


def test_a_file_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "aurora.toml"
    file.write_text('db_path = "x.db"\nquery_executers = 2\n')
    with pytest.raises(ConfigError, match="query_executers"):
        AuroraConfig.from_toml(file)


def test_a_closed_database_says_so(tmp_path: Path) -> None:
    db = blocking.open(tmp_path / "x.db", query_executors=1)
    with pytest.raises(UsageError, match="not open"):
        db.list_collections()
    with db:
        pass
    with pytest.raises(UsageError, match="closed"):
        db.list_collections()
    no_process_left(tmp_path / "x.db")
