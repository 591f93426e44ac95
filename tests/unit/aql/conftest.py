"""Collections that the AQL tests query, and one way to run the front end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import pytest

from aurora_actors.aql.parser import parse
from aurora_actors.aql.validation import Checked, validate
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition as Field,
    FieldType as T,
)

Definitions: TypeAlias = dict[str, CollectionDefinition]


@pytest.fixture(scope="session")
def definitions() -> Definitions:
    collections = [
        CollectionDefinition(
            "users",
            {
                "username": Field(T.STRING, nullable=False),
                "email": Field(T.STRING, unique=True),
                "name": Field(T.STRING),
                "age": Field(T.INT, indexed=True),
                "score": Field(T.FLOAT),
                "active": Field(T.BOOL),
                "role": Field(T.STRING),
                "country": Field(T.STRING),
                "nick": Field(T.STRING),
                "visits": Field(T.INT),
                "token": Field(T.UUID),
                "born": Field(T.DATE),
                "wakes": Field(T.TIME),
                "seen": Field(T.DATETIME),
                "avatar": Field(T.BYTES),
                "extra": Field(T.ANY),
                "tags": Field(T.array(T.STRING)),
                "address": Field(T.object({"city": T.STRING, "zip": T.STRING})),
            },
        ),
        CollectionDefinition(
            "orders",
            {
                "status": Field(T.STRING),
                "amount": Field(T.FLOAT),
                "user_id": Field(T.STRING),
            },
        ),
        CollectionDefinition(
            "readings", {"at": Field(T.DATETIME), "value": Field(T.FLOAT)}
        ),
        CollectionDefinition("events", {"at": Field(T.DATETIME)}, open=True),
    ]
    return {collection.name: collection for collection in collections}


@pytest.fixture
def check(definitions: Definitions) -> Callable[..., Checked]:
    def run(
        text: str,
        known: Mapping[str, CollectionDefinition] = definitions,
        recorded: Mapping[str, str] | None = None,
    ) -> Checked:
        return validate(parse(text), known, text=text, recorded_versions=recorded or {})

    return run
