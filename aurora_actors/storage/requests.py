"""Carrying out the requests of a batch, each once.

A request that is a repeat gets the outcome it had. The others are applied in their
order, each leaving no trace when it fails; inserts into one collection that stand next
to each other are applied together first, and so are updates by id (``storage.insertion``
and ``storage.updating``). What comes out are the replies and the entries of the log frame. Storage process only.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, NamedTuple

from aurora_actors.errors import AuroraError
from aurora_actors.messages.base import Failure, Message
from aurora_actors.messages.jobs import EnqueueJobs
from aurora_actors.messages.storage import (
    ChangeMatching,
    Commit,
    InsertDocuments,
    Operation,
    UpdateDocument,
)
from aurora_actors.storage.operations import GUARDED, Operations
from aurora_actors.storage.outcomes import Outcomes
from aurora_actors.storage.replay import Entry
from aurora_actors.storage.transactions import is_conflict
from aurora_actors.storage.writeset import WriteSet

__all__ = ["ACTOR", "RequestRunner", "StorageCall"]

_log = logging.getLogger(__name__)
_STATEMENTS: Final = (ChangeMatching, Commit)
_TOGETHER: Final = frozenset({InsertDocuments, UpdateDocument, EnqueueJobs})

ACTOR: Final = "storage"


class StorageCall(NamedTuple):
    """One request, with who sent it.

    Attributes:
        client: The sender.
        request_id: The sender's number for it; 0 when a repeat cannot happen.
        floor: The sender's lowest number still without a reply.
        request: What is to be done.
    """

    client: str
    request_id: int
    floor: int
    request: Operation


class RequestRunner:
    """Carries out requests, and counts.

    Args:
        operations: What requests can ask for.
        outcomes: The remembered outcomes; staged here, written by the caller.

    Attributes:
        refused: How many requests have failed.
        repeats: How many had been carried out before.
    """

    def __init__(self, operations: Operations, outcomes: Outcomes) -> None:
        self._operations = operations
        self._outcomes = outcomes
        self.refused = 0
        self.repeats = 0

    def run(
        self, batch: WriteSet, calls: Sequence[StorageCall]
    ) -> tuple[list[Message], list[Entry]]:
        """Carry out ``calls``; returns their replies, and what the log has to hold."""
        replies: list[Message] = []
        entries: list[Entry] = []
        if len(calls) == 1:
            self._run_one(batch, calls[0], replies, entries)
            return replies, entries
        at = 0
        while at < len(calls):
            end = self._end_of_run(calls, at)
            if end > at + 1:
                self._run_together(batch, calls[at:end], replies, entries)
            else:
                end = at + 1
                self._run_one(batch, calls[at], replies, entries)
            at = end
        return replies, entries

    # -------------------------------------------------------------- one by one
    def _run_one(
        self,
        batch: WriteSet,
        call: StorageCall,
        replies: list[Message],
        entries: list[Entry],
    ) -> None:
        request, outcomes = call.request, self._outcomes
        client, request_id, on_behalf = call.client, call.request_id, False
        if isinstance(request, _STATEMENTS) and request.client:
            # An executor carries it out for somebody else, whose request it is.
            client, request_id = request.client, request.client_request_id
            on_behalf = True
        known = outcomes.find(client, request_id) if request_id else None
        if known is not None:
            self.repeats += 1
            replies.append(known)
            return
        before = len(batch.effects)
        reply = self._apply(batch, request)
        replies.append(reply)
        if on_behalf and is_conflict(reply):
            return  # it is to be run again, under the same number
        encoded = outcomes.stage(client, request_id, reply)
        if len(batch.effects) > before:
            entries.append(Entry(client, request_id, encoded, batch.effects[before:]))

    def _apply(self, batch: WriteSet, request: Operation) -> Message:
        try:
            return self._operations.apply(batch, request)
        except AuroraError as exc:
            self.refused += 1
            return Failure.of(exc, ACTOR)
        except Exception as exc:  # noqa: BLE001 - a defect, or no memory: only this fails
            _log.exception("a request failed unexpectedly")
            self.refused += 1
            return Failure.of(exc, ACTOR)

    # -------------------------------------------------------------- runs
    def _end_of_run(self, calls: Sequence[StorageCall], start: int) -> int:
        """Where the run of new requests that can be applied together ends.

        Such are inserts into one collection, updates of one, and enqueueings.
        """
        first = calls[start].request
        kind = type(first)
        collection = getattr(first, "collection", None)
        if kind not in _TOGETHER or collection in GUARDED:
            return start
        seen: set[object] = set()
        find = self._outcomes.find
        for at in range(start, len(calls)):
            client, request_id, _, request = calls[at]
            if (
                type(request) is not kind
                or getattr(request, "collection", None) != collection
            ):
                return at
            if request_id:
                name = (client, request_id)
                if name in seen or find(client, request_id) is not None:
                    return at
                seen.add(name)
            if isinstance(request, UpdateDocument):
                if request.id in seen:
                    return at  # it works on what the one before it leaves
                seen.add(request.id)
        return len(calls)

    def _run_together(
        self,
        batch: WriteSet,
        calls: Sequence[StorageCall],
        replies: list[Message],
        entries: list[Entry],
    ) -> None:
        """Carry out a run together, or in parts if one of it cannot be."""
        if len(calls) == 1:
            self._run_one(batch, calls[0], replies, entries)
            return
        at = len(batch.effects)
        written = self._apply_together(batch, calls)
        if written is None:
            # What keeps updates apart is seldom that only one of them is refused.
            is_update = isinstance(calls[0].request, UpdateDocument)
            size = 1 if is_update else (len(calls) + 1) // 2
            for start in range(0, len(calls), size):
                part = calls[start : start + size]
                self._run_together(batch, part, replies, entries)
            return
        replies += written
        stage, effects = self._outcomes.stage, batch.effects
        for (client, request_id, _, _), reply in zip(calls, written, strict=True):
            encoded = stage(client, request_id, reply)
            if getattr(reply, "lsn", 1):
                entries.append(Entry(client, request_id, encoded, (effects[at],)))
                at += 1

    def _apply_together(
        self, batch: WriteSet, calls: Sequence[StorageCall]
    ) -> Sequence[Message] | None:
        requests = [call.request for call in calls]
        point = batch.savepoint()
        try:
            return self._operations.run_together(batch, requests)
        except Exception:  # noqa: BLE001 - shows again when they are applied one by one
            batch.rollback(point)
            return None
