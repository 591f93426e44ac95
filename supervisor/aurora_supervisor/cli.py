"""The command ``aurora-supervisor``.

Nothing that takes time to import is imported here at once: most commands need little.
``run`` imports all that the supervisor needs and then forks the zygote, which goes on
from there, before anything else is begun.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from aurora_supervisor.arguments import parser
from aurora_supervisor.descriptors import close_all_but, open_standard
from aurora_supervisor.exits import ExitStatus
from aurora_supervisor.runtime_dir import create_runtime_dir, remove_runtime_dir
from aurora_supervisor.spawn import fork_zygote

__all__ = ["main"]

_STANDARD_ERROR: Final = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (see ``exits``)."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "run":
            return _run(options)
        # The commands need no tree of their own, so what they import is theirs alone.
        from aurora_supervisor import commands  # noqa: PLC0415 - see above

        return commands.run(options)
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace) -> int:
    open_standard()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # whoever started it may block some
    if options.embedded:
        if options.lock_fd is None or options.ready_fd is None:
            return _refuse("--embedded needs --lock-fd and --ready-fd")
        _keep_only_ours((options.lock_fd, options.ready_fd))
    elif options.db is None and options.config is None:
        return _refuse("run needs --db PATH or --config FILE")
    # Of a crash in a library the log has the place; actors inherit this.
    faulthandler.enable(_STANDARD_ERROR)
    # No garbage is made while importing. ``serve`` turns the collector on again.
    gc.disable()
    from aurora_supervisor import serve, zygote as zygotes  # noqa: PLC0415 - see above
    from aurora_supervisor.markers import Markers  # noqa: PLC0415 - see above

    runtime_dir = ""
    try:
        runtime_dir = create_runtime_dir(os.environ)
        zygote = fork_zygote(runtime_dir, options.tree, zygotes.main)
    except OSError as exc:
        remove_runtime_dir(runtime_dir)
        return _cannot_start(options, str(exc.strerror))
    try:
        run_options = serve.RunOptions(zygote, runtime_dir, options.tree)
        if options.embedded:
            return serve.run_embedded(run_options, options.lock_fd, options.ready_fd)
        given = serve.Standalone(
            options.db,
            options.config,
            options.log_format,
            options.log_level,
            Markers(options.pid_file, options.ready_file),
        )
        return serve.run_standalone(given, run_options)
    finally:
        zygote.abandon()
        remove_runtime_dir(runtime_dir)


def _keep_only_ours(descriptors: tuple[int, int]) -> None:
    # Whatever else the application had open is none of this process's business.
    close_all_but(descriptors)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)


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
