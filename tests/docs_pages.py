"""Makes the reference pages of the documentation from the code they describe.

``make docs`` writes them into ``docs/reference`` before the site is built; they are not
kept, so they cannot be old. A test looks whether they have everything.
"""

from __future__ import annotations

import argparse
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from aurora_supervisor.arguments import parser as supervisor_parser

import aurora_actors
from aurora_actors import blocking
from aurora_actors.cli.main import COMMANDS, _parser as aurora_parser

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "reference"


# ------------------------------------------------------------------ commands
def _subparsers(
    parser: argparse.ArgumentParser,
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _flat(
    parser: argparse.ArgumentParser, before: str
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for name, inner in _subparsers(parser):
        path = f"{before} {name}"
        if any(True for _ in _subparsers(inner)):
            yield from _flat(inner, path)
        else:
            yield path, inner


def _options(parser: argparse.ArgumentParser) -> list[str]:
    rows = []
    for action in parser._actions:
        names = action.option_strings or [str(action.metavar or action.dest)]
        if "--help" in names:
            continue
        takes = ""
        if action.option_strings and action.nargs != 0:
            takes = f" {action.metavar or (action.dest or '').upper()}"
            if action.choices:
                takes = f" {'|'.join(map(str, action.choices))}"
        elif action.choices and not action.option_strings:
            names = ["|".join(map(str, action.choices))]
        text = (action.help or "").replace("%(default)s", str(action.default))
        shown = ", ".join(f"`{name}{takes}`" for name in names)
        rows.append(f"| {shown.replace('|', chr(92) + '|')} | {text} |")
    return rows


def _commands(parser: argparse.ArgumentParser, intro: str) -> str:
    lines = [f"# {parser.prog}\n", intro, ""]
    for path, command in sorted(_flat(parser, parser.prog)):
        epilog = re.sub(
            r"\n*exit (codes|status):.*", "", command.epilog or "", flags=re.DOTALL
        )
        lines += [f"## {path}\n", f"{command.description}\n"]
        lines += ["| argument | meaning |", "| --- | --- |", *_options(command), ""]
        notes, _, example = epilog.partition("example:\n")
        if notes.strip():
            lines += [notes.strip(), ""]
        if example.strip():
            lines += ["```", textwrap.dedent(example).strip(), "```", ""]
    found = re.search(r"exit (?:codes|status):.*", parser.epilog or "", flags=re.DOTALL)
    if found:
        lines += [f"## Exit codes\n\n{found[0].strip()}\n"]
    return "\n".join(lines).rstrip() + "\n"


def aurora_page() -> str:
    """The commands of ``aurora``."""
    return _commands(
        aurora_parser(),
        "Looks after a database from the command line. Every verb takes `--json` and "
        "`--quiet`; `aurora VERB --help` says the same as this page.",
    )


def supervisor_page() -> str:
    """The commands of ``aurora-supervisor``."""
    return _commands(
        supervisor_parser(),
        "Runs a tree that outlives its applications, and commands one that runs.",
    )


# ------------------------------------------------------------------ configuration
def configuration_page() -> str:
    """The settings, from the reference file."""
    text = (ROOT / "config" / "aurora.toml").read_text(encoding="utf-8")
    lines = [
        "# Configuration\n",
        (
            "Each key is a keyword of `Aurora.open`, a field of `AuroraConfig`, and a line of "
            "the file that `aurora-supervisor run --config` reads (`AuroraConfig.from_toml`). "
            "What stands behind a key is its default; a key with a `#` before it has none and "
            "is off. A table is a struct of its own: `[http]` is `http=HttpConfig(...)`.\n"
        ),
    ]
    comment: list[str] = []
    for line in text.splitlines():
        key = re.match(r"(# )?([a-z_]+) = (.+)$", line)
        table = re.match(r"(?:# )?\[([\w.<>]+)\]$", line)
        if table:
            lines += [f"## [{table[1]}]\n", " ".join(comment) + "\n"]
            comment = []
        elif line.startswith("# ----"):
            section = line.strip("# -")
            lines += [f"## {section[0].upper()}{section[1:]}\n"]
            comment = []
        elif key:
            mark = "# " if key[1] else ""
            lines += [f"### {key[2]}\n", f"`{mark}{key[2]} = {key[3]}`\n"]
            lines += [" ".join(comment) + "\n"]
            comment = []
        elif line.startswith("#"):
            comment.append(line.lstrip("# "))
        elif not line.strip():
            comment = []
    return _without_empty_heads("\n".join(lines)).rstrip() + "\n"


def _without_empty_heads(text: str) -> str:
    """A heading that is followed by another of its level has nothing to say."""
    return re.sub(r"^## [^\n]+\n+(?=## )", "", text, flags=re.MULTILINE)


# ------------------------------------------------------------------ the API
def api_page() -> str:
    """Everything public, from its docstrings."""
    lines = [
        "# Python API\n",
        (
            "Everything here is importable from `aurora_actors`. `aurora_actors.blocking` has "
            "the same methods without `await`.\n"
        ),
    ]
    for name in sorted(aurora_actors.__all__, key=str.lower):
        found = getattr(aurora_actors, name)
        if inspect.ismodule(found):
            continue
        lines += [f"## {name}\n", *_described(name, found)]
        if inspect.isclass(found) and not issubclass(found, BaseException):
            lines += _members(found)
    lines += ["## blocking\n", (blocking.__doc__ or "").strip() + "\n"]
    lines += [f"`blocking.{name}`\n" for name in sorted(blocking.__all__)]
    return _escaped("\n".join(lines)).rstrip() + "\n"


def _described(name: str, found: object) -> list[str]:
    lines = []
    if inspect.isfunction(found):
        lines.append(f"```text\n{name}{_signature(found)}\n```\n")
    code = getattr(found, "code", None)
    if inspect.isclass(found) and issubclass(found, BaseException):
        lines.append(f"Error `{code}`, retryable: {found.retryable}.\n")  # type: ignore[attr-defined]
    document = inspect.getdoc(found) or ""
    if document.startswith(("Built-in", "dict(", "list(")):
        document = ""
    return [*lines, _markdown(document) + "\n"]


def _signature(function: object) -> str:
    try:
        text = str(inspect.signature(function))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return "(...)"
    return re.sub(r"'", "", text)


def _members(cls: type) -> list[str]:
    lines = []
    for name in sorted(dir(cls)):
        if name.startswith("_"):
            continue
        raw = inspect.getattr_static(cls, name)
        owner = next((c for c in cls.__mro__ if name in vars(c)), cls)
        if not owner.__module__.startswith("aurora_actors"):
            continue
        found = getattr(cls, name)
        document = inspect.getdoc(found)
        if isinstance(raw, property):
            lines += [f"### {cls.__name__}.{name}\n", _markdown(document or "") + "\n"]
        elif inspect.isroutine(found):
            lines += [
                f"### {cls.__name__}.{name}\n",
                f"```text\n{name}{_signature(found)}\n```\n",
                _markdown(document or "") + "\n",
            ]
    return lines


_SECTION = re.compile(r"^(Args|Returns|Raises|Attributes|Yields):\n", re.MULTILINE)


def _markdown(document: str) -> str:
    """A Google docstring as Markdown."""
    text = re.sub(r":\w+:`~?\.?([^`]+)`", r"`\1`", document).replace("``", "`")
    parts = _SECTION.split(text)
    lines = [parts[0].strip()]
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        inside = re.match(r"((?:[ \t]+[^\n]*\n?|\n)*)(.*)", body, re.DOTALL)
        assert inside is not None
        lines.append(f"\n**{title}**\n")
        for item in re.split(r"\n(?=\S)", textwrap.dedent(inside[1]).strip()):
            flat = " ".join(item.split())
            lines.append(f"- {flat}")
        if inside[2].strip():
            lines += ["", inside[2].strip()]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace("<lambda>", "lambda").replace("\t", "    ")


def pages() -> dict[str, str]:
    """All generated pages by file name."""
    return {
        "api.md": api_page(),
        "aurora.md": aurora_page(),
        "aurora-supervisor.md": supervisor_page(),
        "configuration.md": configuration_page(),
    }


if __name__ == "__main__":
    assert COMMANDS
    PAGES.mkdir(exist_ok=True)
    for name, text in pages().items():
        (PAGES / name).write_text(text, encoding="utf-8")
        print(f"docs/reference/{name}: {text.count(chr(10))} lines")
