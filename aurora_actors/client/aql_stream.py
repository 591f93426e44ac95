"""Subscriptions: a text's live query, as the application follows it.

An executor says what the text watches; the watching is the reactive dispatcher's, as
for ``query.watch()``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import msgspec

from aurora_actors.aql.execution.notes import decode_note
from aurora_actors.aql.execution.shapes import ALL_FIELDS, shaper_of
from aurora_actors.client.aql_document import ResultDocument
from aurora_actors.client.batch import updates_of
from aurora_actors.client.encoding import encode_variables
from aurora_actors.client.session import Session
from aurora_actors.client.updates import (
    Added,
    ChangeType,
    HistoryLost,
    Modified,
    Removed,
    Update,
)
from aurora_actors.client.watch import OnLag, Watcher
from aurora_actors.client.watching import watch_of
from aurora_actors.errors import LaggedError, ProtocolError, UsageError
from aurora_actors.messages.aql import ExecuteAql
from aurora_actors.messages.query import QuerySpec
from aurora_actors.reactive.tokens import parse_token
from aurora_actors.schema.record import unpack_record
from aurora_actors.schema.values import Buffer, decode_document

__all__ = ["AqlStream", "SubscriptionEvent"]

_encode: Final = msgspec.msgpack.Encoder().encode
_decode_spec: Final = msgspec.msgpack.Decoder(QuerySpec).decode

Value: TypeAlias = Any
"""What a field holds; only the text can say which."""


class SubscriptionEvent:
    """One event of a subscription.

    Attributes:
        type: ``INSERT``, ``UPDATE`` or ``DELETE``: a document matches now, has changed,
            or matches no more.
        id: The document's id.
        data: What is selected of it; for a ``DELETE`` as it last was.
        lsn: The change it comes from.
    """

    __slots__ = ("_update", "data", "id", "lsn", "type")

    def __init__(
        self, kind: ChangeType, document: ResultDocument, update: Update
    ) -> None:
        self.type = kind.name
        self.id = document.id
        self.data = document.data
        self.lsn = update.lsn
        self._update = update

    @property
    def change_type(self) -> ChangeType:
        """:attr:`type` as a listener has it."""
        return ChangeType[self.type]

    @property
    def token(self) -> str:
        """Resumes right behind this event."""
        return self._update.token

    def to_dict(self) -> dict[str, Value]:
        """The event as plain values."""
        return {"type": self.type, "id": self.id, "data": self.data}

    def __str__(self) -> str:
        return msgspec.json.encode(self.to_dict()).decode()

    def __repr__(self) -> str:
        return f"SubscriptionEvent({self.type}, {self.id!r}, {self.data!r})"


class AqlStream(AsyncIterator["SubscriptionEvent | Update"]):
    """The events of a subscription; for one task at a time.

    Cancelling a wait loses nothing.
    """

    def __init__(
        self,
        session: Callable[[], Session],
        text: str,
        variables: Mapping[str, object] | None,
        since: str | None,
        on_lag: OnLag,
    ) -> None:
        if not isinstance(text, str):
            raise UsageError(f"a text is needed, not {type(text).__name__}")
        if since is not None:
            parse_token(since)
        if on_lag not in ("coalesce", "raise"):
            raise UsageError(f'on_lag is "coalesce" or "raise", not {on_lag!r}')
        self._session = session
        self._text = text
        self._variables = variables
        self._since = since
        self._on_lag: OnLag = on_lag
        self._watcher: Watcher[ResultDocument] | None = None
        self._is_live = False
        self._was_entered = False

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def open(self) -> None:
        """Begin; what ``async with`` does."""
        if self._was_entered:
            raise UsageError("a stream is entered once; make another one")
        self._was_entered = True
        session = self._session()
        request = ExecuteAql(
            text=self._text,
            variables=encode_variables(self._variables),
            subscribes=True,
            deadline_s=session.config.request_timeout_s,
        )
        chunks = await session.shell.gather(request)
        note = decode_note(chunks[0].note)
        if not note.template:
            raise ProtocolError("the executor does not say what is to be watched")
        spec, shape = _decode_spec(note.template), note.shape or ALL_FIELDS
        see = shaper_of(shape)

        def document(record: Buffer) -> ResultDocument:
            lsn, document_id, body = unpack_record(record)
            data = see(document_id, decode_document(body))
            return ResultDocument(document_id, data, lsn)

        self._is_live = note.operation == "live"
        watch = watch_of(spec, 0.0, self._since, include_initial=self._is_live)
        self._watcher = Watcher(
            self._session,
            watch,
            updates_of(document),
            ("aql", _encode((spec, shape))),
            self._on_lag,
            keeps_state=False,
        )
        await self._watcher.open()

    async def aclose(self) -> None:
        """End it at the dispatcher, too; closing again does nothing."""
        if self._watcher is not None:
            await self._watcher.aclose()

    def wait_at_most(self, seconds: float | None) -> None:
        """Let waits fail with ``TimeoutError_`` after so long; for those who block."""
        self._entered().wait_at_most(seconds)

    def _entered(self) -> Watcher[ResultDocument]:
        if self._watcher is None:
            raise UsageError("a stream is to be entered with async with")
        return self._watcher

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SubscriptionEvent | Update:
        watcher = self._entered()
        while True:
            update = await watcher.__anext__()
            if self._is_live:
                return update
            event = _event(update)
            if event is not None:
                return event

    @property
    def token(self) -> str | None:
        """The place right behind the last event that was given."""
        return self._since if self._watcher is None else self._watcher.token

    @property
    def lsn(self) -> int:
        """Up to where everything has come to this process."""
        return 0 if self._watcher is None else self._watcher.lsn


def _event(update: Update) -> SubscriptionEvent | None:
    match update:
        case Added(document=document):
            return SubscriptionEvent(ChangeType.INSERT, document, update)
        case Modified(new=document):
            return SubscriptionEvent(ChangeType.UPDATE, document, update)
        case Removed(document=document):
            return SubscriptionEvent(ChangeType.DELETE, document, update)
        case HistoryLost():
            raise LaggedError(
                "the change log does not reach back to what this subscription was told "
                "last; begin it without since"
            )
        case _:
            return None
