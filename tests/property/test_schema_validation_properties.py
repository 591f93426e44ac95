from __future__ import annotations

import copy
from contextlib import suppress
from datetime import UTC

import msgspec
from hypothesis import assume, given, strategies as st

from aurora_actors.errors import AuroraError, ValidationError
from aurora_actors.schema.conformance import conforming_fields
from aurora_actors.schema.patch import (
    AddToSet,
    Decrement,
    Increment,
    Pull,
    Push,
    Unset,
    decode_patch,
    encode_patch,
)
from aurora_actors.schema.types import (
    INT_MAX,
    INT_MIN,
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    Kind,
    decode_definition,
    encode_definition,
)
from aurora_actors.schema.validation import DocumentValidator
from aurora_actors.schema.values import (
    decode_document,
    decode_value,
    encode_document,
    encode_value,
    get_path,
    values_equal,
)

NAMES = st.sampled_from(["a", "b", "c", "dé", 'e"', "class"])
FINITE = st.floats(allow_nan=False, allow_infinity=False)
OF_KIND = {
    Kind.STRING: st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    Kind.INT: st.integers(INT_MIN, INT_MAX),
    Kind.FLOAT: FINITE | st.integers(INT_MIN, INT_MAX),
    Kind.BOOL: st.booleans(),
    Kind.UUID: st.uuids(),
    Kind.DATETIME: st.datetimes(timezones=st.just(UTC)),
    Kind.DATE: st.dates(),
    Kind.TIME: st.times(),
    Kind.BYTES: st.binary(max_size=4),
}
SCALARS = st.one_of(list(OF_KIND.values()))
ANYTHING = st.recursive(
    SCALARS | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)
    ),
    max_leaves=6,
)
SCALAR_TYPES = st.sampled_from([FieldType(kind) for kind in OF_KIND])


def definitions(field_types, *, unique):
    return st.builds(
        lambda field_type, is_unique, nullable: FieldDefinition(
            field_type,
            unique=is_unique and unique and field_type.kind in OF_KIND,
            nullable=nullable,
        ),
        field_types,
        st.booleans(),
        st.booleans(),
    )


TYPES = st.recursive(
    SCALAR_TYPES | st.sampled_from([FieldType.ANY, FieldType.OBJECT]),
    lambda inner: st.one_of(
        inner.map(FieldType.array),
        st.dictionaries(NAMES, definitions(inner, unique=False), max_size=3).map(
            FieldType.object
        ),
    ),
    max_leaves=4,
)
COLLECTIONS = st.builds(
    CollectionDefinition,
    st.just("things"),
    st.dictionaries(NAMES, definitions(TYPES, unique=True), max_size=4),
    st.booleans(),
)


def values_of(field_type):
    if field_type.of is not None:
        return st.lists(values_of(field_type.of), max_size=3)
    if field_type.fields is not None:
        return fields_of(field_type.fields)
    if field_type.kind is Kind.OBJECT:
        return st.dictionaries(NAMES, ANYTHING, max_size=2)
    if field_type.kind is Kind.ANY:
        # null in the place of a value that must not be null is another matter
        return ANYTHING.filter(lambda value: value is not None)
    return OF_KIND[field_type.kind]


def fields_of(fields):
    required = {n: values_of(f.field_type) for n, f in fields.items() if not f.nullable}
    optional = {
        n: values_of(f.field_type) | st.none() for n, f in fields.items() if f.nullable
    }
    return st.fixed_dictionaries(required, optional=optional)


@given(st.data())
def test_a_document_of_the_declared_types_passes_with_its_unique_values(data):
    definition = data.draw(COLLECTIONS)
    document = data.draw(fields_of(definition.fields))
    body = encode_document(document)
    validator = DocumentValidator(definition)

    unique = validator.inspect(body)

    assert unique == [
        (name, document[name])
        for name, field in definition.fields.items()
        if field.unique and document.get(name) is not None
    ]
    assert validator.unique_values(body) == unique


@given(COLLECTIONS, st.dictionaries(NAMES, ANYTHING, max_size=4))
def test_the_fast_judgement_is_that_of_the_slow_one(definition, document):
    body = encode_document(document)

    fast = outcome(DocumentValidator(definition).inspect, body)

    assert fast == outcome(lambda given: conforming_fields(definition, given), body)


