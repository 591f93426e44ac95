"""The tree of an AQL text: frozen data, one class for each form of the language.

Made by :mod:`aurora_actors.aql.parser`, read by everything else in this package; used
in the query executors and wherever a text is checked before it is sent.

Invariants:

* a tree says what a text means, not how it was written: commas, comments, the kind of
  quotes and the order of a default and its directives are gone;
* every node knows where it began (:class:`Position`), but two nodes are equal whatever
  their positions, so ``parse(print_document(tree)) == tree``;
* sequences are tuples, so a tree can be hashed and shared between threads.

The classes refer to each other in circles, which is why they are all in one module.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

__all__ = [
    "NOWHERE",
    "AddField",
    "AlterCollection",
    "Alteration",
    "Argument",
    "Assignment",
    "BooleanValue",
    "DefineCollection",
    "Definition",
    "Directive",
    "Document",
    "DropCollection",
    "DropField",
    "EnumValue",
    "EveryField",
    "Expression",
    "Field",
    "FieldDeclaration",
    "FieldReference",
    "FloatValue",
    "Fragment",
    "FragmentSpread",
    "GivenValue",
    "InlineFragment",
    "IntValue",
    "ListType",
    "ListValue",
    "MigrateData",
    "Migration",
    "MigrationStep",
    "ModifyField",
    "NamedType",
    "Node",
    "NullValue",
    "ObjectEntry",
    "ObjectType",
    "ObjectValue",
    "Operation",
    "OperationKind",
    "Position",
    "RenameField",
    "Schema",
    "Selection",
    "SelectionSet",
    "Statement",
    "StringValue",
    "TypeReference",
    "Value",
    "Variable",
    "VariableDefinition",
    "Version",
]

OperationKind: TypeAlias = Literal["query", "mutation", "subscription"]


class Position(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A place in a text, counted from 1.

    Any two positions are equal: that is what keeps them out of the equality of trees.
    """

    line: int
    column: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Position)

    def __hash__(self) -> int:
        return 0


NOWHERE: Final = Position(0, 0)
"""The position of a node that was not read from a text."""


