"""``aurora shell``: the interactive prompt, at a terminal or fed by a pipe.

Needs the extra ``shell``. The keys are prompt-toolkit's: Enter runs a text whose brackets
are closed and begins a new line in any other, Alt-Enter runs it as it is, Tab completes,
the arrows and Control-R go through the history.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING

from aurora_actors import blocking
from aurora_actors.cli.looking import existing
from aurora_actors.cli.output import Output
from aurora_actors.errors import UsageError

if TYPE_CHECKING:
    from aurora_actors.cli.shell_session import ShellSession

__all__ = ["shell", "texts_of"]


def shell(given: argparse.Namespace, output: Output) -> int:
    """Run the shell."""
    missing = [name for name in ("prompt_toolkit", "rich") if find_spec(name) is None]
    if missing:
        raise UsageError("the shell needs more: pip install 'aurora-actors[shell]'")
    path = given.path if given.create else existing(given.path)
    with blocking.open(path) as db:
        console = import_module("rich.console").Console(highlight=False)
        module = import_module("aurora_actors.cli.shell_session")
        session: ShellSession = module.ShellSession(db, console)
        if sys.stdin.isatty():
            terminal = import_module("aurora_actors.cli.shell_terminal")
            console.print(f"{Path(path).name}: type AQL, or .help")
            lines: Iterable[str] = terminal.typed(session, history_file())
        else:
            lines = texts_of(sys.stdin)
        for line in lines:
            if not session.run(line):
                break
    return 0


def history_file() -> Path:
    """Where what was typed is kept; ``AURORA_HISTORY`` names another file."""
    chosen = os.environ.get("AURORA_HISTORY")
    if chosen:
        return Path(chosen)
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "aurora" / "history"


def texts_of(source: IO[str]) -> Iterator[str]:
    """The commands and texts of a script: a text ends where its brackets are closed."""
    is_complete = import_module("aurora_actors.cli.shell_words").is_complete
    held: list[str] = []
    for line in source:
        if not held and line.lstrip().startswith("."):
            yield line
            continue
        held.append(line)
        text = "".join(held)
        if is_complete(text):
            yield text
            held = []
    if "".join(held).strip():
        yield "".join(held)
