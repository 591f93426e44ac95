"""The public API against real processes: trio, asyncio and threads alike."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Annotated

import anyio
import anyio.lowlevel
import psutil
import pytest
import trio

from aurora_actors import (
    Aurora,
    AuroraConfig,
    CollectionExistsError,
    CollectionNotFoundError,
    ConfigError,
    Document,
    FieldDefinition,
    FieldType,
    Increment,
    InvalidFilterError,
    NotFoundError,
    Push,
    TimeoutError_,
    Unique,
    UniqueViolationError,
    UsageError,
    ValidationError,
    blocking,
    field,
)

pytestmark = pytest.mark.processes

USERS = {
    "name": FieldDefinition(FieldType.STRING, nullable=False),
    "email": FieldDefinition(FieldType.STRING, unique=True),
    "age": FieldDefinition(FieldType.INT, indexed=True),
    "tags": FieldDefinition(FieldType.array(FieldType.STRING)),
}


@dataclass
class Person:
    name: str
    email: Annotated[str, Unique]
    age: int = 0
    id: str | None = None


class Awaitable:
    """A blocking object's methods as coroutines, so that one test serves all."""

    def __init__(self, wrapped) -> None:
        self._wrapped = wrapped

    def __getattr__(self, name):
        value = getattr(self._wrapped, name)
        if not inspect.ismethod(value):
            return value
        if name in {"query", "filter", "limit", "offset", "order_by", "select"}:
            return lambda *args, **kwargs: Awaitable(value(*args, **kwargs))
        if name == "stream":
            return lambda **kwargs: Streamed(value(**kwargs))

        async def call(*args, **kwargs):
            return value(*args, **kwargs)

        return call


class Streamed:
    def __init__(self, stream) -> None:
        self._stream = stream

    def __aiter__(self):
        return self

    async def __anext__(self):
        try:
            return next(self._stream)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self):
        self._stream.close()


def in_trio(path, test, **settings):
    async def main():
        async with Aurora.open(path, **settings) as db:
            await test(db)

    trio.run(main)


def in_asyncio(path, test, **settings):
    async def main():
        async with Aurora.open(path, **settings) as db:
            await test(db)

    asyncio.run(main())


def in_threads(path, test, **settings):
    async def main(db):
        await test(Awaitable(db))

    with blocking.open(path, **settings) as db:
        try:
            main(db).send(None)
        except StopIteration:
            return
        raise AssertionError("a blocking call suspended")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A database that runs all the time: to attach is quicker than to start a tree."""
    path = tmp_path_factory.mktemp("shared") / "a.db"
    with blocking.open(path):
        yield path


@pytest.fixture
def emptied(shared):
    """The shared database without any collection."""
    with blocking.open(shared) as db:
        for name in db.list_collections():
            db.drop_collection(name)
    with nothing_left():
        yield shared


@pytest.fixture(params=[in_trio, in_asyncio, in_threads])
def run(request, emptied):
    return lambda test: request.param(emptied, test)


@pytest.fixture(params=[in_trio, in_asyncio])
def run_async(request, emptied):
    return lambda test: request.param(emptied, test)


@pytest.fixture
def path(tmp_path):
    """A place for a database of one's own."""
    with nothing_left():
        yield tmp_path / "a.db"


@contextmanager
def nothing_left():
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    descriptors = psutil.Process().num_fds()
    yield
    left = [
        child
        for child in psutil.Process().children(recursive=True)
        if child.pid not in before
    ]
    assert left == []
    # trio and asyncio may keep a few of their own for the next run.
    assert psutil.Process().num_fds() <= descriptors + 4


async def with_users(db, count=0):
    await db.new_collection("users", USERS)
    return await db.insert_many(
        "users",
        [
            {"name": f"U{n}", "email": f"u{n}@x.io", "age": n % 50, "tags": [str(n)]}
            for n in range(count)
        ],
    )


