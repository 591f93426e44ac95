"""What the query tests share: a database to query, and a slow, plain reference.

The reference says what comparisons mean in as few words as possible and shares no code
with the package: no compiled text, no sort keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from functools import cmp_to_key
from pathlib import Path
from typing import Any
from uuid import UUID

from aurora_actors.config import AuroraConfig, DurabilityMode
from aurora_actors.messages.base import Failure
from aurora_actors.messages.query import OrderKey, QuerySpec
from aurora_actors.messages.storage import (
    DefineCollection,
    DeleteDocument,
    InsertDocuments,
    Operation,
    ReplaceDocument,
)
from aurora_actors.query.compile import compile_predicate
from aurora_actors.query.filters import Filter
from aurora_actors.query.predicate import (
    And,
    Compare,
    Not,
    Or,
    Predicate,
    decode_predicate,
    encode_predicate,
)
from aurora_actors.schema.record import unpack_record
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    encode_definition,
)
from aurora_actors.schema.values import decode_document, encode_document
from aurora_actors.storage.engine import Engine, StorageCall
from aurora_actors.storage.reader import DataReader, Snapshot

USERS = CollectionDefinition(
    "users",
    {
        "name": FieldDefinition(FieldType.STRING, nullable=False),
        "email": FieldDefinition(FieldType.STRING, unique=True),
        "age": FieldDefinition(FieldType.INT),
        "score": FieldDefinition(FieldType.FLOAT),
        "active": FieldDefinition(FieldType.BOOL),
        "token": FieldDefinition(FieldType.UUID),
        "seen": FieldDefinition(FieldType.DATETIME),
        "born": FieldDefinition(FieldType.DATE),
        "photo": FieldDefinition(FieldType.BYTES),
        "tags": FieldDefinition(FieldType.array(FieldType.STRING)),
        "address": FieldDefinition(
            FieldType.object(
                {
                    "city": FieldDefinition(FieldType.STRING),
                    "geo": FieldDefinition(
                        FieldType.object(
                            {"lat": FieldType.FLOAT, "lon": FieldType.FLOAT}
                        )
                    ),
                }
            )
        ),
        "extra": FieldDefinition(FieldType.ANY),
        "free": FieldDefinition(FieldType.OBJECT),
    },
)
THINGS = CollectionDefinition("things", {}, open=True)


# ------------------------------------------------------------------ the database
class Library:
    """An engine and a reader on one directory."""

    def __init__(self, path: Path) -> None:
        config = AuroraConfig(db_path=str(path), durability_mode=DurabilityMode.NONE)
        self.engine = Engine.open(
            config,
            compile_predicate=lambda data: compile_predicate(decode_predicate(data)),
            tree_id="test",
        )
        self.reader = DataReader.open(path)
        self._requests = 0

    def close(self) -> None:
        self.reader.close()
        self.engine.close()

    def run(self, request: Operation) -> None:
        self._requests += 1
        call = StorageCall("test", self._requests, self._requests, request)
        (reply,) = self.engine.execute([call])
        assert not isinstance(reply, Failure), reply

    def define(self, definition: CollectionDefinition) -> None:
        self.run(DefineCollection(definition=encode_definition(definition)))

    def insert(
        self, collection: str, documents: Mapping[str, Mapping[str, object]]
    ) -> None:
        self.run(
            InsertDocuments(
                collection=collection,
                ids=list(documents),
                documents=[encode_document(fields) for fields in documents.values()],
            )
        )

    def replace(self, collection: str, id_: str, fields: Mapping[str, object]) -> None:
        body = encode_document(fields)
        self.run(ReplaceDocument(collection=collection, id=id_, document=body))

    def delete(self, collection: str, id_: str) -> None:
        self.run(DeleteDocument(collection=collection, id=id_))

    def snapshot(self) -> Snapshot:
        return self.reader.snapshot()


def spec(collection: str, condition: Filter | Predicate | None = None, **more: Any):
    """A query spec of convenient parts; ``order`` takes ``"age"`` or ``"-age"``."""
    if isinstance(condition, Filter):
        condition = condition.predicate
    order = [
        OrderKey(name.removeprefix("-"), not name.startswith("-"))
        for name in more.pop("order", [])
    ]
    return QuerySpec(
        collection=collection,
        predicate=b"" if condition is None else encode_predicate(condition),
        order=order,
        **more,
    )


def ids(records: Sequence[bytes]) -> list[str]:
    return [unpack_record(record)[1] for record in records]


def documents(records: Sequence[bytes]) -> list[dict[str, object]]:
    return [decode_document(unpack_record(record)[2]) for record in records]


def everything(steps: Iterator[list[bytes]]) -> list[bytes]:
    return [record for step in steps for record in step]


# ------------------------------------------------------------------ the reference
RANKS: list[list[type]] = [
    [type(None)],
    [bool],
    [int, float],
    [str, UUID],
    [date, time, datetime],
    [bytes],
    [list],
    [dict],
]


def rank(value: object) -> int:
    return next(n for n, kinds in enumerate(RANKS) if type(value) in kinds)


def compare(a: Any, b: Any) -> int:
    """-1, 0 or 1: the total order of all values."""
    if rank(a) != rank(b):
        return -1 if rank(a) < rank(b) else 1
    if rank(a) == 3:
        a, b = str(a), str(b)
    if rank(a) == 4 and type(a) is not type(b):
        a, b = RANKS[4].index(type(a)), RANKS[4].index(type(b))
    if isinstance(a, dict):
        a = [part for name in sorted(a) for part in (name, a[name])]
        b = [part for name in sorted(b) for part in (name, b[name])]
    if isinstance(a, list):
        for left, right in zip(a, b, strict=False):
            if (result := compare(left, right)) != 0:
                return result
        a, b = len(a), len(b)
    if a is None:
        return 0
    return int(a > b) - int(a < b)


def comparable(a: object, b: object) -> bool:
    """Whether ranges are defined between the two."""
    if rank(a) == 4 or rank(b) == 4:
        return type(a) is type(b)
    return rank(a) == rank(b) and rank(a) in (2, 3)


def read(fields: Mapping[str, object], id_: str, path: str) -> object:
    value: object = {**fields, "id": id_}
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def meets(predicate: Predicate, fields: Mapping[str, object], id_: str) -> bool:
    """Whether a document matches: the meaning of every operator."""
    match predicate:
        case And(parts):
            return all(meets(part, fields, id_) for part in parts)
        case Or(parts):
            return any(meets(part, fields, id_) for part in parts)
        case Not(part):
            return not meets(part, fields, id_)
        case Compare(op, field, operand):
            return holds(op, read(fields, id_, field), operand)


def holds(op: str, value: Any, operand: Any) -> bool:
    match op:
        case "eq":
            return compare(value, operand) == 0
        case "in":
            return any(compare(value, item) == 0 for item in operand)
        case "ne":
            return not holds("eq", value, operand)
        case "nin":
            return not holds("in", value, operand)
        case "gt":
            return comparable(value, operand) and compare(value, operand) > 0
        case "gte":
            return comparable(value, operand) and compare(value, operand) >= 0
        case "lt":
            return comparable(value, operand) and compare(value, operand) < 0
        case "lte":
            return comparable(value, operand) and compare(value, operand) <= 0
        case "between":
            low, high = operand
            return (
                comparable(low, high)
                and holds("gte", value, low)
                and holds("lte", value, high)
            )
        case "size":
            low, high = operand
            return (
                isinstance(value, list)
                and (low is None or len(value) >= low)
                and (high is None or len(value) <= high)
            )
        case "is_null":
            return value is None
        case "is_not_null":
            return value is not None
        case "above":
            return compare(value, operand) > 0
        case "below":
            return compare(value, operand) < 0
        case "not_above":
            return compare(value, operand) <= 0
        case "not_below":
            return compare(value, operand) >= 0
        case _:
            return contains(op, value, operand)


def contains(op: str, value: Any, operand: Any) -> bool:
    if op == "contains" and isinstance(value, str):
        return isinstance(operand, str) and operand in value
    if op.startswith("contains"):
        operands = [operand] if op == "contains" else operand
        found = [
            isinstance(value, list) and any(compare(item, one) == 0 for item in value)
            for one in operands
        ]
        many = all if op == "contains_all" else any
        return isinstance(value, list) and many(found)
    if not isinstance(value, str):
        return False
    match op:
        case "starts_with":
            return bool(value[: len(operand)] == operand)
        case "ends_with":
            return not operand or value[-len(operand) :] == operand
        case "matches":
            return re.search(operand, value) is not None
    raise AssertionError(op)


def ordered(
    found: Mapping[str, Mapping[str, object]], order: Sequence[str]
) -> list[str]:
    """Ids in the order asked for, ties by id; without an order as they come."""

    def by(left: str, right: str) -> int:
        for key in order:
            name = key.removeprefix("-")
            a, b = read(found[left], left, name), read(found[right], right, name)
            result = compare(a, b)
            if result:
                return -result if key.startswith("-") else result
        return compare(left, right)

    return sorted(found, key=cmp_to_key(by)) if order else list(found)
