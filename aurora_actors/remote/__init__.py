"""The server's side of remote clients: rights, sessions, the desk, the TLS streams."""

from __future__ import annotations
