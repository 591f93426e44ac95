"""Both shells, under trio, asyncio and threads, against one scripted peer."""

from __future__ import annotations

import asyncio
import select
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest
import trio

from aurora_actors.client.async_shell import AsyncShell
from aurora_actors.client.blocking_shell import BlockingShell
from aurora_actors.errors import (
    NotFoundError,
    TimeoutError_,
    TreeDownError,
    UnavailableError,
    UsageError,
)
from aurora_actors.messages.base import Failure
from aurora_actors.messages.query import (
    CancelQuery,
    GrantCredit,
    QuerySpec,
    ResultChunk,
    RunQuery,
)
from aurora_actors.messages.storage import DeleteDocument, Written
from aurora_actors.messages.supervision import (
    ActorReady,
    ReadStatus,
    TreeStatus,
    TreeStopping,
)

EXECUTOR = "query_executor-0"
DELETE = DeleteDocument(collection="users", id="a")
QUERY = RunQuery(query=QuerySpec(collection="users"))


def drive(coroutine):
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("a blocking shell suspended")


def in_trio(test, link):
    async def main():
        shell = AsyncShell(link, 60.0)
        try:
            await test(shell)
        finally:
            await shell.close(30.0)

    trio.run(main)


def in_asyncio(test, link):
    async def main():
        shell = AsyncShell(link, 60.0)
        try:
            await test(shell)
        finally:
            await shell.close(30.0)

    asyncio.run(main())


def in_threads(test, link):
    shell = BlockingShell(link, 60.0)
    try:
        drive(test(shell))
    finally:
        drive(shell.close(30.0))


@pytest.fixture(params=[in_trio, in_asyncio, in_threads])
def run(request):
    return request.param


@pytest.fixture(params=[in_trio, in_asyncio])
def run_async(request):
    return request.param


def written(_actor, number, _request):
    return [Written(lsn=number, synced=False, affected=1)]


def chunks(count, lsn=1):
    return [
        ResultChunk(
            records=[b"%d" % number],
            number=number,
            final=number == count - 1,
            lsn=lsn,
            count=number + 1,
        )
        for number in range(count)
    ]


def test_a_call_returns_its_reply(run, peer):
    peer.answer = written

    async def test(shell):
        for number in range(1, 4):
            assert (await shell.call("storage", DELETE)).lsn == number

    run(test, peer.link())


def test_a_failure_is_raised(run, peer):
    peer.answer = lambda *_: [Failure.of(NotFoundError("no such document"))]

    async def test(shell):
        with pytest.raises(NotFoundError, match="no such document"):
            await shell.call("storage", DELETE)

    run(test, peer.link())


def test_a_call_without_an_answer_times_out_at_its_own_deadline(run, peer):
    async def test(shell):
        with pytest.raises(TimeoutError_, match="storage"):
            await shell.call("storage", DELETE, 0.02)
        peer.answer = written
        assert (await shell.call("storage", DELETE)).lsn == 2

    run(test, peer.link())


def test_what_was_submitted_together_is_answered_in_any_order(run, peer):
    peer.answer = written

    async def test(shell):
        calls = [shell.submit("storage", DELETE) for _ in range(5)]
        lsns = [(await shell.result(call)).lsn for call in reversed(calls)]
        assert lsns == [5, 4, 3, 2, 1]

    run(test, peer.link())


def test_a_restarted_storage_is_asked_again_under_the_same_number(run, peer):
    async def test(shell):
        call = shell.submit("storage", DELETE)
        peer.wait_for(1)
        peer.answer = written
        peer.notify(ActorReady(name="storage", incarnation=2))
        assert (await shell.result(call)).lsn == 1
        assert [number for _, number, _ in peer.requests] == [1, 1]

    run(test, peer.link())


def test_a_query_is_gathered_with_credit_returned(run, peer):
    peer.answer = lambda _actor, _number, request: (
        chunks(9) if isinstance(request, RunQuery) else []
    )

    async def test(shell):
        found = await shell.gather(QUERY)
        assert [chunk.number for chunk in found] == list(range(9))

    run(test, peer.link())


