"""A transaction as data: what it sees, what it notes as read, and what conflicts."""

from __future__ import annotations

import pytest
from transacting import LocalDatabase, change, found, insertion, query, read

from aurora_actors.errors import (
    AuroraError,
    CollectionExistsError,
    CollectionNotFoundError,
    ConflictError,
    LimitExceededError,
    NotFoundError,
    UniqueViolationError,
    ValidationError,
)
from aurora_actors.messages.query import OrderKey, ResultMode
from aurora_actors.messages.storage import (
    Committed,
    DefineCollection,
    DeleteDocument,
    DropCollection,
    InsertDocuments,
    PointRead,
    RangeRead,
    ReplaceDocument,
    UpdateDocument,
    UpsertDocument,
)
from aurora_actors.query.filters import field
from aurora_actors.query.transaction import explain_conflict, validated_at
from aurora_actors.schema.patch import Increment, encode_patch
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    encode_definition,
)
from aurora_actors.schema.values import encode_document


@pytest.fixture
def base(tmp_path):
    database = LocalDatabase(tmp_path / "a.db")
    database.define("a")
    database.one(
        insertion(
            "a",
            {
                "x": {"v": 1, "u": "ux"},
                "y": {"v": 2, "u": "uy"},
                "z": {"v": 3},
            },
        )
    )
    yield database
    database.close()


@pytest.fixture
def view(base):
    it = base.begin()
    yield it
    it.close()


def update(document_id, collection="a", **changes):
    return UpdateDocument(
        collection=collection, id=document_id, patch=encode_patch(changes)
    )


def delete(document_id):
    return DeleteDocument(collection="a", id=document_id)


# ------------------------------------------------------------------ what it sees
def test_own_writes_are_seen_by_id_by_unique_value_and_by_query(view):
    view.apply(insertion("a", {"n": {"v": 9, "u": "un"}}))
    view.apply(update("x", v=10, u="new"))
    view.apply(delete("y"))
    assert read(view, "a", "n") == {"v": 9, "u": "un"}
    assert read(view, "a", "y") is None
    assert found(view, query("a", field("u") == "new")) == {"x": {"v": 10, "u": "new"}}
    assert found(view, query("a", field("u") == "ux")) == {}
    assert found(view, query("a", field("u") == "un")) == {"n": {"v": 9, "u": "un"}}
    assert list(found(view, query("a"))) == ["x", "z", "n"]
    assert list(found(view, query("a", field("v") > 5))) == ["x", "n"]


def test_queries_order_and_cut_over_own_writes(view):
    view.apply(insertion("a", {"n": {"v": 0}}))
    view.apply(update("z", v=-1))
    spec = query("a", order=[OrderKey("v", True)], limit=3)
    assert list(found(view, spec)) == ["z", "n", "x"]
    assert list(found(view, query("a", offset=1, limit=2))) == ["y", "z"]
    counted = view.run(query("a", mode=ResultMode.COUNT))
    assert list(counted.steps()) == []
    assert counted.count == 4


def test_an_inserted_document_can_be_changed_and_removed_again(view):
    view.apply(insertion("a", {"n": {"v": 9, "u": "un"}}))
    view.apply(update("n", v=Increment(1)))
    assert read(view, "a", "n") == {"v": 10, "u": "un"}
    view.apply(delete("n"))
    assert read(view, "a", "n") is None
    view.apply(insertion("a", {"m": {"v": 1, "u": "un"}}))
    assert list(found(view, query("a"))) == ["x", "y", "z", "m"]


def test_nothing_is_seen_by_others_before_the_commit(base, view):
    view.apply(update("x", v=10))
    assert base.documents("a")["x"]["v"] == 1
    assert isinstance(base.commit(view), Committed)
    assert base.documents("a")["x"]["v"] == 10


def test_what_others_commit_is_not_seen(base, view):
    base.one(update("x", v=10))
    base.one(insertion("a", {"n": {}}))
    assert read(view, "a", "x") == {"v": 1, "u": "ux"}
    assert len(found(view, query("a"))) == 3


def test_a_query_under_way_does_not_see_later_writes(view):
    view.apply(update("x", v=5))
    steps = view.run(query("a", order=[OrderKey("v", True)])).steps()
    view.apply(delete("x"))
    view.apply(delete("y"))
    records = [record for part in steps for record in part]
    assert len(records) == 3


def test_a_document_written_in_the_transaction_has_no_lsn_yet(view):
    view.apply(update("x", v=5))
    changed, untouched = view.get("a", "x"), view.get("a", "y")
    assert bytes(changed[:8]) == bytes(8)
    assert int.from_bytes(untouched[:8], "big") > 0


