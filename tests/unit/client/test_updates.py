"""What a watcher gets: documents are decoded once, and only when they are looked at."""

from __future__ import annotations

import pytest

from aurora_actors.client.batch import Batch, updates_of
from aurora_actors.client.document import Document, document_of
from aurora_actors.client.updates import Added, Modified, Removed, Update
from aurora_actors.errors import CorruptionError, ValidationError
from aurora_actors.messages.reactive import ChunkMode, LiveChunk, LiveEvent, LiveKind
from aurora_actors.schema.record import pack_record
from aurora_actors.schema.values import encode_document


def record(number: int) -> bytes:
    """A document's record."""
    return pack_record(number, f"id-{number}", encode_document({"n": number}))


def chunk(*events: LiveEvent) -> LiveChunk:
    """Events that come together."""
    return LiveChunk(
        number=0,
        mode=ChunkMode.EXACT,
        base=0,
        lsn=9,
        timeline=1,
        events=list(events),
        live=True,
    )


def plain(*events: LiveEvent) -> list[Update]:
    """What somebody gets who asked for plain documents."""
    return Batch(chunk(*events), updates_of(document_of), 1).items()


def test_a_document_is_decoded_once_for_all_who_look() -> None:
    added, modified, removed = plain(
        LiveEvent(LiveKind.ADDED, 1, 1, None, record(1)),
        LiveEvent(LiveKind.MODIFIED, 2, 1, record(1), record(2)),
        LiveEvent(LiveKind.REMOVED, 3, 1, record(2)),
    )
    assert isinstance(added, Added)
    assert isinstance(modified, Modified)
    assert isinstance(removed, Removed)
    assert added.document == Document("id-1", {"n": 1}, 1)
    assert added.document is added.document
    assert (modified.old["n"], modified.new["n"]) == (1, 2)
    assert modified.old is modified.old
    assert modified.new is modified.new
    assert removed.document["n"] == 2
    assert repr(modified) == f"Modified({modified.old!r}, {modified.new!r}, lsn=2)"


def test_a_damaged_document_is_an_error_where_it_is_looked_at() -> None:
    damaged = record(1)[:-1] + b"\xc1"
    added, after = plain(
        LiveEvent(LiveKind.ADDED, 1, 1, None, damaged),
        LiveEvent(LiveKind.ADDED, 2, 2, None, record(2)),
    )
    assert isinstance(added, Added)
    assert isinstance(after, Added)
    assert after.document["n"] == 2
    with pytest.raises(CorruptionError):
        _ = added.document


@pytest.mark.parametrize(
    "event",
    [
        LiveEvent(LiveKind.ADDED, 1, 1, None, record(1)),
        LiveEvent(LiveKind.MODIFIED, 1, 1, record(1), record(2)),
        LiveEvent(LiveKind.REMOVED, 1, 1, record(1)),
    ],
)
def test_what_does_not_fit_a_model_is_an_error_where_the_consumer_waits(
    event: LiveEvent,
) -> None:
    def convert(data: bytes) -> int:
        if document_of(data)["n"] == 1:
            raise ValidationError("no such model", path="n")
        return 0

    with pytest.raises(ValidationError, match="no such model"):
        Batch(chunk(event), updates_of(convert), 1).items()
