"""Migrations against a real engine: stopped at every step, and written to meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from aurora_actors.aql.migration.convert import convert
from aurora_actors.aql.migration.versions import (
    VERSIONS,
    Migrated,
    migrate,
    recorded_versions,
)
from aurora_actors.aql.parser import parse
from aurora_actors.aql.validation import validate
from aurora_actors.config import AuroraConfig
from aurora_actors.errors import (
    ConflictError,
    QueryValidationError,
    UniqueViolationError,
    ValidationError,
)
from aurora_actors.messages.base import Failure
from aurora_actors.messages.storage import (
    DefineCollection,
    DeleteDocument,
    InsertDocuments,
    Operation,
    UpdateDocument,
)
from aurora_actors.query.compile import compile_predicate
from aurora_actors.query.predicate import decode_predicate
from aurora_actors.schema.patch import encode_patch
from aurora_actors.schema.record import record_body, record_id
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    encode_definition,
)
from aurora_actors.schema.values import decode_document, encode_document
from aurora_actors.storage.engine import Engine, StorageCall
from aurora_actors.storage.findings import Findings
from aurora_actors.storage.reader import DataReader
from aurora_actors.storage.verify import check_tables

NOW = datetime(2026, 1, 1, tzinfo=UTC)
USERS = CollectionDefinition(
    "users",
    {
        "name": FieldDefinition(FieldType.STRING, unique=True),
        "age": FieldDefinition(FieldType.INT, indexed=True),
    },
)
TEXT = """
migrate {
  "1": {
    alter collection users { rename age to years  modify years: Float  add role: String = "member" }
    define collection logs @open { at: DateTime }
  }
  "2": {
    migrate data in users { set role = "admin" where {name: {startsWith: "u1"}} set nick = name }
    drop collection old
  }
}
""".replace("set nick = name", "set role = name where {years: {eq: 3}}")


class Base:
    """A database in this process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.numbers = 0
        self._open()

    def _open(self) -> None:
        self.engine = Engine.open(
            AuroraConfig(db_path=str(self.path)),
            compile_predicate=lambda data: compile_predicate(decode_predicate(data)),
            tree_id="t",
        )
        self.reader = DataReader.open(self.path)

    def crash(self) -> None:
        self.close()
        self._open()

    def close(self) -> None:
        self.reader.close()
        self.engine.abandon()

    def ask(self, request: Operation) -> Any:
        self.numbers += 1
        return self.engine.execute([StorageCall("c", self.numbers, 0, request)])[0]

    def must(self, request: Operation) -> None:
        reply = self.ask(request)
        assert not isinstance(reply, Failure), reply

    def fill(self, count: int) -> None:
        for definition in (USERS, CollectionDefinition("old", {}, open=True)):
            self.must(DefineCollection(definition=encode_definition(definition)))
        documents = [{"name": f"u{n}", "age": n} for n in range(count)]
        self.must(
            InsertDocuments(
                collection="users",
                ids=[f"i{n}" for n in range(count)],
                documents=[encode_document(document) for document in documents],
            )
        )

    def documents(self, name: str) -> dict[str, dict[str, object]]:
        with self.reader.snapshot() as snapshot:
            info = snapshot.collection(name)
            return {
                record_id(record): decode_document(record_body(record))
                for _, record in snapshot.scan(info)
            }

    def names(self) -> set[str]:
        with self.reader.snapshot() as snapshot:
            return {info.definition.name for info in snapshot.collections()}

    def recorded(self) -> dict[str, str]:
        with self.reader.snapshot() as snapshot:
            return recorded_versions(snapshot)

    def migrate(
        self,
        text: str = TEXT,
        *,
        steps: int = 10**9,
        meanwhile: Callable[[int], None] = lambda _step: None,
    ) -> Migrated | None:
        """Run a migration; ``None`` when it was stopped after ``steps`` requests."""
        document = parse(text)
        with self.reader.snapshot() as snapshot:
            definitions = {
                i.definition.name: i.definition for i in snapshot.collections()
            }
            recorded = recorded_versions(snapshot)
        checked = validate(document, definitions, text=text, recorded_versions=recorded)
        (operation,) = checked.operations
        work = migrate(self.reader.snapshot, operation.definition, NOW, text)
        try:
            request = next(work)
            for step in range(steps):
                reply = self.ask(request)
                meanwhile(step)
                request = work.send(reply)
        except StopIteration as stop:
            return stop.value
        work.close()
        return None

    def check(self) -> None:
        store, found = self.engine._store, Findings()
        with store.env.begin(buffers=True) as txn:
            check_tables(txn, store.tables, found)
        assert not found.kept


@contextmanager
def database(path: Path, count: int = 20) -> Iterator[Base]:
    base = Base(path)
    try:
        base.fill(count)
        yield base
        base.check()
    finally:
        base.close()


def expected(count: int) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    for n in range(count):
        name = f"u{n}"
        role = "admin" if name.startswith("u1") else "member"
        role = name if n == 3 else role
        found[f"i{n}"] = {"name": name, "years": float(n), "role": role}
    return found


def assert_done(base: Base, count: int = 20) -> None:
    assert base.documents("users") == expected(count)
    assert base.names() == {"users", "logs", VERSIONS}
    assert base.recorded().keys() == {"1", "2"}


def test_versions_are_applied_once(tmp_path):
    with database(tmp_path / "a.db") as base:
        assert base.migrate() == Migrated("2", 2)
        assert_done(base)
        lsn = base.engine.lsn
        assert base.migrate() == Migrated("2", 0)
        assert base.engine.lsn == lsn
        assert list(base.documents("users")) == [f"i{n}" for n in range(20)]


