"""The wire: every message is tagged, typed, and encodes as it always has."""

from __future__ import annotations

import importlib
import json
import pkgutil
from pathlib import Path

import msgspec
import pytest

from aurora_actors import messages
from aurora_actors.errors import (
    AuroraError,
    InternalError,
    ProtocolError,
    UniqueViolationError,
    all_codes,
)
from aurora_actors.messages.base import (
    PROTOCOL_VERSION,
    Failure,
    Letter,
    Message,
    decode_envelope,
    encode_envelope,
)
from aurora_actors.messages.storage import SyncLog

MODULES = [
    importlib.import_module(f"{messages.__name__}.{module.name}")
    for module in pkgutil.iter_modules(messages.__path__)
]
GOLDEN = Path(__file__).parents[2] / "fixtures" / "wire" / "messages.json"


def all_messages() -> list[type[Message]]:
    found: list[type[Message]] = []
    waiting = [Message]
    while waiting:
        for child in waiting.pop().__subclasses__():
            found.append(child)
            waiting.append(child)
    return sorted(found, key=lambda cls: str(cls.__struct_config__.tag))


def example(kind: object) -> object:
    """A value of ``kind``, always the same one."""
    info = msgspec.inspect.type_info(kind)
    return _example(info)


def _example(info: msgspec.inspect.Type) -> object:
    match info:
        case msgspec.inspect.IntType():
            return 7
        case msgspec.inspect.FloatType():
            return 0.5
        case msgspec.inspect.StrType():
            return "text"
        case msgspec.inspect.BytesType():
            return b"\x01\x02"
        case msgspec.inspect.BoolType():
            return True
        case msgspec.inspect.ListType(item_type=item):
            return [_example(item)]
        case msgspec.inspect.DictType(value_type=value):
            return {"key": _example(value)}
        case msgspec.inspect.EnumType(cls=cls):
            return next(iter(cls))
        case msgspec.inspect.UnionType(types=types):
            return _example(types[0])
        case msgspec.inspect.StructType(cls=cls, fields=fields):
            return cls(**{f.name: _example(f.type) for f in fields})
    raise AssertionError(f"no example for {info}")


MESSAGES = all_messages()


@pytest.mark.parametrize("cls", MESSAGES, ids=lambda cls: cls.__name__)
def test_a_message_is_frozen_keyword_only_and_has_an_explicit_dotted_tag(
    cls: type[Message],
) -> None:
    config = cls.__struct_config__
    assert config.frozen
    assert config.tag_field == "type"
    assert config.tag != cls.__name__
    assert str(config.tag).islower()
    if cls.__struct_fields__:
        with pytest.raises(TypeError):
            cls(*[None] * len(cls.__struct_fields__))


def test_every_module_of_the_vocabulary_is_covered() -> None:
    covered = {cls.__module__ for cls in MESSAGES}
    # Framing is how messages travel on a stream; it has none of its own.
    assert covered == {m.__name__ for m in MODULES} - {"aurora_actors.messages.framing"}


def test_tags_are_unique() -> None:
    tags = [cls.__struct_config__.tag for cls in MESSAGES]
    assert len(tags) == len(set(tags))


@pytest.mark.parametrize("cls", MESSAGES, ids=lambda cls: cls.__name__)
def test_a_message_encodes_as_the_golden_file_says(cls: type[Message]) -> None:
    value = example(cls)
    data = msgspec.msgpack.encode(value)
    assert msgspec.msgpack.decode(data, type=cls) == value
    golden = json.loads(GOLDEN.read_text())
    tag = str(cls.__struct_config__.tag)
    assert golden.get(tag) == data.hex(), (
        f"{tag}: the wire has changed; if that is meant, raise PROTOCOL_VERSION and "
        "write the fixture anew: python tests/unit/messages/test_wire.py"
    )


def test_the_golden_file_holds_no_message_that_is_gone() -> None:
    tags = {str(cls.__struct_config__.tag) for cls in MESSAGES}
    assert set(json.loads(GOLDEN.read_text())) == tags


def test_an_envelope_comes_back_as_it_was_sent() -> None:
    data = encode_envelope("c-12", 3, [Letter(5, SyncLog()), Letter(6, SyncLog())])
    mail = decode_envelope(data)
    assert (mail.sender, mail.floor) == ("c-12", 3)
    assert [letter.request_id for letter in mail.letters] == [5, 6]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not an envelope"),
        (b"garbage", "not an envelope"),
        (msgspec.msgpack.encode([1, "a", 0]), "not an envelope"),
        (msgspec.msgpack.encode([1, "a", 0, [[1, 2, 3]]]), "not an envelope"),
        (msgspec.msgpack.encode([2, "a", 0, []]), "protocol version 2"),
        (msgspec.msgpack.encode([1, "../etc/passwd", 0, []]), "not a mailbox name"),
        (msgspec.msgpack.encode([1, "", 0, []]), "not a mailbox name"),
        (msgspec.msgpack.encode([1, "a\n", 0, []]), "not a mailbox name"),
        (b"\x94\x01\xa1\xff\x00\x90", "not an envelope"),
    ],
)
def test_what_is_no_envelope_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        decode_envelope(data)


def test_an_error_crosses_the_wire_with_its_class_and_context() -> None:
    error = UniqueViolationError("taken", collection="users", field="email", value="x")
    data = msgspec.msgpack.encode(Failure.of(error, "storage"))
    back = msgspec.msgpack.decode(data, type=Failure).error()
    assert type(back) is UniqueViolationError
    assert (back.field, back.value, back.message) == ("email", "x", "taken")


def test_a_foreign_error_becomes_an_internal_one() -> None:
    back = Failure.of(KeyError("x")).error()
    assert type(back) is InternalError
    assert "KeyError" in back.message


def test_every_code_is_unique_and_below_its_parents() -> None:
    codes = all_codes()
    for code, cls in codes.items():
        assert issubclass(cls, AuroraError)
        parent = cls.__mro__[1]
        if issubclass(parent, AuroraError) and parent is not AuroraError:
            assert code.startswith(parent.code + ".")


if __name__ == "__main__":
    written = {
        str(cls.__struct_config__.tag): msgspec.msgpack.encode(example(cls)).hex()
        for cls in MESSAGES
    }
    GOLDEN.write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")
    print(f"{len(written)} messages, protocol version {PROTOCOL_VERSION}")