# ------------------------------------------------------------------ collections
def test_a_collection_is_defined_listed_and_dropped(run):
    async def test(db):
        assert await db.new_collection("users", USERS)
        assert not await db.new_collection("users", USERS)
        assert await db.new_collection("events", open=True)
        with pytest.raises(CollectionExistsError):
            await db.new_collection("users", {"name": FieldType.INT})
        assert await db.list_collections() == ["events", "users"]
        definition = await db.collection_definition("users")
        assert definition.fields["email"].unique
        await db.drop_collection("users")
        assert await db.list_collections() == ["events"]
        for call in (db.collection_definition, db.drop_collection):
            with pytest.raises(CollectionNotFoundError):
                await call("users")

    run(test)


def test_a_definition_that_makes_no_sense_is_refused(run):
    async def test(db):
        for name, fields in (("1a", USERS), ("a", {"x.y": FieldType.INT}), ("a", {})):
            with pytest.raises(ValidationError):
                await db.new_collection(name, fields)
        with pytest.raises(UsageError):
            await db.new_collection(Person, USERS)

    run(test)


# ------------------------------------------------------------------ documents
def test_a_document_lives_its_life(run):
    async def test(db):
        await with_users(db)
        alice = {"name": "Alice", "email": "a@x.io", "age": 30, "tags": ["a"]}
        user_id = await db.insert_into("users", alice)
        doc = await db.get_document("users", user_id)
        assert doc == Document(user_id, alice)
        assert doc.lsn > 0
        await db.update_document(
            "users", user_id, {"age": Increment(1), "tags": Push("b")}
        )
        doc = await db.get_document("users", user_id)
        assert (doc["age"], doc["tags"]) == (31, ["a", "b"])
        await db.replace_document("users", user_id, {"name": "B", "id": "ignored"})
        assert (await db.get_document("users", user_id)).data == {"name": "B"}
        assert await db.delete_document("users", user_id)
        assert not await db.delete_document("users", user_id)
        assert await db.get_document("users", user_id) is None

    run(test)


def test_an_id_can_be_chosen_and_is_taken_once(run):
    async def test(db):
        await with_users(db)
        assert await db.insert_into("users", {"id": "a", "name": "A"}) == "a"
        assert (await db.get_document("users", "a"))["id"] == "a"
        with pytest.raises(UniqueViolationError) as caught:
            await db.insert_into("users", {"id": "a", "name": "B"})
        assert caught.value.field == "id"

    run(test)


def test_upsert_inserts_and_merges(run):
    async def test(db):
        await with_users(db)
        await db.upsert("users", "a", {"name": "A", "age": 1})
        await db.upsert("users", "a", {"age": Increment(2)})
        assert (await db.get_document("users", "a")).data == {"name": "A", "age": 3}

    run(test)


def test_what_does_not_fit_is_refused_with_its_place(run):
    async def test(db):
        await with_users(db, 1)
        for document, path in (
            ({"name": 5}, "name"),
            ({"name": "a", "agee": 5}, "agee"),
            ({"age": 5}, "name"),
            ({"name": "a", "tags": ["a", 5]}, "tags"),
            ({"name": "a", "age": float("nan")}, "age"),
        ):
            with pytest.raises(ValidationError) as caught:
                await db.insert_into("users", document)
            assert caught.value.path.startswith(path)
        with pytest.raises(UniqueViolationError) as taken:
            await db.insert_into("users", {"name": "a", "email": "u0@x.io"})
        assert (taken.value.field, taken.value.value) == ("email", "u0@x.io")
        assert await db.query("users").count() == 1

    run(test)


def test_what_is_not_there_is_not_found(run):
    async def test(db):
        await with_users(db)
        assert await db.get_document("users", "nobody") is None
        for call in (
            lambda: db.update_document("users", "nobody", {"age": 1}),
            lambda: db.replace_document("users", "nobody", {"name": "a"}),
        ):
            with pytest.raises(NotFoundError):
                await call()
        for call in (
            lambda: db.get_document("usres", "a"),
            lambda: db.insert_into("usres", {}),
            lambda: db.query("usres").collect(),
        ):
            with pytest.raises(CollectionNotFoundError, match="users"):
                await call()

    run(test)


