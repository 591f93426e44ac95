"""What a client notices when processes of its tree die: delay, or one clear error."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import anyio
import pytest
import trio
from processes import kill_async
from support import wait_until

from aurora_actors import (
    Aurora,
    FieldType,
    Increment,
    TreeDownError,
    UnavailableError,
    blocking,
    field,
)

pytestmark = pytest.mark.processes


def with_trio(main):
    trio.run(main)


def with_asyncio(main):
    asyncio.run(main())


@pytest.fixture(params=[with_trio, with_asyncio])
def run(request):
    return request.param


def test_a_write_takes_effect_once_though_storage_is_killed(run, tmp_path):
    async def main():
        async with Aurora.open(tmp_path / "a.db") as db:
            await db.new_collection("counters", {"n": FieldType.INT})
            await db.insert_into("counters", {"id": "a", "n": 0})
            done = anyio.Event()

            async def count():
                for _ in range(50):
                    await db.update_document("counters", "a", {"n": Increment(1)})

            async def kill():
                for _ in range(3):
                    await kill_async(db, "storage")
                    before = (await db.get_document("counters", "a"))["n"]
                    await db.sync()
                    assert (await db.get_document("counters", "a"))["n"] >= before
                done.set()

            async with anyio.create_task_group() as group:
                for _ in range(8):
                    group.start_soon(count)
                group.start_soon(kill)
            assert done.is_set()
            assert (await db.get_document("counters", "a"))["n"] == 400

    run(main)


def test_a_statement_takes_effect_once_though_its_executor_is_killed(run, tmp_path):
    async def main():
        async with Aurora.open(tmp_path / "a.db", query_executors=1) as db:
            await db.new_collection("counters", {"n": FieldType.INT})
            await db.insert_many("counters", [{"n": 0} for _ in range(500)])

            async def change():
                for _ in range(5):
                    assert await db.query("counters").update({"n": Increment(1)}) == 500

            async def kill():
                for _ in range(3):
                    await kill_async(db, "query_executor-0")
                    assert (
                        await db.query("counters").filter(field("n") > 99).count() == 0
                    )

            async with anyio.create_task_group() as group:
                group.start_soon(change)
                group.start_soon(change)
                group.start_soon(kill)
            right = db.query("counters").filter(field("n") == 10)
            assert await right.count() == 500

    run(main)


def test_a_stream_whose_executor_dies_ends_with_one_retriable_error(run, tmp_path):
    async def main():
        async with Aurora.open(tmp_path / "a.db", query_executors=1) as db:
            await db.new_collection("a", open=True)
            await db.insert_many("a", [{"f": "x" * 10_000} for _ in range(3000)])
            stream = db.query("a").stream()
            count = 0

            async def read():
                nonlocal count
                async for _ in stream:
                    count += 1
                    if count == 5:
                        await kill_async(db, "query_executor-0")

            with pytest.raises(UnavailableError, match="run the query again") as caught:
                await read()
            assert caught.value.retryable
            assert 5 <= count < 3000
            assert [each async for each in stream] == []
            assert len([each async for each in db.query("a").stream()]) == 3000

    run(main)


def test_the_end_of_the_supervisor_is_the_end_of_the_database(run, tmp_path):
    async def main():
        async with Aurora.open(tmp_path / "a.db") as db:
            await db.new_collection("a", open=True)
            os.kill((await db.status()).supervisor_pid, signal.SIGKILL)

            async def write():
                for _ in range(1000):
                    await db.insert_into("a", {})

            with pytest.raises(TreeDownError):
                await write()
            with pytest.raises(TreeDownError):
                await db.status()
        async with Aurora.open(tmp_path / "a.db") as db:
            assert await db.list_collections() == ["a"]

    run(main)


def test_a_thread_notices_the_end_of_the_supervisor(tmp_path):
    with blocking.open(tmp_path / "a.db") as db:
        db.new_collection("a", open=True)
        os.kill(db.status().supervisor_pid, signal.SIGKILL)

        with pytest.raises(TreeDownError):
            wait_until(lambda: db.insert_into("a", {}) and None, "the end is noticed")


CHILD = """
import sys
from aurora_actors import blocking
with blocking.open(sys.argv[1]) as db:
    db.new_collection("a", open=True)
    for n in range(100):
        db.insert_into("a", {"pid": sys.argv[2], "n": n})
"""


def test_processes_that_open_at_once_share_one_tree(tmp_path):
    children = [
        subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path / "a.db"), str(n)])
        for n in range(4)
    ]
    assert [child.wait(60) for child in children] == [0, 0, 0, 0]
    with blocking.open(tmp_path / "a.db") as db:
        assert db.query("a").count() == 400
        assert db.query("a").filter(field("pid") == "2").count() == 100
