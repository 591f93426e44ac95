"""Remote clients: the whole API over TLS, who is let in, and connections that break."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import threading
from pathlib import Path

import job_handlers
import msgspec
import pytest
import trio
from remote import Network, Served
from support import no_process_left, wait_until

from aurora_actors import (
    Added,
    Aurora,
    ConfigError,
    ConflictError,
    Count,
    FieldDefinition,
    FieldType,
    Increment,
    Job,
    PermissionDeniedError,
    Sum,
    UnavailableError,
    UniqueViolationError,
    UsageError,
    blocking,
    field,
)
from aurora_actors.messages.framing import encode_frame
from aurora_actors.messages.remote import Hello, Post
from aurora_actors.storage.backup import verify_backup

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory):
    directory = tmp_path_factory.mktemp("remote")
    served = Served(directory)
    yield served
    served.close()
    no_process_left(directory / "served.db")


@pytest.fixture
def network(served: Served):
    network = Network(served.port)
    yield network
    network.close()


@pytest.fixture
def people(served: Served, request: pytest.FixtureRequest) -> str:
    """A collection of its own for each test."""
    name = request.node.name.split("[")[0][:60]
    served.db.new_collection(
        name,
        {
            "name": FieldDefinition(FieldType.STRING, unique=True),
            "age": FieldDefinition(FieldType.INT, indexed=True),
        },
    )
    return name


def with_trio(main):
    trio.run(main)


def with_asyncio(main):
    asyncio.run(main())


# ------------------------------------------------------------------ the API
@pytest.mark.parametrize("run", [with_trio, with_asyncio])
def test_the_whole_api_works_from_elsewhere(served: Served, run, tmp_path: Path):
    async def main():
        async with served.connect() as db:
            name = f"things_{run.__name__}"
            assert await db.new_collection(name, {"n": FieldType.INT})
            assert name in await db.list_collections()
            assert "n" in (await db.collection_definition(name)).fields
            ids = await db.insert_many(name, ({"n": n} for n in range(3000)))
            first = await db.get_document(name, ids[0])
            assert first["n"] == 0
            assert await db.get_document(name, "nothing") is None
            await db.update_document(name, ids[0], {"n": Increment(7)})
            await db.replace_document(name, ids[1], {"n": 77})
            await db.upsert(name, "new", {"n": 78})
            assert await db.delete_document(name, ids[2])
            query = db.query(name)
            assert await query.count() == 3000
            found = await query.filter(field("n") > 2990).order_by("n").collect()
            assert [each["n"] for each in found] == list(range(2991, 3000))
            totals = await query.aggregate(n=Count(), total=Sum("n"))
            assert totals["n"] == 3000
            page = await query.order_by("n").page(first=5)
            after = await query.order_by("n").page(5, page.page_info.end_cursor)
            assert [each["n"] for each in after][:2] == [7, 8]
            assert len(await query.page(first=2, after=ids[10])) == 2
            assert len([each async for each in query.stream()]) == 3000
            assert await query.filter(field("n") > 2990).delete() == 9
            result = await db.execute(f"query {{ {name}(limit: 2) {{ n }} }}")
            assert len(result.documents) == 2
            await db.create_index(name, "n")
            assert [index.fields for index in await db.list_indexes(name)] == [("n",)]
            assert {"storage", "query_executor-0"} <= (await db.stats()).keys()
            assert (await db.status()).lsn
            assert await db.sync()
            assert "everything" in [token.name for token in await db.list_tokens()]
            await db.drop_collection(name)
            target = tmp_path / f"{name}.backup"
            assert (await db.backup(target)).manifest.lsn

    run(main)


def test_threads_use_it_without_await(served: Served, people: str):
    with served.connect_blocking() as db:
        threads = [
            threading.Thread(
                target=db.insert_into, args=(people, {"name": f"t{n}", "age": n})
            )
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert db.query(people).count() == 8
        with db.query(people).watch() as updates:
            found = updates.next(timeout=60)
            assert isinstance(found, Added)


def test_transactions_read_what_they_write_and_conflict(served: Served, people: str):
    async def main():
        async with served.connect() as db:
            await db.insert_into(people, {"id": "a", "name": "a", "age": 1})
            async with db.transaction() as tx:
                await tx.update_document(people, "a", {"age": Increment(1)})
                await tx.insert_many(people, [{"name": f"m{n}"} for n in range(100)])
                assert (await tx.get_document(people, "a"))["age"] == 2
                assert await tx.query(people).count() == 101
                older = tx.query(people).filter(field("age") == 2)
                assert [doc.id for doc in await older.collect()] == ["a"]
                assert await older.update({"age": 3}) == 1
                with pytest.raises(ZeroDivisionError):
                    async with tx.savepoint():
                        await tx.delete_document(people, "a")
                        raise ZeroDivisionError
                with pytest.raises(UniqueViolationError):
                    await tx.insert_into(people, {"name": "a"})
            assert tx.commit_lsn
            assert served.db.get_document(people, "a")["age"] == 3
            with pytest.raises(ConflictError):
                async with db.transaction() as tx:
                    await tx.get_document(people, "a")
                    served.db.update_document(people, "a", {"age": 50})
                    await tx.update_document(people, "a", {"age": 4})
            with pytest.raises(ZeroDivisionError):
                async with db.transaction() as tx:
                    await tx.delete_document(people, "a")
                    raise ZeroDivisionError
            assert served.db.get_document(people, "a")["age"] == 50

    trio.run(main)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_files_are_exported_and_imported_from_elsewhere(
    served: Served, tmp_path: Path, kind: str
):
    served.db.new_collection(f"out_{kind}", {"n": FieldType.INT}, open=True)
    served.db.new_collection(f"in_{kind}", {"n": FieldType.INT}, open=True)
    documents = [{"id": f"{n:04}", "n": n, "more": n % 7} for n in range(1500)]
    served.db.insert_many(f"out_{kind}", documents)
    file = tmp_path / f"file.{kind}"
    with served.connect_blocking() as db:
        report = db.export_collection(f"out_{kind}", file, format=kind)
        assert (report.documents, report.lsn > 0) == (1500, True)
        with pytest.raises(UsageError, match="exists already"):
            db.export_collection(f"out_{kind}", file, format=kind)
        assert db.import_collection(f"in_{kind}", file).documents == 1500
        found = db.query(f"in_{kind}").order_by("n").collect()
    assert [each.to_dict() for each in found] == documents


# ------------------------------------------------------------------ who is let in
@pytest.mark.parametrize("token", ["aur.everything.wrong", "aur.nobody.x", "nonsense"])
def test_a_wrong_token_is_refused(served: Served, token: str):
    with (
        pytest.raises(PermissionDeniedError, match="wrong, revoked or over"),
        served.connect_blocking(token=token),
    ):
        pass


def test_a_certificate_nobody_vouches_for_is_refused(served: Served):
    with (
        pytest.raises(ConfigError, match=r"not trusted.*ca="),
        blocking.connect(served.url, token=served.token),
    ):
        pass
    address = served.url.replace("localhost", "127.0.0.2")
    with (
        pytest.raises((ConfigError, UnavailableError)),
        served.connect_blocking(address),
    ):
        pass


@pytest.mark.parametrize(
    "url", ["tcp://localhost:1", "localhost:7878", "tls+tcp://", "tls+tcp://h:x", ""]
)
def test_an_address_without_tls_is_refused(url: str):
    with pytest.raises(UsageError):
        Aurora.connect(url, token="aur.a.b")


def test_nobody_there_is_a_clear_error(served: Served):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (
        pytest.raises(UnavailableError, match="cannot be reached"),
        served.connect_blocking(f"tls+tcp://localhost:{port}"),
    ):
        pass


def test_roles_bound_what_can_be_done(served: Served, people: str):
    reader = served.db.create_token("reader", "read")
    writer = served.db.create_token("writer", "none", collections={people: "write"})
    with served.connect_blocking(token=reader) as db:
        assert db.query(people).count() == 0
        assert db.execute(f"query {{ {people} {{ name }} }}").documents == []
        for refused in (
            lambda: db.insert_into(people, {"name": "x"}),
            lambda: db.query(people).delete(),
            lambda: db.new_collection("other", open=True),
            lambda: db.execute(
                f'mutation {{ insertInto(collection: "{people}", data: {{name: "x"}}) '
                "{ id } }"
            ),
            db.checkpoint,
            lambda: db.create_token("more", "admin"),
            lambda: db.query("_sys_tokens").collect(),
            lambda: db.get_document("_sys_tokens", "reader"),
            lambda: db.execute("query { _sys_tokens { role } }"),
        ):
            with pytest.raises(PermissionDeniedError):
                refused()
        with pytest.raises(PermissionDeniedError), db.transaction() as tx:
            tx.insert_into(people, {"name": "x"})
    with served.connect_blocking(token=writer) as db:
        db.insert_into(people, {"name": "x"})
        assert db.list_collections() == [people]
        with pytest.raises(PermissionDeniedError):
            db.query("something_else").count()
        with pytest.raises(PermissionDeniedError):
            db.execute(f"query {{ {people} {{ name }} }}")
    assert served.db.query(people).count() == 1


def test_a_backup_is_fetched_over_the_connection(
    served: Served, people: str, tmp_path: Path
):
    documents = [{"id": f"{n}", "name": f"n{n}", "age": n} for n in range(500)]
    served.db.insert_many(people, documents)
    phases: list[str] = []

    def tell(phase: str, done: int, total: int) -> None:
        phases.append(phase)

    target = tmp_path / "fetched.backup"
    with served.connect_blocking() as db:
        report = db.backup(target, progress=tell)
        assert report.path == str(target)
        assert report.file_bytes == target.stat().st_size
        assert target.stat().st_mode & 0o777 == 0o600
        with pytest.raises(UsageError, match="exists already"):
            db.backup(target)
        fetched = db.backup(target, overwrite=True)
        assert fetched.manifest.collections[people] == 500
    assert list(dict.fromkeys(phases)) == ["copying", "fetching", "verifying"]
    assert [each.name for each in tmp_path.iterdir()] == ["fetched.backup"]
    assert verify_backup(target) == fetched.manifest
    left = wait_until(
        lambda: not list(served.db.config.path.glob("remote-backup-*")) or None,
        "the end of the backup there",
    )
    assert left
    token = served.db.create_token("no_backups", "write")
    with (
        served.connect_blocking(token=token) as db,
        pytest.raises(PermissionDeniedError),
    ):
        db.backup(tmp_path / "other.backup")
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == [
        "fetched.backup"
    ]


def test_a_backup_goes_on_when_the_line_is_cut(
    served: Served, network: Network, tmp_path: Path
):
    cuts = iter([True, False])

    def cut(phase: str, _done: int, _total: int) -> None:
        if phase == "fetching" and next(cuts, False):
            network.cut()

    with served.connect_blocking(network.url) as db:
        report = db.backup(tmp_path / "cut.backup", progress=cut)
    assert report.manifest.documents >= 0
    assert network.accepted >= 2 or report.file_bytes <= 4 << 20


def test_pools_are_scaled_but_not_started_over_a_connection(served: Served):
    served.db.start_pool("afar", handlers=job_handlers)
    writer = served.db.create_token("pool_writer", "write")
    try:
        with served.connect_blocking() as db:
            db.scale_pool("afar", 2)
            names = {a.name for a in db.status().actors}
            assert {"worker_pool-afar-0", "worker_pool-afar-1"} <= names
            assert db.wait_job(db.enqueue_job(Job("nothing")), timeout=60) is None
            with pytest.raises(PermissionDeniedError, match="own machine"):
                db.start_pool("mine", handlers=job_handlers)
            with pytest.raises(UsageError, match="nowhere"):
                db.scale_pool("nowhere", 1)
            db.stop_pool("afar")
        with served.connect_blocking(token=writer) as db:
            assert db.status().actors
            with pytest.raises(PermissionDeniedError, match="admin"):
                db.scale_pool("afar", 1)
            assert db.status().actors
    finally:
        served.db.stop_pool("afar")


def test_jobs_are_enqueued_with_a_remote_transaction(served: Served, people: str):
    served.db.start_pool("far", handlers=job_handlers)
    try:
        with served.connect_blocking() as db:
            with db.transaction() as tx:
                tx.insert_into(people, {"id": "with", "name": "a job"})
                job_id = tx.enqueue_job(Job("nothing", unique_key="far"))
                assert tx.enqueue_job(Job("nothing", unique_key="far")) == job_id
                assert served.db.get_job(job_id) is None
            assert db.wait_job(job_id, timeout=60) is None
            with pytest.raises(ZeroDivisionError), db.transaction() as tx:
                lost = tx.enqueue_job(Job("nothing"))
                raise ZeroDivisionError
            assert db.get_job(lost) is None
    finally:
        served.db.stop_pool("far")


def test_a_function_runs_in_a_transaction_again_after_a_conflict(
    served: Served, people: str
):
    served.db.insert_into(people, {"id": "ann", "name": "Ann", "age": 1})
    runs = []

    def grow(tx: blocking.BlockingTransaction) -> int:
        found = tx.get_document(people, "ann")
        runs.append(found["age"])
        if len(runs) == 1:
            served.db.update_document(people, "ann", {"age": 10})
        tx.update_document(people, "ann", {"age": found["age"] + 1})
        return found["age"]

    with served.connect_blocking() as db:
        assert db.run_transaction(grow) == 10
    assert runs == [1, 10]
    assert served.db.get_document(people, "ann")["age"] == 11


def test_the_hashes_of_tokens_stay_where_they_are(served: Served, people: str):
    with served.connect_blocking() as db:
        listed = db.list_tokens()
        assert "everything" in {token.name for token in listed}
        assert listed == served.db.list_tokens()
        for refused in (
            lambda: db.query("_sys_tokens").collect(),
            lambda: db.get_document("_sys_tokens", "everything"),
            lambda: db.execute("query { _sys_tokens { hash } }"),
            lambda: db.query("_sys_tokens").watch().__enter__(),
            lambda: db.run_transaction(
                lambda tx: tx.get_document("_sys_tokens", "everything")
            ),
        ):
            with pytest.raises(PermissionDeniedError, match="shown to nobody"):
                refused()
        assert db.create_token("passing", "read")
        assert db.revoke_token("passing")


def test_a_revoked_token_ends_its_connections(served: Served, people: str):
    token = served.db.create_token("passing", "write")
    with served.connect_blocking(token=token) as db:
        db.insert_into(people, {"name": "before"})
        assert served.db.revoke_token("passing")
        with pytest.raises(PermissionDeniedError, match="revoked"):
            wait_until(lambda: db.insert_into(people, {"age": 1}) and None, "the end")


def test_what_is_no_client_is_sent_away(served: Served):
    context = ssl.create_default_context(cafile=served.made.certificate)
    address = ("localhost", served.port)

    def answers(*frames: bytes) -> bytes:
        with (
            socket.create_connection(address, timeout=60) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as tls,
        ):
            for frame in frames:
                tls.sendall(frame)
            found = b""
            while data := tls.recv(1 << 16):
                found += data
            return found

    hello = encode_frame(Hello(token=served.token))
    spoofed = encode_frame(Post(to="storage", data=b"\x94\x01\xa7storage\x00\x90"))
    assert b"not understood" in answers(encode_frame(b"\x00"))
    assert b"begins with Hello" in answers(spoofed)
    assert b"wrong, revoked" in answers(encode_frame(Hello(token="x")))
    assert b"is not the name of this client" in answers(hello, spoofed)
    assert b"comes once" in answers(hello, hello)
    assert b"the peer is not ours" in answers(b"\xff\xff\xff\xff")
    other = encode_frame(msgspec.structs.replace(Hello(token="x"), version=99))
    assert b"protocol version 99" in answers(other)
    with socket.create_connection(address, timeout=60) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert b"HTTP" not in plain.recv(1 << 16)
    # None of it has hurt anybody.
    with served.connect_blocking() as db:
        assert db.list_collections() is not None


# ------------------------------------------------------------------ broken connections
def test_a_lost_connection_costs_delay_and_writes_take_effect_once(
    served: Served, people: str, network: Network
):
    async def main():
        async with served.connect(network.url) as db:
            await db.insert_into(people, {"id": "a", "name": "a", "age": 0})
            counted = 0

            async def count():
                nonlocal counted
                for _ in range(150):
                    await db.update_document(people, "a", {"age": Increment(1)})
                    counted += 1

            async with trio.open_nursery() as nursery:
                nursery.start_soon(count)
                # Each line lives until a few more are counted, however slow that is.
                for enough in range(10, 150, 20):
                    while counted < enough:
                        await trio.sleep(0.001)
                    network.cut()
            assert (await db.get_document(people, "a"))["age"] == 150
        assert network.accepted > 5

    trio.run(main)


def test_a_watch_goes_on_behind_a_lost_connection(
    served: Served, people: str, network: Network
):
    with served.connect_blocking(network.url) as db:
        with db.query(people).watch(include_initial=False) as updates:
            seen = []
            for round_ in range(3):
                served.db.insert_into(people, {"name": f"before {round_}"})
                seen.append(updates.next(timeout=60).document["name"])
                network.is_up = False
                network.cut()
                served.db.insert_into(people, {"name": f"while {round_}"})
                network.is_up = True
                seen.append(updates.next(timeout=60).document["name"])
        assert seen == [f"{when} {n}" for n in range(3) for when in ("before", "while")]


def test_a_transaction_survives_a_lost_connection(
    served: Served, people: str, network: Network
):
    with served.connect_blocking(network.url) as db, db.transaction() as tx:
        tx.insert_into(people, {"id": "a", "age": 1})
        network.cut()
        tx.update_document(people, "a", {"age": Increment(1)})
        network.cut()
    assert served.db.get_document(people, "a")["age"] == 2


def test_a_killed_gateway_is_back_and_its_clients_with_it(served: Served, people: str):
    network = Network(served.port)
    try:
        with served.connect_blocking(network.url) as db:
            db.insert_into(people, {"name": "before"})
            with db.query(people).watch(include_initial=False) as updates:
                transaction = db.transaction()
                transaction.__enter__()
                gateway = served.actor("remote_gateway")
                os.kill(gateway.pid, signal.SIGKILL)
                wait_until(
                    lambda: (
                        (now := served.actor("remote_gateway")).state == "ready"
                        and now.pid != gateway.pid
                        and "port" in now.values
                        and network.lead_to(served.port)
                    ),
                    "the gateway's restart",
                )
                assert db.query(people).count() == 1
                with pytest.raises(ConflictError, match="gone"):
                    transaction.insert_into(people, {"name": "lost"})
                with pytest.raises(ConflictError):
                    transaction.__exit__(None, None, None)
                served.db.insert_into(people, {"name": "after"})
                assert updates.next(timeout=60).document["name"] == "after"
    finally:
        network.close()
