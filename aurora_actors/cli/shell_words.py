"""Which words can stand at the cursor of the shell: completion by the schema.

Pure. The text before the cursor is taken apart into brackets and names, without being
parsed, because it is not finished. Where nothing is known, nothing is suggested.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from aurora_actors.aql.mutations import MUTATIONS
from aurora_actors.aql.operators import OPERATORS, operators_for
from aurora_actors.aql.queries import QUERY_ARGUMENTS
from aurora_actors.aql.validation.levels import SPECIAL
from aurora_actors.schema.types import CollectionDefinition, FieldDefinition, FieldType

__all__ = ["Suggestions", "is_complete", "suggest"]

_TOKEN: Final = re.compile(
    r"""(?x)
    (?P<skip> [\s,]++ | \#[^\r\n]*+ )
    | (?P<text> \"\"\" (?: [^"\\]++ | \\\"\"\" | \\(?!\"\"\") | "(?!"") )*+ \"\"\"
              | " (?!"") (?: [^"\\\r\n]++ | \\. )*+ " )
    | (?P<open_text> \"\"\" .*+ | " [^"\r\n]*+ )
    | (?P<name> [_A-Za-z][_0-9A-Za-z]*+ )
    | (?P<sign> \.\.\. | . )
    """,
    re.DOTALL,
)
_CLOSING: Final = {"}": "{", ")": "(", "]": "["}
_OPERATIONS: Final = (
    "query", "mutation", "subscription", "schema", "migrate", "fragment",
)  # fmt: skip
_STATEMENTS: Final = ("define collection", "alter collection", "drop collection")
_ALTERATIONS: Final = ("add", "drop", "rename", "modify")
_CHANGE: Final = ("collection", "where", "data")
_MUTATION_ARGUMENTS: Final = {
    "insertInto": ("collection", "data"),
    "insertMany": ("collection", "data"),
    "update": (*_CHANGE, "all"),
    "upsert": _CHANGE,
    "deleteFrom": ("collection", "where", "all"),
    "enqueueJob": (
        "jobType", "payload", "priority", "maxRetries", "runAt", "uniqueKey", "queue",
    ),
    "enqueueJobs": ("jobType", "payloads", "priority", "maxRetries", "runAt", "queue"),
}  # fmt: skip
_FUNCTIONS: Final = ("count", "sum", "avg", "min", "max", "stddev", "distinct")
_ARGUMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    **_MUTATION_ARGUMENTS,
    **dict.fromkeys(_FUNCTIONS, ("field",)),
    "groupBy": ("field", "fields", "interval", "having", "orderBy", "limit", "offset"),
    "nodes": ("limit", "offset", "orderBy"),
    "__schema": ("name",),
    "lookup": (
        "collection", "localField", "foreignField", "where", "orderBy", "limit",
        "offset",
    ),
}  # fmt: skip
_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "aggregate": _FUNCTIONS,
    "groupBy": ("key", "keys", "count", "aggregate", "nodes"),
    "edges": ("cursor", "node"),
    "pageInfo": ("hasNextPage", "hasPreviousPage", "startCursor", "endCursor"),
    "collections": ("name", "count", "open", "fields"),
    "__schema": ("collections",),
}
_DIRECTIONS: Final = ("ASC", "DESC", "ASC_NULLS_LAST", "DESC_NULLS_FIRST")
_COMBINATORS: Final = ("and", "or", "not")
_FIELD_KEYS: Final = frozenset(
    {"field", "fields", "localField", "foreignField", "distinct"}
)


class Suggestions(NamedTuple):
    """Words, of which the last ``typed`` characters stand there already."""

    words: list[str]
    typed: int


class _Frame(NamedTuple):
    """An open bracket, the name before it, and the collection it is about."""

    sign: str
    label: str
    collection: str


class _Reader:
    """Reads what stands before the cursor."""

    def __init__(self, known: Mapping[str, CollectionDefinition]) -> None:
        self.known = known
        self.frames: list[_Frame] = []
        self.kind = ""
        self.name = self.key = self.collection = ""
        self.after_colon = False

    def take(self, kind: str, piece: str) -> None:
        """Take one token."""
        if kind == "name":
            if not self.frames and not self.kind:
                self.kind = piece
            self.name, self.after_colon = piece, False
            self.collection = ""
        elif kind == "text":
            if self.after_colon and self.key == "collection":
                self._target(piece.strip('"'))
            self.name, self.after_colon = "", False
        elif piece == ":":
            self.key, self.after_colon = self.name, True
        elif piece in "{([":
            self._open(piece)
        elif piece in _CLOSING:
            self._close(piece)
        else:
            self.name, self.after_colon = "", False

    def _target(self, name: str) -> None:
        frame = self.frames[-1] if self.frames else None
        if frame is not None and frame.sign == "(":
            self.frames[-1] = frame._replace(collection=name)

    def _open(self, piece: str) -> None:
        outer = self.frames[-1] if self.frames else None
        label = self.key if self.after_colon else self.name
        if not label and outer is not None and outer.sign == "[":
            label = outer.label
        collection = self.collection or ("" if outer is None else outer.collection)
        if len(self.frames) == 1 and label in self.known:
            collection = label
        self.frames.append(_Frame(piece, label, collection))
        self.name, self.collection, self.after_colon = "", "", False

    def _close(self, piece: str) -> None:
        if self.frames and self.frames[-1].sign == _CLOSING[piece]:
            frame = self.frames.pop()
            self.name = frame.label if piece == ")" else ""
            self.collection = frame.collection if piece == ")" else ""
        if not self.frames and piece == "}":
            self.kind = ""
        self.after_colon = False


def suggest(text: str, known: Mapping[str, CollectionDefinition]) -> Suggestions:
    """The words that can stand at the end of ``text``.

    Args:
        text: What stands before the cursor.
        known: The collections.
    """
    reader = _Reader(known)
    typed, in_text = "", False
    for match in _TOKEN.finditer(text):
        kind, piece = str(match.lastgroup), match.group()
        if match.end() == len(text) and kind in ("name", "open_text"):
            in_text = kind == "open_text"
            typed = piece.lstrip('"') if in_text else piece
        elif kind != "skip":
            reader.take(kind, piece)
    words = _words(reader, in_text=in_text)
    found = [word for word in words if word.strip('"').startswith(typed)]
    return Suggestions(found, len(typed))


def _words(reader: _Reader, *, in_text: bool) -> list[str]:
    inner = next((n for n, f in enumerate(reader.frames) if f.sign == "("), None)
    if inner is None:
        return [] if in_text else _selected(reader)
    return _argued(reader, reader.frames[inner:], in_text=in_text)


def _selected(reader: _Reader) -> list[str]:
    """Words outside of arguments."""
    frames = reader.frames
    if not frames:
        return [] if reader.kind else [*_OPERATIONS]
    if reader.kind in ("schema", "migrate"):
        return _stated(reader)
    if len(frames) == 1 and reader.kind != "fragment":
        is_mutation = reader.kind == "mutation"
        return [*MUTATIONS] if is_mutation else [*reader.known, "__schema"]
    return _inside(reader, frames[-1])


def _inside(reader: _Reader, frame: _Frame) -> list[str]:
    """Words in the selection of ``frame``."""
    if frame.label in _PARTS:
        return [*_PARTS[frame.label]]
    fields = _fields(reader.known, frame.collection)
    nested = fields.get(frame.label)
    if len(reader.frames) > 2 and nested is not None and nested.field_type.fields:
        return [*nested.field_type.fields]
    is_root = len(reader.frames) == 2 and reader.kind != "fragment"
    special = SPECIAL if is_root else ()
    return ["id", *fields, *special, "lookup"] if frame.collection else []


def _stated(reader: _Reader) -> list[str]:
    if reader.name == "collection":
        return [*reader.known]
    frame = reader.frames[-1]
    if frame.label in reader.known and len(reader.frames) > 1:
        return [*_ALTERATIONS]
    return [*_STATEMENTS, *(("migrate data in",) if reader.kind == "migrate" else ())]


def _argued(reader: _Reader, frames: list[_Frame], *, in_text: bool) -> list[str]:
    """Words within the brackets of arguments."""
    if len(frames) == 1 and not reader.after_colon:
        return [] if in_text else _names_of_arguments(reader, frames[0])
    key = reader.key if len(frames) == 1 else frames[1].label
    fields = _fields(reader.known, frames[-1].collection)
    if key in ("collection", "name"):
        return _quoted(reader.known, in_text=in_text)
    if key == "localField" and len(reader.frames) > 1:
        fields = _fields(reader.known, reader.frames[-2].collection)
    if key in _FIELD_KEYS:
        return _quoted(["id", *fields], in_text=in_text)
    return [] if in_text else _in_value(reader, key, frames[-1], fields)


def _in_value(
    reader: _Reader, key: str, frame: _Frame, fields: Mapping[str, FieldDefinition]
) -> list[str]:
    if key == "orderBy":
        return [*_DIRECTIONS] if reader.after_colon else ["id", *fields]
    if reader.after_colon:
        return []
    if key in ("where", "filter"):
        return _conditions(frame.label, fields)
    return [*fields] if key in ("data", "set") else []


def _names_of_arguments(reader: _Reader, frame: _Frame) -> list[str]:
    if frame.label in reader.known and reader.kind != "mutation":
        return [*QUERY_ARGUMENTS]
    return [*_ARGUMENTS.get(frame.label, ())]


def _conditions(label: str, fields: Mapping[str, FieldDefinition]) -> list[str]:
    if label in ("where", "filter", *_COMBINATORS):
        return ["id", *fields, *_COMBINATORS]
    field = fields.get(label)
    if field is not None:
        return operators_for(field.field_type)
    return operators_for(FieldType.STRING) if label == "id" else [*OPERATORS]


def _fields(
    known: Mapping[str, CollectionDefinition], name: str
) -> Mapping[str, FieldDefinition]:
    definition = known.get(name)
    return {} if definition is None else definition.fields


def _quoted(names: Iterable[str], *, in_text: bool) -> list[str]:
    return [*names] if in_text else [f'"{name}"' for name in names]


# ------------------------------------------------------------------ ends
def is_complete(text: str) -> bool:
    """Whether every bracket and string of ``text`` is closed, and something stands there."""
    depth = 0
    has_braces = False
    first = ""
    for match in _TOKEN.finditer(text):
        piece = match.group()
        if match.lastgroup == "open_text" and piece.startswith('"""'):
            return False
        if match.lastgroup == "sign":
            depth += (piece in "{([") - (piece in _CLOSING)
            has_braces = has_braces or piece == "}"
        if match.lastgroup != "skip":
            first = first or piece
    return bool(first) and depth <= 0 and (has_braces or first not in _OPERATIONS)
