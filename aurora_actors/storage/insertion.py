"""Inserting documents: what could refuse them, then the write set.

:class:`Inserts` serves single requests and *runs*: the inserts into one collection that
stand next to each other in a batch are checked and written together, as one bulk insert
is. With 64 requests of one document each this takes half the time of one after the
other. Deterministic; in the storage process.
"""

from __future__ import annotations

from collections.abc import Sequence

from aurora_actors.config import AuroraConfig
from aurora_actors.errors import (
    AuroraError,
    LimitExceededError,
    UniqueViolationError,
    UsageError,
    ValidationError,
)
from aurora_actors.messages.storage import InsertDocuments, Written
from aurora_actors.storage.catalog import Collection
from aurora_actors.storage.keys import id_keys, pack_records, unique_keys
from aurora_actors.storage.layout import value_key
from aurora_actors.storage.writeset import WriteSet

__all__ = ["Inserts", "value_taken"]


class Inserts:
    """Applies inserts to a write set.

    Args:
        config: The limits.
        synced: What the replies say.
    """

    def __init__(self, config: AuroraConfig, *, synced: bool) -> None:
        self._max_document = config.max_document_bytes
        self._max_request = max(config.max_transaction_bytes, config.max_document_bytes)
        self._synced = synced

    def insert(self, batch: WriteSet, request: InsertDocuments) -> Written:
        """Insert the documents of one request.

        Raises:
            AuroraError: one of them is refused; nothing has changed.
        """
        collection = batch.catalog.find(request.collection)
        ids, bodies = request.ids, request.documents
        if len(ids) != len(bodies):
            raise UsageError(f"{len(ids)} ids for {len(bodies)} documents")
        if not ids:
            return Written(lsn=0, synced=self._synced, affected=0)
        self.check_sizes(bodies)
        return self.insert_all(batch, collection, ids, bodies)

    def insert_all(
        self,
        batch: WriteSet,
        collection: Collection,
        ids: Sequence[str],
        bodies: Sequence[bytes],
    ) -> Written:
        """Insert documents whose sizes have been checked.

        Raises:
            AuroraError: one of them is refused; nothing has changed.
        """
        if collection.defaults:
            bodies = collection.defaults.fill(bodies)
        names, keys = id_keys(collection, ids)
        _refuse_ids(batch, collection, keys)
        unique = unique_keys(collection, bodies)
        if unique:
            _refuse_values(batch, collection, bodies, unique)
        records = pack_records(batch.lsn + 1, names, bodies)
        batch.insert(collection, records, keys, unique)
        return Written(lsn=batch.lsn, synced=self._synced, affected=len(ids))

    def insert_run(
        self, batch: WriteSet, requests: Sequence[InsertDocuments]
    ) -> list[Written] | None:
        """Insert the documents of several requests, all for the same collection.

        Returns:
            The replies; each request has one effect. ``None``, and nothing has
            changed, when one of them would be refused: which, and why, shows when
            they are applied one by one.
        """
        collection = batch.catalog.by_name.get(requests[0].collection)
        if collection is None:
            return None
        ids: list[str] = []
        bodies: list[bytes] = []
        counts: list[int] = []
        for request in requests:
            count = len(request.ids)
            if not count or count != len(request.documents):
                return None
            ids += request.ids
            bodies += request.documents
            counts.append(count)
        if collection.defaults:
            bodies = collection.defaults.fill(bodies)
        try:
            self._check_run(requests, counts)
            names, keys = id_keys(collection, ids)
            unique = unique_keys(collection, bodies)
        except AuroraError:
            return None
        if not _are_free(batch, keys, unique):
            return None
        lsn = batch.lsn
        records = pack_records(lsn + 1, names, bodies)
        batch.insert(collection, records, keys, unique, counts)
        replies = []
        for count in counts:
            lsn += count
            replies.append(Written(lsn=lsn, synced=self._synced, affected=count))
        return replies

    def _check_run(
        self, requests: Sequence[InsertDocuments], counts: Sequence[int]
    ) -> None:
        if max(counts) > 1:
            for request in requests:
                self.check_sizes(request.documents)
        else:
            self.check_size(max(len(request.documents[0]) for request in requests))

    def check_sizes(self, bodies: Sequence[bytes]) -> None:
        """Refuse documents that are too large, each or together.

        Raises:
            LimitExceededError: they are.
        """
        sizes = list(map(len, bodies))
        self.check_size(max(sizes))
        if sum(sizes) > self._max_request:
            raise LimitExceededError(
                f"{sum(sizes):,} bytes in one request; max_transaction_bytes is "
                f"{self._max_request:,}: send fewer documents at a time",
                limit="max_transaction_bytes",
            )

    def check_size(self, size: int) -> None:
        """Refuse a document of this size, if it is too large.

        Raises:
            LimitExceededError: it is.
        """
        if size > self._max_document:
            raise LimitExceededError(
                f"a document of {size:,} bytes; max_document_bytes is "
                f"{self._max_document:,}",
                limit="max_document_bytes",
            )


def _are_free(
    batch: WriteSet, keys: Sequence[bytes], unique: Sequence[tuple[bytes, int]]
) -> bool:
    """Whether nobody has any of the ids and unique values, nor two of them the same."""
    if len(set(keys)) < len(keys) or batch.any_id(keys) is not None:
        return False
    if not unique:
        return True
    values = {key for key, _ in unique}
    return len(values) == len(unique) and batch.any_unique(values) is None


def _refuse_ids(batch: WriteSet, collection: Collection, keys: Sequence[bytes]) -> None:
    taken = batch.any_id(keys)
    if taken is None and len(keys) > 1 and len(set(keys)) < len(keys):
        taken = next(key for key in keys if keys.count(key) > 1)
    if taken is not None:
        name = taken[4:].decode()
        raise UniqueViolationError(
            f"{collection.name} has a document with the id {name!r} already",
            collection=collection.name,
            field="id",
            value=name,
        )


def _refuse_values(
    batch: WriteSet,
    collection: Collection,
    bodies: Sequence[bytes],
    unique: Sequence[tuple[bytes, int]],
) -> None:
    by_key = dict(unique)
    if len(by_key) < len(unique):
        seen: set[bytes] = set()
        for key, at in unique:
            if key in seen:
                raise value_taken(collection, key, bodies[at])
            seen.add(key)
    taken = batch.any_unique(by_key)
    if taken is not None:
        raise value_taken(collection, taken, bodies[by_key[taken]])


def value_taken(
    collection: Collection, key: bytes, body: bytes
) -> UniqueViolationError | AuroraError:
    """The error for a document whose ``key`` in ``unique`` somebody else has."""
    for name, value in collection.validator.unique_values(body):
        if collection.unique[name] + value_key(value) == key:
            shown = value if isinstance(value, str | int | float) else str(value)
            return UniqueViolationError(
                f"another document of {collection.name} has {name} = {shown!r}",
                collection=collection.name,
                field=name,
                value=shown,
            )
    return ValidationError(f"a unique value of {collection.name} is taken twice")
