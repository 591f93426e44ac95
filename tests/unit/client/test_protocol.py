"""The client's protocol without sockets: numbering, matching, batching, repeating."""

from __future__ import annotations

import msgspec
import pytest

from aurora_actors.client.protocol import ClientProtocol
from aurora_actors.errors import (
    AuroraError,
    NotFoundError,
    ProtocolError,
    TimeoutError_,
    TreeDownError,
    UnavailableError,
    UsageError,
)
from aurora_actors.messages.base import (
    Failure,
    Letter,
    Message,
    decode_envelope,
    encode_envelope,
)
from aurora_actors.messages.query import (
    CancelQuery,
    GrantCredit,
    QuerySpec,
    ResultChunk,
    RunQuery,
    decode_query_request,
)
from aurora_actors.messages.storage import (
    DeleteDocument,
    InsertDocuments,
    Written,
    decode_storage_request,
)

EXECUTOR = "query_executor-0"
DELETE = DeleteDocument(collection="users", id="a")
QUERY = RunQuery(query=QuerySpec(collection="users"))


def letters(data):
    return [
        (letter.request_id, letter.body) for letter in decode_envelope(data).letters
    ]


def requests(core, destination):
    decode = (
        decode_storage_request if destination == "storage" else decode_query_request
    )
    found = []
    for name, data in core.outgoing():
        if name == destination:
            found += [(number, decode(body)) for number, body in letters(data)]
    return found


def mail(*answers: tuple[int, Message], sender="storage"):
    return encode_envelope(sender, 0, [Letter(*answer) for answer in answers])


def written(lsn=1):
    return Written(lsn=lsn, synced=False, affected=1)


def chunk(number, *, final=False, lsn=7, records=()):
    return ResultChunk(
        records=list(records), number=number, final=final, lsn=lsn, count=len(records)
    )


def test_requests_are_numbered_from_one_and_leave_in_one_envelope():
    core = ClientProtocol("c-1")
    for _ in range(64):
        core.submit("storage", DELETE)
    [(destination, data)] = core.outgoing()
    assert destination == "storage"
    assert [number for number, _ in letters(data)] == list(range(1, 65))
    assert decode_envelope(data).sender == "c-1"
    assert core.outgoing() == []


def test_a_reply_completes_its_request_once():
    core = ClientProtocol("c-1")
    call = core.submit("storage", DELETE)
    core.on_mail(mail((1, written(5)), (1, written(6))))
    core.on_mail(mail((1, written(7))))
    assert core.take_news() == [call]
    assert core.take_news() == []
    assert call.outcome() == written(5)


def test_a_reply_is_matched_by_its_number_whoever_sends_it():
    core = ClientProtocol("c-1")
    call = core.submit(EXECUTOR, DELETE)
    core.on_mail(mail((1, written()), sender="storage"))
    assert call.done


def test_a_failure_becomes_its_exception():
    core = ClientProtocol("c-1")
    call = core.submit("storage", DELETE)
    failure = Failure.of(NotFoundError("no document", id="a"), "storage")
    core.on_mail(mail((1, failure)))
    with pytest.raises(NotFoundError, match="no document") as caught:
        call.outcome()
    assert caught.value.context == {"id": "a"}


def test_the_floor_is_the_lowest_request_without_a_reply():
    core = ClientProtocol("c-1")
    for _ in range(3):
        core.submit("storage", DELETE)
    core.on_mail(mail((1, written()), (3, written())))
    core.submit("storage", DELETE)
    [(_, data)] = core.outgoing()
    assert decode_envelope(data).floor == 2


def test_a_long_query_does_not_hold_the_floor_of_storage_down():
    core = ClientProtocol("c-1")
    core.open_stream(EXECUTOR, QUERY)
    core.submit("storage", DELETE)
    core.submit(EXECUTOR, DELETE)
    floors = {name: decode_envelope(data).floor for name, data in core.outgoing()}
    assert floors == {"storage": 2, EXECUTOR: 1}


def test_a_large_queue_is_split_into_envelopes_of_eight_mebibytes():
    core = ClientProtocol("c-1")
    insert = InsertDocuments(collection="users", ids=["a"], documents=[b"x"])
    for _ in range(5):
        core.submit("storage", insert, size=3 << 20)
    assert [len(letters(data)) for _, data in core.outgoing()] == [2, 2, 1]


