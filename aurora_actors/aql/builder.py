# ruff: noqa: D102 - one method for each rule; grammar.lark documents them
"""From the parser's reductions to tree nodes.

Called by lark while it parses, bottom up: one method for each rule of the grammar that
has a node, so no intermediate parse tree is made and nothing here recurses. Holds no
state; one builder serves all parsers and threads.
"""

from __future__ import annotations

from math import isinf
from typing import Final, cast

from lark import Token, Transformer, v_args

from aurora_actors.aql import tree
from aurora_actors.aql.diagnostics import Fault, shorten
from aurora_actors.aql.strings import block_text, string_text
from aurora_actors.schema.types import INT_MAX, INT_MIN

__all__ = ["TreeBuilder"]

_INT_DIGITS: Final = 20


def _at(token: Token) -> tree.Position:
    return tree.Position(cast("int", token.line), cast("int", token.column))


def _text(token: Token) -> str:
    """The text of a name or of either kind of string."""
    if token.type == "BLOCK_STRING":
        return block_text(token)
    if token.type != "STRING":
        return str(token)
    text = string_text(token)
    if text is None:
        raise Fault(
            "an escape is half of a surrogate pair, which is no character",
            _at(token),
            "write both halves, or the character itself",
        )
    return text


@v_args(inline=True)
class TreeBuilder(Transformer[Token, tree.Document]):
    """Makes the node of each rule; see ``grammar.lark`` for the forms."""

    def start(self, *definitions: tree.Definition) -> tree.Document:
        return tree.Document(definitions, position=tree.Position(1, 1))

    # -------------------------------------------------------------- operations
    def operation(
        self,
        kind: Token,
        name: Token | None,
        variables: tuple[tree.VariableDefinition, ...] | None,
        directives: tuple[tree.Directive, ...] | None,
        selection: tree.SelectionSet,
    ) -> tree.Operation:
        return tree.Operation(
            cast("tree.OperationKind", str(kind)),
            selection,
            None if name is None else str(name),
            variables or (),
            directives or (),
            position=_at(kind),
        )

    def bare_query(self, selection: tree.SelectionSet) -> tree.Operation:
        return tree.Operation("query", selection, position=selection.position)

    def variable_definitions(
        self, *definitions: tree.VariableDefinition
    ) -> tuple[tree.VariableDefinition, ...]:
        return definitions

    def variable_definition(
        self,
        dollar: Token,
        name: Token,
        of: tree.TypeReference,
        default: tree.Value | None,
        directives: tuple[tree.Directive, ...] | None,
    ) -> tree.VariableDefinition:
        return tree.VariableDefinition(
            str(name), of, default, directives or (), position=_at(dollar)
        )

    def fragment(
        self,
        keyword: Token,
        name: Token,
        _on: Token,
        collection: Token,
        directives: tuple[tree.Directive, ...] | None,
        selection: tree.SelectionSet,
    ) -> tree.Fragment:
        if name == "on":
            raise Fault('a fragment cannot be called "on"', _at(name))
        return tree.Fragment(
            str(name),
            str(collection),
            selection,
            directives or (),
            position=_at(keyword),
        )

    # -------------------------------------------------------------- selections
    def selection_set(self, brace: Token, *items: tree.Selection) -> tree.SelectionSet:
        return tree.SelectionSet(items, position=_at(brace))

    def field(
        self,
        name: Token,
        arguments: tuple[tree.Argument, ...] | None,
        directives: tuple[tree.Directive, ...] | None,
        selection: tree.SelectionSet | None,
    ) -> tree.Field:
        return tree.Field(
            str(name),
            None,
            arguments or (),
            directives or (),
            selection,
            position=_at(name),
        )

    def aliased_field(
        self,
        alias: Token,
        name: Token,
        arguments: tuple[tree.Argument, ...] | None,
        directives: tuple[tree.Directive, ...] | None,
        selection: tree.SelectionSet | None,
    ) -> tree.Field:
        return tree.Field(
            str(name),
            str(alias),
            arguments or (),
            directives or (),
            selection,
            position=_at(alias),
        )

    def every_field(self, star: Token) -> tree.EveryField:
        return tree.EveryField(position=_at(star))

    def spread(
        self,
        dots: Token,
        name: Token,
        directives: tuple[tree.Directive, ...] | None,
    ) -> tree.FragmentSpread:
        return tree.FragmentSpread(str(name), directives or (), position=_at(dots))

    def type_condition(self, _on: Token, collection: Token) -> str:
        return str(collection)

    def inline_fragment(
        self,
        dots: Token,
        on: str | None,
        directives: tuple[tree.Directive, ...] | None,
        selection: tree.SelectionSet,
    ) -> tree.InlineFragment:
        return tree.InlineFragment(on, selection, directives or (), position=_at(dots))

    def arguments(self, *arguments: tree.Argument) -> tuple[tree.Argument, ...]:
        return arguments

    def argument(self, name: Token, value: tree.Value) -> tree.Argument:
        return tree.Argument(str(name), value, position=_at(name))

    def directives(self, *directives: tree.Directive) -> tuple[tree.Directive, ...]:
        return directives

    def directive(
        self, at: Token, name: Token, arguments: tuple[tree.Argument, ...] | None
    ) -> tree.Directive:
        return tree.Directive(str(name), arguments or (), position=_at(at))

    # -------------------------------------------------------------- values
    def int(self, token: Token) -> tree.IntValue:
        # int() takes quadratic time, so the length is looked at first.
        number = int(token) if len(token) <= _INT_DIGITS else INT_MAX + 1
        if not INT_MIN <= number <= INT_MAX:
            raise Fault(
                f"{shorten(token).strip(chr(34))} does not fit into 64 bits",
                _at(token),
                "write it with a point or an exponent to make it a Float",
            )
        return tree.IntValue(number, position=_at(token))

    def float(self, token: Token) -> tree.FloatValue:
        number = float(token)
        if isinf(number):
            raise Fault(
                f"{shorten(token).strip(chr(34))} is too large for a Float",
                _at(token),
            )
        return tree.FloatValue(number, position=_at(token))

    def string(self, token: Token) -> tree.StringValue:
        return tree.StringValue(_text(token), position=_at(token))

    def boolean(self, word: Token) -> tree.BooleanValue:
        return tree.BooleanValue(word == "true", position=_at(word))

    def null(self, token: Token) -> tree.NullValue:
        return tree.NullValue(position=_at(token))

    def enum_word(self, token: Token) -> tree.EnumValue:
        return tree.EnumValue(str(token), position=_at(token))

    def variable(self, dollar: Token, name: Token) -> tree.Variable:
        return tree.Variable(str(name), position=_at(dollar))

    def list(self, bracket: Token, *items: tree.Value) -> tree.ListValue:
        return tree.ListValue(items, position=_at(bracket))

    def object(self, brace: Token, *entries: tree.ObjectEntry) -> tree.ObjectValue:
        return tree.ObjectValue(entries, position=_at(brace))

    def entry(self, key: Token, value: tree.Value) -> tree.ObjectEntry:
        return tree.ObjectEntry(_text(key), value, position=_at(key))

    def default(self, value: tree.Value) -> tree.Value:
        return value

    # -------------------------------------------------------------- types
    def named_type(self, name: Token, bang: Token | None) -> tree.NamedType:
        return tree.NamedType(str(name), bang is not None, position=_at(name))

    def list_type(
        self, bracket: Token, of: tree.TypeReference, bang: Token | None
    ) -> tree.ListType:
        return tree.ListType(of, bang is not None, position=_at(bracket))

    def object_type(
        self, brace: Token, *rest: tree.FieldDeclaration | Token | None
    ) -> tree.ObjectType:
        fields = cast("tuple[tree.FieldDeclaration, ...]", rest[:-1])
        return tree.ObjectType(fields, rest[-1] is not None, position=_at(brace))

    def declarations(
        self, *declarations: tree.FieldDeclaration
    ) -> tuple[tree.FieldDeclaration, ...]:
        return declarations

    def declaration(
        self,
        name: Token,
        of: tree.TypeReference,
        default: tree.Value | None,
        directives: tuple[tree.Directive, ...] | None,
    ) -> tree.FieldDeclaration:
        return tree.FieldDeclaration(
            str(name), of, default, directives or (), position=_at(name)
        )

    def declaration_swapped(
        self,
        name: Token,
        of: tree.TypeReference,
        directives: tuple[tree.Directive, ...],
        default: tree.Value,
    ) -> tree.FieldDeclaration:
        return self.declaration(name, of, default, directives)

    # -------------------------------------------------------------- schema
    def schema(self, keyword: Token, *statements: tree.Statement) -> tree.Schema:
        return tree.Schema(statements, position=_at(keyword))

    def if_not_exists(self, *_words: Token) -> bool:
        return True

    def if_exists(self, *_words: Token) -> bool:
        return True

    def define(
        self,
        keyword: Token,
        _collection: Token,
        name: Token,
        if_not_exists: bool | None,
        directives: tuple[tree.Directive, ...] | None,
        fields: tuple[tree.FieldDeclaration, ...] | None,
    ) -> tree.DefineCollection:
        return tree.DefineCollection(
            str(name),
            fields or (),
            bool(if_not_exists),
            directives or (),
            position=_at(keyword),
        )

    def define_swapped(
        self,
        keyword: Token,
        collection: Token,
        name: Token,
        directives: tuple[tree.Directive, ...],
        if_not_exists: bool,
        fields: tuple[tree.FieldDeclaration, ...] | None,
    ) -> tree.DefineCollection:
        return self.define(keyword, collection, name, if_not_exists, directives, fields)

    def alter(
        self,
        keyword: Token,
        _collection: Token,
        name: Token,
        *alterations: tree.Alteration,
    ) -> tree.AlterCollection:
        return tree.AlterCollection(str(name), alterations, position=_at(keyword))

    def add_field(self, keyword: Token, field: tree.FieldDeclaration) -> tree.AddField:
        return tree.AddField(field, position=_at(keyword))

    def drop_field(self, keyword: Token, name: Token) -> tree.DropField:
        return tree.DropField(str(name), position=_at(keyword))

    def rename_field(
        self, keyword: Token, old: Token, _to: Token, new: Token
    ) -> tree.RenameField:
        return tree.RenameField(str(old), str(new), position=_at(keyword))

    def modify_field(
        self, keyword: Token, field: tree.FieldDeclaration
    ) -> tree.ModifyField:
        return tree.ModifyField(field, position=_at(keyword))

    def drop(
        self, keyword: Token, _collection: Token, name: Token, if_exists: bool | None
    ) -> tree.DropCollection:
        return tree.DropCollection(str(name), bool(if_exists), position=_at(keyword))

    # -------------------------------------------------------------- migrations
    def migration(self, keyword: Token, *versions: tree.Version) -> tree.Migration:
        return tree.Migration(versions, position=_at(keyword))

    def version(self, name: Token, *steps: tree.MigrationStep) -> tree.Version:
        return tree.Version(_text(name), steps, position=_at(name))

    def migrate_data(
        self,
        keyword: Token,
        _data: Token,
        _in: Token,
        collection: Token,
        *assignments: tree.Assignment,
    ) -> tree.MigrateData:
        return tree.MigrateData(str(collection), assignments, position=_at(keyword))

    def assignment(
        self,
        keyword: Token,
        field: Token,
        expression: tree.Expression,
        where: tree.Value | None,
    ) -> tree.Assignment:
        return tree.Assignment(_text(field), expression, where, position=_at(keyword))

    def condition(self, _where: Token, value: tree.Value) -> tree.Value:
        return value

    def reference(self, first: Token, *rest: Token) -> tree.FieldReference:
        return tree.FieldReference(".".join((first, *rest)), position=_at(first))
