"""The printer, against golden files: each text, its tree, its canonical form."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from aurora_actors.aql import tree
from aurora_actors.aql.parser import parse
from aurora_actors.aql.printer import print_document, print_type, print_value

FIXTURES = Path(__file__).parents[2] / "fixtures" / "aql"
TEXTS = sorted(FIXTURES.rglob("*.aql"))


def outline(node: object, indent: str = "") -> str:
    """A tree as indented text, without positions and defaults."""
    if not isinstance(node, msgspec.Struct):
        return f" {node!r}"
    lines = [f" {type(node).__name__}"]
    for field in msgspec.structs.fields(node):
        value = getattr(node, field.name)
        if field.name == "position" or value is field.default or value == ():
            continue
        if isinstance(value, tuple):
            lines.append(f"\n{indent}  {field.name}:")
            inner = f"{indent}    "
            lines.extend(f"\n{inner}-{outline(item, inner)}" for item in value)
        else:
            lines.append(f"\n{indent}  {field.name}:{outline(value, indent + '  ')}")
    return "".join(lines)


@pytest.mark.parametrize(
    "path", TEXTS, ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_each_text_has_its_golden_tree_and_form(path):
    document = parse(path.read_text("utf-8"))
    assert f"{outline(document).strip()}\n" == path.with_suffix(".tree").read_text(
        "utf-8"
    )
    assert print_document(document) == path.with_suffix(".printed").read_text("utf-8")


@pytest.mark.parametrize(
    "path", TEXTS, ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_the_canonical_form_has_the_same_tree_and_is_its_own_form(path):
    document = parse(path.read_text("utf-8"))
    printed = print_document(document)
    assert parse(printed) == document
    assert print_document(parse(printed)) == printed


def test_types_and_values_print_on_one_line():
    assert print_type(tree.ListType(tree.NamedType("Int", True), True)) == "[Int!]!"
    value = tree.ObjectValue((tree.ObjectEntry("a.b", tree.FloatValue(1e300)),))
    assert print_value(value) == '{"a.b": 1e+300}'


def test_a_given_value_prints_as_the_text_that_stands_for_it():
    value = tree.GivenValue(datetime(2027, 1, 1, tzinfo=UTC))
    assert print_value(value) == '"2027-01-01T00:00:00Z"'
