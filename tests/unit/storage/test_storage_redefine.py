"""Collections that get another name or further fields while their documents stay."""

from __future__ import annotations

from hypothesis import given, strategies as st

from aurora_actors.errors import ConflictError
from aurora_actors.messages.base import Failure
from aurora_actors.messages.storage import (
    Commit,
    Committed,
    DropCollection,
    RangeRead,
    RedefineCollection,
    Written,
)
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    encode_definition,
)
from aurora_actors.schema.validation import DocumentValidator
from aurora_actors.schema.values import encode_document
from aurora_actors.storage.findings import Findings
from aurora_actors.storage.redefinition import can_redefine
from aurora_actors.storage.verify import check_tables

OLD = CollectionDefinition("old", {"n": FieldDefinition(FieldType.INT, unique=True)})
NEW = CollectionDefinition(
    "new",
    {
        "n": FieldDefinition(FieldType.INT, unique=True, indexed=True),
        "text": FieldDefinition(FieldType.STRING),
    },
)


def redefine(name: str, definition: CollectionDefinition) -> RedefineCollection:
    return RedefineCollection(collection=name, definition=encode_definition(definition))


def test_a_redefined_collection_keeps_its_documents_across_crash_and_checkpoint(
    database,
):
    base = database.open()
    base.define(OLD)
    base.insert("old", a={"n": 1}, b={"n": 2})
    reply = base.one(redefine("old", NEW))
    assert isinstance(reply, Written)
    assert reply.lsn == base.engine.lsn
    for again in (False, True):
        assert base.documents("new") == {"a": {"n": 1}, "b": {"n": 2}}
        assert "no collection 'old'" in base.insert("old", c={"n": 3}).message
        if not again:
            base.crash()
    base.engine.checkpoint()
    base.crash()
    base.insert("new", c={"n": 3, "text": "x"})
    assert isinstance(base.insert("new", d={"n": 3}), Failure)
    assert len(base.documents("new")) == 3
    base.define(OLD)
    assert base.documents("old") == {}
    store, found = base.engine._store, Findings()
    with store.env.begin(buffers=True) as txn:
        check_tables(txn, store.tables, found)
    assert not found.kept


def test_a_filled_collection_takes_the_name_of_another_at_one_moment(database):
    base = database.open()
    base.define(OLD)
    base.insert("old", a={"n": 1})
    snapshot = base.engine.lsn
    shadow = CollectionDefinition("_sys_shadow", NEW.fields)
    base.define(shadow)
    base.insert("_sys_shadow", a={"n": 1, "text": "one"})
    swap = Commit(
        snapshot_lsn=snapshot,
        points=[],
        ranges=[RangeRead("old", b"")],
        operations=[
            DropCollection(collection="old"),
            redefine("_sys_shadow", CollectionDefinition("old", NEW.fields)),
        ],
    )
    base.insert("old", b={"n": 2})
    conflict = base.one(swap)
    assert isinstance(conflict, Failure)
    assert conflict.code == ConflictError.code
    assert base.documents("old") == {"a": {"n": 1}, "b": {"n": 2}}
    swap = Commit(
        snapshot_lsn=base.engine.lsn,
        points=[],
        ranges=[RangeRead("old", b"")],
        operations=swap.operations,
    )
    assert isinstance(base.one(swap), Committed)
    for _ in range(2):
        assert base.documents("old") == {"a": {"n": 1, "text": "one"}}
        base.crash()


def test_a_refused_redefinition_leaves_the_name(database):
    base = database.open()
    base.define(OLD)
    base.define(NEW)
    for definition, word in (
        (NEW, "exists"),
        (CollectionDefinition("x", {"m": FieldDefinition(FieldType.INT)}), "behind"),
        (CollectionDefinition("x", {"n": FieldDefinition(FieldType.INT)}), "change"),
    ):
        reply = base.one(redefine("old", definition))
        assert isinstance(reply, Failure)
        assert word in reply.message
    assert base.documents("old") == {}
    assert base.one(redefine("old", OLD)).lsn == 0


_FIELDS = st.dictionaries(
    st.sampled_from("abc"),
    st.builds(
        lambda kind, unique, nullable: FieldDefinition(
            kind, unique=unique, nullable=nullable
        ),
        st.sampled_from([FieldType.INT, FieldType.STRING]),
        st.booleans(),
        st.booleans(),
    ),
)
_DEFINITIONS = st.builds(
    lambda fields, is_open: CollectionDefinition("c", fields, is_open or not fields),
    _FIELDS,
    st.booleans(),
)
_DOCUMENTS = st.dictionaries(
    st.sampled_from("abc"), st.none() | st.integers(-5, 5) | st.sampled_from(["", "x"])
)


@given(_DEFINITIONS, _DEFINITIONS, _DOCUMENTS)
def test_what_fits_before_fits_after(before, after, document):
    if can_redefine(before, after):
        body = encode_document(document)
        try:
            DocumentValidator(before).check(body)
        except Exception:
            return
        DocumentValidator(after).check(body)


def test_a_further_index_needs_no_other_documents():
    more = CollectionDefinition(
        "old", {"n": FieldDefinition(FieldType.INT, unique=True, indexed=True)}
    )
    assert can_redefine(OLD, more)
    assert can_redefine(more, OLD)
