"""The golden texts against a database: the plan of each query, the result of each text.

Beside ``name.aql`` stand ``name.plan`` and ``name.result``. What is made anew each time
(ids, and the cursors of pages) is masked. ``AURORA_GOLDEN=write`` writes the files anew.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import no_process_left

from aurora_actors import QueryResult, SubscriptionEvent, blocking
from aurora_actors.aql.words import is_subscription, may_write
from aurora_actors.cli.querying import result_lines

pytestmark = pytest.mark.processes

FIXTURES = Path(__file__).parents[1] / "fixtures" / "aql"
SEED = (FIXTURES / "seed.aql").read_text("utf-8")
TEXTS = sorted((FIXTURES / "readme").glob("*.aql")) + sorted(
    (FIXTURES / "language").glob("*.aql")
)
VARIABLES = {
    "query": {"full": True},
    "operation": {"roles": ["admin"]},
    "lexical": {"on": [36, 28], "text": "none"},
}
CHANGES = """mutation {
  insertInto(collection: "orders", data: {id: "o9", status: "pending", amount: 1, user_id: "u3"})
  first: update(collection: "orders", where: {id: "o9"}, data: {amount: 2})
  second: update(collection: "orders", where: {id: "o9"}, data: {status: "shipped"})
}"""


@pytest.fixture(scope="module")
def databases(tmp_path_factory) -> Iterator[dict[str, blocking.Aurora]]:
    """One for each folder, as both have migrations of the same versions."""
    path = tmp_path_factory.mktemp("golden")
    with (
        blocking.open(path / "readme") as first,
        blocking.open(path / "other") as other,
    ):
        yield {"readme": first, "language": other}
    no_process_left(path / "readme")
    no_process_left(path / "other")


@pytest.fixture
def db(request, databases) -> blocking.Aurora:
    path: Path = request.param
    db = databases[path.parent.name]
    for name in db.list_collections():
        db.drop_collection(name)
    db.execute(SEED)
    if path.stem.startswith("insert"):
        db.execute('mutation { deleteFrom(collection: "users", all: true) }')
    if path.stem == "schema":
        db.drop_collection("users")
    if path.stem == "migrations":
        db.execute("schema { alter collection users { drop role } }")
    return db


def masked(text: str) -> str:
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>", text)
    return re.sub(r'"(cursor|startCursor|endCursor)":"[^"]+"', r'"\1":"<cursor>"', text)


def results(db: blocking.Aurora, path: Path, text: str) -> str:
    variables = VARIABLES.get(path.stem, {})
    if not is_subscription(text):
        return "\n".join(result_lines(db.execute(text, variables)))
    lines = []
    with db.stream(text) as events:
        if "@live" in text:
            return "\n".join(sorted(type(events.next(30)).__name__ for _ in range(5)))
        for part in re.findall(r"\w*:? ?(?:insertInto|update)\(.*\)", CHANGES):
            db.execute(f"mutation {{ {part} }}")
            event = events.next(30)
            assert isinstance(event, SubscriptionEvent)
            lines.append(json.dumps(event.to_dict()))
    return "\n".join(lines)


def plans(db: blocking.Aurora, path: Path, text: str) -> str:
    if may_write(text) or is_subscription(text) or "__schema" in text:
        return ""
    db.wait_indexed(timeout=60)
    found = db.explain(text, VARIABLES.get(path.stem, {}))
    return "".join(
        f"{plan.collection}: {plan.access} {plan.index_field or '-'} "
        f"[{plan.filter}] order [{plan.order}] rows {plan.actual_rows}\n"
        for plan in (found if isinstance(found, list) else [found])
    )


@pytest.mark.parametrize(
    ("db", "path"),
    [(path, path) for path in TEXTS],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
    indirect=["db"],
)
def test_each_text_has_its_golden_plan_and_result(db, path):
    text = path.read_text("utf-8")
    found = {".plan": plans(db, path, text), ".result": ""}
    found[".result"] = masked(results(db, path, text)) + "\n"
    for suffix, shown in found.items():
        golden = path.with_suffix(suffix)
        if os.environ.get("AURORA_GOLDEN") == "write" and shown:
            golden.write_text(shown, "utf-8")
        expected = golden.read_text("utf-8") if golden.exists() else ""
        assert shown == expected, golden.name


@pytest.mark.parametrize(
    "db", [FIXTURES / "language" / "again.aql"], ids=["language"], indirect=True
)
def test_applied_migrations_are_skipped(db):
    text = 'migrate { "again": { migrate data in users { set nick = "n" } } }'
    first = "".join(result_lines(db.execute(text)))
    assert first == '{"version":"again","steps_applied":1,"status":"applied"}'
    again = "".join(result_lines(db.execute(text)))
    assert again == '{"version":"again","steps_applied":0,"status":"skipped"}'
    result = db.execute("{ users { nick } }")
    assert isinstance(result, QueryResult)
    assert {document["nick"] for document in result} == {"n"}
