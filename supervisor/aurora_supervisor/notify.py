"""Telling systemd how the service is (sd_notify), by its plain socket protocol.

Without ``$NOTIFY_SOCKET`` all of it does nothing. Source: sd_notify(3),
sd_watchdog_enabled(3).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

import trio

__all__ = ["ServiceManager"]


class ServiceManager:
    """The service manager that started this process, if one did."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._interval_s = _watchdog_interval(environ)

    def notify(self, state: str) -> None:
        """Send one state, such as ``READY=1``; a manager that is gone is no error."""
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):
            address = "\0" + address[1:]
        flags = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        with suppress(OSError), socket.socket(socket.AF_UNIX, flags) as sender:
            sender.sendto(state.encode(), socket.MSG_DONTWAIT, address)

    async def keep_watchdog(self) -> None:
        """Feed the watchdog at half its interval, if there is one."""
        while self._interval_s is not None:
            self.notify("WATCHDOG=1")
            await trio.sleep(self._interval_s / 2)


def _watchdog_interval(environ: Mapping[str, str]) -> float | None:
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        interval_s = int(environ["WATCHDOG_USEC"]) / 1e6
    except (KeyError, ValueError):
        return None
    return interval_s if interval_s > 0 else None
