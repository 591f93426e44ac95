"""How results come out of what runs them."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias

from aurora_actors.messages.aql import AqlPart

__all__ = ["Parts"]

Parts: TypeAlias = Generator[AqlPart | None, None, None]
"""Parts of a result, and ``None`` to let others have their turn."""
