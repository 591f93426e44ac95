"""The check of a whole text, and what it gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from aurora_actors.aql import tree
from aurora_actors.aql.diagnostics import shorten
from aurora_actors.aql.limits import DEFAULT_LIMITS, Limits
from aurora_actors.aql.scope import Definitions, Scope, Session, VariableUse
from aurora_actors.aql.validation.directives import NONE, check_directives
from aurora_actors.aql.validation.fragments import (
    check_cycles,
    fragments_by_name,
    reachable,
)
from aurora_actors.aql.validation.levels import (
    RootLevel,
    check_selection,
    special_fields,
)
from aurora_actors.aql.validation.merging import check_merges
from aurora_actors.aql.validation.operations import check_operation
from aurora_actors.aql.validation.schema import check_migration, check_schema
from aurora_actors.aql.variables import Signature, sign

__all__ = ["Checked", "CheckedOperation", "validate"]

_NO_VERSIONS: Final[Mapping[str, str]] = {}


class CheckedOperation(msgspec.Struct, frozen=True):
    """One operation, schema or migration of a text, in its order.

    Attributes:
        definition: Its tree.
        variables: What it takes; empty for schemas and migrations.
    """

    definition: tree.Operation | tree.Schema | tree.Migration
    variables: tuple[Signature, ...] = ()


class Checked(msgspec.Struct, frozen=True):
    """A text that fits the schema.

    Attributes:
        text: The text, for the excerpts of errors that only its variables bring.
        fragments: Its fragments by name.
        operations: What it does, in order.
    """

    text: str
    fragments: dict[str, tree.Fragment]
    operations: tuple[CheckedOperation, ...]


def validate(
    document: tree.Document,
    definitions: Definitions,
    *,
    text: str = "",
    recorded_versions: Mapping[str, str] = _NO_VERSIONS,
    limits: Limits = DEFAULT_LIMITS,
) -> Checked:
    """Check a text against the collections that exist.

    Args:
        document: The tree of the text.
        definitions: The collections by name.
        text: The text itself, for excerpts in errors.
        recorded_versions: The checksum of each migration version applied so far.
        limits: What the text may be.

    Raises:
        QueryValidationError: with everything that is wrong; its context has the place
            of the first fault and all of them in ``problems``.
        LimitExceededError: its fragments multiply each other beyond ``limits``.
    """
    fragments = fragments_by_name(document)
    session = Session(text, definitions, fragments, limits=limits)
    checker = _Checker(session, recorded_versions)
    checked = checker.check(document)
    session.finish()
    return Checked(text, fragments, checked)


class _Checker:
    """Checks definitions in their order, then fragments, then variables."""

    def __init__(self, session: Session, recorded: Mapping[str, str]) -> None:
        self._session = session
        self._recorded = recorded
        self._root = Scope(session)
        self._initial = dict(session.definitions)
        self._fragment_uses: dict[str, list[VariableUse]] = {}
        self._fragment_spreads: dict[str, dict[str, tree.Position]] = {}

    def check(self, document: tree.Document) -> tuple[CheckedOperation, ...]:
        """Check everything but what only the variables' values can tell."""
        self._check_names(document)
        seen = [
            (definition, *self._check_definition(definition))
            for definition in document.definitions
            if not isinstance(definition, tree.Fragment)
        ]
        if not seen:
            self._root.report(document, "the text has only fragments: nothing to run")
        self._check_fragments()
        if not check_cycles(self._root, self._fragment_spreads):
            check_merges(self._session)
        return tuple(
            CheckedOperation(definition, self._sign(definition, uses, spread))
            for definition, uses, spread in seen
        )

    def _check_names(self, document: tree.Document) -> None:
        names: dict[tuple[str, str], tree.Definition] = {}
        for definition in document.definitions:
            if isinstance(definition, tree.Operation | tree.Fragment):
                kind = (
                    "fragment" if isinstance(definition, tree.Fragment) else "operation"
                )
                name = definition.name
                if name is not None and (kind, name) in names:
                    first = names[kind, name].position
                    self._root.report(
                        definition,
                        f"there is another {kind} {shorten(name)} at line "
                        f"{first.line}, column {first.column}",
                    )
                elif name is not None:
                    names[kind, name] = definition

    def _check_definition(
        self, definition: tree.Operation | tree.Schema | tree.Migration
    ) -> tuple[list[VariableUse], list[str]]:
        """Check one; gives the variables it uses and the fragments it spreads."""
        session = self._session
        session.uses, session.spreads = [], {}
        match definition:
            case tree.Operation():
                check_operation(self._root, definition)
            case tree.Schema():
                check_schema(self._root, definition)
            case tree.Migration():
                check_migration(self._root, definition, self._recorded)
        return session.uses, list(session.spreads)

    def _check_fragments(self) -> None:
        session = self._session
        # A fragment may be on a collection that the text itself defines or drops.
        session.definitions = {**self._initial, **session.definitions}
        for name, fragment in session.fragments.items():
            session.uses, session.spreads = [], {}
            here = self._root.below(name)
            check_directives(here, fragment.directives, NONE, "a fragment")
            definition = here.collection(fragment.on, fragment)
            if definition is not None:
                check_selection(here, fragment.selection, RootLevel(definition))
            self._fragment_uses[name] = session.uses
            self._fragment_spreads[name] = session.spreads
        self._check_plain_spreads()

    def _check_plain_spreads(self) -> None:
        """Report spreads of fragments on roots where single documents stand."""
        session = self._session
        for name, (position, path) in session.plain_spreads.items():
            reached = reachable([name], self._fragment_spreads)
            found = next(
                (each for each in reached if each in session.fragments
                 and self._is_special(session.fragments[each])), None
            )  # fmt: skip
            if found is not None:
                Scope(session, path).report(
                    tree.NullValue(position=position),
                    f"{name} selects more than the fields of one document, and does "
                    "not fit here",
                )

    def _is_special(self, fragment: tree.Fragment) -> bool:
        definition = self._session.definitions.get(fragment.on)
        if definition is None:
            return False
        special = special_fields(definition)
        return any(name in special for name in _own_names(fragment.selection))

    def _sign(
        self,
        definition: tree.Operation | tree.Schema | tree.Migration,
        uses: list[VariableUse],
        spread: list[str],
    ) -> tuple[Signature, ...]:
        if not isinstance(definition, tree.Operation):
            return ()
        everything = list(uses)
        for name in reachable(spread, self._fragment_spreads):
            everything.extend(self._fragment_uses.get(name, ()))
        return sign(self._root, definition.variables, everything)


def _own_names(selection: tree.SelectionSet) -> Iterator[str]:
    """The names selected at this level, inline fragments opened."""
    for item in selection.items:
        if isinstance(item, tree.Field):
            yield item.name
        elif isinstance(item, tree.InlineFragment):
            yield from _own_names(item.selection)