# ------------------------------------------------------------------ refusals
@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (insertion("a", {"x": {}}), UniqueViolationError),
        (insertion("a", {"n": {"u": "ux"}}), UniqueViolationError),
        (insertion("a", {"n": {"v": "text"}}), ValidationError),
        (update("nobody", v=1), NotFoundError),
        (update("x", u="uy"), UniqueViolationError),
        (update("x", v="text"), ValidationError),
        (insertion("none", {"n": {}}), CollectionNotFoundError),
    ],
)
def test_a_refused_write_changes_nothing(view, request_, error):
    view.apply(update("z", v=7))
    before = found(view, query("a"))
    with pytest.raises(error):
        view.apply(request_)
    assert found(view, query("a")) == before
    assert len(view.commit().operations) == 1


def test_a_value_given_up_in_the_transaction_is_free_in_it(base, view):
    view.apply(update("x", u="other"))
    view.apply(insertion("a", {"n": {"u": "ux"}}))
    base.commit(view)
    assert base.documents("a")["n"] == {"u": "ux"}


def test_a_transaction_has_a_largest_size(tmp_path):
    base = LocalDatabase(tmp_path / "small.db", max_transaction_bytes=1000)
    base.define("a")
    view = base.begin()
    view.apply(insertion("a", {"n": {"u": "x" * 600}}))
    with pytest.raises(LimitExceededError, match="max_transaction_bytes is 1,000"):
        view.apply(insertion("a", {"m": {"u": "y" * 600}}))
    for number in range(10):
        view.get("a", f"{number}")
    with pytest.raises(LimitExceededError):
        view.get("a", "x" * 250)
    view.close()
    base.close()


# ------------------------------------------------------------------ savepoints
def test_a_rollback_undoes_writes_and_frees_what_they_took(base, view):
    view.apply(update("x", v=10))
    mark = view.savepoint()
    view.apply(insertion("a", {"n": {"u": "un"}}))
    view.apply(update("x", v=11, u="ux2"))
    view.apply(delete("y"))
    view.rollback(mark)
    assert found(view, query("a")) == {
        "x": {"v": 10, "u": "ux"},
        "y": {"v": 2, "u": "uy"},
        "z": {"v": 3},
    }
    view.apply(insertion("a", {"m": {"u": "un"}}))
    base.commit(view)
    assert list(base.documents("a")) == ["x", "y", "z", "m"]


def test_savepoints_nest(view):
    outer = view.savepoint()
    view.apply(update("x", v=10))
    inner = view.savepoint()
    view.apply(update("x", v=11))
    view.rollback(inner)
    assert read(view, "a", "x")["v"] == 10
    view.rollback(outer)
    assert read(view, "a", "x")["v"] == 1
    assert not view.has_written


# ------------------------------------------------------------------ what conflicts
def conflicts(base, view, *others):
    for other in others:
        base.one(other)
    with pytest.raises(ConflictError) as caught:
        base.commit(view)
    return caught.value


def test_a_document_that_was_read_and_changed_since_conflicts(base, view):
    value = read(view, "a", "x")["v"]
    view.apply(update("x", v=value + 1))
    error = conflicts(base, view, update("x", v=100))
    assert (error.context["collection"], error.context["id"]) == ("a", "x")
    assert error.retryable
    assert "'x' of a, which the transaction has read, has changed" in str(error)
    assert base.documents("a")["x"]["v"] == 100


def test_a_document_that_was_read_and_removed_since_conflicts(base, view):
    read(view, "a", "x")
    view.apply(update("y", v=9))
    assert "was removed" in str(conflicts(base, view, delete("x")))


def test_a_document_that_was_found_missing_and_inserted_since_conflicts(base, view):
    assert read(view, "a", "n") is None
    view.apply(update("y", v=9))
    error = conflicts(base, view, insertion("a", {"n": {}}))
    assert "was inserted" in str(error)


def test_a_phantom_conflicts_and_the_error_names_the_filter(base, view):
    assert len(found(view, query("a", field("v") > 1))) == 2
    view.apply(update("x", v=0))
    request = view.commit()
    error = conflicts(base, view, insertion("a", {"n": {"v": 5}}))
    assert error.context["id"] == "n"
    told = explain_conflict(error, request)
    assert told.context["filter"] == "v > 1"
    assert str(told).endswith("its filter is v > 1")


@pytest.mark.parametrize(
    "other",
    [
        update("z", v=0),
        update("z", v=30),
        update("x", v=30),
        delete("z"),
        insertion("a", {"n": {"v": 3}}),
    ],
)
def test_whatever_a_query_would_notice_conflicts(base, view, other):
    found(view, query("a", field("v") >= 3))
    view.apply(insertion("a", {"mine": {}}))
    conflicts(base, view, other)


