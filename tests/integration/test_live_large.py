"""Live queries with large documents, and consumers that leave much of it unread."""

from __future__ import annotations

import anyio
import pytest
import trio
from watching import until_complete

from aurora_actors import Added, Aurora, Modified, field

pytestmark = pytest.mark.processes

MB = 1 << 20


def document(number, size):
    return {"number": number, "text": "x" * size}


async def numbers_of(updates, count):
    """The numbers of the next ``count`` documents."""
    found = []
    with anyio.fail_after(60):
        while len(found) < count:
            update = await anext(updates)
            assert isinstance(update, Added | Modified), update
            new = update.document if isinstance(update, Added) else update.new
            found.append(new["number"])
    return found


@pytest.mark.parametrize("debounce_s", [0.0, 0.2])
def test_documents_of_megabytes_arrive_all(tmp_path, debounce_s):
    async def main():
        async with Aurora.open(tmp_path / "a.db", query_executors=1) as db:
            await db.new_collection("a", open=True)
            query = db.query("a").debounce(debounce_s)
            async with query.watch(keeps_state=False) as updates:
                await until_complete(updates)
                many = [document(number, 3 * MB) for number in range(24)]
                for start in range(0, len(many), 12):
                    await db.insert_many("a", many[start : start + 12])
                assert await numbers_of(updates, len(many)) == list(range(len(many)))

    trio.run(main)


def test_changes_of_large_documents_one_by_one_arrive_all(tmp_path):
    """They are more than may be under way, in fewer chunks than there is credit for."""

    async def main():
        async with Aurora.open(tmp_path / "a.db", query_executors=1) as db:
            await db.new_collection("a", open=True)
            async with db.query("a").watch(keeps_state=False) as updates:
                await until_complete(updates)
                name = await db.insert_into("a", document(0, 2 * MB))
                for number in range(1, 16):
                    await db.update_document("a", name, {"number": number})
                    assert (await numbers_of(updates, 1)) == [number - 1]
                assert (await numbers_of(updates, 1)) == [15]

    trio.run(main)


def test_nobody_waits_for_those_who_do_not_read_their_first_results(tmp_path):
    async def main():
        async with Aurora.open(tmp_path / "a.db", query_executors=1) as db:
            for name in ("large", "small"):
                await db.new_collection(name, open=True)
            many = [document(number, MB // 8) for number in range(200)]
            await db.insert_many("large", many)
            sleepers = [
                db.query("large").filter(field("number") >= least).watch()
                for least in range(6)
            ]
            async with db.query("small").watch() as updates:
                await until_complete(updates)
                async with trio.open_nursery() as nursery:
                    for sleeper in sleepers:
                        nursery.start_soon(sleeper.open)
                await beyond(db, 6 * MB)
                for number in range(100):
                    await db.insert_into("small", document(number, 1000))
                    assert await numbers_of(updates, 1) == [number]
                async with db.query("small").watch() as late:
                    assert len(await until_complete(late)) == 100
            for least, sleeper in enumerate(sleepers):
                assert len(await until_complete(sleeper)) == 200 - least
                await sleeper.aclose()

    trio.run(main)


async def beyond(db, size):
    """Wait until so much is under way to this client."""
    with anyio.fail_after(60):
        while (await db.stats())["reactive_dispatcher"]["outstanding_bytes"] < size:
            await anyio.sleep(0.01)
