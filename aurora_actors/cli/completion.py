"""``aurora completion``: what makes a shell complete verbs, options and files.

The words come from the command's own table, so nothing of it can be forgotten.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from aurora_actors.cli.command import Command
from aurora_actors.cli.output import Output

__all__ = ["completion", "script"]

_COMMON: Final = ("--json", "--quiet", "--help")
_BASH: Final = """\
_aurora() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" verb="${{COMP_WORDS[1]}}"
  local words
  case "$verb ${{COMP_WORDS[2]}}" in
{groups}
  esac
  if [ "$COMP_CWORD" = 1 ]; then
    words="{verbs}"
  elif [[ "$current" == -* ]]; then
    case "$verb" in
{options}
    esac
  fi
  if [ -n "$words" ]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  else
    compopt -o default; COMPREPLY=()
  fi
}}
complete -F _aurora aurora
"""
_ZSH: Final = "autoload -U +X bashcompinit && bashcompinit\n"


def completion(given: argparse.Namespace, output: Output) -> int:
    """Print the script for one shell."""
    # The table is the caller's, who has imported this module by its name.
    from aurora_actors.cli.main import COMMANDS  # noqa: PLC0415

    text = script(given.shell, COMMANDS)
    output.result({"shell": given.shell, "script": text}, [text.rstrip("\n")])
    return 0


def script(shell: str, commands: Mapping[str, Command]) -> str:
    """The script that makes ``shell`` complete ``commands``."""
    return _SHELLS[shell](commands)


def _options(command: Command) -> Sequence[str]:
    flags = [n for each in command.arguments for n in each.names if n.startswith("-")]
    return [*flags, *_COMMON]


def _verbs(commands: Mapping[str, Command]) -> dict[str, list[str]]:
    """First words, with the second words of those that have any."""
    found: dict[str, list[str]] = {}
    for name in commands:
        first, _, second = name.partition(" ")
        found.setdefault(first, []).extend([second] if second else [])
    return found


def _bash(commands: Mapping[str, Command]) -> str:
    verbs = _verbs(commands)
    groups, options = [], []
    for first, seconds in verbs.items():
        if seconds:
            line = f'    "{first} "*) [ "$COMP_CWORD" = 2 ] && words="{" ".join(seconds)}";;'
            groups.append(line)
        names = [first] if not seconds else [f"{first} {each}" for each in seconds]
        flags = dict.fromkeys(flag for n in names for flag in _options(commands[n]))
        options.append(f'      {first}) words="{" ".join(flags)}";;')
    return _BASH.format(
        verbs=" ".join(verbs), groups="\n".join(groups), options="\n".join(options)
    )


def _zsh(commands: Mapping[str, Command]) -> str:
    return _ZSH + _bash(commands)


def _fish(commands: Mapping[str, Command]) -> str:
    verbs = _verbs(commands)
    lines = []
    for first, seconds in verbs.items():
        text = "" if seconds else f" -d '{commands[first].text}'"
        lines.append(f"complete -c aurora -n __fish_use_subcommand -a {first}{text}")
        seen = f"-n '__fish_seen_subcommand_from {first}'"
        lines += [f"complete -c aurora {seen} -a {each}" for each in seconds]
        names = [first] if not seconds else [f"{first} {each}" for each in seconds]
        flags = dict.fromkeys(flag for n in names for flag in _options(commands[n]))
        lines += [
            f"complete -c aurora {seen} -l {flag.removeprefix('--')}"
            for flag in flags
            if flag.startswith("--")
        ]
    return "\n".join(lines) + "\n"


_SHELLS: Final[dict[str, Callable[[Mapping[str, Command]], str]]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}