@pytest.mark.parametrize(
    "others",
    [
        [update("x", v=0)],
        [insertion("a", {"n": {"v": 1}})],
        [delete("x")],
        [insertion("a", {"n": {"v": 7}}), delete("n")],
        [update("x", v=7), update("x", v=1)],
    ],
)
def test_whatever_a_query_would_not_notice_does_not_conflict(base, view, others):
    found(view, query("a", field("v") >= 3))
    view.apply(insertion("a", {"mine": {}}))
    for other in others:
        base.one(other)
    base.commit(view)
    assert "mine" in base.documents("a")


def test_writing_alone_is_no_reading(base, view):
    view.apply(update("x", v=Increment(1)))
    view.apply(UpsertDocument(collection="a", id="y", patch=encode_patch({"v": 7})))
    replacement = encode_document({"v": 8})
    view.apply(ReplaceDocument(collection="a", id="z", document=replacement))
    for name in "xyz":
        base.one(update(name, v=100))
    base.commit(view)
    values = {name: doc["v"] for name, doc in base.documents("a").items()}
    assert values == {"x": 101, "y": 7, "z": 8}


@pytest.mark.parametrize(
    "look",
    [
        lambda view: read(view, "a", "x"),
        lambda view: found(view, query("a", field("v") == -1)),
        lambda view: found(view, query("a", field("u") == "nobody")),
        lambda view: found(view, query("a", field("id") == "x")),
    ],
)
def test_seeing_what_a_blind_change_has_made_is_reading_it(base, view, look):
    view.apply(update("x", v=Increment(1)))
    look(view)
    conflicts(base, view, update("x", v=100))


def test_the_answer_of_a_delete_is_a_reading(base, view):
    view.apply(delete("x"))
    conflicts(base, view, delete("x"))


@pytest.mark.parametrize(
    ("refused", "other"),
    [
        (insertion("a", {"x": {}}), delete("x")),
        (insertion("a", {"n": {"u": "ux"}}), update("x", u="free")),
        (update("nobody", v=1), insertion("a", {"nobody": {}})),
        (insertion("none", {"n": {}}), None),
    ],
)
def test_a_refusal_that_was_seen_is_a_reading(base, view, refused, other):
    with pytest.raises(AuroraError):
        view.apply(refused)
    view.apply(update("z", v=9))
    if other is None:
        base.define("none")
        with pytest.raises(ConflictError, match="none was created"):
            base.commit(view)
    else:
        conflicts(base, view, other)


def test_a_value_that_is_taken_since_is_refused_as_taken(base, view):
    view.apply(insertion("a", {"n": {"u": "wanted"}}))
    base.one(insertion("a", {"m": {"u": "wanted"}}))
    with pytest.raises(UniqueViolationError) as caught:
        base.commit(view)
    assert (caught.value.field, caught.value.value) == ("u", "wanted")
    assert caught.value.context["operation"] == 0


def test_a_collection_that_was_removed_or_made_anew_conflicts(base, view):
    found(view, query("a"))
    view.apply(update("x", v=1000))
    base.one(DropCollection(collection="a"))
    with pytest.raises(ConflictError, match="a was removed"):
        base.one(view.commit())
    base.define("a")
    with pytest.raises(ConflictError, match="a was created"):
        base.one(view.commit())


def test_a_history_that_is_gone_conflicts(tmp_path):
    base = LocalDatabase(tmp_path / "short.db", change_retention=10)
    base.define("a")
    base.one(insertion("a", {"x": {"v": 1}}))
    view = base.begin()
    found(view, query("a", field("v") == 100))
    view.apply(update("x", v=2))
    for number in range(20):
        base.one(insertion("a", {f"n{number}-{k}": {"v": 5} for k in range(100)}))
        base.engine.checkpoint()
    with pytest.raises(ConflictError, match="changes are kept from") as caught:
        base.commit(view)
    assert caught.value.context["first"] > 1
    base.close()


# ------------------------------------------------------------------ what is noted
def test_reads_by_id_are_points_however_they_are_asked_for(view):
    read(view, "a", "x")
    found(view, query("a", (field("id") == "y") & (field("v") > 1)))
    found(view, query("a", field("id").in_(["z", "nobody"])))
    view.apply(update("x", v=0))
    request = view.commit()
    assert [(point.id, bool(point.lsn)) for point in request.points] == [
        ("x", True),
        ("y", True),
        ("z", True),
        ("nobody", False),
    ]
    assert request.ranges == []


def test_equal_queries_are_noted_once(view):
    for _ in range(3):
        found(view, query("a", field("v") > 1))
    view.apply(update("x", v=0))
    assert len(view.commit().ranges) == 1


