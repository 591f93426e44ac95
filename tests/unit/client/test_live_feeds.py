"""The client's side of live queries, without a dispatcher."""

from __future__ import annotations

import gc
import weakref

import pytest

from aurora_actors.client.batch import changes_of, updates_of
from aurora_actors.client.document import document_of
from aurora_actors.client.feeds import DISPATCHER, Reader
from aurora_actors.client.protocol import ClientProtocol
from aurora_actors.client.updates import (
    Added,
    Heartbeat,
    HistoryLost,
    InitialComplete,
)
from aurora_actors.errors import LaggedError, TimeoutError_, TreeDownError
from aurora_actors.messages.base import (
    Failure,
    Letter,
    decode_envelope,
    encode_envelope,
)
from aurora_actors.messages.query import QuerySpec
from aurora_actors.messages.reactive import (
    ChunkMode,
    GrantEvents,
    Listen,
    LiveChunk,
    LiveEvent,
    LiveKind,
    LiveProgress,
    Subscribed,
    Unsubscribe,
    Watch,
    decode_reactive_request,
)
from aurora_actors.schema.record import pack_record
from aurora_actors.schema.values import encode_document

SPEC = QuerySpec(collection="c")


class Wire:
    """A client's protocol, and a hand that plays the dispatcher."""

    def __init__(self) -> None:
        self.core = ClientProtocol("c-1", {DISPATCHER: 1})
        self.live = self.core.live

    def sent(self):
        found = []
        for destination, data in self.core.outgoing():
            assert destination == DISPATCHER
            for letter in decode_envelope(data).letters:
                body = decode_reactive_request(letter.body)
                found.append((letter.request_id, body))
        return found

    def say(self, number, message):
        data = encode_envelope(DISPATCHER, 0, [Letter(number, message)])
        self.core.on_mail(data)

    def watch(self, **options):
        request = Watch(query=SPEC, credit=8)
        reader = Reader(
            request,
            updates_of(document_of),
            "key",
            raises_on_lag=options.pop("raises", False),
            **options,
        )
        return self.open(reader)

    def listen(self, *, raises):
        reader = Reader(Listen(credit=8), changes_of, "all", raises_on_lag=raises)
        return self.open(reader)

    def open(self, reader):
        call = self.core.submit(DISPATCHER, reader.request)
        self.live.open(reader, call)
        self.sent()
        self.say(call.number, Subscribed(lsn=5, timeline=1))
        self.core.take_news()
        return reader, call.number

    def initial(self, number, *rows, chunk=0):
        self.say(number, chunk_of(chunk, 0, 5, rows, ChunkMode.INITIAL_END))

    def live_at(self, number, lsn, *, chunk=1):
        self.say(number, chunk_of(chunk, 5, lsn, (), live=True))


def event(row, lsn=None):
    lsn = row if lsn is None else lsn
    record = pack_record(lsn, f"d{row}", encode_document({"row": row}))
    return LiveEvent(LiveKind.ADDED, lsn, row, None, record)


def chunk_of(number, base, lsn, rows, mode=ChunkMode.EXACT, **options):
    events = [event(row) for row in rows]
    return LiveChunk(
        number=number,
        mode=mode,
        base=base,
        lsn=lsn,
        timeline=1,
        events=events,
        **options,
    )


def rows_of(updates):
    return [update.row for update in updates or () if isinstance(update, Added)]


def shared_pair():
    """Two readers of one feed that is at the present, at LSN 5."""
    wire = Wire()
    first, one = wire.watch()
    wire.initial(one)
    wire.live_at(one, 5)
    second, two = wire.watch()
    wire.initial(two, 1)
    wire.live_at(two, 5)
    for reader in (first, second):
        while wire.live.take(reader) is not None:
            pass
    return wire, first, second, one, two


