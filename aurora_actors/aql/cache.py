"""Texts that have been parsed and checked, so that a repeated one costs a look-up.

One cache for each process that reads AQL; its methods may be called from several
threads. An entry is used only for the schema version it was checked against, so a
definition that has changed is never missed. The trees it gives are immutable. It is
bounded by the number of texts and by their characters, the least recently used leave
first; texts that are refused are not kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Final

import msgspec

from aurora_actors.aql.limits import DEFAULT_LIMITS, Limits
from aurora_actors.aql.parser import parse
from aurora_actors.aql.scope import Definitions
from aurora_actors.aql.validation import Checked, validate

__all__ = ["CacheStatistics", "CheckedTexts"]

_NO_VERSIONS: Final[Mapping[str, str]] = {}


class CacheStatistics(msgspec.Struct, frozen=True):
    """Counters since the cache was made, and its present size."""

    hits: int
    misses: int
    texts: int
    characters: int


class CheckedTexts:
    """An LRU cache from (text, schema version) to the checked text.

    Args:
        max_texts: How many to keep.
        max_characters: How long they may be together; a longer text is not kept.
        limits: What one text may be.
    """

    def __init__(
        self,
        max_texts: int = 1_000,
        max_characters: int = 4 << 20,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._max_texts = max_texts
        self._max_characters = max_characters
        self._limits = limits
        self._entries: OrderedDict[str, tuple[int, Checked]] = OrderedDict()
        self._characters = 0
        self._hits = 0
        self._misses = 0
        self._lock = Lock()

    def get(
        self,
        text: str,
        schema_version: int,
        definitions: Definitions | Callable[[], Definitions],
        recorded_versions: Mapping[str, str] = _NO_VERSIONS,
    ) -> Checked:
        """The checked text, parsed and checked now if it is not here.

        Args:
            text: The text.
            schema_version: A number that changes with every change of the schema and
                with every migration version recorded.
            definitions: The collections of that version, or a function that gives
                them, which is called only when the text is not here.
            recorded_versions: As for :func:`~aurora_actors.aql.validation.validate`.

        Raises:
            QuerySyntaxError: it is no AQL.
            QueryValidationError: it does not fit the schema.
            LimitExceededError: it is too large.
        """
        with self._lock:
            entry = self._entries.get(text)
            if entry is not None and entry[0] == schema_version:
                self._entries.move_to_end(text)
                self._hits += 1
                return entry[1]
            self._misses += 1
        known = definitions() if callable(definitions) else definitions
        checked = validate(
            parse(text, self._limits),
            known,
            text=text,
            recorded_versions=recorded_versions,
            limits=self._limits,
        )
        self._keep(text, schema_version, checked)
        return checked

    def _keep(self, text: str, schema_version: int, checked: Checked) -> None:
        if len(text) > self._max_characters or self._max_texts < 1:
            return
        with self._lock:
            if self._entries.pop(text, None) is None:
                self._characters += len(text)
            self._entries[text] = (schema_version, checked)
            while (
                len(self._entries) > self._max_texts
                or self._characters > self._max_characters
            ):
                gone, _ = self._entries.popitem(last=False)
                self._characters -= len(gone)

    def clear(self) -> None:
        """Forget all texts; the counters go on."""
        with self._lock:
            self._entries.clear()
            self._characters = 0

    def statistics(self) -> CacheStatistics:
        """How it has done so far."""
        with self._lock:
            return CacheStatistics(
                self._hits, self._misses, len(self._entries), self._characters
            )