class Node(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The base of all nodes."""

    position: Position = NOWHERE


# ------------------------------------------------------------------ values
class NullValue(Node, frozen=True, gc=False):
    """The literal ``null``."""


class BooleanValue(Node, frozen=True, gc=False):
    """``true`` or ``false``."""

    value: bool


class IntValue(Node, frozen=True, gc=False):
    """A whole number of 64 bits."""

    value: int


class FloatValue(Node, frozen=True, gc=False):
    """A finite number written with a point or an exponent."""

    value: float


class StringValue(Node, frozen=True, gc=False):
    """A text, its escapes and block indentation resolved."""

    value: str


class EnumValue(Node, frozen=True, gc=False):
    """A bare word, such as ``DESC``."""

    name: str


class GivenValue(Node, frozen=True, gc=False):
    """A value brought by a variable that no literal stands for, such as a UUID or a date."""

    value: object


class Variable(Node, frozen=True, gc=False):
    """``$name``."""

    name: str


class ListValue(Node, frozen=True, gc=False):
    """``[…]``."""

    items: tuple[Value, ...]


class ObjectEntry(Node, frozen=True, gc=False):
    """One key and its value; keys that are no names were quoted."""

    key: str
    value: Value


class ObjectValue(Node, frozen=True, gc=False):
    """``{key: value …}``, in the order written; keys may repeat here."""

    entries: tuple[ObjectEntry, ...]


Value: TypeAlias = (
    NullValue
    | BooleanValue
    | IntValue
    | FloatValue
    | StringValue
    | EnumValue
    | GivenValue
    | Variable
    | ListValue
    | ObjectValue
)


# ------------------------------------------------------------------ selections
class Argument(Node, frozen=True, gc=False):
    """``name: value`` between parentheses."""

    name: str
    value: Value


class Directive(Node, frozen=True, gc=False):
    """``@name(…)``."""

    name: str
    arguments: tuple[Argument, ...] = ()


class SelectionSet(Node, frozen=True, gc=False):
    """``{ … }`` behind a field, an operation or a fragment; never empty."""

    items: tuple[Selection, ...]


class Field(Node, frozen=True, gc=False):
    """A field to select, with all that may stand behind it."""

    name: str
    alias: str | None = None
    arguments: tuple[Argument, ...] = ()
    directives: tuple[Directive, ...] = ()
    selection: SelectionSet | None = None

    @property
    def response_name(self) -> str:
        """The name under which the result has it."""
        return self.alias or self.name


class EveryField(Node, frozen=True, gc=False):
    """``*``: all fields the document has."""


class FragmentSpread(Node, frozen=True, gc=False):
    """``...Name``."""

    name: str
    directives: tuple[Directive, ...] = ()


class InlineFragment(Node, frozen=True, gc=False):
    """``... on collection { … }``; without ``on`` it only carries directives."""

    on: str | None
    selection: SelectionSet
    directives: tuple[Directive, ...] = ()


Selection: TypeAlias = Field | EveryField | FragmentSpread | InlineFragment


# ------------------------------------------------------------------ types
class NamedType(Node, frozen=True, gc=False):
    """A type called by its name; ``required`` is the ``!`` behind it."""

    name: str
    required: bool = False


class ListType(Node, frozen=True, gc=False):
    """``[T]``."""

    of: TypeReference
    required: bool = False


class ObjectType(Node, frozen=True, gc=False):
    """``{ field: T … }``, in declarations of collections only."""

    fields: tuple[FieldDeclaration, ...]
    required: bool = False


TypeReference: TypeAlias = NamedType | ListType | ObjectType


class FieldDeclaration(Node, frozen=True, gc=False):
    """``name: Type = default @directive``."""

    name: str
    type: TypeReference
    default: Value | None = None
    directives: tuple[Directive, ...] = ()


# ------------------------------------------------------------------ operations
class VariableDefinition(Node, frozen=True, gc=False):
    """``$name: Type = default``."""

    name: str
    type: TypeReference
    default: Value | None = None
    directives: tuple[Directive, ...] = ()


class Operation(Node, frozen=True, gc=False):
    """A query, mutation or subscription; ``{ … }`` alone is a query."""

    kind: OperationKind
    selection: SelectionSet
    name: str | None = None
    variables: tuple[VariableDefinition, ...] = ()
    directives: tuple[Directive, ...] = ()


class Fragment(Node, frozen=True, gc=False):
    """``fragment Name on collection { … }``."""

    name: str
    on: str
    selection: SelectionSet
    directives: tuple[Directive, ...] = ()


# ------------------------------------------------------------------ schema
class DefineCollection(Node, frozen=True, gc=False):
    """``define collection name { … }``."""

    name: str
    fields: tuple[FieldDeclaration, ...] = ()
    if_not_exists: bool = False
    directives: tuple[Directive, ...] = ()


class AddField(Node, frozen=True, gc=False):
    """``add name: Type = default``."""

    field: FieldDeclaration


class DropField(Node, frozen=True, gc=False):
    """``drop name``."""

    name: str


class RenameField(Node, frozen=True, gc=False):
    """``rename old to new``."""

    old: str
    new: str


class ModifyField(Node, frozen=True, gc=False):
    """``modify name: Type``."""

    field: FieldDeclaration


Alteration: TypeAlias = AddField | DropField | RenameField | ModifyField


class AlterCollection(Node, frozen=True, gc=False):
    """``alter collection name { … }``, its changes in the order written."""

    name: str
    alterations: tuple[Alteration, ...]


class DropCollection(Node, frozen=True, gc=False):
    """``drop collection name``."""

    name: str
    if_exists: bool = False


Statement: TypeAlias = DefineCollection | AlterCollection | DropCollection


class Schema(Node, frozen=True, gc=False):
    """``schema { … }``."""

    statements: tuple[Statement, ...]


# ------------------------------------------------------------------ migrations
class FieldReference(Node, frozen=True, gc=False):
    """The value another field of the same document has; ``path`` may be dotted."""

    path: str


Expression: TypeAlias = Value | FieldReference


class Assignment(Node, frozen=True, gc=False):
    """``set field = expression where {…}``."""

    path: str
    expression: Expression
    where: Value | None = None


class MigrateData(Node, frozen=True, gc=False):
    """``migrate data in collection { set … }``."""

    collection: str
    assignments: tuple[Assignment, ...]


MigrationStep: TypeAlias = Statement | MigrateData


class Version(Node, frozen=True, gc=False):
    """``"v1.0.0": { … }``, one transaction."""

    name: str
    steps: tuple[MigrationStep, ...]


class Migration(Node, frozen=True, gc=False):
    """``migrate { … }``."""

    versions: tuple[Version, ...]


# ------------------------------------------------------------------ the whole
Definition: TypeAlias = Operation | Fragment | Schema | Migration


class Document(Node, frozen=True, gc=False):
    """A whole text: what it defines, in the order written."""

    definitions: tuple[Definition, ...]
