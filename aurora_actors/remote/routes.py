"""The ways from the remote gateway to the actors, shared by all its clients.

An envelope names its sender, so one socket to each mailbox serves them all. Whoever has
something for a mailbox that is full waits, and with it only that client's connection.
"""

from __future__ import annotations

import trio

from aurora_actors.transport.sockets import Outlet, mailbox_path

__all__ = ["Routes"]


class _Route:
    def __init__(self, path: str) -> None:
        self.outlet = Outlet(path)
        self.turn = trio.Lock()


class Routes:
    """Sends envelopes to mailboxes.

    Args:
        runtime_dir: Where the mailboxes are.
    """

    def __init__(self, runtime_dir: str) -> None:
        self._runtime_dir = runtime_dir
        self._routes: dict[str, _Route] = {}

    async def send(self, to: str, data: bytes) -> None:
        """Send one envelope to the mailbox of an actor, in order."""
        route = self._routes.get(to)
        if route is None:
            path = mailbox_path(self._runtime_dir, to)
            route = self._routes[to] = _Route(path)
        async with route.turn:
            while not route.outlet.send_nowait(data):
                await trio.lowlevel.wait_readable(route.outlet.send_fd)

    def close(self) -> None:
        """Close all of them; nobody may be sending."""
        for route in self._routes.values():
            trio.lowlevel.notify_closing(route.outlet.send_fd)
            route.outlet.close()
