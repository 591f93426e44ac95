"""Looking again for a moment before going to sleep.

Whoever waits for an answer often asks again as soon as it has it. A process that sleeps
in between pays for going to sleep and being woken, and comes back to caches that others
have used meanwhile. So the receiving end of a mailbox looks at its descriptors for up to
``busy_poll_us`` first, storage and the dispatcher up to ``live_busy_poll_us`` while
somebody waits for events, letting any other process have the core after each look.

Invariants: it never looks for longer than it was told at a time; after a look in vain it
leaves out at least as many as it had left out before, twice over, up to 63. A process
whose requests come further apart than that thus spends less than two looks on each
hundred of them, and one without requests spends nothing. On a single core it never
looks: the sender could not run.
"""

from __future__ import annotations

import os
import select
import time
from typing import Final

__all__ = ["BusyPoll"]

_MOST_LEFT_OUT: Final = 63


class BusyPoll:
    """Looks at an epoll instance for a moment.

    Args:
        epoll: Where the descriptors are.
        seconds: How long at most; 0 for never.
    """

    def __init__(self, epoll: select.epoll, seconds: float) -> None:
        self._epoll = epoll
        self._can_wait = len(os.sched_getaffinity(0)) > 1
        self.look_for(seconds)
        self._leave_out = 0
        self._left = 0

    def look_for(self, seconds: float) -> None:
        """Look for so long from now on."""
        self._seconds = seconds if self._can_wait else 0.0

    def poll(self) -> list[tuple[int, int]]:
        """What there is by now, or comes in a moment; else nothing."""
        poll = self._epoll.poll
        found = poll(0)
        if found or not self._seconds:
            return found
        if self._left:
            self._left -= 1
            return found
        let_others_run, now = os.sched_yield, time.perf_counter
        end = now() + self._seconds
        while not found and now() < end:
            let_others_run()
            found = poll(0)
        if found:
            self._leave_out = 0
        else:
            self._leave_out = min(2 * self._leave_out + 1, _MOST_LEFT_OUT)
        self._left = self._leave_out
        return found