def test_a_version_that_has_changed_is_refused(tmp_path):
    with database(tmp_path / "a.db") as base:
        base.migrate()
        laid_out = TEXT.replace("\n", "\n\n  # a comment\n")
        assert base.migrate(laid_out) == Migrated("2", 0)
        with pytest.raises(QueryValidationError, match="another text"):
            base.migrate(TEXT.replace("member", "guest"))
        assert_done(base)


def test_stopped_at_any_step_it_is_whole_or_not_at_all_and_can_go_on(tmp_path):
    step, stopped = 0, True
    while stopped:
        with database(tmp_path / f"{step}.db") as base:
            before = base.documents("users")
            stopped = base.migrate(steps=step) is None
            base.crash()
            recorded = base.recorded()
            if "1" not in recorded:
                assert base.documents("users") == before
                assert "old" in base.names()
                assert "logs" not in base.names()
            else:
                assert ("old" in base.names()) == ("2" not in recorded)
            again = base.migrate()
            assert again == Migrated("2", 2 - len(recorded))
            assert_done(base)
            step += 1
    assert step > 5


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_is_written_meanwhile_is_not_lost(tmp_path_factory, data):
    writes = data.draw(
        st.dictionaries(
            st.integers(0, 12),
            st.lists(st.tuples(st.sampled_from("iud"), st.integers(0, 9)), max_size=4),
            max_size=6,
        )
    )
    with database(tmp_path_factory.mktemp("m") / "a.db", 10) as base:
        model = {f"i{n}": n for n in range(10)}
        made = [0]

        def write(step: int) -> None:
            field = "age" if "1" not in base.recorded() else "years"
            for kind, n in writes.get(step, ()):
                key = f"i{n}"
                if kind == "i":
                    made[0] += 1
                    key = f"new{made[0]}"
                    body = {"name": f"w{made[0]}", field: _number(field, made[0])}
                    base.must(
                        InsertDocuments(
                            collection="users",
                            ids=[key],
                            documents=[encode_document(body)],
                        )
                    )
                    model[key] = made[0]
                elif key not in model:
                    continue
                elif kind == "u":
                    model[key] += 100
                    patch = encode_patch({field: _number(field, model[key])})
                    base.must(UpdateDocument(collection="users", id=key, patch=patch))
                else:
                    base.must(DeleteDocument(collection="users", id=key))
                    del model[key]

        text = """migrate { "1": { alter collection users { rename age to years
                  modify years: Float } } }"""
        base.migrate(text, meanwhile=write)
        found = {
            key: fields["years"] for key, fields in base.documents("users").items()
        }
        assert found == {key: float(n) for key, n in model.items()}


def _number(field: str, n: int) -> float:
    return n if field == "age" else float(n)


def test_documents_that_cannot_be_converted_are_named_and_nothing_changes(tmp_path):
    with database(tmp_path / "a.db") as base:
        before = base.documents("users")
        with pytest.raises(
            ValidationError, match="name: 'u0' cannot become a Int"
        ) as e:
            base.migrate(
                'migrate { "x": { alter collection users { modify name: Int } } }'
            )
        assert e.value.context["ids"] == [f"i{n}" for n in range(10)]
        text = """migrate { "x": { migrate data in users { set name = "same" }
                  alter collection users { modify age: Float } } }"""
        with pytest.raises(UniqueViolationError) as taken:
            base.migrate(text)
        assert "_sys" not in str(taken.value)
        assert base.documents("users") == before
        assert base.names() == {"users", "old", VERSIONS}
        assert not base.recorded()


def test_a_further_unique_field_is_checked_first(tmp_path):
    with database(tmp_path / "a.db") as base:
        text = 'migrate { "x": { alter collection users { modify age: Int @unique } } }'
        base.migrate(text)
        patch = encode_patch({"age": 3})
        reply = base.ask(UpdateDocument(collection="users", id="i4", patch=patch))
        assert isinstance(reply, Failure)
        back = 'migrate { "y": { alter collection users { modify age: Int } } }'
        base.migrate(back)
        base.must(UpdateDocument(collection="users", id="i4", patch=patch))
        with pytest.raises(UniqueViolationError):
            base.migrate(text.replace("x", "z"))


def test_a_collection_written_to_all_the_time_gives_a_conflict(tmp_path):
    with database(tmp_path / "a.db") as base:

        def write(step: int) -> None:
            patch = encode_patch({"age": step})
            base.must(UpdateDocument(collection="users", id="i1", patch=patch))

        text = 'migrate { "x": { alter collection users { modify age: Float } } }'
        with pytest.raises(ConflictError):
            base.migrate(text, meanwhile=write)
        assert base.names() == {"users", "old", VERSIONS}
        assert base.migrate(text) == Migrated("x", 1)


VALUES = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.datetimes(timezones=st.just(UTC))
    | st.dates()
    | st.uuids()
)
TYPES = {
    bool: FieldType.BOOL,
    int: FieldType.INT,
    float: FieldType.FLOAT,
    str: FieldType.STRING,
    datetime: FieldType.DATETIME,
}


@given(VALUES, st.sampled_from(list(TYPES.values())))
def test_what_is_converted_can_be_converted_back(value, wanted):
    try:
        new = convert(value, wanted)
    except ValueError:
        return
    origin = TYPES.get(type(value))
    if origin is not None and not (
        isinstance(value, str) and wanted != FieldType.STRING
    ):
        assert convert(new, origin) == value
