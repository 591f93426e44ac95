"""AQL texts that this process answers itself: look-ups by one key.

The executor that first runs such a text says so (see ``aql.execution.templates``). What
is kept here is bounded, and good for one schema version only; whatever does not fit
exactly, such as a variable of another type, goes to an executor, which knows what to
say about it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from aurora_actors.aql.execution.keys import KINDS, Template
from aurora_actors.aql.execution.shapes import shaper_of
from aurora_actors.client.aql_document import ResultDocument
from aurora_actors.client.lookup import Lookup
from aurora_actors.query.predicate import Compare
from aurora_actors.schema.record import unpack_record
from aurora_actors.schema.types import INT_MAX, INT_MIN
from aurora_actors.schema.values import Buffer, decode_document, decode_value

__all__ = ["LocalText", "LocalTexts"]

_MOST: Final = 1_000


class LocalText:
    """One text that is a look-up."""

    __slots__ = ("_field", "_kind", "_shape", "_term", "_variable",
                 "collection", "name", "version")  # fmt: skip

    def __init__(self, template: Template) -> None:
        self.collection = template.collection
        self.version = template.version
        self.name = template.name
        self._field = template.field
        self._variable = template.variable
        self._kind = KINDS[template.kind]
        self._shape = shaper_of(template.shape)
        self._term: Compare | None = None
        if not template.variable:
            value = decode_value(template.value)
            self._term = Compare("eq", template.field, value)

    def run(
        self, lookup: Lookup, variables: Mapping[str, object] | None
    ) -> list[ResultDocument] | None:
        """What is found, or ``None`` when an executor has to say."""
        term = self._term
        if term is None:
            term = self._bound(variables)
        elif variables:
            return None
        if term is None:
            return None
        return lookup.find_by_key(
            self.collection, term, self._document, version=self.version
        )

    def _bound(self, variables: Mapping[str, object] | None) -> Compare | None:
        if not variables or len(variables) != 1:
            return None
        value = variables.get(self._variable)
        if type(value) is not self._kind:
            return None
        if type(value) is int:
            if not INT_MIN <= value <= INT_MAX:
                return None
        elif isinstance(value, str) and not value.isascii():
            return None  # half a surrogate pair is for the executor to refuse
        return Compare("eq", self._field, value)

    def _document(self, record: Buffer) -> ResultDocument:
        lsn, document_id, body = unpack_record(record)
        data = self._shape(document_id, decode_document(body))
        return ResultDocument(document_id, data, lsn)


class LocalTexts:
    """The look-ups that are known, by text; each operation is atomic."""

    def __init__(self) -> None:
        self._texts: OrderedDict[str, LocalText] = OrderedDict()
        self.get = self._texts.get

    def keep(self, text: str, template: Template) -> None:
        """Remember a look-up."""
        if len(self._texts) >= _MOST:
            self._texts.popitem(last=False)
        self._texts[text] = LocalText(template)

    def forget(self, text: str) -> None:
        """The schema has changed, or the text was no look-up this time."""
        self._texts.pop(text, None)
