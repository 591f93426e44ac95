"""What schema statements have done, as parts of a result. Pure."""

from __future__ import annotations

from typing import Final

from aurora_actors.aql.execution.notes import Note, encode_note
from aurora_actors.aql.execution.plans import StatementRoot
from aurora_actors.messages.aql import AqlPart

__all__ = ["schema_parts"]

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
