"""The wire's envelope, the base of all messages, and the codec.

One nng message carries one envelope. An envelope is a msgpack array::

    [version, sender, floor, [[request_id, body], ...]]

``version``     :data:`PROTOCOL_VERSION`; another one is refused before anything else.
``sender``      the mailbox name of the sender, to which replies go.
``floor``       the sender's lowest request id still without a reply; what lies below
                it will never be asked again, so remembered outcomes can be forgotten.
``request_id``  chosen by the sender of a request and repeated in each of its replies;
                0 for a message that wants no reply.
``body``        one tagged struct, encoded in place.

Invariants:

* A receiver routes on the outer array and decodes each body on its own, so that one
  body which cannot be understood is refused without touching its neighbours.
* Documents, predicates, patches and definitions travel as opaque ``bytes`` that the
  schema and query packages encode and check; messages carry no ``Any``.
* Tags are explicit and dotted (``storage.insert``), so that renaming a class does not
  change the wire; ``tests/fixtures/wire`` holds a golden encoding of each message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from aurora_actors.errors import AuroraError, InternalError, ProtocolError, from_code

__all__ = [
    "MAILBOX_NAME",
    "PROTOCOL_VERSION",
    "Failure",
    "Letter",
    "Mail",
    "Message",
    "decode_envelope",
    "encode_envelope",
]

PROTOCOL_VERSION: Final = 1
MAILBOX_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,47}\Z")


class Message(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The base of everything that travels between processes.

    Each subclass repeats ``frozen=True, kw_only=True`` (``kw_only`` is not inherited)
    and gives an explicit dotted ``tag``. Messages hold data and never each other in a
    circle, so the garbage collector need not look at them (``gc=False``, inherited):
    with many events it had taken a sixth of their receiver's time.
    """


class Failure(Message, frozen=True, kw_only=True, tag="failure"):
    """The reply to a request that failed; nothing was changed by it."""

    code: str
    message: str
    context: dict[str, str | int | float | bool | list[str] | None] = {}
    actor: str = ""

    @classmethod
    def of(cls, error: BaseException, actor: str = "") -> Failure:
        """Describe ``error``; one that is not ours becomes an internal error."""
        if isinstance(error, AuroraError):
            return cls(
                code=error.code,
                message=error.message,
                context=error.context,
                actor=actor,
            )
        text = f"{type(error).__name__}: {error}"
        return cls(code=InternalError.code, message=text, actor=actor)

    def error(self) -> AuroraError:
        """The exception this failure stands for."""
        return from_code(self.code, self.message, self.context)


class Letter(NamedTuple):
    """One message with the request it belongs to, ready to be sent."""

    request_id: int
    body: Message


class _RawLetter(
    msgspec.Struct,
    frozen=True,
    array_like=True,
    forbid_unknown_fields=True,
    gc=False,
):
    request_id: int
    body: msgspec.Raw


class _Envelope(
    msgspec.Struct,
    frozen=True,
    array_like=True,
    forbid_unknown_fields=True,
    gc=False,
):
    version: int
    sender: str
    floor: int
    letters: list[_RawLetter]


class Mail(NamedTuple):
    """A received envelope, checked, with its bodies still encoded."""

    sender: str
    floor: int
    letters: Sequence[_RawLetter]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Envelope)


def encode_envelope(
    sender: str, floor: int, letters: Iterable[tuple[int, Message]]
) -> bytes:
    """Encode one envelope with all ``letters`` in their order."""
    return _encoder.encode((PROTOCOL_VERSION, sender, floor, list(letters)))


def decode_envelope(data: bytes) -> Mail:
    """Decode and check the outer array of an envelope.

    Raises:
        ProtocolError: ``data`` is not an envelope of this version, or its sender is
            not a mailbox name.
    """
    try:
        envelope = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ProtocolError(f"not an envelope: {exc}") from exc
    if envelope.version != PROTOCOL_VERSION:
        raise ProtocolError(
            f"protocol version {envelope.version}, this process speaks {PROTOCOL_VERSION}"
        )
    if not MAILBOX_NAME.match(envelope.sender):
        raise ProtocolError(f"{envelope.sender[:60]!r} is not a mailbox name")
    return Mail(envelope.sender, envelope.floor, envelope.letters)
