"""What the readers of a tree share: schema, variables, and the faults found so far.

A tree is read by the same functions twice. When a text is *checked*, its variables are
not known: each place where one stands is noted as a :class:`VariableUse`, and its value
is :data:`UNBOUND`. When it is *run*, the variables have values, and the same functions
give the finished arguments. So what was accepted is what will be run.

Readers do not raise. They report a :class:`~aurora_actors.aql.diagnostics.Problem` and
return :data:`UNBOUND`, and whoever began calls :meth:`Session.finish`, which raises one
error with all of them. Not shared between threads; lives for one check or one run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final, Literal, NamedTuple, NoReturn, TypeAlias

import msgspec

from aurora_actors.aql import tree
from aurora_actors.aql.diagnostics import Problem, did_you_mean, validation_error
from aurora_actors.aql.limits import DEFAULT_LIMITS, Limits
from aurora_actors.errors import LimitExceededError
from aurora_actors.schema.types import CollectionDefinition, FieldType

__all__ = [
    "UNBOUND",
    "Definitions",
    "Merge",
    "Scope",
    "Session",
    "Unbound",
    "VariableUse",
    "is_known",
]

Definitions: TypeAlias = Mapping[str, CollectionDefinition]


class Unbound(Enum):
    """The type of :data:`UNBOUND`."""

    UNBOUND = "unbound"


UNBOUND: Final = Unbound.UNBOUND
"""What a reader gives where the value is not known, or is wrong and was reported."""


def is_known(value: object) -> bool:
    """Whether nothing in a value, however deep, is :data:`UNBOUND`."""
    match value:
        case list():
            return all(map(is_known, value))
        case dict():
            return all(map(is_known, value.values()))
        case _:
            return value is not UNBOUND


# Faults kept to be told; more are only counted.
_KEPT: Final = 1_000


class VariableUse(msgspec.Struct, frozen=True):
    """A place where a variable stands.

    Attributes:
        name: The variable.
        field_type: What the place takes.
        nullable: Whether it takes null.
        position: Where it is.
        path: The way to it.
    """

    name: str
    field_type: FieldType
    nullable: bool
    position: tree.Position
    path: str


class Merge(NamedTuple):
    """A root field's selection that is to be looked at with its fragments in place."""

    scope: Scope
    selection: tree.SelectionSet
    definition: CollectionDefinition | None


class Session:
    """One check or one run of one text.

    Attributes:
        definitions: The collections, as they are where the reader now is: schema
            statements before it count.
        fragments: The text's fragments by name.
        variables: The values of variables, or ``None`` while a text is checked.
        uses: Where the definition that is read now uses variables.
        spreads: The fragments that the definition that is read now spreads.
        hints: How many hints are still to be looked for.
        merges: Selections of root fields, to be checked once fragments are known to
            be sound.
        patterns: How many patterns may still be compiled.
        plain_spreads: The fragments spread where single documents stand.
        problems: What is wrong.
    """

    __slots__ = (
        "_budget",
        "definitions",
        "fragments",
        "hints",
        "limits",
        "merges",
        "patterns",
        "plain_spreads",
        "problems",
        "spreads",
        "text",
        "uses",
        "variables",
    )

    def __init__(
        self,
        text: str,
        definitions: Definitions,
        fragments: Mapping[str, tree.Fragment],
        variables: Mapping[str, tree.Value] | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.text = text
        self.definitions: dict[str, CollectionDefinition] = dict(definitions)
        self.fragments = fragments
        self.variables = variables
        self.limits = limits
        self.problems: list[Problem] = []
        self.uses: list[VariableUse] = []
        self.spreads: dict[str, tree.Position] = {}
        self.hints = limits.problems
        self.patterns = limits.patterns
        self.merges: list[Merge] = []
        self.plain_spreads: dict[str, tuple[tree.Position, str]] = {}
        self._budget = limits.selections

    def report(self, problem: Problem) -> None:
        """Note a fault."""
        if len(self.problems) < _KEPT:
            self.problems.append(problem)

    def spend(self, position: tree.Position, amount: int = 1) -> None:
        """Count selections that were looked at.

        Raises:
            LimitExceededError: too many, as when fragments multiply each other.
        """
        self._budget -= amount
        if self._budget < 0:
            what = "selections, its fragments put in place"
            self._exceeded("selections", self.limits.selections, what, position)

    def spend_pattern(self, position: tree.Position) -> None:
        """Count a pattern that is about to be compiled.

        Raises:
            LimitExceededError: there were too many before it.
        """
        self.patterns -= 1
        if self.patterns < 0:
            what = "patterns: join them with | into one"
            self._exceeded("patterns", self.limits.patterns, what, position)

    def _exceeded(
        self, limit: str, maximum: int, what: str, position: tree.Position
    ) -> NoReturn:
        raise LimitExceededError(
            f"the text has more than {maximum:,} {what}",
            limit=limit,
            maximum=maximum,
            line=position.line,
            column=position.column,
        )

    def finish(self) -> None:
        """Raise ``QueryValidationError`` if anything was reported."""
        if self.problems:
            self._refuse()

    def _refuse(self) -> NoReturn:
        raise validation_error(self.text, self.problems, shown=self.limits.problems)


class Scope:
    """A place in the tree: the session and the path that led here."""

    __slots__ = ("path", "session")

    def __init__(self, session: Session, path: str = "") -> None:
        self.session = session
        self.path = path

    def below(self, name: str) -> Scope:
        """The scope of a part called ``name``."""
        shown = name if len(name) <= 64 else f"{name[:63]}…"
        return Scope(self.session, f"{self.path}.{shown}" if self.path else shown)

    def item(self, index: int) -> Scope:
        """The scope of an element of a list."""
        return Scope(self.session, f"{self.path}[{index}]")

    def report(
        self, node: tree.Node, message: str, hint: str = ""
    ) -> Literal[Unbound.UNBOUND]:
        """Note that something is wrong with ``node``."""
        self.session.report(Problem(message, node.position, self.path, hint))
        return UNBOUND

    def did_you_mean(self, word: str, known: Iterable[str]) -> str:
        """A hint that names the nearest of ``known``, or nothing.

        Looking for near names is dear, so a text gets only so many hints.
        """
        if self.session.hints < 1:
            return ""
        self.session.hints -= 1
        return did_you_mean(word, known)

    def collection(self, name: str, node: tree.Node) -> CollectionDefinition | None:
        """The definition of a collection; an unknown one is reported at ``node``."""
        definition = self.session.definitions.get(name)
        if definition is None:
            shown = name if len(name) <= 64 else f"{name[:63]}…"
            hint = self.did_you_mean(name, self.session.definitions)
            self.report(node, f'there is no collection "{shown}"', hint)
        return definition

    def resolve(
        self, value: tree.Value, field_type: FieldType, *, nullable: bool = True
    ) -> tree.Value | Literal[Unbound.UNBOUND]:
        """``value``, or what its variable stands for."""
        if not isinstance(value, tree.Variable):
            return value
        session = self.session
        if session.variables is None:
            session.uses.append(
                VariableUse(value.name, field_type, nullable, value.position, self.path)
            )
            return UNBOUND
        given = session.variables.get(value.name)
        if given is None:
            return self.report(value, f"variable ${value.name} has no value")
        return given
