"""One sitting at the shell: what is typed, run against the database, and shown.

Knows neither the terminal nor the keys: :mod:`aurora_actors.cli.shell` brings lines to
:meth:`ShellSession.run` until it says that this was the last.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Final

from rich.console import Console
from rich.text import Text

from aurora_actors import blocking
from aurora_actors.aql.words import is_subscription, may_write
from aurora_actors.cli.querying import plan_lines, result_lines
from aurora_actors.cli.shell_tables import print_result, print_schema
from aurora_actors.errors import AuroraError, UsageError
from aurora_actors.query.plan import Plan
from aurora_actors.schema.types import CollectionDefinition

__all__ = ["HELP", "ShellSession"]

HELP: Final = """\
Type an AQL text; it runs when its brackets are closed and Enter is pressed.
  .schema [NAME]        the collections and their fields
  .explain on|off       tell how queries are answered, too
  .timing on|off        tell how long texts take
  .format table|json    how results are shown
  .import FILE NAME     insert the documents of a file (jsonl, json, csv)
  .migrate FILE         apply a migration
  .help                 this
  .quit                 leave (or Control-D)"""


class ShellSession:
    """Runs what is typed.

    Args:
        db: The database, open.
        console: Where results go.
    """

    def __init__(self, db: blocking.Aurora, console: Console) -> None:
        self._db = db
        self._console = console
        self._explains = False
        self._times = True
        self._as_json = False
        self._is_over = False
        self._commands: dict[str, Callable[[list[str]], None]] = {
            ".schema": self._schema,
            ".explain": self._explain,
            ".timing": self._timing,
            ".format": self._format,
            ".import": self._import,
            ".migrate": self._migrate,
            ".help": lambda _words: console.print(Text(HELP)),
            ".quit": lambda _words: self._end(),
            ".exit": lambda _words: self._end(),
        }

    @property
    def commands(self) -> list[str]:
        """The words that begin with a dot."""
        return [*self._commands]

    def definitions(self) -> Mapping[str, CollectionDefinition]:
        """The collections as they are now."""
        db = self._db
        return {name: db.collection_definition(name) for name in db.list_collections()}

    def run(self, line: str) -> bool:
        """Run a text or a command, show what comes of it; false when it was the last."""
        text = line.strip()
        try:
            if text.startswith("."):
                self._command(text)
            elif text:
                self._text(text)
        except AuroraError as exc:
            self._console.print(Text(f"{exc.message} [{exc.code}]", style="red"))
        except KeyboardInterrupt:
            self._console.print(Text("interrupted", style="red"))
        return not self._is_over

    def _end(self) -> None:
        self._is_over = True

    # -------------------------------------------------------------- texts
    def _text(self, text: str) -> None:
        started = perf_counter()
        if is_subscription(text):
            raise UsageError("subscriptions are followed with aurora query")
        if self._explains and not may_write(text):
            self._show_plans(self._db.explain(text))
        result = self._db.execute(text)
        seconds = perf_counter() - started
        if self._as_json:
            for line in result_lines(result):
                self._console.out(line, highlight=False)
        else:
            print_result(self._console, result)
        if self._times:
            self._console.print(Text(f"{seconds * 1000:.1f} ms", style="dim"))

    def _show_plans(self, plans: Plan | list[Plan]) -> None:
        for plan in [plans] if isinstance(plans, Plan) else plans:
            for line in plan_lines(plan):
                self._console.print(Text(line, style="dim"))

    # -------------------------------------------------------------- commands
    def _command(self, text: str) -> None:
        try:
            name, *words = shlex.split(text)
        except ValueError as exc:
            raise UsageError(f"cannot read this: {exc}") from exc
        command = self._commands.get(name)
        if command is None:
            raise UsageError(f"there is no command {name}; .help lists them")
        command(words)

    def _schema(self, words: list[str]) -> None:
        known = self.definitions()
        if words:
            print_schema(self._console, [self._db.collection_definition(words[0])])
        elif known:
            print_schema(self._console, known.values())
        else:
            self._console.print("there are no collections")

    def _explain(self, words: list[str]) -> None:
        self._explains = _switch(".explain", words)

    def _timing(self, words: list[str]) -> None:
        self._times = _switch(".timing", words)

    def _format(self, words: list[str]) -> None:
        if words not in (["table"], ["json"]):
            raise UsageError("write .format table or .format json")
        self._as_json = words == ["json"]

    def _import(self, words: list[str]) -> None:
        if len(words) != 2:
            raise UsageError("write .import FILE COLLECTION")
        file, collection = words
        if collection not in self._db.list_collections():
            self._db.new_collection(collection, open=True)
        report = self._db.import_collection(collection, file)
        seconds = f"{report.seconds:.1f} s"
        self._console.print(f"{report.documents:,} documents imported, {seconds}")

    def _migrate(self, words: list[str]) -> None:
        if len(words) != 1:
            raise UsageError("write .migrate FILE")
        with self._console.status("migrating") as status:
            result = self._db.migrate(
                words[0],
                progress=lambda what, done, of: status.update(
                    f"{what}: {done} of {of}"
                ),
            )
        print_result(self._console, result)


def _switch(name: str, words: list[str]) -> bool:
    if words not in (["on"], ["off"]):
        raise UsageError(f"write {name} on or {name} off")
    return words == ["on"]
