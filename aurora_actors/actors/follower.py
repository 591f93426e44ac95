"""Following the change log: how an actor learns that there is something to read.

A :class:`Follower` asks storage to say when the log is beyond what the actor has seen;
what has changed the actor then reads from the map. One request is under way at a time;
it is good for one answer or, for an actor that has to know at once, for several, and is
renewed when half of them have come. The actor asks again when storage has been restarted,
and looks at the log now and then in any case, so that a message that was lost costs a
delay and nothing else.
"""

from __future__ import annotations

from typing import Final

import msgspec

from aurora_actors.messages.base import Mail
from aurora_actors.messages.storage import (
    AwaitChanges,
    LogAdvanced,
    decode_storage_reply,
)
from aurora_actors.transport.channel import Channel

__all__ = ["STORAGE", "Follower"]

STORAGE: Final = "storage"


class Follower:
    """An actor's place in the change log, as storage knows it.

    Args:
        channel: The actor's channel.
        keep: Have storage keep what the actor has not seen yet.
        times: How many answers to ask for; with more than one they come before the
            replies of the commits they speak of.

    Attributes:
        lsn: The newest LSN that storage has spoken of.
        at_s: When that was reached, on the monotonic clock.
        news: What it said last, with the changes themselves if they are few.
    """

    def __init__(self, channel: Channel, *, keep: bool = False, times: int = 1) -> None:
        self.lsn = 0
        self.at_s = 0.0
        self.news = LogAdvanced(lsn=0)
        self._channel = channel
        self._keep = keep
        self._times = times
        self._left = 0
        self._number = 0

    def ask(self, seen: int) -> None:
        """Ask to be told of changes after ``seen``; leaves with the next flush."""
        self._number += 1
        self._left = self._times
        request = AwaitChanges(after_lsn=seen, keep=self._keep, times=self._times)
        self._channel.queue(STORAGE, self._number, request)

    @property
    def is_due(self) -> bool:
        """Whether it is time to ask for more."""
        return self._left * 2 <= self._times

    def ask_again(self) -> None:
        """Storage was restarted, perhaps with an earlier LSN: ask where it is."""
        self.lsn = 0
        # nng may not have seen yet that the connection to the old one is dead.
        self._channel.forget(STORAGE)
        self.ask(0)

    def on_mail(self, mail: Mail) -> bool:
        """Take mail from storage; true when it says that the log has advanced.

        What else storage says is ignored.
        """
        advanced = False
        for letter in mail.letters:
            try:
                reply = decode_storage_reply(letter.body)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            if isinstance(reply, LogAdvanced):
                self.lsn, self.at_s = max(self.lsn, reply.lsn), reply.at_s
                self.news = reply
                # An answer to an older request is as true, but ours is still open.
                self._left -= letter.request_id == self._number
                advanced = True
        return advanced
