"""What a writer is told of its own write."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import trio

from aurora_actors import Aurora, DurabilityMode, blocking

pytestmark = pytest.mark.processes


async def test_each_task_sees_the_receipt_of_its_own_write(tmp_path):
    async with Aurora.open(tmp_path / "a.db", query_executors=1) as db:
        assert db.last_write is None
        await db.new_collection("things", open=True)
        lsns = []

        async def write(number):
            await db.insert_into("things", {"id": f"d{number}", "n": number})
            found = await db.get_document("things", f"d{number}")
            await trio.lowlevel.checkpoint()
            assert found.lsn == db.last_write.lsn
            lsns.append(found.lsn)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(write, number)
        assert sorted(lsns) == list(range(2, 22))
        await db.query("things").update({"n": 0})
        receipt = db.last_write
        assert not receipt.synced
        assert await db.sync() == receipt.lsn == 40
        async with db.transaction() as tx:
            await tx.delete_document("things", "d1")
        assert db.last_write.lsn == tx.commit_lsn == 41


def test_each_thread_sees_its_own_receipt_and_strict_ones_are_synced(tmp_path):
    strict = DurabilityMode.STRICT
    with blocking.open(
        tmp_path / "a.db", durability_mode=strict, query_executors=1
    ) as db:
        db.new_collection("things", open=True)
        barrier = Barrier(8)

        def write(number):
            db.insert_into("things", {"id": f"d{number}"})
            barrier.wait(60)
            return db.last_write

        with ThreadPoolExecutor(8) as pool:
            receipts = list(pool.map(write, range(8)))
        assert sorted(receipt.lsn for receipt in receipts) == list(range(2, 10))
        assert all(receipt.synced for receipt in receipts)
        db.insert_many("things", [{"id": f"m{number}"} for number in range(10)])
        assert db.last_write.lsn == 19