def test_readers_that_ask_the_same_share_a_feed_once_at_the_present():
    wire, first, second, one, two = shared_pair()
    assert first.feed is second.feed
    assert (0, Unsubscribe(subscription=two)) in wire.sent()
    assert len(wire.live) == 1
    wire.say(one, chunk_of(2, 5, 7, (6, 7), live=True))
    assert set(wire.core.take_news()) >= {first, second}
    found = [wire.live.take(reader) for reader in (first, second)]
    assert found[0] is found[1]
    assert rows_of(found[0]) == [6, 7]
    assert [update.token for update in found[0]] == ["1.6", "1.7"]


def test_a_reader_that_moves_sees_nothing_twice_and_misses_nothing():
    wire = Wire()
    _first, one = wire.watch()
    wire.initial(one)
    wire.live_at(one, 5)
    second, two = wire.watch()
    wire.say(one, chunk_of(2, 5, 6, (6,), live=True))
    # The second one's own first result is as of 6; the shared feed goes on behind 5.
    wire.say(two, chunk_of(0, 0, 6, (1, 6), ChunkMode.INITIAL_END))
    wire.say(two, chunk_of(1, 6, 6, (), live=True))
    wire.say(one, chunk_of(3, 6, 8, (7, 8), live=True))
    rows = []
    while (items := wire.live.take(second)) is not None:
        rows += rows_of(items)
    assert rows == [1, 6, 7, 8]


def test_a_batch_that_straddles_is_read_from_the_right_place():
    wire, first, second, one, _ = shared_pair()
    second.behind = 7
    wire.say(one, chunk_of(2, 5, 9, (6, 7, 8, 9), live=True))
    assert rows_of(wire.live.take(first)) == [6, 7, 8, 9]
    found = wire.live.take(second)
    assert rows_of(found) == [8, 9]
    assert found[0].token == "1.8"
    second.behind = 11
    wire.sent()
    wire.say(one, chunk_of(3, 9, 12, (10, 12), ChunkMode.COALESCED, live=True))
    # It cannot tell what of this it knows: it asks for its own difference.
    assert wire.live.take(second) is None
    ((_, request),) = [item for item in wire.sent() if isinstance(item[1], Watch)]
    assert request.since == "1.9"
    assert request.coalesces


def test_a_reader_that_sleeps_is_cut_off_and_resumes_where_it_was():
    wire, first, second, one, _ = shared_pair()
    wire.sent()
    lsn = 5
    for number in range(2, 90):
        rows = range(lsn + 1, lsn + 101)
        wire.say(one, chunk_of(number, lsn, lsn + 100, rows, live=True))
        lsn += 100
        while wire.live.take(first) is not None:
            pass
    assert second.lagged
    assert second not in wire.live._feeds[one].readers
    assert wire.live._feeds[one]._events == 0
    grants = sum(
        body.chunks for _, body in wire.sent() if isinstance(body, GrantEvents)
    )
    assert grants > 80
    assert second.has_news
    assert wire.live.take(second) is None
    ((number, request),) = wire.sent()
    assert (request.since, request.coalesces) == ("1.5", True)
    wire.say(number, Subscribed(lsn=5, timeline=1))
    wire.say(number, chunk_of(0, 5, lsn, (6,), ChunkMode.COALESCED, live=True))
    assert rows_of(wire.live.take(second)) == [6]
    assert second.feed is first.feed


def test_a_feed_nobody_keeps_up_with_ends_until_somebody_reads():
    wire = Wire()
    reader, number = wire.watch()
    wire.initial(number)
    wire.live_at(number, 5)
    wire.sent()
    for chunk in range(2, 60):
        base = chunk * 100
        rows = range(base, base + 100)
        wire.say(number, chunk_of(chunk, base - 1, base + 99, rows, live=True))
    assert len(wire.live) == 0
    assert not reader.own
    assert (0, Unsubscribe(subscription=number)) in wire.sent()
    assert wire.live.take(reader) is None
    # Not even the first result had been read.
    ((_, request),) = wire.sent()
    assert request.since is None
    assert request.include_initial


