"""The verbs for schemas, for watching a database, and for the shell one types in."""

from __future__ import annotations

from typing import Final

from aurora_actors.cli.command import PATH, Command, argument

__all__ = ["COMMANDS"]

_REMOTE: Final = """\
A database elsewhere is named tls+tcp://host:port; its token is taken from AURORA_TOKEN,
the file with the certificates that are trusted from AURORA_CA."""

COMMANDS: Final[dict[str, Command]] = {
    "schema": Command(
        "schemas:schema",
        "print the definitions of the collections, as AQL that makes them anew",
        "aurora schema myapp.db users",
        [
            PATH,
            argument("collection", nargs="?", help="this one alone"),
        ],
        _REMOTE,
    ),
    "migrate": Command(
        "schemas:migrate",
        "apply a file of migrations; what is applied already is skipped",
        "aurora migrate myapp.db migrations.aql",
        [
            PATH,
            argument("file", help="an AQL file with a migrate block"),
            argument("--timeout", type=float, help="in seconds (default: a day)"),
        ],
        "Each version is one transaction. A migration that was stopped, however it was, "
        f"goes on when it is run again.\n\n{_REMOTE}",
    ),
    "top": Command(
        "top:top",
        "show the processes of a running database as they work",
        "aurora top myapp.db --interval 2",
        [
            PATH,
            argument(
                "--interval",
                type=float,
                default=1.0,
                help="seconds between two looks (default: 1)",
            ),
            argument(
                "--count", type=int, help="end after so many looks (default: never)"
            ),
        ],
        "On a terminal q ends it. Elsewhere, and with --json, each look is printed "
        f"below the last. Needs the extra shell on a terminal.\n\n{_REMOTE}",
    ),
    "watch": Command(
        "watching:watch",
        "print changes as they happen, a JSON object a line",
        "aurora watch myapp.db orders --where 'status: {eq: \"pending\"}'",
        [
            PATH,
            argument(
                "collection", nargs="?", help="of this collection (default: of all)"
            ),
            argument(
                "--where",
                metavar="FILTER",
                help="follow the result of a filter, in AQL without the outer braces",
            ),
            argument("--since", metavar="TOKEN", help="go on behind this event"),
            argument(
                "--events", type=int, metavar="N", help="end after so many events"
            ),
        ],
        "Each line has a token, with which --since goes on behind it. Without --where "
        "the changes themselves are printed; with it the present result comes first.\n\n"
        f"{_REMOTE}",
    ),
    "completion": Command(
        "completion:completion",
        "print what makes a shell complete this command",
        'eval "$(aurora completion bash)"',
        [argument("shell", choices=("bash", "zsh", "fish"), help="which shell")],
    ),
}
