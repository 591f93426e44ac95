"""Random transactions, interleaved, against a model that runs them one by one.

Each transaction notes what every step has told it. Whatever has committed is run again
on a plain dictionary, in the order of the commits' LSNs, and must be told the same;
what has only read must be told the same at the LSN of its snapshot.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from transacting import Documents, LocalDatabase, change, found, insertion, query, read

from aurora_actors.errors import (
    ConflictError,
    NotFoundError,
    UniqueViolationError,
)
from aurora_actors.messages.base import Failure
from aurora_actors.messages.query import OrderKey
from aurora_actors.messages.storage import (
    Committed,
    DeleteDocument,
    ReplaceDocument,
    UpdateDocument,
    UpsertDocument,
    Written,
)
from aurora_actors.query.filters import field
from aurora_actors.query.transaction import TransactionView, validated_at
from aurora_actors.schema.patch import Increment, encode_patch
from aurora_actors.schema.values import encode_document

COLLECTION = "things"
IDS = ["a", "b", "c"]
START: Documents = {"a": {"v": 1, "u": "a"}, "b": {"v": 2}}

ids = st.sampled_from(IDS)
values = st.integers(0, 4)
texts = st.sampled_from(["a", "b", "c"])

ACTIONS = st.one_of(
    st.tuples(st.just("get"), ids),
    st.tuples(st.just("insert"), ids, values, st.none() | texts),
    st.tuples(st.just("set"), ids, values),
    st.tuples(st.just("name"), ids, texts),
    st.tuples(st.just("add"), ids),
    st.tuples(st.just("replace"), ids, values),
    st.tuples(st.just("upsert"), ids, values),
    st.tuples(st.just("delete"), ids),
    st.tuples(st.just("above"), values),
    st.tuples(st.just("named"), texts),
    st.tuples(st.just("first")),
    st.tuples(st.just("count")),
    st.tuples(st.just("add_above"), values),
    st.tuples(st.just("delete_above"), values),
    st.tuples(st.just("savepoint")),
    st.tuples(st.just("undo")),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("do"), st.integers(0, 2), ACTIONS),
        st.tuples(st.just("do"), st.integers(0, 2), ACTIONS),
        st.tuples(st.just("do"), st.integers(0, 2), ACTIONS),
        st.tuples(st.just("commit"), st.integers(0, 2), st.booleans()),
        st.tuples(st.just("commit_all"), st.just(0), st.booleans()),
    ),
    min_size=8,
    max_size=40,
)


class Model:
    """What a transaction does, on a dictionary."""

    def __init__(self, documents) -> None:
        self.documents = documents
        self.marks = [copy.deepcopy(documents)]

    def run(self, action):
        name, *arguments = action
        before = copy.deepcopy(self.documents)
        try:
            return getattr(self, name)(*arguments)
        except (NotFoundError, UniqueViolationError) as exc:
            self.documents.clear()
            self.documents.update(before)
            return type(exc).__name__

    def _need(self, document_id):
        if document_id not in self.documents:
            raise NotFoundError("")
        return self.documents[document_id]

    def _above(self, value):
        return [key for key, doc in self.documents.items() if doc["v"] > value]

    def get(self, document_id):
        return copy.deepcopy(self.documents.get(document_id))

    def insert(self, document_id, v, u):
        if document_id in self.documents:
            raise UniqueViolationError("")
        self.documents[document_id] = {"v": v}
        if u is not None:
            self.name(document_id, u)

    def set(self, document_id, v):
        self._need(document_id)["v"] = v

    def name(self, document_id, u):
        self._need(document_id)
        for key, doc in self.documents.items():
            if key != document_id and doc.get("u") == u:
                raise UniqueViolationError("")
        self.documents[document_id]["u"] = u

    def add(self, document_id):
        self._need(document_id)["v"] += 1

    def replace(self, document_id, v):
        self._need(document_id)
        self.documents[document_id] = {"v": v}

    def upsert(self, document_id, v):
        self.documents.setdefault(document_id, {})["v"] = v

    def delete(self, document_id):
        return self.documents.pop(document_id, None) is not None

    def above(self, value):
        return {key: copy.deepcopy(self.documents[key]) for key in self._above(value)}

    def named(self, u):
        return [key for key, doc in self.documents.items() if doc.get("u") == u]

    def first(self):
        ordered = sorted(self.documents.items(), key=lambda kv: (-kv[1]["v"], kv[0]))
        return [key for key, _ in ordered[:2]]

    def count(self):
        return len(self.documents)

    def add_above(self, value):
        matching = self._above(value)
        for key in matching:
            self.documents[key]["v"] += 1
        return len(matching)

    def delete_above(self, value):
        matching = self._above(value)
        for key in matching:
            del self.documents[key]
        return len(matching)

    def savepoint(self):
        self.marks.append(copy.deepcopy(self.documents))

    def undo(self):
        saved = copy.deepcopy(self.marks[-1])
        self.documents.clear()
        self.documents.update(saved)


class Real:
    """The same, in a transaction."""

    def __init__(self, view: TransactionView, collection: str) -> None:
        self.view = view
        self.collection = collection
        self.marks = [view.savepoint()]
        self.told: list[tuple[tuple[object, ...], object]] = []
        self.begun_after = 0

    def run(self, action) -> None:
        name, *arguments = action
        try:
            result = getattr(self, name)(*arguments)
        except (NotFoundError, UniqueViolationError) as exc:
            result = type(exc).__name__
        self.told.append((action, result))

    def get(self, document_id):
        return read(self.view, self.collection, document_id)

    def insert(self, document_id, v, u):
        fields: dict[str, object] = {"v": v} if u is None else {"v": v, "u": u}
        self.view.apply(insertion(self.collection, {document_id: fields}))

    def _patch(self, kind, document_id, patch):
        request = kind(
            collection=self.collection, id=document_id, patch=encode_patch(patch)
        )
        self.view.apply(request)

    def set(self, document_id, v):
        self._patch(UpdateDocument, document_id, {"v": v})

    def name(self, document_id, u):
        self._patch(UpdateDocument, document_id, {"u": u})

    def add(self, document_id):
        self._patch(UpdateDocument, document_id, {"v": Increment(1)})

    def upsert(self, document_id, v):
        self._patch(UpsertDocument, document_id, {"v": v})

    def replace(self, document_id, v):
        document = encode_document({"v": v})
        self.view.apply(
            ReplaceDocument(
                collection=self.collection, id=document_id, document=document
            )
        )

    def delete(self, document_id):
        request = DeleteDocument(collection=self.collection, id=document_id)
        reply = self.view.apply(request)
        assert isinstance(reply, Written)
        return reply.affected > 0

    def _query(self, condition=None, **more):
        return found(self.view, query(self.collection, condition, **more))

    def above(self, value):
        return self._query(field("v") > value)

    def named(self, u):
        return list(self._query(field("u") == u))

    def first(self):
        return list(self._query(order=[OrderKey("v", False)], limit=2))

    def count(self):
        return len(self._query())

    def add_above(self, value):
        spec = query(self.collection, field("v") > value)
        return change(self.view, spec, encode_patch({"v": Increment(1)}))

    def delete_above(self, value):
        return change(self.view, query(self.collection, field("v") > value), None)

    def savepoint(self):
        self.marks.append(self.view.savepoint())

    def undo(self):
        self.view.rollback(self.marks[-1])


class History:
    """Runs steps on both, and compares."""

    def __init__(self, base: LocalDatabase, collection: str) -> None:
        self.base = base
        self.collection = collection
        self.model = copy.deepcopy(START)
        self.states = {base.engine.lsn: copy.deepcopy(START)}
        self.open: dict[int, Real] = {}
        self.commits = 0

    def do(self, slot: int, action) -> None:
        if slot not in self.open:
            real = Real(self.base.begin(), self.collection)
            real.begun_after = self.commits
            self.open[slot] = real
        self.open[slot].run(action)

    def commit(self, slot: int, looks_ahead: bool) -> None:
        self._commit([slot], looks_ahead)

    def commit_all(self, _slot: int, looks_ahead: bool) -> None:
        self._commit(sorted(self.open), looks_ahead)

    def _commit(self, slots: list[int], looks_ahead: bool) -> None:
        """Commit several transactions in one batch of storage."""
        taken = [self.open.pop(slot) for slot in slots if slot in self.open]
        writers, requests = [], []
        for real in taken:
            if not real.view.has_written:
                self._replay(real, self.states[real.view.snapshot_lsn])
                real.view.close()
                continue
            request = real.view.commit()
            real.view.close()
            if looks_ahead:
                try:
                    with self.base.reader.snapshot() as later:
                        request = self._finish(validated_at(request, later))
                except ConflictError:
                    assert self.commits > real.begun_after
                    continue
            writers.append(real)
            requests.append(request)
        for real, reply in zip(writers, self.base.ask(*requests), strict=True):
            self._settle(real, reply)
        self.states[self.base.engine.lsn] = copy.deepcopy(self.model)

    def _finish(self, steps):
        try:
            while True:
                next(steps)
        except StopIteration as end:
            return end.value

    def _settle(self, real: Real, reply: object) -> None:
        if isinstance(reply, Committed):
            self._replay(real, self.model)
            self.commits += 1
            return
        assert isinstance(reply, Failure)
        error = reply.error()
        expected = (ConflictError, NotFoundError, UniqueViolationError)
        assert isinstance(error, expected), error
        # Alone, a transaction always succeeds.
        assert self.commits > real.begun_after, error

    def _replay(self, real: Real, documents) -> None:
        model = Model(documents)
        for action, result in real.told:
            assert model.run(action) == result, (action, real.told)

    def end(self) -> None:
        for real in self.open.values():
            real.view.close()
        assert self.base.documents(self.collection) == self.model


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Iterator[LocalDatabase]:
    path: Path = tmp_path_factory.mktemp("serial") / "a.db"
    database = LocalDatabase(path)
    database.define(COLLECTION)
    yield database
    database.close()


def begun(base: LocalDatabase) -> History:
    """A history that begins with the same documents each time."""
    view = base.begin()
    change(view, query(COLLECTION), None)
    view.apply(insertion(COLLECTION, START))
    base.commit(view)
    return History(base, COLLECTION)


def run(base: LocalDatabase, steps) -> None:
    history = begun(base)
    try:
        for kind, slot, rest in steps:
            getattr(history, kind)(slot, rest)
    except BaseException:
        for real in history.open.values():
            real.view.close()
        raise
    history.end()


@given(steps=STEPS)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whatever_commits_could_have_run_alone_in_lsn_order(base, steps):
    run(base, steps)


@pytest.mark.slow
@given(steps=STEPS)
@settings(
    max_examples=20_000,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
    ],
)
def test_many_more_histories_are_serial(base, steps):
    run(base, steps)


def test_the_model_notices_a_write_skew_when_nothing_is_compared(base):
    """A check of the check: without validation the same histories are refused."""
    history = begun(base)
    history.do(0, ("count",))
    history.do(1, ("count",))
    history.do(0, ("delete", "a"))
    history.do(1, ("delete", "b"))
    for real in history.open.values():
        real.view._reads._ranges.clear()
    history.commit(0, False)
    with pytest.raises(AssertionError):
        history.commit(1, False)
