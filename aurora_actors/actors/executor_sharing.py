"""Executors that help each other with one large aggregate.

Whoever has the query gives parts of its column segments away, does its own, and takes in
the answers (see ``query.aggregate_segments``). A helper that is restarted, or does not
answer in time, costs time and nothing else: its part is done here.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence

import msgspec
import trio

from aurora_actors.messages.base import Mail
from aurora_actors.messages.shares import (
    AggregateSegments,
    SegmentsAggregated,
    decode_share_message,
)
from aurora_actors.query.aggregate import Aggregation
from aurora_actors.query.aggregate_segments import aggregate_segments
from aurora_actors.query.indexed import IndexedReader
from aurora_actors.transport.channel import Channel

__all__ = ["Sharing"]

logger = logging.getLogger(__name__)

# Helpers have other things to do: this many times as long as our part, and a bit.
_PATIENCE = 3.0
_LEAST_WAIT_S = 0.25
_NOT_DONE = SegmentsAggregated(done=False)


class _Asked:
    """A share that is being worked on by another executor."""

    def __init__(self, helper: str) -> None:
        self.helper = helper
        self.reply = _NOT_DONE
        self.answered = trio.Event()

    def answer(self, reply: SegmentsAggregated) -> None:
        """It is done, or never will be."""
        self.reply = reply
        self.answered.set()


class Sharing:
    """The shares that this executor gives and takes.

    Args:
        channel: The way to the others.
        helpers: The mailboxes of the others.
        reader: Has the open column files.
        running: How many queries this executor has under way in tasks.
    """

    def __init__(
        self,
        channel: Channel,
        helpers: Sequence[str],
        reader: IndexedReader,
        running: Callable[[], int],
    ) -> None:
        self._channel = channel
        self._helpers = tuple(helpers)
        self._reader = reader
        self._running = running
        self._asked: dict[int, _Asked] = {}
        # Numbers of an earlier run of this actor must not be met again.
        self._last_number = secrets.randbits(48)
        self._counts = dict.fromkeys(("shares_given", "shares_done"), 0)

    def statistics(self) -> dict[str, int]:
        """Counters of shares."""
        return dict(self._counts)

    def is_helper(self, name: str) -> bool:
        """Whether a mailbox is another executor's."""
        return name in self._helpers

    # -------------------------------------------------------------- giving
    def parted(self, aggregation: Aggregation) -> list[AggregateSegments]:
        """What helpers are to do of an aggregation that begins; often nothing.

        Where other queries run anyway, all executors have enough to do.
        """
        return [] if self._running() else aggregation.shares(len(self._helpers))

    async def share(
        self, aggregation: Aggregation, requests: Sequence[AggregateSegments]
    ) -> None:
        """Have helpers do what was given away, and our part; then steps are left."""
        given = [
            self._ask(helper, request)
            for helper, request in zip(self._helpers, requests, strict=False)
        ]
        try:
            self._channel.flush()
            started = trio.current_time()
            for _ in aggregation.own_share():
                await trio.lowlevel.checkpoint()
            took = trio.current_time() - started
            with trio.move_on_after(_LEAST_WAIT_S + _PATIENCE * took):
                for number in given:
                    await self._asked[number].answered.wait()
            for at, number in enumerate(given):
                aggregation.take(at, self._asked[number].reply)
        finally:
            for number in given:
                del self._asked[number]

    def _ask(self, helper: str, request: AggregateSegments) -> int:
        self._last_number += 1
        number = self._last_number
        self._asked[number] = _Asked(helper)
        self._channel.queue(helper, number, request)
        self._counts["shares_given"] += 1
        return number

    def lost(self, helper: str) -> None:
        """A helper has been restarted: what it was asked it has forgotten."""
        for asked in self._asked.values():
            if asked.helper == helper:
                asked.answer(_NOT_DONE)

    # -------------------------------------------------------------- taking
    def take(self, mail: Mail, nursery: trio.Nursery) -> None:
        """Take what another executor says."""
        for letter in mail.letters:
            try:
                message = decode_share_message(letter.body)
            except (msgspec.DecodeError, UnicodeDecodeError) as exc:
                logger.warning("dropped a share", extra={"reason": str(exc)})
                continue
            if isinstance(message, AggregateSegments):
                asker = mail.sender, letter.request_id
                nursery.start_soon(self._help, *asker, message)
            elif (asked := self._asked.get(letter.request_id)) is not None:
                asked.answer(message)

    async def _help(self, asker: str, number: int, request: AggregateSegments) -> None:
        reply = _NOT_DONE
        try:
            reply = await self._aggregate(request)
        except Exception:
            logger.exception("a share failed", extra={"asker": asker})
        self._channel.post(asker, number, reply)

    async def _aggregate(self, request: AggregateSegments) -> SegmentsAggregated:
        tables = self._reader.tables
        if tables is None or self._running():
            return _NOT_DONE
        self._counts["shares_done"] += 1
        steps = aggregate_segments(request, tables)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                reply: SegmentsAggregated = end.value
                return reply
            await trio.lowlevel.checkpoint()