def outcome(judge, body):
    """What a judge says of a document: nothing, or all there is in the error."""
    try:
        judge(body)
    except ValidationError as error:
        return str(error), error.context
    return None


@given(st.data())
def test_a_document_with_one_value_replaced_is_judged_alike(data):
    definition = data.draw(COLLECTIONS.filter(lambda made: made.fields))
    document = data.draw(fields_of(definition.fields))
    name = data.draw(st.sampled_from(sorted(definition.fields)))
    document[name] = data.draw(
        ANYTHING | st.sampled_from([2**63, float("nan"), {1: 1}, {"": 2}])
    )
    # Past the encoder, which would refuse these by itself.
    try:
        body = encode_document(document)
    except ValidationError:
        body = msgspec.msgpack.encode(document)

    fast = outcome(DocumentValidator(definition).inspect, body)
    assert fast == outcome(lambda given: conforming_fields(definition, given), body)


@given(COLLECTIONS)
def test_a_definition_comes_back(definition):
    assert decode_definition(encode_definition(definition)) == definition


DECODERS = [
    decode_document,
    decode_value,
    decode_patch,
    decode_definition,
    DocumentValidator(
        CollectionDefinition(
            "c",
            {
                "a": FieldDefinition(FieldType.INT, unique=True, nullable=False),
                "b": FieldDefinition(FieldType.array(FieldType.UUID)),
                "c": FieldDefinition(FieldType.DATETIME),
                "d": FieldDefinition(FieldType.ANY),
            },
        )
    ).inspect,
    DocumentValidator(CollectionDefinition("c", {}, open=True)).inspect,
]
MSGPACK = st.one_of(
    st.binary(max_size=40),
    st.dictionaries(NAMES, ANYTHING, max_size=3).map(encode_document),
    ANYTHING.map(encode_value),
    st.dictionaries(NAMES, ANYTHING, max_size=3).map(encode_patch),
    COLLECTIONS.map(encode_definition),
)


@given(MSGPACK, st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255))))
def test_damaged_bytes_decode_or_are_refused_but_never_crash(data, damage):
    damaged = bytearray(data)
    for place, byte in damage:
        if damaged:
            damaged[place % len(damaged)] = byte
    for decode in DECODERS:
        with suppress(AuroraError):
            decode(bytes(damaged))


@given(MSGPACK, st.integers(0, 40))
def test_bytes_that_are_cut_decode_or_are_refused_but_never_crash(data, size):
    for decode in DECODERS:
        with suppress(AuroraError):
            decode(data[:size])


@given(MSGPACK)
def test_what_passes_an_open_collection_can_be_read_and_written_again(data):
    try:
        DECODERS[-1](data)
    except ValidationError:
        return
    document = decode_document(data)

    assert values_equal(decode_document(encode_document(document)), document)


# ------------------------------------------------------------------ patches
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(".".join)
MODIFIERS = st.one_of(
    st.builds(Increment, st.integers(-9, 9) | FINITE),
    st.builds(Decrement, st.integers(-9, 9)),
    st.builds(Push, ANYTHING),
    st.builds(Pull, ANYTHING),
    st.builds(AddToSet, ANYTHING),
    st.builds(Unset),
)
CHANGES = st.dictionaries(PATHS, ANYTHING | MODIFIERS, max_size=4)


@given(st.dictionaries(NAMES, ANYTHING, max_size=4), CHANGES)
def test_a_patch_is_pure_deterministic_and_independent_of_order(document, changes):
    assume(
        not any(
            a != b and f"{a}.".startswith(f"{b}.") for a in changes for b in changes
        )
    )
    forwards = decode_patch(encode_patch(changes))
    backwards = decode_patch(encode_patch(dict(reversed(changes.items()))))
    before = copy.deepcopy(document)

    result = patched(forwards, document)

    assert document == before
    assert values_equal(result, patched(backwards, document))
    if result is not None:
        for path, value in changes.items():
            if not isinstance(value, msgspec.Struct):
                assert values_equal(get_path(result, path), value)


def patched(patch, document):
    """The changed document, or nothing if the patch does not fit it."""
    try:
        return patch.apply(document)
    except ValidationError:
        return None