def test_who_wants_to_know_is_told_of_falling_behind():
    wire = Wire()
    reader, number = wire.watch(raises=True)
    wire.initial(number)
    wire.live_at(number, 5)
    assert isinstance(wire.live.take(reader)[-1], InitialComplete)
    for chunk in range(2, 60):
        base = chunk * 100
        rows = range(base, base + 100)
        wire.say(number, chunk_of(chunk, base - 1, base + 99, rows, live=True))
    with pytest.raises(LaggedError) as caught:
        wire.live.take(reader)
    assert caught.value.context["token"] == "1.5"
    with pytest.raises(LaggedError):
        wire.live.take(reader)


def test_credit_is_given_back_as_the_first_result_is_read():
    wire = Wire()
    reader, number = wire.watch()
    for chunk in range(4):
        wire.say(number, chunk_of(chunk, 0, 5, (chunk + 1,), ChunkMode.INITIAL))
    assert wire.sent() == []
    for _ in range(4):
        wire.live.take(reader)
    assert wire.sent() == [(0, GrantEvents(subscription=number, chunks=4))]


def test_a_lost_chunk_is_noticed_and_asked_for_again():
    wire = Wire()
    reader, number = wire.watch()
    wire.initial(number)
    wire.live_at(number, 5)
    wire.sent()
    wire.say(number, chunk_of(3, 6, 7, (7,), live=True))
    (first, unsubscribe), (again, request) = wire.sent()
    assert (first, unsubscribe) == (0, Unsubscribe(subscription=number))
    assert request.since == "1.5"
    wire.say(number, chunk_of(4, 7, 8, (8,), live=True))
    wire.say(again, chunk_of(0, 5, 8, (6, 7, 8), live=True))
    rows = []
    while (items := wire.live.take(reader)) is not None:
        rows += rows_of(items)
    assert rows == [6, 7, 8]


def test_a_restarted_dispatcher_is_asked_again_behind_what_was_received():
    wire = Wire()
    reader, number = wire.watch()
    wire.initial(number)
    wire.live_at(number, 5)
    wire.say(0, LiveProgress(lsn=40, timeline=1, behind=[]))
    wire.sent()
    wire.core.on_actor_ready(DISPATCHER, 2)
    ((again, request),) = wire.sent()
    assert again != number
    assert request.since == "1.40"
    # Not at the present yet: a heartbeat says nothing about it.
    wire.say(0, LiveProgress(lsn=90, timeline=1, behind=[]))
    assert reader.feed.lsn == 40


def test_a_first_result_that_was_interrupted_begins_anew():
    wire = Wire()
    reader, number = wire.watch()
    wire.say(number, chunk_of(0, 0, 5, (1, 2), ChunkMode.INITIAL))
    assert rows_of(wire.live.take(reader)) == [1, 2]
    wire.sent()
    wire.core.on_actor_ready(DISPATCHER, 2)
    ((again, request),) = wire.sent()
    assert request.since is None
    assert request.include_initial
    wire.say(again, chunk_of(0, 0, 9, (1, 3), ChunkMode.INITIAL_END))
    lost, *rest = wire.live.take(reader)
    assert isinstance(lost, HistoryLost)
    assert lost.token == "1.s"
    assert rows_of(rest) == [1, 3]
    assert rest[-1].token == "1.9"


def test_a_request_that_was_not_answered_is_repeated_by_the_protocol_alone():
    wire = Wire()
    reader = Reader(
        Watch(query=SPEC), updates_of(document_of), "key", raises_on_lag=False
    )
    call = wire.core.submit(DISPATCHER, reader.request)
    wire.live.open(reader, call)
    wire.sent()
    wire.core.on_actor_ready(DISPATCHER, 2)
    assert [number for number, _ in wire.sent()] == [call.number]
    wire.say(call.number, Subscribed(lsn=5, timeline=1))
    wire.initial(call.number, 1)
    assert rows_of(wire.live.take(reader)) == [1]