def test_a_stream_gives_its_chunks_and_an_interrupted_one_a_retriable_error(run, peer):
    def answer(_actor, _number, request):
        return chunks(5)[:4] if isinstance(request, RunQuery) else []

    peer.answer = answer

    async def test(shell):
        stream = shell.open_stream(QUERY)
        for number in range(4):
            assert (await shell.next_chunk(stream)).number == number
        peer.wait_for(2)
        assert isinstance(peer.requests[1][2], GrantCredit)
        peer.notify(ActorReady(name=EXECUTOR, incarnation=2))
        with pytest.raises(UnavailableError, match="run the query again"):
            await shell.next_chunk(stream)

    run(test, peer.link())


def test_a_dropped_stream_is_cancelled_with_the_next_thing_sent(run, peer):
    peer.answer = lambda actor, number, request: (
        written(actor, number, request) if actor == "storage" else chunks(2)[:1]
    )

    async def test(shell):
        stream = shell.open_stream(QUERY)
        await shell.next_chunk(stream)
        shell.drop_stream(stream)
        await shell.call("storage", DELETE)
        peer.wait_for(3)
        assert CancelQuery(query_id=1) in [request for *_, request in peer.requests]

    run(test, peer.link())


def test_the_supervisor_answers_status(run, peer):
    async def test(shell):
        assert isinstance(await shell.ask_tree(ReadStatus(), None), TreeStatus)

    run(test, peer.link())


@pytest.mark.parametrize("end", ["notice", "hang up"])
def test_the_end_of_the_tree_fails_pending_and_later_calls(run, peer, end):
    async def test(shell):
        call = shell.submit("storage", DELETE)
        if end == "notice":
            peer.notify(TreeStopping(failure=Failure(code="corruption", message="bad")))
        else:
            peer.hang_up()
        with pytest.raises(TreeDownError, match="stopped") as caught:
            await shell.result(call)
        assert ("bad" in caught.value.message) == (end == "notice")
        with pytest.raises(TreeDownError):
            await shell.call("storage", DELETE)

    run(test, peer.link())


def test_a_closed_shell_refuses_calls(run, peer):
    async def test(shell):
        await shell.close(30.0)
        with pytest.raises(UsageError, match="closed"):
            shell.submit("storage", DELETE)

    run(test, peer.link())


def test_closing_fails_calls_under_way(run_async, peer):
    errors = []

    async def test(shell):
        async def call():
            try:
                await shell.call("storage", DELETE)
            except UsageError as exc:
                errors.append(exc.message)

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            await shell.close(30.0)

    run_async(test, peer.link())
    assert errors == ["this database is closed"] * 3


def test_sixty_four_tasks_travel_in_few_envelopes(run_async, peer):
    peer.answer = written

    async def test(shell):
        async def insert(lsns):
            for _ in range(10):
                lsns.append((await shell.call("storage", DELETE)).lsn)

        lsns: list[int] = []
        async with anyio.create_task_group() as group:
            for _ in range(64):
                group.start_soon(insert, lsns)
        assert sorted(lsns) == list(range(1, 641))

    run_async(test, peer.link())
    assert sum(peer.envelopes) == 640
    assert len(peer.envelopes) < 160
    assert max(peer.envelopes) >= 30, "half of them, while the rest is made"


def test_a_cancelled_call_leaves_the_others_alone(run_async, peer):
    peer.answer = lambda actor, number, request: (
        [] if number == 1 else written(actor, number, request)
    )

    async def test(shell):
        async with anyio.create_task_group() as group:
            # The first one leads under trio: the lead has to pass on.
            group.start_soon(shell.call, "storage", DELETE)
            await anyio.wait_all_tasks_blocked()
            async with anyio.create_task_group() as others:
                for _ in range(3):
                    others.start_soon(shell.call, "storage", DELETE)
            call = shell.submit("storage", DELETE)
            group.cancel_scope.cancel()
        assert (await shell.result(call)).lsn == 5

    run_async(test, peer.link())


def test_a_cancelled_leader_hands_over_to_a_waiting_task(run_async, peer):
    async def test(shell):
        results = []

        async def call():
            results.append(await shell.call("storage", DELETE))

        async with anyio.create_task_group() as group:
            async with anyio.create_task_group() as first:
                first.start_soon(shell.call, "storage", DELETE)
                await anyio.wait_all_tasks_blocked()
                group.start_soon(call)
                group.start_soon(call)
                await anyio.wait_all_tasks_blocked()
                first.cancel_scope.cancel()
            await anyio.to_thread.run_sync(peer.wait_for, 3)
            for number in (2, 3):
                peer.send("c-0", number, Written(lsn=9, synced=False, affected=1))
        assert [reply.lsn for reply in results] == [9, 9]

    run_async(test, peer.link())


