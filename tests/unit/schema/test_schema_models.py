from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from enum import Enum, IntEnum
from typing import Annotated, Any, ClassVar, Literal, NewType
from uuid import UUID

import msgspec
import pydantic
import pytest

from aurora_actors.errors import ValidationError
from aurora_actors.schema.models import (
    Indexed,
    Unique,
    collection_name,
    definition_of,
    from_document,
    is_model,
    to_fields,
)
from aurora_actors.schema.types import FieldDefinition, FieldType
from aurora_actors.schema.validation import DocumentValidator
from aurora_actors.schema.values import decode_document, encode_document

T = FieldType
UserName = NewType("UserName", str)


class Role(Enum):
    ADMIN = "admin"
    GUEST = "guest"


class Level(IntEnum):
    LOW = 1


class StructAddress(msgspec.Struct):
    city: str
    zip: str | None = None


class StructUser(msgspec.Struct):
    name: str
    email: Annotated[str, Unique]
    age: Annotated[int, Indexed] | None = None
    role: Role = Role.GUEST
    tags: list[str] = []
    address: StructAddress | None = None
    id: str | None = None


@dataclass
class DataAddress:
    city: str
    zip: str | None = None


@dataclass
class DataUser:
    name: str
    email: Annotated[str, Unique()]
    age: Annotated[int | None, Indexed()] = None
    role: Role = Role.GUEST
    tags: list[str] = field(default_factory=list)
    address: DataAddress | None = None
    id: str | None = None


class ModelAddress(pydantic.BaseModel):
    city: str
    zip: str | None = None


class ModelUser(pydantic.BaseModel):
    name: str
    email: Annotated[str, Unique]
    age: Annotated[int | None, Indexed] = None
    role: Role = Role.GUEST
    tags: list[str] = []
    address: ModelAddress | None = None
    id: str | None = None


MODELS: list[tuple[type, type]] = [
    (StructUser, StructAddress),
    (DataUser, DataAddress),
    (ModelUser, ModelAddress),
]


@pytest.mark.parametrize(("model", "_address"), MODELS)
def test_a_model_of_any_library_gives_the_same_fields(model, _address):
    definition = definition_of(model, "users")

    assert definition.name == "users"
    assert not definition.open
    assert definition.fields == {
        "name": FieldDefinition(T.STRING, nullable=False),
        "email": FieldDefinition(T.STRING, unique=True, nullable=False),
        "age": FieldDefinition(T.INT, indexed=True),
        "role": FieldDefinition(T.STRING, nullable=False),
        "tags": FieldDefinition(T.array(T.STRING), nullable=False),
        "address": FieldDefinition(
            T.object(
                {"city": FieldDefinition(T.STRING, nullable=False), "zip": T.STRING}
            )
        ),
    }


@pytest.mark.parametrize(("model", "address"), MODELS)
def test_an_instance_comes_back_from_its_document(model, address):
    user = model(
        name="Alice",
        email="a@x.io",
        age=31,
        role=Role.ADMIN,
        tags=["a"],
        address=address(city="Bonn"),
        id="alice",
    )

    document_id, fields = to_fields(user)
    body = encode_document(fields)
    DocumentValidator(definition_of(model)).check(body)

    assert document_id == "alice"
    assert fields["role"] == "admin"
    assert fields["address"] == {"city": "Bonn", "zip": None}
    assert from_document(model, "alice", decode_document(body)) == user


@pytest.mark.parametrize(("model", "_address"), MODELS)
def test_defaults_are_written_and_an_id_that_is_not_given_is_none(model, _address):
    document_id, fields = to_fields(model(name="Bob", email="b@x.io"))

    assert document_id is None
    assert fields == {
        "name": "Bob",
        "email": "b@x.io",
        "age": None,
        "role": "guest",
        "tags": [],
        "address": None,
    }


@pytest.mark.parametrize(("model", "_address"), MODELS)
def test_a_document_that_does_not_fit_names_the_field(model, _address):
    fields = {"name": "a", "email": "b", "address": {"city": 5}}

    with pytest.raises(ValidationError, match="document 'x' is no ") as caught:
        from_document(model, "x", fields)

    assert caught.value.path == "address.city"
    assert caught.value.context["id"] == "x"


@pytest.mark.parametrize(("model", "_address"), MODELS)
def test_a_missing_field_is_null_or_the_default(model, _address):
    user = from_document(model, "x", {"name": "a", "email": "b"})

    assert (user.id, user.age, user.role) == ("x", None, Role.GUEST)
    with pytest.raises(ValidationError):
        from_document(model, "x", {"name": "a"})


class Part(msgspec.Struct, omit_defaults=True):
    n: int = 0


