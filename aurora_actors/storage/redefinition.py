"""Which definitions a collection can be given without touching its documents.

Pure. The documents must fit the new definition whatever they are, and the keys of
unique values, which have the number of their field in them, must stay what they are.
"""

from __future__ import annotations

from aurora_actors.errors import ValidationError
from aurora_actors.schema.types import CollectionDefinition, FieldDefinition

__all__ = ["can_redefine", "check_redefinition"]


def can_redefine(before: CollectionDefinition, after: CollectionDefinition) -> bool:
    """Whether documents that fit ``before`` fit ``after`` as they are."""
    return _obstacle(before, after) is None


def check_redefinition(
    before: CollectionDefinition, after: CollectionDefinition
) -> None:
    """Refuse a definition that asks for other documents.

    Raises:
        ValidationError: it does; the message says how.
    """
    obstacle = _obstacle(before, after)
    if obstacle is not None:
        raise ValidationError(
            f"{before.name} cannot be redefined in place: {obstacle}",
            collection=before.name,
        )


def _obstacle(before: CollectionDefinition, after: CollectionDefinition) -> str | None:
    if before.open and not after.open:
        return "it would be open no more"
    old, new = list(before.fields), list(after.fields)
    if new[: len(old)] != old:
        return "fields may only be added behind the others"
    for name in old:
        if not _keeps(before.fields[name], after.fields[name]):
            return f"the field {name} would change"
    for name in new[len(old) :]:
        added = after.fields[name]
        if before.open:
            return f"documents may have any value in {name} already"
        if added.unique or not added.nullable:
            return f"documents have no value for {name}"
    return None


def _keeps(before: FieldDefinition, after: FieldDefinition) -> bool:
    return (
        before.field_type == after.field_type
        and before.unique == after.unique
        and (after.nullable or not before.nullable)
    )
