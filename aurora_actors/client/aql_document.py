"""Documents of the results of AQL texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from aurora_actors.client.document import Document, FieldValue
from aurora_actors.schema.models import from_document

__all__ = ["ResultDocument"]

M = TypeVar("M")


class ResultDocument(Document):
    """One document of a result, with exactly what was selected of it.

    ``data`` has the selected fields under their names in the result, ``None`` for what
    the document has not. ``id`` is the document's id even if it was not selected.
    """

    __slots__ = ()

    def __getitem__(self, name: str) -> FieldValue:
        return self.id if name == "id" and "id" not in self.data else self.data[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def get(self, name: str, default: FieldValue = None) -> FieldValue:
        """What was selected as ``name``, or ``default``."""
        if name == "id" and "id" not in self.data:
            return self.id
        return self.data.get(name, default)

    def to(self, model: type[M]) -> M:
        """This document as an instance of ``model``.

        Raises:
            ValidationError: a field is missing or of another type; has ``path``.
        """
        fields = {name: value for name, value in self.data.items() if name != "id"}
        return from_document(model, self.id, fields)

    def to_dict(self) -> dict[str, FieldValue]:
        """What was selected, as a new dict."""
        return dict(self.data)
