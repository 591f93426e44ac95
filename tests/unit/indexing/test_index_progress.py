"""What is told of an index while it is being filled."""

from __future__ import annotations

from pathlib import Path

from unit.query.library import Library

from aurora_actors.client.lookup import Lookup
from aurora_actors.indexing.builder import IndexBuilder
from aurora_actors.indexing.reader import IndexReader
from aurora_actors.indexing.store import Limits, Settings
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    FieldType,
)

FIELDS = {"n": FieldDefinition(FieldType.INT, indexed=True)}


def test_an_index_that_is_being_filled_tells_how_far_it_is(tmp_path: Path):
    library = Library(tmp_path)
    library.define(CollectionDefinition("things", FIELDS))
    library.insert("things", {f"k{n:03}": {"n": n} for n in range(250)})
    settings = Settings(limits=Limits(documents=100))
    try:
        with library.snapshot() as snapshot:
            collection = snapshot.collection("things").id
            with (
                IndexBuilder.open(tmp_path, snapshot, settings) as builder,
                IndexReader.open(tmp_path) as index,
            ):
                lookup = Lookup(library.reader, index)
                seen = []
                while builder.step(snapshot):
                    seen.append(lookup.index_states(collection)["n",])
                assert [entries for *_, entries in seen][:3] == [100, 200, 250]
                assert [is_ready for is_ready, *_ in seen[:2]] == [False, False]
                assert lookup.index_states(collection)["n",] == (True, True, 250)
    finally:
        library.close()
