"""Traces of remote clients' requests, told by their gateway.

A remote client does not know where spans go; so the gateway tells its requests, under the
name that the other processes know them by, from when they come to when the last of their
answers leaves. For one session.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import msgspec

from aurora_actors.messages.base import Failure, Letter, Message, decode_envelope
from aurora_actors.telemetry import Tracer

__all__ = ["SessionTrace"]

_MOST_OPEN: Final = 10_000


class _Told(msgspec.Struct):
    """What of an answer matters: whether more will come, and the code of an error."""

    final: bool = True
    code: str = ""


_decode: Final = msgspec.msgpack.Decoder(_Told).decode


class SessionTrace:
    """The spans of one remote client's requests.

    Args:
        tracer: Tells them.
        name: The client.
    """

    def __init__(self, tracer: Tracer, name: str) -> None:
        self._tracer = tracer
        self._name = name
        self._open: dict[int, tuple[float, str, str]] = {}

    def began(self, to: str, letters: Sequence[Letter]) -> None:
        """Requests have come that may pass to the mailbox ``to``."""
        if len(self._open) >= _MOST_OPEN:
            self._open.clear()
        for number, message in letters:
            # Number 0 has what nobody answers.
            if number and isinstance(message, Message):
                tag = str(message.__struct_config__.tag)
                self._open.setdefault(number, (time.monotonic(), to, tag))

    def answered(self, number: int, reply: object) -> None:
        """The gateway itself has answered a request."""
        self._end(number, reply.code if isinstance(reply, Failure) else "")

    def ended(self, data: bytes) -> None:
        """An envelope for the client has come from an actor."""
        try:
            for letter in decode_envelope(data).letters:
                if letter.request_id in self._open:
                    told = _decode(letter.body)
                    if told.final:
                        self._end(letter.request_id, told.code)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return  # the client will say so

    def _end(self, number: int, error: str) -> None:
        found = self._open.pop(number, None)
        if found is not None:
            begun, to, tag = found
            told: dict[str, str | int | float | bool]
            told = {"aurora.actor": to, "aurora.request": number, "aurora.remote": True}
            seconds = time.monotonic() - begun
            self._tracer.span(
                (self._name, number), "client", "", tag, seconds, told,
                error=error, serves=True,
            )  # fmt: skip
