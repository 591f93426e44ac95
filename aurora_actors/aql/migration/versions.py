"""The versions of a migration: which are due, and applying them one by one.

A version is applied whole and recorded with its checksum in ``_sys_migration``, or not at
all. One that is recorded is skipped; when its text has changed since, the whole
migration is refused before anything is done.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from datetime import datetime
from typing import Final

import msgspec

from aurora_actors.aql import tree
from aurora_actors.aql.data_changes import read_data_change, version_checksum
from aurora_actors.aql.migration.changes import Change, Record, Snapshots, carry_out
from aurora_actors.aql.migration.shadow import Progress, ask
from aurora_actors.aql.schema_ops import apply_change, read_statement
from aurora_actors.aql.scope import Definitions, Scope, Session
from aurora_actors.errors import CollectionNotFoundError, ConflictError
from aurora_actors.messages.base import Message
from aurora_actors.messages.storage import DefineCollection, Operation
from aurora_actors.schema.record import record_body, record_id
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    encode_definition,
)
from aurora_actors.schema.values import decode_document, encode_document
from aurora_actors.storage.snapshot import Snapshot

__all__ = ["VERSIONS", "Migrated", "apply_schema", "migrate", "recorded_versions"]

VERSIONS: Final = "_sys_migration"
_DEFINITION: Final = CollectionDefinition(
    VERSIONS,
    {
        "checksum": FieldDefinition(FieldType.STRING, nullable=False),
        "applied_at": FieldDefinition(FieldType.DATETIME, nullable=False),
        "run": FieldDefinition(FieldType.STRING),
    },
)


class Migrated(msgspec.Struct, frozen=True):
    """What a migration did.

    Attributes:
        version: The last version it names.
        applied: How many versions were applied; the others had been before.
    """

    version: str
    applied: int


def recorded_versions(snapshot: Snapshot) -> dict[str, str]:
    """The checksum of each version applied so far."""
    try:
        info = snapshot.collection(VERSIONS)
    except CollectionNotFoundError:
        return {}
    return {
        record_id(record): str(decode_document(record_body(record))["checksum"])
        for _, record in snapshot.scan(info)
    }


def apply_schema(
    snapshots: Snapshots,
    schema: tree.Schema,
    text: str = "",
    progress: Progress | None = None,
) -> Generator[Operation, Message, list[Change]]:
    """Carry out the statements of a checked ``schema`` block, as one change.

    Returns:
        What they did.

    Raises:
        AuroraError: see :func:`~aurora_actors.aql.migration.changes.carry_out`.
    """
    changes = _read(snapshots, schema.statements, text)
    yield from carry_out(snapshots, changes, None, progress)
    return changes


def migrate(
    snapshots: Snapshots,
    migration: tree.Migration,
    now: datetime,
    text: str = "",
    progress: Progress | None = None,
    run: str = "",
) -> Generator[Operation, Message, Migrated]:
    """Apply those versions of a checked migration that are not recorded yet.

    Args:
        snapshots: Takes a snapshot of the database.
        migration: The versions, in the order in which they are applied.
        now: The time to record.
        text: The text they stand in, for errors.
        progress: Is told how far the copying of documents is, and of each version.
        run: Names this run, however often it has to begin again: what it has applied
            before counts as applied by it.

    Raises:
        AuroraError: a version failed; those before it are applied and recorded.
    """
    yield from ask(DefineCollection(definition=encode_definition(_DEFINITION)))
    applied = 0
    for number, version in enumerate(migration.versions, 1):
        work = _Version(snapshots, version, text, run)
        if (yield from work.apply(now, progress)):
            applied += 1
        if progress is not None:
            progress(f"version {version.name}", number, len(migration.versions))
    return Migrated(migration.versions[-1].name, applied)


class _Version:
    """One version, to be applied by one run."""

    def __init__(
        self, snapshots: Snapshots, version: tree.Version, text: str, run: str
    ) -> None:
        self._snapshots = snapshots
        self._version = version
        self._text = text
        self._run = run

    def apply(
        self, now: datetime, progress: Progress | None
    ) -> Generator[Operation, Message, bool]:
        """Apply it unless that was done; whether this run has done it."""
        known = self._recorded_by()
        if known is not None:
            return self._is_own(known)
        version = self._version
        fields: dict[str, object] = {
            "checksum": version_checksum(version),
            "applied_at": now,
        }
        if self._run:
            fields["run"] = self._run
        record = Record(VERSIONS, version.name, encode_document(fields))
        changes = _read(self._snapshots, version.steps, self._text)
        try:
            yield from carry_out(self._snapshots, changes, record, progress)
        except ConflictError:
            # Somebody else may have applied it meanwhile.
            known = self._recorded_by()
            if known is None:
                raise
            return self._is_own(known)
        return True

    def _is_own(self, run: str) -> bool:
        return bool(run) and run == self._run

    def _recorded_by(self) -> str | None:
        """The run that has applied it; ``None`` when none has."""
        with self._snapshots() as snapshot:
            info = snapshot.collection(VERSIONS)
            record = snapshot.get(info, self._version.name)
            if record is None:
                return None
            return str(decode_document(record_body(record)).get("run") or "")


def _read(
    snapshots: Snapshots, steps: Iterable[tree.MigrationStep], text: str
) -> list[Change]:
    """What the steps mean, each after the ones before it."""
    with snapshots() as snapshot:
        definitions: Definitions = {
            info.definition.name: info.definition for info in snapshot.collections()
        }
    scope = Scope(Session(text, definitions, {}, {}))
    changes: list[Change] = []
    for step in steps:
        if isinstance(step, tree.MigrateData):
            definition = scope.collection(step.collection, step)
            if definition is not None:
                found = [
                    read_data_change(scope, assignment, definition)
                    for assignment in step.assignments
                ]
                changes += [change for change in found if change is not None]
        else:
            change = read_statement(scope, step)
            if change is not None:
                apply_change(scope, change)
                changes.append(change)
    scope.session.finish()
    return changes
