"""Secondary indexes and column segments: derived state that follows the change log."""

from __future__ import annotations