def test_one_request_that_cannot_be_encoded_spares_the_others():
    core = ClientProtocol("c-1")
    bad = core.submit("storage", DeleteDocument(collection="\ud800", id="a"))
    good = core.submit("storage", DELETE)
    assert [number for number, _ in requests(core, "storage")] == [good.number]
    assert core.take_news() == [bad]
    with pytest.raises(ProtocolError, match="cannot be sent"):
        bad.outcome()


def test_a_restarted_actor_gets_again_what_it_had_not_answered():
    core = ClientProtocol("c-1", {"storage": 1})
    for _ in range(3):
        core.submit("storage", DELETE)
    core.outgoing()
    core.on_mail(mail((2, written())))
    core.submit("storage", DELETE)
    core.on_actor_ready("storage", 2)
    assert [number for number, _ in requests(core, "storage")] == [1, 3, 4]


def test_an_old_notice_of_readiness_repeats_nothing():
    core = ClientProtocol("c-1", {"storage": 2})
    core.submit("storage", DELETE)
    core.outgoing()
    core.on_actor_ready("storage", 2)
    assert core.outgoing() == []


def test_chunks_arrive_in_order_and_return_credit():
    core = ClientProtocol("c-1")
    stream = core.open_stream(EXECUTOR, QUERY)
    core.outgoing()
    for number in range(4):
        core.on_mail(mail((1, chunk(number)), sender=EXECUTOR))
    assert [core.take_chunk(stream).number for _ in range(4)] == [0, 1, 2, 3]
    assert core.take_chunk(stream) is None
    assert requests(core, EXECUTOR) == [(0, GrantCredit(query_id=1, chunks=4))]


def test_repeated_and_foreign_chunks_are_ignored():
    core = ClientProtocol("c-1")
    stream = core.open_stream(EXECUTOR, QUERY)
    core.on_mail(mail((1, chunk(0)), (1, chunk(0)), sender=EXECUTOR))
    core.on_mail(mail((1, chunk(1, lsn=9)), (1, chunk(2)), sender=EXECUTOR))
    core.on_mail(mail((1, chunk(1, final=True)), sender=EXECUTOR))
    assert stream.done
    assert [core.take_chunk(stream).number for _ in range(2)] == [0, 1]


def test_a_gathered_query_has_news_only_at_its_end():
    core = ClientProtocol("c-1")
    stream = core.open_stream(EXECUTOR, QUERY, gathers=True)
    for number in range(9):
        core.on_mail(mail((1, chunk(number)), sender=EXECUTOR))
    assert core.take_news() == []
    core.on_mail(mail((1, chunk(9, final=True)), sender=EXECUTOR))
    assert core.take_news() == [stream]
    assert len(stream.outcome()) == 10


def test_a_query_nobody_has_seen_a_part_of_is_run_again_under_a_new_number():
    core = ClientProtocol("c-1", {EXECUTOR: 1})
    stream = core.open_stream(EXECUTOR, QUERY, gathers=True)
    core.outgoing()
    core.on_mail(mail((1, chunk(0)), sender=EXECUTOR))
    core.on_actor_ready(EXECUTOR, 2)
    assert requests(core, EXECUTOR) == [(2, QUERY)]
    core.on_mail(mail((1, chunk(1)), (2, chunk(0, final=True, lsn=8)), sender=EXECUTOR))
    assert [part.lsn for part in stream.outcome()] == [8]


def test_a_query_of_which_a_part_was_taken_fails_once_and_can_be_retried():
    core = ClientProtocol("c-1", {EXECUTOR: 1})
    stream = core.open_stream(EXECUTOR, QUERY)
    core.outgoing()
    core.on_mail(mail((1, chunk(0)), sender=EXECUTOR))
    core.take_chunk(stream)
    core.take_news()
    core.on_actor_ready(EXECUTOR, 2)
    assert core.take_news() == [stream]
    assert core.outgoing() == []
    with pytest.raises(UnavailableError, match="restarted") as caught:
        stream.outcome()
    assert caught.value.retryable


def test_an_abandoned_query_is_cancelled_and_its_late_chunks_are_too():
    core = ClientProtocol("c-1")
    stream = core.open_stream(EXECUTOR, QUERY)
    core.outgoing()
    core.abandon(stream)
    core.abandon(stream)
    assert requests(core, EXECUTOR) == [(0, CancelQuery(query_id=1))]
    core.on_mail(mail((1, chunk(0)), sender=EXECUTOR))
    assert requests(core, EXECUTOR) == [(0, CancelQuery(query_id=1))]
    assert core.take_news() == []


