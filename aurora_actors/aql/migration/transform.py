"""What the steps of an alteration make of one document.

Pure. Steps are applied in the order written, each to what the one before has left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from aurora_actors.aql.data_changes import DataChange, Reference
from aurora_actors.aql.migration.convert import convert
from aurora_actors.aql.schema_ops import FieldChange
from aurora_actors.errors import ValidationError
from aurora_actors.query.compile import compile_predicate
from aurora_actors.schema.patch import decode_patch, encode_patch
from aurora_actors.schema.values import get_path

__all__ = ["Step", "Transform"]

Step: TypeAlias = FieldChange | DataChange
_Fields: TypeAlias = dict[str, object]
_Change: TypeAlias = Callable[[str, _Fields], _Fields]

_NAMED: Final = 10


class _UnfitError(Exception):
    """A document does not get through; says why."""


class Transform:
    """Documents of one collection, as they are to be.

    Args:
        collection: What it is called, for errors.
        steps: What is done to each.
    """

    def __init__(self, collection: str, steps: Sequence[Step]) -> None:
        self._collection = collection
        self._changes = [_change_of(step) for step in steps]
        self._unfit: list[str] = []
        self._reason = ""

    def apply(self, document_id: str, fields: _Fields) -> _Fields:
        """The document after all steps; a copy where something has changed.

        One that does not get through is noted, see :meth:`finish`.

        Raises:
            ValidationError: ten have not.
        """
        try:
            for change in self._changes:
                fields = change(document_id, fields)
        except _UnfitError as exc:
            self._unfit.append(document_id)
            self._reason = self._reason or str(exc)
            if len(self._unfit) >= _NAMED:
                self.finish()
        return fields

    def finish(self) -> None:
        """The last document has been applied.

        Raises:
            ValidationError: some did not get through; its context names the first.
        """
        if self._unfit:
            shown = ", ".join(repr(found)[:80] for found in self._unfit)
            raise ValidationError(
                f"{self._collection}: {self._reason}; documents: {shown}",
                collection=self._collection,
                ids=list(self._unfit),
            )


def _change_of(step: Step) -> _Change:
    if isinstance(step, DataChange):
        return _setting(step)
    match step.action:
        case "add":
            return _adding(step)
        case "drop":
            return _dropping(step.field)
        case "rename":
            return _renaming(step.field, step.new_name or step.field)
        case "modify":
            return _modifying(step)


def _adding(step: FieldChange) -> _Change:
    name, default, definition = step.field, step.default, step.definition
    assert definition is not None  # noqa: S101 - to add takes one

    def add(_id: str, fields: _Fields) -> _Fields:
        value = fields.get(name)
        if value is None:
            return fields if default is None else {**fields, name: default}
        # An open collection may have had the field before it was declared.
        return {**fields, name: _converted(name, value, step)}

    return add


def _dropping(name: str) -> _Change:
    def drop(_id: str, fields: _Fields) -> _Fields:
        if name not in fields:
            return fields
        return {key: value for key, value in fields.items() if key != name}

    return drop


def _renaming(old: str, new: str) -> _Change:
    def rename(_id: str, fields: _Fields) -> _Fields:
        if old not in fields:
            return fields
        if fields.get(new) is not None:
            raise _UnfitError(f"{new} has a value already")
        return {
            new if key == old else key: value
            for key, value in fields.items()
            if key != new
        }

    return rename


def _modifying(step: FieldChange) -> _Change:
    name, definition = step.field, step.definition
    assert definition is not None  # noqa: S101 - to modify takes one

    def modify(_id: str, fields: _Fields) -> _Fields:
        value = fields.get(name)
        if value is None:
            if definition.nullable:
                return fields
            raise _UnfitError(f"{name} must not be null, and is")
        return {**fields, name: _converted(name, value, step)}

    return modify


def _converted(name: str, value: object, step: FieldChange) -> object:
    assert step.definition is not None  # noqa: S101 - who converts has one
    wanted = step.definition.field_type
    try:
        return convert(value, wanted)
    except (ValueError, OverflowError):
        raise _UnfitError(
            f"{name}: {value!r:.60} cannot become a {wanted} without loss"
        ) from None


def _setting(step: DataChange) -> _Change:
    path, value = step.path, step.value
    matches = None if step.predicate is None else compile_predicate(step.predicate)
    patch = None
    if not isinstance(value, Reference):
        patch = decode_patch(encode_patch({path: value}))

    def set_value(document_id: str, fields: _Fields) -> _Fields:
        if matches is not None and not matches(fields, document_id):
            return fields
        try:
            if patch is not None:
                return patch.apply(fields)
            assert isinstance(value, Reference)  # noqa: S101 - as tested above
            found = document_id if value.path == "id" else get_path(fields, value.path)
            return decode_patch(encode_patch({path: found})).apply(fields)
        except ValidationError as exc:
            raise _UnfitError(exc.message) from exc

    return set_value
