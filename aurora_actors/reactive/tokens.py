"""Resume tokens: places in the stream of a subscription's events.

A token is a short text, opaque to its users. It says up to where all events have been
seen: the timeline, and an LSN. Where several events belong together (those of one
change to an ordered result, those of one coalesced batch), a token between them also
says how many of them have been seen; the group is made again from the log, the same as
before, and those are left out. Pure functions, used by dispatcher and client.

====================== ======================================================
``7.1234``             timeline 7, everything up to LSN 1234
``7.1234.0.2``         and two events of the next change
``7.1234.1300.5``      and five events of the coalesced batch (1234, 1300]
``7.s``                somewhere within the first result, which begins anew
====================== ======================================================
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from aurora_actors.errors import UsageError

__all__ = ["Token", "parse_token"]

_FORM: Final = re.compile(
    r"(\d{1,10})\.(?:(s)|(\d{1,20})(?:\.(\d{1,20})\.(\d{1,10}))?)\Z", re.ASCII
)


class Token(NamedTuple):
    """A place in a stream of events.

    Attributes:
        timeline: The history ``lsn`` belongs to.
        lsn: All events up to this change have been seen.
        upto: The end of the coalesced batch behind it that was under way, or 0.
        seen: How many events behind ``lsn`` have been seen as well.
        partial: The place is within the first result.
    """

    timeline: int
    lsn: int
    upto: int = 0
    seen: int = 0
    partial: bool = False

    def __str__(self) -> str:
        if self.partial:
            return f"{self.timeline}.s"
        if not self.seen:
            return f"{self.timeline}.{self.lsn}"
        return f"{self.timeline}.{self.lsn}.{self.upto}.{self.seen}"


def parse_token(text: str) -> Token:
    """Read a token.

    Raises:
        UsageError: ``text`` is none.
    """
    found = _FORM.match(text) if isinstance(text, str) else None
    if found is None:
        raise UsageError(f"{text!r:.80} is not a resume token; use an event's token")
    timeline, partial, lsn, upto, seen = found.groups()
    if partial:
        return Token(int(timeline), 0, partial=True)
    return Token(int(timeline), int(lsn), int(upto or 0), int(seen or 0))