def test_an_abandoned_mutation_is_not_repeated():
    core = ClientProtocol("c-1", {"storage": 1})
    call = core.submit("storage", DELETE)
    core.outgoing()
    core.abandon(call)
    core.on_actor_ready("storage", 2)
    assert core.outgoing() == []


def test_only_what_has_reached_its_deadline_times_out():
    core = ClientProtocol("c-1")
    late = core.submit("storage", DELETE, 10.0)
    query = core.open_stream(EXECUTOR, QUERY, 10.5)
    core.submit("storage", DELETE, 20.0)
    core.outgoing()
    assert core.next_expiry == 10.0
    core.expire(11.0)
    assert core.take_news() == [late, query]
    assert core.next_expiry == 20.0
    assert requests(core, EXECUTOR) == [(0, CancelQuery(query_id=query.number))]
    with pytest.raises(TimeoutError_, match="may still take effect"):
        late.outcome()
    with pytest.raises(TimeoutError, match="run the query again"):
        query.outcome()


def test_the_end_of_the_tree_fails_everything_now_and_later():
    core = ClientProtocol("c-1")
    call, stream = core.submit("storage", DELETE), core.open_stream(EXECUTOR, QUERY)
    core.fail_all(TreeDownError("gone"))
    assert core.take_news() == [call, stream]
    with pytest.raises(TreeDownError, match="gone"):
        call.outcome()
    with pytest.raises(TreeDownError, match="gone"):
        core.submit("storage", DELETE)
    core.fail_all(UsageError("closed"))
    with pytest.raises(TreeDownError):
        core.submit("storage", DELETE)


def test_nonsense_on_the_wire_fails_at_most_the_request_it_names():
    core = ClientProtocol("c-1")
    call = core.submit("storage", DELETE)
    other = core.submit("storage", DELETE)
    core.on_mail(b"\xc1nonsense")
    nonsense = msgspec.msgpack.encode((1, "storage", 0, [(1, {"type": "what"})]))
    core.on_mail(nonsense)
    assert core.take_news() == [call]
    assert not other.done
    with pytest.raises(ProtocolError, match="not understood"):
        call.outcome()


def test_in_flight_counts_tell_the_least_busy_executor():
    core = ClientProtocol("c-1")
    stream = core.open_stream(EXECUTOR, QUERY)
    assert core.in_flight == {EXECUTOR: 1}
    core.on_mail(mail((1, chunk(0, final=True)), sender=EXECUTOR))
    assert core.in_flight == {EXECUTOR: 0}
    assert isinstance(stream.error, AuroraError | None)


# ------------------------------------------------------------------ over a connection
def test_a_connection_that_is_back_asks_again_for_what_is_pending():
    core = ClientProtocol("c-1", {"storage": 1})
    call = core.submit("storage", DELETE)
    gathered = core.open_stream(EXECUTOR, QUERY, gathers=True)
    before = gathered.number
    core.outgoing()
    core.resume()
    assert requests(core, "storage") == [(call.number, DELETE)]
    core.resume()
    sent = requests(core, EXECUTOR)
    # What runs there is given up, and begun anew under another number.
    assert sent[0] == (0, CancelQuery(query_id=gathered.number - 1))
    assert sent[-1] == (gathered.number, QUERY)
    assert gathered.number > before
    assert not call.done


def test_a_lost_session_fails_writes_that_are_uncertain_and_asks_the_rest_again():
    core = ClientProtocol("c-1", {"storage": 1})
    write = core.submit("storage", DELETE)
    gathered = core.open_stream(EXECUTOR, QUERY, gathers=True)
    core.outgoing()
    core.rename("c-2", {"storage": 1})
    core.resume()
    with pytest.raises(UnavailableError, match="whether the write") as raised:
        write.outcome()
    assert raised.value.context["uncertain"] is True
    (envelope,) = [data for name, data in core.outgoing() if name == EXECUTOR]
    mail = decode_envelope(envelope)
    assert mail.sender == "c-2"
    assert mail.letters[-1].request_id == gathered.number
    assert not gathered.done
