"""Real documents, many writers, several programs: from the call to the bytes and back."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import airportsdata
import pytest
import trio
from support import no_process_left, python, tree_processes

from aurora_actors import Aurora, FieldDefinition, FieldType, blocking, field

pytestmark = pytest.mark.processes

AIRPORT = {
    "icao": FieldDefinition(FieldType.STRING, unique=True, nullable=False),
    **{
        name: FieldDefinition(FieldType.STRING)
        for name in ("iata", "name", "city", "subd", "country", "tz", "lid")
    },
    **{name: FieldDefinition(FieldType.FLOAT) for name in ("elevation", "lat", "lon")},
}


def test_every_airport_comes_back_identical(tmp_path: Path) -> None:
    path = tmp_path / "airports.db"
    airports: list[dict[str, Any]] = [
        dict(airport) for airport in airportsdata.load("ICAO").values()
    ]
    assert len(airports) > 28_000
    with blocking.open(path) as db:
        db.new_collection("airports", AIRPORT)
        ids = db.insert_many("airports", iter(airports))
        assert len(set(ids)) == len(airports)
        assert db.query("airports").count() == len(airports)
    no_process_left(path)
    with blocking.open(path) as db:
        stored = {doc.id: doc.data for doc in db.query("airports").stream()}
        assert stored == dict(zip(ids, airports, strict=True))
        for number in range(0, len(airports), 997):
            document = db.get_document("airports", ids[number])
            assert document is not None
            assert document.data == airports[number]
            same = db.query("airports").filter(field("icao") == document["icao"]).one()
            assert same == document
        highest = sorted((a["elevation"] for a in airports), reverse=True)[:5]
        found = db.query("airports").order_by("elevation", ascending=False).limit(5)
        assert [d["elevation"] for d in found.collect()] == highest
    no_process_left(path)


async def test_64_concurrent_inserters_share_commits(tmp_path: Path) -> None:
    path, count = tmp_path / "group.db", 6400
    async with Aurora.open(path, query_executors=1) as db:
        await db.new_collection("rows", open=True)
        before = (await db.stats())["storage"]["commits"]
        numbers = iter(range(count))

        async def insert() -> None:
            for number in numbers:
                await db.insert_into("rows", {"number": number})

        with trio.fail_after(240):
            async with trio.open_nursery() as nursery:
                for _ in range(64):
                    nursery.start_soon(insert)
        stats = (await db.stats())["storage"]
        assert await db.query("rows").count() == count
        assert stats["commits"] - before < count / 4
    no_process_left(path)


OTHER = """
import sys
from aurora_actors import blocking
with blocking.open(sys.argv[1]) as db:
    print(db.get_document("notes", "from-first")["text"], flush=True)
    db.insert_into("notes", {"id": "from-second", "text": "hello back"})
    print("written", flush=True)
    sys.stdin.readline()
    print(db.get_document("notes", "late")["text"], flush=True)
"""


def test_two_processes_see_each_others_writes(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    with blocking.open(path, query_executors=1) as db:
        db.new_collection("notes", open=True)
        db.insert_into("notes", {"id": "from-first", "text": "hello"})
        with python(OTHER, str(path), stdin=True) as other:
            assert other.stdout is not None
            assert other.stdin is not None
            assert other.stdout.readline() == "hello\n", other.stderr
            assert other.stdout.readline() == "written\n"
            document = db.get_document("notes", "from-second")
            assert document is not None
            assert document["text"] == "hello back"
            assert db.query("notes").filter(field("text") == "hello back").count() == 1
            db.insert_into("notes", {"id": "late", "text": "seen"})
            other.stdin.write("go\n")
            other.stdin.flush()
            assert other.stdout.readline() == "seen\n"
            assert other.wait(60) == 0
        assert db.query("notes").count() == 3
    no_process_left(path)


def test_the_last_one_out_stops_the_tree_whoever_started_it(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    second = blocking.open(path)
    with blocking.open(path, query_executors=1) as first:
        first.new_collection("notes", open=True)
        second.__enter__()
    try:
        assert tree_processes(path)
        second.insert_into("notes", {"text": "still here"})
        assert second.query("notes").count() == 1
    finally:
        second.close()
    no_process_left(path)


def test_many_threads_share_one_blocking_database(tmp_path: Path) -> None:
    path = tmp_path / "threads.db"
    with blocking.open(path, query_executors=1) as db:
        db.new_collection("rows", open=True)
        barrier = threading.Barrier(16)

        def work(thread: int) -> None:
            barrier.wait(60)
            for number in range(50):
                key = f"{thread}-{number}"
                db.insert_into("rows", {"id": key, "thread": thread})
                document = db.get_document("rows", key)
                assert document is not None
                assert document["thread"] == thread

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(work, range(16)))
        assert db.query("rows").count() == 800
    no_process_left(path)


def test_64_threads_race_for_one_unique_value_and_one_wins(tmp_path: Path) -> None:
    from aurora_actors import UniqueViolationError

    path = tmp_path / "race.db"
    with blocking.open(path, query_executors=1) as db:
        db.new_collection(
            "users", {"name": FieldDefinition(FieldType.STRING, unique=True)}
        )

        def claim(_number: int) -> bool:
            try:
                db.insert_into("users", {"name": "the one"})
            except UniqueViolationError:
                return False
            return True

        with ThreadPoolExecutor(64) as pool:
            assert sum(pool.map(claim, range(64))) == 1
        assert db.query("users").count() == 1
    no_process_left(path)
