"""Live queries as a pure engine: matching, windows, coalescing, resumption.

Synchronous, over snapshots and changes; the dispatcher actor gives it turns.
"""

from __future__ import annotations
