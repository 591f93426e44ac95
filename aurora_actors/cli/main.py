"""``aurora``: look after a database from the command line.

Each command is a function ``(given, output) -> exit code`` in a module of this package,
which is imported when one of its commands is run; here are their names, arguments and
examples. A name of two words is a verb of a group, like ``aurora token create``. No
command makes a database by looking at one.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final, TypeAlias

from aurora_actors.cli import verbs
from aurora_actors.cli.command import (
    COLLECTION as _COLLECTION,
    PATH as _PATH,
    Command as _Command,
    argument as _argument,
)
from aurora_actors.cli.job_commands import JOB_COMMANDS, JOB_GROUPS
from aurora_actors.cli.output import Output
from aurora_actors.errors import AuroraError, UsageError

__all__ = ["COMMANDS", "main"]

Work: TypeAlias = Callable[[argparse.Namespace, Output], int]
_FORMATS: Final = ("jsonl", "json", "csv", "parquet")
_EXIT_CODES: Final = """\
exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 the database is not running
(status); 4 damage was found, or something had to be left out (check, repair, import)."""
_TRANSFER: Final = """\
Dates, UUIDs and bytes are text where the collection declares such a type, and marked
elsewhere: {"$datetime": "2026-01-31T12:00:00Z"}."""
_LINES: Final = """\
Documents and groups are a line each, anything else is one line; of several results each
is a line under its name. With --json all of it is one object. A subscription gives a
line for each event."""


_TOKEN: Final = _argument("name", help="what the token is called")
_OVERWRITE: Final = _argument(
    "--overwrite", action="store_true", help="replace the file if it exists"
)
_FORMAT: Final = _argument(
    "--format", choices=_FORMATS, help="the file's format (default: by its name)"
)

_GROUPS: Final = {"token": "tokens for the HTTP gateway", **JOB_GROUPS}
"""What the verbs of each group are about."""

_COMMANDS: Final[dict[str, _Command]] = {
    "status": _Command(
        "looking:status",
        "show the processes of a running database and its alarms",
        "aurora status myapp.db",
        [_PATH],
    ),
    "stats": _Command(
        "looking:stats",
        "show the counters of storage and of each query executor",
        "aurora stats myapp.db --json",
        [_PATH],
    ),
    "collections": _Command(
        "looking:collections",
        "list the collections with their fields and numbers of documents",
        "aurora collections myapp.db",
        [
            _PATH,
            _argument("--all", action="store_true", help="the database's own, too"),
        ],
    ),
    "backup": _Command(
        "doing:backup",
        "take a verified backup, while the database goes on",
        "aurora backup myapp.db /backups/myapp-monday.aurora",
        [_PATH, _argument("file", help="the backup to be made"), _OVERWRITE],
        "Beside the file there must be room for it and for a copy of the data file.",
    ),
    "restore": _Command(
        "doing:restore",
        "make a database of a backup",
        "aurora restore /backups/myapp-monday.aurora restored.db",
        [
            _argument("file", help="the backup"),
            _argument("path", help="the database directory; missing or empty"),
        ],
        "The whole backup is verified before anything is written.",
    ),
    "check": _Command(
        "looking:check",
        "check every invariant of a database, running or stopped",
        "aurora check myapp.db",
        [_PATH],
    ),
    "repair": _Command(
        "doing:repair",
        "rebuild a damaged, stopped database of what is intact in it",
        "aurora repair myapp.db",
        [_PATH],
        "The damaged files are kept, in damaged-<time>/ in the database directory.",
    ),
    "compact": _Command(
        "doing:compact",
        "give the space of deleted documents back to the system",
        "aurora compact myapp.db",
        [_PATH],
    ),
    "checkpoint": _Command(
        "doing:checkpoint",
        "sync the data file and trim the log behind it",
        "aurora checkpoint myapp.db",
        [
            _PATH,
            _argument("--timeout", type=float, default=600.0, help="in seconds"),
        ],
    ),
    "export": _Command(
        "doing:export",
        "write a collection to a file, as it is at one moment",
        "aurora export myapp.db users users.jsonl",
        [
            _PATH,
            _COLLECTION,
            _argument("file", nargs="?", default="-", help="the file, or - (default)"),
            _FORMAT,
            _OVERWRITE,
        ],
        _TRANSFER,
    ),
    "import": _Command(
        "doing:import_",
        "insert the documents of a file into a collection",
        "aurora import myapp.db users users.csv --skip-errors",
        [
            _PATH,
            _COLLECTION,
            _argument("file", help="the file, or - for the standard input"),
            _FORMAT,
            _argument(
                "--create",
                action="store_true",
                help="make the collection, open to any field, if there is none",
            ),
            _argument(
                "--resume",
                action="store_true",
                help="keep how far it is in FILE.aurora-import, and go on from there",
            ),
            _argument(
                "--skip-errors",
                action="store_true",
                help="leave out documents that do not fit, and report them",
            ),
        ],
        _TRANSFER,
    ),
    "query": _Command(
        "querying:query",
        "run an AQL text; results are lines of JSON",
        "aurora query myapp.db 'query { users(where: {age: {gt: $min}}) { name } }' "
        "--variables '{\"min\": 25}'",
        [
            _PATH,
            _argument("text", help="the text, or - for the standard input"),
            _argument(
                "--variables",
                metavar="JSON",
                help="the values of its variables: an object, or @ and a file of one",
            ),
            _argument("--explain", action="store_true", help="tell how it is answered"),
            _argument("--events", type=int, help="end a subscription after so many"),
            _argument("--timeout", type=float, help="in seconds"),
        ],
        _LINES,
    ),
    "shell": _Command(
        "shell:shell",
        "an interactive prompt for AQL",
        "aurora shell myapp.db",
        [
            _PATH,
            _argument("--create", action="store_true", help="make it if there is none"),
        ],
        "Needs the extra `shell` (prompt-toolkit and rich). Type .help at the prompt.",
    ),
    "token create": _Command(
        "tokens:create",
        "make a token, and show it this once",
        "aurora token create myapp.db dashboard --role read --collection orders=write",
        [
            _PATH,
            _TOKEN,
            _argument(
                "--role",
                default="read",
                help="none, read (default), write or admin",
            ),
            _argument(
                "--collection",
                action="append",
                default=[],
                metavar="NAME=ROLE",
                help="another role for one collection; may be repeated",
            ),
            _argument(
                "--days", type=float, help="how long it is valid (default: for ever)"
            ),
        ],
        "Only a hash of the token is kept.",
    ),
    "token list": _Command(
        "tokens:list_",
        "list the tokens, without their secrets",
        "aurora token list myapp.db",
        [_PATH],
    ),
    "token revoke": _Command(
        "tokens:revoke",
        "end a token at once",
        "aurora token revoke myapp.db dashboard",
        [_PATH, _TOKEN],
    ),
}
COMMANDS: Final[dict[str, _Command]] = {**_COMMANDS, **JOB_COMMANDS, **verbs.COMMANDS}
"""All verbs, by name."""


class _ShowVersion(argparse.Action):
    """Looks the version up only when it is asked for: that takes 60 ms."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        version = import_module("importlib.metadata").version
        sys.stdout.write(f"aurora {version('aurora-actors')}\n")
        parser.exit()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = _parser().parse_args(arguments)
    name = f"{given.command} {given.verb}" if "verb" in given else given.command
    command = COMMANDS[name]
    with Output(as_json=given.json, quiet=given.quiet) as output:
        try:
            module, _, function = command.work.partition(":")
            work: Work = getattr(import_module(f"aurora_actors.cli.{module}"), function)
            return work(given, output)
        except UsageError as exc:
            output.error(exc)
            return 2 if exc.code == UsageError.code else 1
        except AuroraError as exc:
            output.error(exc)
            return 1
        except BrokenPipeError:
            # Whoever read the output has had enough.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except KeyboardInterrupt:
            return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="aurora",
        description="Look after an aurora-actors database.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="answer with JSON")
    common.add_argument("--quiet", action="store_true", help="show no progress")
    verbs = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    groups = {
        name: verbs.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}."
        ).add_subparsers(dest="verb", required=True, metavar="VERB")
        for name, text in _GROUPS.items()
    }
    for name, command in COMMANDS.items():
        group, _, verb = name.rpartition(" ")
        _add(groups[group] if group else verbs, verb, command, common)
    return parser


def _add(
    to: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    command: _Command,
    common: argparse.ArgumentParser,
) -> None:
    more = f"{command.more}\n\n" if command.more else ""
    verb = to.add_parser(
        name,
        help=command.text,
        description=f"{command.text[0].upper()}{command.text[1:]}.",
        epilog=f"{more}example:\n  {command.example}\n\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common],
        allow_abbrev=False,
    )
    for names, options in command.arguments:
        verb.add_argument(*names, **options)  # type: ignore[arg-type]  # argparse's own


if __name__ == "__main__":
    sys.exit(main())
