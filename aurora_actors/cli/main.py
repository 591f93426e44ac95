"""``aurora``: look at a database from the command line.

Exit codes: 0 done, 1 the database refused or could not be reached, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version

import msgspec

from aurora_actors import blocking
from aurora_actors.errors import AuroraError

__all__ = ["main"]


def _show(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _status(db: blocking.Aurora) -> object:
    return msgspec.to_builtins(db.status())


def _stats(db: blocking.Aurora) -> object:
    return db.stats()


def _collections(db: blocking.Aurora) -> object:
    return {
        name: {
            "documents": db.query(name).count(),
            "fields": {
                field: str(definition)
                for field, definition in db.collection_definition(name).fields.items()
            },
        }
        for name in db.list_collections()
    }


_COMMANDS: dict[str, tuple[Callable[[blocking.Aurora], object], str]] = {
    "status": (_status, "the processes of the database: state, restarts, memory"),
    "stats": (_stats, "the counters of storage and of each query executor"),
    "collections": (_collections, "the collections with their fields and counts"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="aurora", description=__doc__)
    parser.add_argument("--version", action="version", version=version("aurora-actors"))
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (_work, text) in _COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("path", help="the database directory")
    given = parser.parse_args(arguments)
    work, _text = _COMMANDS[given.command]
    try:
        with blocking.open(given.path) as db:
            sys.stdout.write(_show(work(db)) + "\n")
    except AuroraError as exc:
        sys.stderr.write(f"aurora: {exc.code}: {exc.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
