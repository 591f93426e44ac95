"""Whatever is lost, repeated or restarted, each request is completed exactly once."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aurora_actors.client.protocol import ClientProtocol
from aurora_actors.client.requests import ResultStream
from aurora_actors.messages.base import Letter, decode_envelope, encode_envelope
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
    Written,
    decode_storage_request,
)

CHUNKS = 3
EXECUTOR = "query_executor-0"


class World(RuleBasedStateMachine):
    """A client, a storage that remembers outcomes, an executor that forgets all.

    Mail to an actor and from it may be repeated at any time; it is lost only with the
    actor, which the supervisor then announces, sooner or later.
    """

    def __init__(self) -> None:
        super().__init__()
        self.core = ClientProtocol("c-1", {"storage": 1, EXECUTOR: 1})
        self.lsn = 0
        self.incarnation = {"storage": 1, EXECUTOR: 1}
        self.unannounced: set[str] = set()
        self.outcomes: dict[int, Written] = {}
        self.applied: Counter[int] = Counter()
        self.to_actor: dict[str, list[bytes]] = {"storage": [], EXECUTOR: []}
        self.to_client: list[bytes] = []
        self.requests: list = []
        self.completions: Counter[int] = Counter()
        self.results: dict[int, list[ResultChunk]] = {}

    def turn(self) -> None:
        for destination, data in self.core.outgoing():
            self.to_actor[destination].append(data)
        for pending in self.core.take_news():
            if pending.done:
                self.completions[id(pending)] += 1

    @rule()
    def mutate(self) -> None:
        self.requests.append(
            self.core.submit("storage", DeleteDocument(collection="a", id="b"))
        )
        self.turn()

    @rule(gathers=st.booleans())
    def query(self, gathers: bool) -> None:
        query = RunQuery(query=QuerySpec(collection="a"), credit=2)
        self.requests.append(self.core.open_stream(EXECUTOR, query, gathers=gathers))
        self.turn()

    @rule(data=st.data())
    def consume(self, data: st.DataObject) -> None:
        streams = [
            each
            for each in self.requests
            if isinstance(each, ResultStream) and not each.gathers and each.chunks
        ]
        if streams:
            stream = data.draw(st.sampled_from(streams))
            chunk = self.core.take_chunk(stream)
            assert chunk is not None
            self.results.setdefault(id(stream), []).append(chunk)
            self.turn()

    @rule(again=st.booleans())
    @precondition(lambda self: self.to_actor["storage"])
    def storage_works(self, again: bool) -> None:
        queue = self.to_actor["storage"]
        mail = decode_envelope(queue[0] if again else queue.pop(0))
        answers = []
        for letter in mail.letters:
            number = letter.request_id
            decode_storage_request(letter.body)
            if number not in self.outcomes:
                if number < mail.floor:
                    continue
                self.lsn += 1
                self.applied[number] += 1
                self.outcomes[number] = Written(lsn=self.lsn, synced=False, affected=1)
            answers.append(Letter(number, self.outcomes[number]))
        self.to_client.append(encode_envelope("storage", 0, answers))

    @rule(again=st.booleans())
    @precondition(lambda self: self.to_actor[EXECUTOR])
    def executor_works(self, again: bool) -> None:
        queue = self.to_actor[EXECUTOR]
        mail = decode_envelope(queue[0] if again else queue.pop(0))
        for letter in mail.letters:
            request = decode_query_request(letter.body)
            if isinstance(request, GrantCredit | CancelQuery):
                continue
            for number in range(CHUNKS):
                chunk = ResultChunk(
                    records=[],
                    number=number,
                    final=number == CHUNKS - 1,
                    lsn=self.lsn,
                    count=0,
                )
                self.to_client.append(
                    encode_envelope(EXECUTOR, 0, [Letter(letter.request_id, chunk)])
                )

    @rule(again=st.booleans())
    @precondition(lambda self: self.to_client)
    def client_receives(self, again: bool) -> None:
        self.core.on_mail(self.to_client[0] if again else self.to_client.pop(0))
        self.turn()

    @rule(name=st.sampled_from(["storage", EXECUTOR]), lose_answers=st.booleans())
    def actor_dies(self, name: str, lose_answers: bool) -> None:
        self.to_actor[name].clear()
        if lose_answers:
            self.to_client = [
                data for data in self.to_client if decode_envelope(data).sender != name
            ]
        self.incarnation[name] += 1
        self.unannounced.add(name)

    @rule(name=st.sampled_from(["storage", EXECUTOR]))
    def announce(self, name: str) -> None:
        self.core.on_actor_ready(name, self.incarnation[name])
        self.unannounced.discard(name)
        self.turn()

    @invariant()
    def nothing_is_done_twice(self) -> None:
        assert all(count == 1 for count in self.completions.values())
        assert all(count == 1 for count in self.applied.values())

    def teardown(self) -> None:
        for name in list(self.unannounced):
            self.announce(name)
        while any(self.to_actor.values()) or self.to_client:
            if self.to_actor["storage"]:
                self.storage_works(again=False)
            if self.to_actor[EXECUTOR]:
                self.executor_works(again=False)
            if self.to_client:
                self.client_receives(again=False)
        self.nothing_is_done_twice()
        for request in self.requests:
            assert request.done
            assert self.completions[id(request)] == 1
            if isinstance(request, ResultStream) and request.error is None:
                chunks = self.results.get(id(request), []) + list(request.chunks)
                assert [chunk.number for chunk in chunks] == list(range(CHUNKS))
                assert len({chunk.lsn for chunk in chunks}) == 1
            elif not isinstance(request, ResultStream):
                assert request.outcome() == self.outcomes[request.number]
        assert self.core.pending_count == 0


World.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
test_each_request_is_completed_exactly_once = World.TestCase