def test_many_documents_are_inserted_all_or_none(run):
    async def test(db):
        ids = await with_users(db, 1000)
        assert len(set(ids)) == 1000
        assert (await db.get_document("users", ids[7]))["name"] == "U7"
        new = [{"name": "x", "email": f"x{n}"} for n in range(10)]
        with pytest.raises(UniqueViolationError) as caught:
            await db.insert_many("users", [*new, {"name": "x", "email": "u3@x.io"}])
        assert caught.value.context["inserted"] == 0
        assert await db.query("users").count() == 1000
        assert await db.insert_many("users", []) == []

    run(test)


def test_more_than_a_transaction_is_inserted_in_chunks(path):
    async def test(db):
        await db.new_collection(
            "big", {"n": FieldDefinition(FieldType.INT, unique=True)}, open=True
        )
        filler = "x" * 1000
        ids = await db.insert_many("big", ({"n": n, "f": filler} for n in range(3000)))
        assert len(ids) == await db.query("big").count() == 3000
        again = ({"n": n, "f": filler} for n in (*range(3000, 4500), 1))
        with pytest.raises(UniqueViolationError) as caught:
            await db.insert_many("big", again)
        inserted = caught.value.context["inserted"]
        assert 0 < inserted < 1501
        assert await db.query("big").count() == 3000 + inserted

    in_trio(path, test, max_transaction_bytes=200_000, max_document_bytes=100_000)


def test_an_asynchronous_source_is_inserted_as_it_comes(run_async):
    async def test(db):
        await with_users(db)

        async def source():
            for n in range(600):
                await anyio.lowlevel.checkpoint()
                yield {"name": f"{n}"}

        async with aclosing(source()) as documents:
            assert len(await db.insert_many("users", documents)) == 600
        assert await db.query("users").count() == 600

    run_async(test)


def test_an_asynchronous_source_needs_a_loop(path):
    async def source():
        yield {}

    with blocking.open(path) as db:
        db.new_collection("a", open=True)
        with pytest.raises(UsageError, match="event loop"):
            db.insert_many("a", source())


# ------------------------------------------------------------------ queries
def test_queries_find_sort_and_cut(run):
    async def test(db):
        await with_users(db, 500)
        query = db.query("users").filter(field("age") > 25)
        assert await query.count() == 240
        found = await query.order_by("age", ascending=False).limit(5).collect()
        assert [doc["age"] for doc in found] == [49] * 5
        assert [
            doc["name"] for doc in await db.query("users").offset(498).collect()
        ] == [
            "U498",
            "U499",
        ]
        names = await db.query("users").select("name").limit(1).collect()
        assert names[0].data == {"name": "U0"}
        assert await query.exists()
        assert not await db.query("users").filter(field("age") > 99).exists()

    run(test)


def test_a_unique_field_finds_its_document_in_this_process(run):
    async def test(db):
        ids = await with_users(db, 10)
        users = db.query("users")
        alone = await users.filter(lambda f: f.eq("email", "u3@x.io")).first_one()
        assert alone.id == ids[3]
        assert (await users.filter(field("id") == ids[4]).one())["name"] == "U4"
        both = users.filter((field("email") == "u3@x.io") & (field("age") > 5))
        assert await both.first_one() is None
        chosen = users.filter(field("email") == "u3@x.io").select("age")
        assert (await chosen.one()).data == {"age": 3}
        assert await users.filter(field("email") == "u3@x.io").offset(1).collect() == []
        assert await users.filter(field("email") == "u3@x.io").limit(0).collect() == []
        assert await users.filter(field("email") == "nobody").first_one() is None
        assert await users.filter(field("email") == 5).first_one() is None
        assert await users.filter(field("email") == None).first_one() is None  # noqa: E711

    run(test)


def test_one_means_one(run):
    async def test(db):
        await with_users(db, 500)
        with pytest.raises(NotFoundError):
            await db.query("users").filter(field("age") > 99).one()
        with pytest.raises(UsageError, match="several"):
            await db.query("users").filter(field("age") == 7).one()

    run(test)