class Whole(msgspec.Struct, omit_defaults=True):
    part: Part
    active: bool = True


class Circle(msgspec.Struct, tag=True):
    r: float


class Square(msgspec.Struct, tag=True):
    a: float


class Drawing(msgspec.Struct, tag="drawing"):
    only: Circle
    shapes: list[Circle | Square]


class AllTypes(msgspec.Struct):
    string: str
    integer: int
    number: float
    flag: bool
    raw: bytes
    uuid: UUID
    moment: datetime
    day: date
    hour: time
    anything: Any
    thing: object
    name: UserName
    level: Level
    word: Literal["a", "b"]
    many: list[int]
    some: tuple[int, ...]
    pair: tuple[int, str]
    unordered: set[str]
    fixed: frozenset[str]
    sequence: Sequence[float]
    bare: list  # type: ignore[type-arg]  # on purpose
    gaps: list[int | None]
    mapping: dict[str, int]
    general: Mapping[str, int]
    either: int | str
    numeric: int | float
    maybe: int | msgspec.UnsetType = msgspec.UNSET


def test_every_type_with_a_counterpart_has_it():
    fields = definition_of(AllTypes).fields

    assert {name: str(field) for name, field in fields.items()} == {
        "string": "String!",
        "integer": "Int!",
        "number": "Float!",
        "flag": "Boolean!",
        "raw": "Bytes!",
        "uuid": "Uuid!",
        "moment": "DateTime!",
        "day": "Date!",
        "hour": "Time!",
        "anything": "Any",
        "thing": "Any",
        "name": "String!",
        "level": "Int!",
        "word": "String!",
        "many": "[Int]!",
        "some": "[Int]!",
        "pair": "[Any]!",
        "unordered": "[String]!",
        "fixed": "[String]!",
        "sequence": "[Float]!",
        "bare": "[Any]!",
        "gaps": "[Any]!",
        "mapping": "Object!",
        "general": "Object!",
        "either": "Any!",
        "numeric": "Float!",
        "maybe": "Int",
    }


def test_values_of_every_type_come_back():
    instance = AllTypes(
        string="s",
        integer=1,
        number=1.5,
        flag=True,
        raw=b"\xff",
        uuid=UUID(int=5),
        moment=datetime(2026, 1, 1, tzinfo=UTC),
        day=date(2026, 1, 1),
        hour=time(1),
        anything=[1, date(2026, 1, 1)],
        thing={"a": UUID(int=6)},
        name=UserName("n"),
        level=Level.LOW,
        word="a",
        many=[1],
        some=(1, 2),
        pair=(1, "a"),
        unordered={"a"},
        fixed=frozenset({"b"}),
        sequence=[1.0],
        bare=[None],
        gaps=[1, None],
        mapping={"a": 1},
        general={"b": 2},
        either="x",
        numeric=2,
    )

    document_id, fields = to_fields(instance)
    body = encode_document(fields)
    DocumentValidator(definition_of(AllTypes)).check(body)

    assert document_id is None
    assert "maybe" not in fields
    assert from_document(AllTypes, "x", decode_document(body)) == instance


@pytest.mark.parametrize(
    ("annotation", "fault"),
    [
        (complex, "complex, which no document can hold"),
        (dict[int, str], "keys that are no text"),
        (list[complex], "complex"),
        (Literal["a", 1], "all text or all int"),
        (Enum("E", {"A": 1.5}), "all text or all int"),
        (bytearray, "bytearray"),
    ],
)
def test_a_field_of_another_type_is_refused(annotation, fault):
    model = type("Odd", (), {"__annotations__": {"ok": int, "f": annotation}})

    with pytest.raises(ValidationError, match=fault) as caught:
        definition_of(dataclass(model))

    assert caught.value.path == "f"


def test_a_fault_in_a_nested_model_has_its_whole_path():
    inner: Any = type("Inner", (), {"__annotations__": {"z": complex}})
    parts: Any = list.__class_getitem__(dataclass(inner))
    outer: Any = dataclass(type("Outer", (), {"__annotations__": {"l": parts}}))

    with pytest.raises(ValidationError) as caught:
        definition_of(outer)

    assert caught.value.path == "l.z"


def test_an_annotation_that_cannot_be_found_is_explained():
    class Here(msgspec.Struct):
        n: int

    class Lost(msgspec.Struct):
        here: Here

    with pytest.raises(ValidationError, match="'Here' is not defined"):
        definition_of(Lost)