def test_neighbouring_inserts_travel_as_one(view):
    for number in range(5):
        view.apply(insertion("a", {f"n{number}": {"v": number}}))
    view.apply(delete("n3"))
    view.apply(insertion("a", {"m": {}}))
    operations = view.commit().operations
    assert [type(each) for each in operations] == [
        InsertDocuments,
        DeleteDocument,
        InsertDocuments,
    ]
    assert len(view.commit().operations[0].ids) == 5


def test_own_documents_are_not_noted(base, view):
    view.apply(insertion("a", {"n": {"v": 1}}))
    read(view, "a", "n")
    assert view.commit().points == []


# ------------------------------------------------------------------ statements
def test_a_statement_changes_what_it_finds_and_only_that(base, view):
    view.apply(insertion("a", {"n": {"v": 5}}))
    spec = query("a", field("v") >= 3)
    assert change(view, spec, encode_patch({"v": Increment(10)})) == 2
    assert change(view, query("a", field("v") == 2), None) == 1
    base.commit(view)
    values = {name: doc["v"] for name, doc in base.documents("a").items()}
    assert values == {"x": 1, "z": 13, "n": 15}


def test_a_statement_takes_order_and_limit(view):
    spec = query("a", order=[OrderKey("v", False)], limit=2)
    assert change(view, spec, None) == 2
    assert list(found(view, query("a"))) == ["x"]


def test_a_statement_that_fails_in_the_middle_changes_nothing(view):
    before = found(view, query("a"))
    with pytest.raises(UniqueViolationError):
        change(view, query("a"), encode_patch({"u": "the same"}))
    assert found(view, query("a")) == before
    assert not view.has_written


def test_a_statement_conflicts_with_a_document_that_would_match_now(base, view):
    change(view, query("a", field("v") > 2), encode_patch({"v": 0}))
    conflicts(base, view, insertion("a", {"n": {"v": 5}}))


# ------------------------------------------------------------------ collections
def definition(name):
    fields = {"v": FieldDefinition(FieldType.INT)}
    return DefineCollection(
        definition=encode_definition(CollectionDefinition(name, fields, False))
    )


def test_collections_can_be_made_filled_and_removed(base, view):
    view.apply(definition("b"))
    view.apply(insertion("b", {"n": {"v": 1}}))
    assert found(view, query("b", field("v") == 1)) == {"n": {"v": 1}}
    view.apply(DropCollection(collection="a"))
    with pytest.raises(CollectionNotFoundError):
        view.run(query("a"))
    assert [info.name for info in view.overlay.collections()] == ["b"]
    view.apply(definition("b"))
    base.commit(view)
    assert base.documents("b") == {"n": {"v": 1}}
    with pytest.raises(CollectionNotFoundError):
        base.documents("a")


def test_a_rollback_brings_a_removed_collection_back(view):
    mark = view.savepoint()
    view.apply(DropCollection(collection="a"))
    view.apply(definition("a"))
    assert found(view, query("a")) == {}
    view.rollback(mark)
    assert len(found(view, query("a"))) == 3


def test_that_a_collection_exists_is_a_reading(base, view):
    with pytest.raises(CollectionExistsError):
        view.apply(definition("a"))
    base.define("b")
    view.apply(update("x", v=9))
    base.one(DropCollection(collection="a"))
    with pytest.raises(ConflictError, match="a was removed"):
        base.commit(view)


# ------------------------------------------------------------------ looking ahead
def finished(steps):
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return end.value


def test_what_holds_at_a_later_state_is_compared_from_there_on(base, view):
    found(view, query("a", field("v") > 100))
    read(view, "a", "x")
    view.apply(update("x", v=0))
    for number in range(50):
        base.one(insertion("a", {f"n{number}": {"v": number}}))
    with base.reader.snapshot() as later:
        request = finished(validated_at(view.commit(), later))
        assert request.snapshot_lsn == later.lsn > view.snapshot_lsn
    base.one(insertion("a", {"m": {"v": 50}}))
    assert isinstance(base.one(request), Committed)


@pytest.mark.parametrize("other", [insertion("a", {"n": {"v": 101}}), update("x", v=5)])
def test_a_conflict_is_found_before_the_commit_is_sent(base, view, other):
    found(view, query("a", field("v") > 100))
    read(view, "a", "x")
    base.one(other)
    with base.reader.snapshot() as later, pytest.raises(ConflictError):
        finished(validated_at(view.commit(), later))


def test_points_and_ranges_have_a_wire_form(view):
    read(view, "a", "x")
    found(view, query("a"))
    request = view.commit()
    assert request.points[0] == PointRead("a", "x", request.points[0].lsn)
    assert request.ranges == [RangeRead("a", b"")]
