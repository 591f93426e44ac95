"""``distinct``: results that are seen only once.

The first of equal ones stays; offset and limit count what is left. What has been seen
is remembered by its encoding after normalisation, within a bound.
"""

from __future__ import annotations

from typing import Final

from aurora_actors.aql.execution.selecting import Selected
from aurora_actors.aql.execution.shapes import shaper_of
from aurora_actors.errors import LimitExceededError
from aurora_actors.messages.query import QuerySpec
from aurora_actors.schema.order import sort_key
from aurora_actors.schema.record import unpack_record
from aurora_actors.schema.values import decode_document, get_path

__all__ = ["Distinct"]

_MOST: Final = 1_000_000


class Distinct:
    """Takes records in their order, gives those that are new.

    Args:
        by: The fields that make a difference; ``True`` for all that is seen.
        selected: What is seen.
        spec: The query with its offset and limit.
    """

    def __init__(
        self, by: bool | tuple[str, ...], selected: Selected, spec: QuerySpec
    ) -> None:
        self._by = by
        self._see = shaper_of(selected.shape)
        self._seen: set[object] = set()
        self._skip = spec.offset
        self._left = spec.limit
        self.fields = selected.fields
        if isinstance(by, tuple) and self.fields is not None:
            tops = [name.partition(".")[0] for name in by if name != "id"]
            self.fields = [*dict.fromkeys([*self.fields, *tops])]

    @property
    def is_full(self) -> bool:
        """Whether the limit is reached."""
        return self._left == 0

    def take(self, records: list[bytes]) -> list[bytes]:
        """Those of ``records`` that belong to the result."""
        found: list[bytes] = []
        for record in records:
            if self._left == 0:
                break
            key = self._key(record)
            if key in self._seen:
                continue
            if len(self._seen) >= _MOST:
                raise LimitExceededError(
                    f"more than {_MOST:,} distinct results: filter the query",
                    limit="distinct",
                    maximum=_MOST,
                )
            self._seen.add(key)
            if self._skip:
                self._skip -= 1
                continue
            if self._left is not None:
                self._left -= 1
            found.append(record)
        return found

    def _key(self, record: bytes) -> object:
        _, document_id, body = unpack_record(record)
        fields = decode_document(body)
        if isinstance(self._by, tuple):
            whole = {"id": document_id, **fields}
            return tuple(sort_key(get_path(whole, name)) for name in self._by)
        return sort_key(self._see(document_id, fields))