def test_a_listener_that_never_read_resumes_from_where_it_began():
    wire = Wire()
    reader, number = wire.listen(raises=False)
    wire.live_at(number, 5, chunk=0)
    wire.sent()
    for chunk in range(1, 60):
        base = chunk * 100
        rows = range(base, base + 100)
        wire.say(number, chunk_of(chunk, base - 1, base + 99, rows, live=True))
    assert wire.live.take(reader) is None
    requests = [body for _, body in wire.sent() if isinstance(body, Listen)]
    assert [request.since for request in requests] == ["1.5"]


def test_heartbeats_go_to_those_who_wait_for_them():
    wire = Wire()
    reader, number = wire.watch(wants_beats=True)
    wire.initial(number)
    wire.live_at(number, 5)
    while wire.live.take(reader) is not None:
        pass
    wire.core.take_news()
    wire.say(0, LiveProgress(lsn=9, timeline=1, behind=[number]))
    assert not reader.has_news
    wire.say(0, LiveProgress(lsn=9, timeline=1, behind=[]))
    assert wire.core.take_news() == [reader]
    (beat,) = wire.live.take(reader)
    assert isinstance(beat, Heartbeat)
    assert (beat.lsn, beat.token) == (9, "1.9")
    assert reader.newest == "1.9"


def test_errors_reach_every_reader_behind_what_it_had_not_read():
    wire, first, second, one, _ = shared_pair()
    wire.say(one, chunk_of(2, 5, 6, (6,), live=True))
    error = Failure(code="usage.collection_not_found", message="gone")
    wire.say(one, error)
    for reader in (first, second):
        assert rows_of(wire.live.take(reader)) == [6]
        with pytest.raises(Exception, match="gone"):
            wire.live.take(reader)
    assert len(wire.live) == 0


def test_the_end_of_the_tree_is_the_end_of_every_watch():
    wire, first, _, _, _ = shared_pair()
    wire.core.fail_all(TreeDownError("down"))
    with pytest.raises(TreeDownError):
        wire.live.take(first)
    wire.live.leave(first)
    assert wire.core.outgoing() == []


def test_a_deadline_ends_one_wait_and_nothing_else():
    wire, first, second, one, _ = shared_pair()
    wire.live.set_deadline(first, 10.0)
    assert wire.core.next_expiry == 10.0
    wire.core.expire(9.0)
    assert wire.core.next_expiry == 10.0
    wire.core.take_news()
    wire.core.expire(10.0)
    assert wire.core.take_news() == [first]
    with pytest.raises(TimeoutError_):
        wire.live.clear_deadline(first)
    wire.say(one, chunk_of(2, 5, 6, (6,), live=True))
    assert rows_of(wire.live.take(first)) == [6]
    assert rows_of(wire.live.take(second)) == [6]


def test_leaving_ends_the_subscription_with_the_last():
    wire, first, second, one, _ = shared_pair()
    wire.sent()
    wire.say(one, chunk_of(2, 5, 6, (6,), live=True))
    wire.live.leave(first)
    assert wire.sent() == []
    wire.live.leave(second)
    assert wire.sent() == [(0, Unsubscribe(subscription=one))]
    assert not wire.live._feeds
    assert not wire.live._shared


class Plain:
    """A document that can be watched as it goes."""

    def __init__(self, record):
        self.record = record


def test_what_was_read_is_freed_without_the_garbage_collector():
    wire = Wire()
    reader, number = wire.open(
        Reader(Watch(query=SPEC), updates_of(Plain), "key", raises_on_lag=False)
    )
    for row in (1, 2):
        wire.say(number, chunk_of(row - 1, row - 1, row, [row], live=True))
    gc.collect()
    gc.disable()
    try:
        [update] = wire.live.take(reader)
        gone = weakref.ref(update.document)
        del update
        [update] = wire.live.take(reader)
        assert gone() is None
        assert update.token == "1.2"
    finally:
        gc.enable()
