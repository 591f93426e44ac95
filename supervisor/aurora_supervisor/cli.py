"""The command ``aurora-supervisor``.

Nothing that takes time to import is imported here at once: ``run`` starts the zygote
first, so that its imports run beside the supervisor's own.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from aurora_supervisor.exits import ExitStatus
from aurora_supervisor.runtime_dir import create_runtime_dir, remove_runtime_dir
from aurora_supervisor.spawn import start_zygote

__all__ = ["main"]

_TREE: Final = "aurora_actors.actors.tree"
_HIGHEST_INHERITED: Final = 4
_EXIT_STATUSES: Final = """\
exit status: 0 done as asked; 1 the tree could not start or gave up; 2 wrong command
line; 3 nobody runs this database (status, stop, restart); 4 somebody runs it already
(run); 5 wrong configuration or unusable directory. SIGTERM, SIGINT and SIGHUP stop a
tree in order."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (see ``exits``)."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "run":
            return _run(options)
        # The commands need no tree of their own, so what they import is theirs alone.
        from aurora_supervisor import commands  # noqa: PLC0415 - see above

        return commands.run(options)
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="aurora-supervisor",
        description="Runs the actor processes of a database.",
        epilog=_EXIT_STATUSES,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run", help="run the tree of a database", epilog=_EXIT_STATUSES
    )
    source = run.add_mutually_exclusive_group()
    source.add_argument("--db", metavar="PATH", help="the database directory")
    source.add_argument("--config", metavar="FILE", help="a configuration file (TOML)")
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
    status = commands.add_parser("status", help="show the processes of a running tree")
    status.add_argument("path", metavar="PATH", help="the database directory")
    status.add_argument("--json", action="store_true", help="as one JSON object")
    stop = commands.add_parser("stop", help="stop a running tree in order")
    stop.add_argument("path", metavar="PATH", help="the database directory")
    restart = commands.add_parser("restart", help="restart one actor in order")
    restart.add_argument("path", metavar="PATH", help="the database directory")
    restart.add_argument("actor", metavar="ACTOR", help="its name, as status shows it")
    return parser


def _run(options: argparse.Namespace) -> int:
    if options.embedded:
        if options.lock_fd is None or options.ready_fd is None:
            return _refuse("--embedded needs --lock-fd and --ready-fd")
        _keep_only_ours((options.lock_fd, options.ready_fd))
    elif options.db is None and options.config is None:
        return _refuse("run needs --db PATH or --config FILE")
    runtime_dir = ""
    try:
        runtime_dir = create_runtime_dir(os.environ)
        zygote = start_zygote(runtime_dir, options.tree)
    except OSError as exc:
        remove_runtime_dir(runtime_dir)
        return _cannot_start(options, str(exc.strerror))
    try:
        # Only now: the zygote imports meanwhile. ``serve`` turns the collector on again.
        gc.disable()
        from aurora_supervisor import serve  # noqa: PLC0415 - see above

        run_options = serve.RunOptions(zygote, runtime_dir, options.tree)
        if options.embedded:
            return serve.run_embedded(run_options, options.lock_fd, options.ready_fd)
        return serve.run_standalone(options.db, options.config, run_options)
    finally:
        zygote.abandon()
        remove_runtime_dir(runtime_dir)


def _keep_only_ours(descriptors: tuple[int, int]) -> None:
    # Whatever else the application had open is none of this process's business.
    os.closerange(max(_HIGHEST_INHERITED, *descriptors) + 1, _descriptor_limit())
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)


def _descriptor_limit() -> int:
    return os.sysconf("SC_OPEN_MAX")


def _refuse(reason: str) -> int:
    print(f"aurora-supervisor: {reason}", file=sys.stderr)  # noqa: T201 - the command's answer
    return ExitStatus.USAGE


def _cannot_start(options: argparse.Namespace, reason: str) -> int:
    if options.embedded:
        from aurora_supervisor import serve  # noqa: PLC0415 - only when it fails

        serve.report_failure(options.ready_fd, reason)
    with suppress(OSError):
        print(f"aurora-supervisor: {reason}", file=sys.stderr)  # noqa: T201 - the command's answer
    return ExitStatus.CONFIG
