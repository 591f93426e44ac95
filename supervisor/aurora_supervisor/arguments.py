"""The arguments of ``aurora-supervisor``, with help and examples."""

from __future__ import annotations

import argparse
from typing import Final, TypeAlias

__all__ = ["parser"]

_TREE: Final = "aurora_actors.actors.tree"
_EXIT_STATUSES: Final = """\
exit status: 0 done as asked; 1 the tree could not start or gave up, or the command was
refused; 2 wrong command line; 3 nobody runs this database; 4 somebody runs it already
(run); 5 wrong configuration or unusable directory."""
_SIGNALS: Final = """\
signals: SIGTERM and SIGINT stop the tree in order; SIGHUP reads the configuration file
anew and takes over what can change while it runs."""

_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no other name


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    made = argparse.ArgumentParser(
        prog="aurora-supervisor",
        description="Runs the actor processes of a database.",
        epilog=_EXIT_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(commands)
    _add(commands, "status", "show the processes of a running tree", "status my.db")
    _add(commands, "stop", "stop a running tree in order", "stop my.db")
    restart = _add(
        commands, "restart", "restart one actor in order", "restart my.db storage"
    )
    restart.add_argument("actor", metavar="ACTOR", help="its name, as status shows it")
    scale = _add(
        commands,
        "scale",
        "change how many processes a worker pool has",
        "scale my.db mail 4",
        "Those beyond the number finish the jobs they have in hand, within their grace.",
    )
    scale.add_argument("pool", metavar="POOL", help="its name, as in worker_pools")
    scale.add_argument("processes", metavar="N", type=int, help="how many; 0 rests it")
    _add(
        commands,
        "reload",
        "have a standalone tree read its configuration file anew",
        "reload my.db",
    )
    _add_logs(commands)
    _add_cert(commands)
    return made


def _add(
    commands: _Commands, name: str, text: str, example: str, more: str = ""
) -> argparse.ArgumentParser:
    command = _add_bare(commands, name, text, example, more)
    command.add_argument("path", metavar="PATH", help="the database directory")
    command.add_argument("--json", action="store_true", help="answer with JSON")
    return command


def _add_bare(
    commands: _Commands, name: str, text: str, example: str, more: str = ""
) -> argparse.ArgumentParser:
    parts = [more, f"example:\n  aurora-supervisor {example}", _EXIT_STATUSES]
    return commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog="\n\n".join(part for part in parts if part),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _add_run(commands: _Commands) -> None:
    run = _add_bare(
        commands,
        "run",
        "run the tree of a database",
        "run --config /etc/aurora/aurora.toml",
        _SIGNALS,
    )
    source = run.add_mutually_exclusive_group()
    source.add_argument("--db", metavar="PATH", help="the database directory")
    source.add_argument("--config", metavar="FILE", help="a configuration file (TOML)")
    run.add_argument(
        "--log-format", choices=("text", "json"), help="in the place of log_format"
    )
    run.add_argument(
        "--log-level",
        choices=("info", "warning", "error"),
        help="in the place of log_level",
    )
    run.add_argument(
        "--pid-file", metavar="FILE", help="holds the process id while the tree runs"
    )
    run.add_argument(
        "--ready-file", metavar="FILE", help="is there while every actor has started"
    )
    run.add_argument(
        "--tree",
        metavar="MODULE",
        default=_TREE,
        help="the module that lists the actors (default: %(default)s)",
    )
    run.add_argument(
        "--embedded",
        action="store_true",
        help="stop with the last application; used by the library",
    )
    run.add_argument("--lock-fd", type=int, metavar="N", help="with --embedded")
    run.add_argument("--ready-fd", type=int, metavar="N", help="with --embedded")


def _add_logs(commands: _Commands) -> None:
    logs = _add(
        commands,
        "logs",
        "show the log of a tree, running or not",
        "logs my.db --actor storage --level warning --follow",
    )
    logs.add_argument(
        "-n", "--lines", type=int, default=100, help="how many entries (default: 100)"
    )
    logs.add_argument(
        "-f", "--follow", action="store_true", help="go on with what is logged from now"
    )
    logs.add_argument("--actor", metavar="ACTOR", help="only what this one logged")
    logs.add_argument(
        "--level",
        choices=("debug", "info", "warning", "error", "critical"),
        default="debug",
        help="only what is at least as severe",
    )


def _add_cert(commands: _Commands) -> None:
    cert = _add_bare(
        commands,
        "cert",
        "make a self-signed certificate for the gateways",
        "cert /etc/aurora --name db.example --name 10.0.0.7",
        "Writes server.pem and server.key. Clients name server.pem with ca=. Needs the "
        "extra tls.",
    )
    cert.add_argument("path", metavar="DIRECTORY", help="where the two files go")
    cert.add_argument(
        "--name",
        action="append",
        metavar="NAME",
        help="a host name or address clients use; may be repeated (default: localhost, "
        "127.0.0.1 and ::1)",
    )
    cert.add_argument(
        "--days", type=int, default=365, help="how long it is valid (default: 365)"
    )
    cert.add_argument(
        "--overwrite", action="store_true", help="replace files that exist"
    )
    cert.add_argument("--json", action="store_true", help="answer with JSON")