def test_a_shorter_deadline_of_a_later_call_is_kept(run_async, peer):
    async def test(shell):
        async with anyio.create_task_group() as group:
            group.start_soon(shell.call, "storage", DELETE, 600.0)
            await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(60), pytest.raises(TimeoutError_):
                await shell.call("storage", DELETE, 0.02)
            group.cancel_scope.cancel()

    run_async(test, peer.link())


def test_an_answer_that_came_in_time_is_taken_by_a_loop_that_looks_late(
    run_async, peer
):
    peer.answer = written
    link = peer.link()

    async def test(shell):
        await shell.call("storage", DELETE, 600.0)
        call = shell.submit("storage", DELETE, 0.02)
        late = time.monotonic() + 0.03
        assert select.select([link.fd], [], [], 60)[0]
        while time.monotonic() < late:
            pass  # the loop does not turn
        assert (await shell.result(call)).lsn == 2
        with pytest.raises(TimeoutError_):
            peer.answer = lambda *_: []
            await shell.call("storage", DELETE, 0.02)

    run_async(test, link)


def test_a_loop_that_ends_without_closing_waits_for_no_deadline(run_async, peer):
    peer.answer = written
    links = [peer.link()]

    def run(main):
        return trio.run(main) if run_async is in_trio else asyncio.run(main())

    async def main():
        shell = AsyncShell(links[0], 3600.0)
        await shell.call("storage", DELETE)

    start = time.monotonic()
    run(main)
    assert time.monotonic() - start < 60
    links[0].shut()
    links[0].leave(30.0)


def test_many_threads_share_a_blocking_shell(peer):
    peer.answer = written
    shell = BlockingShell(peer.link(), 60.0)

    def work(_index):
        return [drive(shell.call("storage", DELETE)).lsn for _ in range(50)]

    with ThreadPoolExecutor(8) as pool:
        lsns = [lsn for part in pool.map(work, range(8)) for lsn in part]
    drive(shell.close(30.0))
    assert sorted(lsns) == list(range(1, 401))


def test_a_thread_that_follows_keeps_its_own_deadline(peer):
    shell = BlockingShell(peer.link(), 60.0)
    errors = []

    def wait():
        with pytest.raises(UsageError, match="closed") as caught:
            drive(shell.call("storage", DELETE))
        errors.append(caught.value)

    leader = threading.Thread(target=wait)
    leader.start()
    peer.wait_for(1)
    with pytest.raises(TimeoutError_):
        drive(shell.call("storage", DELETE, 0.02))
    drive(shell.close(30.0))
    leader.join(60)
    assert len(errors) == 1


def test_reads_in_a_row_let_other_tasks_run_and_end_when_cancelled(run_async, peer):
    async def test(shell):
        ran = anyio.Event()

        async def read_on() -> None:
            while True:
                await shell.cancel_point()

        async def other() -> None:
            ran.set()

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read_on)
                tasks.start_soon(other)
                await ran.wait()
                tasks.cancel_scope.cancel()

    run_async(test, peer.link())


def test_applications_that_attach_one_after_the_other_prefer_different_executors(peer):
    links = [
        peer.link(f"c-{n}", number=n, others=("query_executor-1",)) for n in range(3)
    ]
    try:
        chosen = [link.pick_executor() for link in links]
        assert chosen[0] != chosen[1]
        assert chosen[2] == chosen[0]
    finally:
        for link in links:
            link.shut()
            link.leave(30)


def test_a_call_without_time_fails_though_its_answer_is_there(run_async, peer):
    peer.answer = written
    link = peer.link()

    async def test(shell):
        await shell.call("storage", DELETE, 600.0)
        call = shell.submit("storage", DELETE, 0.0)
        assert select.select([link.fd], [], [], 60)[0]
        with pytest.raises(TimeoutError_):
            await shell.result(call)
        assert (await shell.call("storage", DELETE, 600.0)).lsn == 3

    run_async(test, link)
