"""Look-ups by one key, as executors tell clients of them. Pure; used by both."""

from __future__ import annotations

from typing import Final

import msgspec

from aurora_actors.aql.execution.shapes import Shape
from aurora_actors.schema.types import Kind

__all__ = ["KINDS", "Template", "decode_template"]

KINDS: Final[dict[Kind, type]] = {Kind.STRING: str, Kind.INT: int}
"""The kinds of key whose variables need no more than a look at their type."""


class Template(msgspec.Struct, frozen=True, array_like=True):
    """A look-up by one key.

    Attributes:
        name: The name of the result.
        collection: The collection.
        field: The field that is the key.
        variable: The variable that brings the key; empty when the text has it.
        kind: The kind of key.
        value: The encoded key, when the text has it.
        shape: What is seen of the document.
        version: The schema version it is good for.
    """

    name: str
    collection: str
    field: str
    variable: str
    kind: Kind
    value: bytes
    shape: Shape
    version: int


decode_template: Final = msgspec.msgpack.Decoder(Template).decode