def test_what_is_unique_must_be_a_scalar():
    model = type("Odd", (), {"__annotations__": {"f": Annotated[list[int], Unique]}})

    with pytest.raises(ValidationError, match="cannot be unique"):
        definition_of(dataclass(model))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("User", "users"),
        ("OrderLine", "order_lines"),
        ("HTTPRequest", "http_requests"),
        ("OAuth2Token", "o_auth2_tokens"),
        ("user", "users"),
    ],
)
def test_a_collection_is_named_after_its_model(name, expected):
    assert collection_name(type(name, (), {})) == expected


def test_a_model_can_name_its_collection():
    class Person(msgspec.Struct):
        __collection__ = "people"
        name: str

    @dataclass
    class Animal:
        __collection__: ClassVar[str] = "fauna"
        name: str

    class Plant(pydantic.BaseModel):
        __collection__ = "flora"
        name: str

    assert [definition_of(model).name for model in (Person, Animal, Plant)] == [
        "people",
        "fauna",
        "flora",
    ]
    assert definition_of(Person, "folk").name == "folk"


def test_an_id_may_be_a_uuid_but_no_number():
    @dataclass
    class Thing:
        id: UUID
        n: int

    class Counted(msgspec.Struct):
        id: int

    thing = Thing(UUID(int=7), 1)

    assert to_fields(thing) == (str(UUID(int=7)), {"n": 1})
    assert from_document(Thing, str(UUID(int=7)), {"n": 1}) == thing
    with pytest.raises(ValidationError, match="must be str or UUID") as caught:
        definition_of(Counted)
    assert caught.value.path == "id"


def test_a_model_without_an_id_has_none():
    class Point(msgspec.Struct):
        x: int

    assert to_fields(Point(1)) == (None, {"x": 1})
    assert from_document(Point, "p", {"x": 1}) == Point(1)


def test_names_given_by_rename_are_those_of_the_document():
    class Camel(msgspec.Struct, rename="camel"):
        first_name: str

    assert list(definition_of(Camel).fields) == ["firstName"]
    assert to_fields(Camel("a")) == (None, {"firstName": "a"})
    assert from_document(Camel, "c", {"firstName": "a"}) == Camel("a")


def test_a_struct_that_omits_defaults_is_written_in_full():
    _, fields = to_fields(Whole(Part()))

    assert fields["active"] is True
    DocumentValidator(definition_of(Whole)).check(encode_document(fields))
    assert from_document(Whole, "w", fields) == Whole(Part())


def test_tagged_structs_keep_their_tag():
    drawing = Drawing(Circle(1.0), [Circle(1.0), Square(2.0)])
    _, fields = to_fields(drawing)

    assert fields["type"] == "drawing"
    DocumentValidator(definition_of(Drawing)).check(encode_document(fields))
    assert from_document(Drawing, "d", fields) == drawing


class Tree(msgspec.Struct):
    value: int
    children: list[Tree] = []


def test_a_model_within_itself_ends_in_an_object():
    assert str(definition_of(Tree).fields["children"]) == (
        "[{value: Int!, children: [Object]!}]!"
    )
    tree = Tree(1, [Tree(2, [Tree(3)])])
    _, fields = to_fields(tree)
    DocumentValidator(definition_of(Tree)).check(encode_document(fields))
    assert from_document(Tree, "t", fields) == tree


def test_pydantic_aliases_and_computed_fields_stay_out_of_documents():
    class Named(pydantic.BaseModel):
        first: str = pydantic.Field(alias="firstName")

        @pydantic.computed_field  # type: ignore[prop-decorator]  # as pydantic has it
        @property
        def shout(self) -> str:
            return self.first.upper()

    named = Named(firstName="a")

    assert list(definition_of(Named).fields) == ["first"]
    assert to_fields(named) == (None, {"first": "a"})
    assert from_document(Named, "n", {"first": "a"}) == named


class Plain:
    pass


class Row(msgspec.Struct, array_like=True):
    a: int


@pytest.mark.parametrize("model", [Plain, int, dict, Row])
def test_a_class_that_is_no_model_is_refused(model):
    with pytest.raises(ValidationError, match=r"is no model|array_like"):
        definition_of(model)


def test_models_are_recognised():
    assert all(is_model(model) for model in (StructUser, DataUser, ModelUser))
    assert not any(is_model(other) for other in (Plain, "users", int, None, Plain()))


def test_a_value_that_no_document_can_hold_is_a_validation_error():
    class Bag(msgspec.Struct):
        content: Any

    with pytest.raises(ValidationError, match="Bag"):
        to_fields(Bag(object()))


def test_pydantic_is_not_imported_for_other_models():
    code = (
        "import sys, msgspec\n"
        "from aurora_actors.schema.models import definition_of\n"
        "definition_of(msgspec.defstruct('A', [('x', int)]))\n"
        "assert 'pydantic' not in sys.modules\n"
    )

    subprocess.run([sys.executable, "-c", code], check=True)
