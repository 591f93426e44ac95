"""Migrations through the whole tree: progress, files, and processes that die."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from processes import kill_async
from support import no_process_left

from aurora_actors import (
    Aurora,
    MigrationResult,
    QueryResult,
    QueryValidationError,
    UsageError,
    ValidationError,
)

pytestmark = pytest.mark.processes

COUNT = 4_000
TEXT = """
migrate {
  "v1": { alter collection users { rename age to years  modify years: Float @indexed
                                   add role: String = "member" } }
  "v2": { migrate data in users { set role = "admin" where {name: {endsWith: "7"}} }
          define collection logs @open {} }
  "v3": { alter collection users { drop note } }
}
"""


async def fill(db: Aurora, count: int = COUNT) -> None:
    await db.execute(
        """schema { define collection users {
             name: String! @unique  age: Int @indexed  note: String } }"""
    )
    users = ({"name": f"u{n}", "age": n, "note": "x" * 50} for n in range(count))
    await db.insert_many("users", users)


async def check_migrated(db: Aurora, count: int = COUNT) -> None:
    found = await db.execute("{ users { name years role } }")
    assert isinstance(found, QueryResult)
    assert found.to_dicts() == [
        {"name": f"u{n}", "years": float(n), "role": "admin" if n % 10 == 7 else "member"}
        for n in range(count)
    ]  # fmt: skip
    assert set(await db.list_collections()) == {"users", "logs"}
    names = await db.execute("{ _sys_migration(orderBy: id) { id } }")
    assert isinstance(names, QueryResult)
    assert [each.id for each in names.documents] == ["v1", "v2", "v3"]
    definition = await db.collection_definition("users")
    assert {*definition.fields} == {"name", "years", "role"}
    assert definition.fields["years"].indexed


async def test_a_file_is_applied_once_and_tells_how_far_it_is(tmp_path):
    path, file = tmp_path / "db", tmp_path / "v.aql"
    file.write_text(TEXT, "utf-8")
    told: list[tuple[str, int, int]] = []
    async with Aurora.open(path) as db:
        await fill(db)
        result = await db.migrate(file, progress=lambda *news: told.append(news))
        assert result == MigrationResult(
            version="v3", steps_applied=3, status="applied"
        )
        await check_migrated(db)
        versions = [each for each in told if each[0].startswith("version")]
        assert versions == [(f"version v{n}", n, 3) for n in (1, 2, 3)]
        copied = [each for each in told if each[0] == "users"]
        assert len(copied) > 2
        assert all(0 < done <= total == COUNT for _, done, total in copied)
        again = await db.migrate(str(file))
        assert again == MigrationResult(version="v3", steps_applied=0, status="skipped")
        with pytest.raises(QueryValidationError, match="another text"):
            await db.migrate(TEXT.replace("member", "guest"))
        longer = TEXT.rstrip()[:-1] + '"v4": { drop collection logs } }'
        assert (await db.migrate(longer)).steps_applied == 1
    no_process_left(path)


async def test_what_is_no_migration_is_refused(tmp_path):
    path = tmp_path / "db"
    async with Aurora.open(path) as db:
        for source, match in (
            ("{ users }", "there is no collection"),
            ("schema { define collection a @open {} }", "one migrate block"),
            (tmp_path / "none.aql", "cannot read"),
            (7, "path or a text"),
        ):
            with pytest.raises((UsageError, QueryValidationError), match=match):
                await db.migrate(source)
        await fill(db, 20)
        text = 'migrate { "a": { alter collection users { modify name: Int } } }'
        with pytest.raises(ValidationError, match="without loss") as refused:
            await db.migrate(text)
        assert len(refused.value.context["ids"]) == 10
        assert await db.list_collections() == ["users"]
    no_process_left(path)


async def migrated_while_killing(
    path: Path, actor: str, at: int, count: int = COUNT
) -> int:
    """Kill a process at one note of a migration; how many notes there were."""
    told: list[str] = []
    due = trio.Event()

    def note(what: str, _done: int, _total: int) -> None:
        told.append(what)
        if len(told) == at:
            due.set()

    async with Aurora.open(path, query_executors=1) as db:
        await fill(db, count)

        async def kill_once() -> None:
            await due.wait()
            await kill_async(db, actor)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill_once)
            result = await db.migrate(TEXT, progress=note)
            nursery.cancel_scope.cancel()
        assert result == MigrationResult(
            version="v3", steps_applied=3, status="applied"
        )
        await check_migrated(db, count)
        assert (await db.migrate(TEXT)).status == "skipped"
        with pytest.raises(QueryValidationError, match="another text"):
            await db.migrate(TEXT.replace("member", "guest"))
    no_process_left(path)
    return len(told)


@pytest.mark.parametrize("actor", ["query_executor-0", "storage"])
async def test_a_process_that_dies_in_the_middle_is_made_up_for(tmp_path, actor):
    assert await migrated_while_killing(tmp_path / "db", actor, 2) > 4


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("actor", ["query_executor-0", "storage"])
async def test_killed_at_every_step_it_ends_as_it_should(tmp_path, actor):
    steps, at = 1, 0
    while at < steps:
        at += 1
        steps = max(
            steps,
            await migrated_while_killing(tmp_path / f"{at}.db", actor, at, 5_000),
        )
    assert steps > 8
