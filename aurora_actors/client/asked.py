"""What a query asks for, as it has been said; made by :mod:`.builder`."""

from __future__ import annotations

import msgspec

from aurora_actors.messages.query import OrderKey
from aurora_actors.query.predicate import Predicate

__all__ = ["Asked"]


class Asked(msgspec.Struct, frozen=True):
    """All that has been said about a query."""

    collection: str
    model: type | None = None
    predicate: Predicate | None = None
    order: tuple[OrderKey, ...] = ()
    limit: int | None = None
    offset: int = 0
    fields: tuple[str, ...] | None = None
    debounce_s: float = 0.0
    after: str | None = None
    before: str | None = None

    @property
    def is_simple(self) -> bool:
        """Whether whole documents are asked for, by predicate, order and limit alone."""
        whole = self.after is None and self.before is None and self.fields is None
        return whole and self.limit != 0