def test_a_stream_gives_everything_and_can_be_left_early(run):
    async def test(db):
        await with_users(db, 3000)
        await db.insert_many("users", [{"name": "x" * 5000} for _ in range(2000)])
        names = [doc["name"] async for doc in db.query("users").stream()]
        assert len(names) == 5000
        stream = db.query("users").stream()
        async for _ in stream:
            break
        await stream.aclose()
        assert [doc async for doc in stream] == []
        left = db.query("users").stream()
        async for _ in left:
            break
        del left
        assert await db.query("users").count() == 5000

    run(test)


def test_documents_are_changed_and_removed_by_query(run):
    async def test(db):
        await with_users(db, 500)
        young = db.query("users").filter(field("age") < 10)
        assert await young.update({"tags": Push("young"), "age": Increment(100)}) == 100
        assert await young.count() == 0
        old = db.query("users").filter(lambda f: f.gte("age", 100))
        assert await old.limit(5).delete() == 5
        assert await old.delete() == 95
        assert await db.query("users").count() == 400
        with pytest.raises(ValidationError):
            await db.query("users").update({"name": None})

    run(test)


def test_a_model_goes_in_and_comes_out(run):
    async def test(db):
        await db.new_collection(Person)
        alice = Person("Alice", "a@x.io", 30, "a")
        assert await db.insert_into(Person, alice) == "a"
        await db.insert_many(Person, [Person("Bob", "b@x.io", 20)])
        assert await db.get_document(Person, "a") == alice
        assert await db.query(Person).filter(field("age") > 25).collect() == [alice]
        found = await db.query(Person).filter(field("email") == "b@x.io").one()
        assert (type(found), found.name) == (Person, "Bob")
        plain = await db.query(Person).select("name").first_one()
        assert isinstance(plain, Document)

    run(test)


def test_a_query_explains_itself(run):
    async def test(db):
        await with_users(db, 10)
        await db.wait_indexed()
        plan = await db.query("users").filter(field("tags").contains("5")).explain()
        assert (plan.collection, plan.access) == ("users", "document_scan")
        plan = await db.query("users").filter(field("age") > 5).explain()
        assert (plan.access, plan.index_field) == ("index", "age")
        assert plan.actual_rows == plan.rows_read == 4
        oldest = db.query("users").order_by("age", ascending=False).limit(3)
        plan = await oldest.explain()
        assert (plan.access, plan.index_field) == ("index_order", "age")
        plan = await db.query("users").filter(field("email") == "u1@x.io").explain()
        assert plan.access == "unique_lookup"

    run(test)


def test_filters_that_make_no_sense_are_refused(run):
    async def test(db):
        await with_users(db, 1)
        with pytest.raises(InvalidFilterError):
            await db.query("users").filter(field("agee") > 5).collect()

    run(test)


# ------------------------------------------------------------------ housekeeping
def test_the_tree_tells_how_it_is(run):
    async def test(db):
        await with_users(db, 10)
        status = await db.status()
        names = [actor.name for actor in status.actors]
        assert "storage" in names
        assert "query_executor-0" in names
        assert all(actor.state == "ready" for actor in status.actors)
        stats = await db.stats()
        assert stats["storage"]["documents"] == 10
        assert await db.sync() == await db.checkpoint() > 0

    run(test)


def test_a_call_with_no_time_times_out(run):
    async def test(db):
        await with_users(db, 1000)
        with pytest.raises(TimeoutError_):
            await db.query("users").filter(field("age") > 1).collect(timeout=0.0)
        with pytest.raises(TimeoutError):
            await db.sync(timeout=0.0)

    run(test)


# ------------------------------------------------------------------ opening
def test_after_the_end_every_call_is_refused(run):
    kept = []

    async def test(db):
        await with_users(db, 1)
        kept.append(db)
        kept.append(db.query("users"))
        await db.close()
        await db.close()
        with pytest.raises(UsageError, match="closed"):
            await db.get_document("users", "a")
        with pytest.raises(UsageError, match="closed"):
            await db.insert_into("users", {"name": "a"})
        with pytest.raises(UsageError, match="closed"):
            await kept[1].collect()

    run(test)


