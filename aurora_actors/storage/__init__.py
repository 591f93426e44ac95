"""The LMDB layout, the commit log, recovery, snapshots.

The storage process alone writes, through :class:`~aurora_actors.storage.engine.Engine`;
every process reads, through :class:`~aurora_actors.storage.reader.DataReader`.
"""

from __future__ import annotations
