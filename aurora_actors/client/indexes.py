"""Indexes made, removed and listed after their collection; a part of the database object.

An index is part of its collection's definition. Making one is a change of the
definition, which is over at once; the index builder then fills it, while queries go
on without it. Answers are the same with an index and without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import msgspec

from aurora_actors.client.encoding import name_of
from aurora_actors.client.handle import Handle
from aurora_actors.client.protocol import STORAGE
from aurora_actors.errors import ConflictError, UsageError
from aurora_actors.messages.storage import RedefineCollection
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    encode_definition,
)

__all__ = ["IndexHandle", "IndexInfo"]

_ATTEMPTS: Final = 10

Indexes = tuple[tuple[str, ...], ...]


class IndexInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An index of a collection.

    Attributes:
        fields: Its fields, in the order of the index.
        kind: ``unique`` (of a unique field), ``ordered``, or ``bitmap`` (few distinct
            values).
        is_declared: It belongs to the declaration of its field.
        is_ready: It is complete, and used by queries; unique ones always are.
        entries: How many entries it has so far; ``None`` for unique ones.
    """

    fields: tuple[str, ...]
    kind: Literal["unique", "ordered", "bitmap"]
    is_declared: bool
    is_ready: bool
    entries: int | None


class IndexHandle(Handle):
    """Adds the management of indexes to a database object."""

    async def create_index(
        self, collection: str | type, *fields: str, timeout: float | None = None
    ) -> bool:
        """Make an index on one field, or on several together.

        Returns at once; the index is filled in the background and used as soon as it is
        complete (``list_indexes`` shows that, ``wait_indexed`` waits for it).

        Args:
            collection: The collection.
            fields: Dotted names. An index on several serves conditions of equality on
                the first ones with a range or an order of the next.
            timeout: In seconds.

        Returns:
            Whether it was made; false when there is such an index.

        Raises:
            ValidationError: there is no such field, or fields that do not go together.
        """
        names = _names(fields)

        def added(definition: CollectionDefinition) -> Indexes | None:
            declared = definition.fields.get(names[0])
            if names in definition.indexes:
                return None
            if len(names) == 1 and declared is not None and declared.indexed:
                return None
            return (*definition.indexes, names)

        return await self._reindex(collection, added, timeout)

    async def drop_index(
        self, collection: str | type, *fields: str, timeout: float | None = None
    ) -> bool:
        """Remove an index that ``create_index`` has made.

        Returns:
            Whether there was one.

        Raises:
            UsageError: the index belongs to the declaration of its field.
        """
        names = _names(fields)

        def removed(definition: CollectionDefinition) -> Indexes | None:
            if names in definition.indexes:
                return tuple(each for each in definition.indexes if each != names)
            declared = definition.fields.get(names[0]) if len(names) == 1 else None
            if declared is not None and (declared.indexed or declared.unique):
                raise UsageError(
                    f"the index on {names[0]} belongs to the declaration of the field; "
                    "alter the collection to change that"
                )
            return None

        return await self._reindex(collection, removed, timeout)

    async def _reindex(
        self,
        collection: str | type,
        change: Callable[[CollectionDefinition], Indexes | None],
        timeout: float | None,
    ) -> bool:
        name = name_of(collection)
        session = self._open()
        for _ in range(_ATTEMPTS):
            before = (await session.collection(name, timeout)).definition
            indexes = change(before)
            if indexes is None:
                return False
            after = msgspec.structs.replace(before, indexes=indexes)
            request = RedefineCollection(
                collection=name,
                definition=encode_definition(after),
                before=encode_definition(before),
            )
            try:
                await session.shell.call(STORAGE, request, timeout)
            except ConflictError:
                continue
            return True
        raise ConflictError(
            f"the definition of {name} changes all the time", collection=name
        )

    async def list_indexes(
        self, collection: str | type, *, timeout: float | None = None
    ) -> list[IndexInfo]:
        """The indexes of a collection."""
        session = self._open()
        if session.shell.cancel_point is not None:
            await session.shell.cancel_point()
        info = await session.collection(name_of(collection), timeout)
        states = await session.index_states(info)
        found = [
            IndexInfo(
                fields=(name,),
                kind="unique",
                is_declared=True,
                is_ready=True,
                entries=None,
            )
            for name, field in info.definition.fields.items()
            if field.unique
        ]
        for fields, made in _wanted(info.definition):
            ready, is_bitmaps, entries = states.get(fields, (False, False, 0))
            found.append(
                IndexInfo(
                    fields=fields,
                    kind="bitmap" if is_bitmaps else "ordered",
                    is_declared=not made,
                    is_ready=ready,
                    entries=entries,
                )
            )
        return found


def _wanted(definition: CollectionDefinition) -> list[tuple[tuple[str, ...], bool]]:
    """The fields of each index, and whether it was made apart from its field."""
    declared = [(name,) for name in _indexed("", definition.fields)]
    return [
        *((names, False) for names in declared),
        *((names, True) for names in definition.indexes if names not in declared),
    ]


def _indexed(parent: str, fields: dict[str, FieldDefinition]) -> list[str]:
    found: list[str] = []
    for name, field in fields.items():
        path = f"{parent}{name}"
        if field.indexed:
            found.append(path)
        if field.field_type.fields:
            found += _indexed(f"{path}.", field.field_type.fields)
    return found


def _names(fields: tuple[str, ...]) -> tuple[str, ...]:
    if not fields or not all(isinstance(name, str) for name in fields):
        raise UsageError("an index needs the names of one field or more")
    return fields