def test_what_was_written_is_there_at_the_next_opening(path):
    ids = []

    async def write(db):
        ids.extend(await with_users(db, 10))

    async def read(db):
        assert (await db.get_document("users", ids[3]))["name"] == "U3"

    in_trio(path, write)
    in_asyncio(path, read)


def test_one_process_may_open_a_database_twice(path):
    with blocking.open(path) as first, blocking.open(path) as second:
        first.new_collection("a", open=True)
        document_id = first.insert_into("a", {"n": 1})
        assert second.get_document("a", document_id)["n"] == 1
        assert first.status().supervisor_pid == second.status().supervisor_pid
        first.close()
        second.insert_into("a", {"n": 2})
        assert second.query("a").count() == 2


def test_other_settings_than_the_running_trees_are_refused(path):
    with blocking.open(path, query_executors=1) as db:
        with (
            pytest.raises(ConfigError, match="query_executors"),
            blocking.open(path, query_executors=2),
        ):
            pass
        with blocking.open(path) as other:
            assert other.config.query_executors == 1
        with blocking.with_config(AuroraConfig(db_path=str(path), query_executors=1)):
            pass
        assert db.list_collections() == []


def test_a_place_that_cannot_be_a_database_is_refused(run_async, tmp_path):
    async def test(_db):
        (tmp_path / "file").write_text("x")
        for bad in (tmp_path / "file", tmp_path / "no" / "where"):
            with pytest.raises(ConfigError):
                async with Aurora.open(bad):
                    pass

    run_async(test)


def test_a_forked_child_is_told_so(path):
    with blocking.open(path) as db:
        db.new_collection("a", open=True)
        document_id = db.insert_into("a", {"n": 1})
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            found = []
            for call in (
                lambda: db.get_document("a", document_id),
                lambda: db.insert_into("a", {}),
                lambda: db.query("a").count(),
                db.status,
            ):
                try:
                    call()
                except UsageError as exc:
                    found.append("fork" in exc.message)
                except BaseException:
                    found.append(False)
            os.write(writer, str(found).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        assert os.read(reader, 100) == b"[True, True, True, True]"
        os.close(reader)
        os.close(writer)
        assert db.insert_into("a", {"n": 2})


# ------------------------------------------------------------------ many at once
def test_many_tasks_insert_and_read_their_own_writes(run_async):
    async def test(db):
        await with_users(db)

        async def work(number):
            for n in range(10):
                new = {"name": f"{number}-{n}", "email": f"{number}-{n}"}
                document_id = await db.insert_into("users", new)
                assert (await db.get_document("users", document_id)).data == new

        async with anyio.create_task_group() as group:
            for number in range(64):
                group.start_soon(work, number)
        assert await db.query("users").count() == 640

    run_async(test)


def test_a_cancelled_call_harms_nobody(run_async):
    async def test(db):
        await with_users(db, 2000)
        with anyio.move_on_after(0):
            await db.query("users").filter(field("age") > 3).collect()
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(db.query("users").filter(field("age") > 3).collect)
                group.start_soon(db.insert_into, "users", {"name": "x"})
            await anyio.sleep(0.001)
            group.cancel_scope.cancel()
        assert await db.insert_into("users", {"name": "y"})
        assert (await db.query("users").filter(field("name") == "y").count()) == 1

    run_async(test)


def test_many_threads_share_one_database(path):
    with blocking.open(path) as db:
        db.new_collection("a", open=True)
        errors = []

        def work(number):
            try:
                for n in range(20):
                    document_id = db.insert_into("a", {"thread": number, "n": n})
                    assert db.get_document("a", document_id)["n"] == n
                assert db.query("a").filter(field("thread") == number).count() == 20
            except BaseException as exc:
                errors.append(exc)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert db.query("a").count() == 160
