"""One module per process: sockets and loop only."""

from __future__ import annotations
