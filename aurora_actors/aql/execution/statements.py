"""What schema statements have done, as parts of a result. Pure."""

from __future__ import annotations

from typing import Final

from aurora_actors.aql import tree
from aurora_actors.aql.execution.notes import Note, encode_note
from aurora_actors.aql.execution.plans import Program, StatementRoot
from aurora_actors.aql.migration.versions import Migrated
from aurora_actors.errors import UsageError
from aurora_actors.messages.aql import AqlPart

__all__ = ["migration_of", "migration_part", "progress_part", "schema_parts"]

_STATUS: Final = {
    "define": "created",
    "alter": "altered",
    "drop": "dropped",
    "none": "unchanged",
}


def schema_parts(root: StatementRoot) -> list[AqlPart]:
    """A part for each statement of a ``schema`` block."""
    return [
        AqlPart(
            encode_note(
                Note(
                    kind="schema",
                    name=change.collection,
                    collection=change.collection,
                    operation=_operation(
                        change.action, is_there=change.after is not None
                    ),
                    status=_STATUS[change.action],
                )
            ),
            [],
        )
        for change in root.changes
    ]


def _operation(action: str, *, is_there: bool) -> str:
    if action == "none":
        return "define" if is_there else "drop"
    return action


def migration_of(program: Program) -> tree.Migration:
    """The one ``migrate`` block that a text consists of.

    Raises:
        UsageError: it is another text.
    """
    root = program.roots[0] if len(program.roots) == 1 else None
    if isinstance(root, StatementRoot) and isinstance(root.block, tree.Migration):
        return root.block
    raise UsageError("migrate() is for a text that is one migrate block")


def migration_part(migrated: Migrated) -> AqlPart:
    """What a migration has done."""
    note = Note(
        kind="migration",
        name="migrate",
        operation="migrate",
        version=migrated.version,
        steps=migrated.applied,
        status="applied" if migrated.applied else "skipped",
    )
    return AqlPart(encode_note(note), [])


def progress_part(what: str, done: int, total: int) -> AqlPart:
    """How far it is."""
    note = Note(kind="progress", name=what, affected=done, steps=total)
    return AqlPart(encode_note(note), [])
