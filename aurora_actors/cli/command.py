"""What a command of ``aurora`` is, as data: its verb, arguments, help and example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

__all__ = ["COLLECTION", "PATH", "Argument", "Command", "argument"]


class Argument(NamedTuple):
    """What ``add_argument`` is called with."""

    names: tuple[str, ...]
    options: dict[str, object]


def argument(*names: str, **options: object) -> Argument:
    """One argument of a command."""
    return Argument(names, options)


class Command(NamedTuple):
    """One verb.

    Attributes:
        work: What does it: ``module:function``.
        text: What it does, in a sentence.
        example: One use of it.
        arguments: What it takes besides what all take.
        more: What else there is to say.
    """

    work: str
    text: str
    example: str
    arguments: Sequence[Argument]
    more: str = ""


PATH: Final = argument(
    "path", help="the database directory, or tls+tcp://host:port for one elsewhere"
)
COLLECTION: Final = argument("collection", help="the collection")
