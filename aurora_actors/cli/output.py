"""What a command prints: results for people or as JSON, errors, progress.

Results go to the standard output, everything else to the standard error, so that the
output of a command can be used by another.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Final, Self

import msgspec

from aurora_actors.errors import AuroraError

__all__ = ["Output", "size_text"]

_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")


class Output:
    """How this run of the command answers.

    Args:
        as_json: Results and errors are JSON objects.
        quiet: No progress.
    """

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self.as_json = as_json
        self._shows_progress = not quiet and sys.stderr.isatty()
        self._has_progress = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_progress()

    def result(self, value: object, lines: Sequence[str]) -> None:
        """Print a result: ``value`` as JSON, or the ``lines`` for people."""
        self._end_progress()
        if self.as_json:
            data = msgspec.json.format(msgspec.json.encode(value), indent=2)
            sys.stdout.write(data.decode() + "\n")
        else:
            sys.stdout.writelines(f"{line}\n" for line in lines)

    def error(self, error: AuroraError) -> None:
        """Print an error."""
        self._end_progress()
        if self.as_json:
            value = {
                "error": {
                    "code": error.code,
                    "message": error.message,
                    "retryable": error.retryable,
                    "context": error.context,
                }
            }
            sys.stderr.write(msgspec.json.encode(value).decode() + "\n")
        else:
            first, *more = error.message.splitlines() or [""]
            sys.stderr.write(f"aurora: {first} [{error.code}]\n")
            sys.stderr.writelines(f"{line}\n" for line in more)

    def progress(self, phase: str, done: int, total: int) -> None:
        """Show how far something is, on a terminal."""
        if not self._shows_progress:
            return
        share = f" {100 * done // total:3d} %" if total else ""
        sys.stderr.write(f"\r\x1b[K{phase}{share}")
        sys.stderr.flush()
        self._has_progress = True

    def _end_progress(self) -> None:
        if self._has_progress:
            sys.stderr.write("\r\x1b[K")
            self._has_progress = False


def size_text(size: float) -> str:
    """A number of bytes as people read it."""
    for unit in _UNITS[:-1]:
        if size < 1024:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} {_UNITS[-1]}"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def pairs(values: Mapping[str, object]) -> list[str]:
    """Names and values as lines."""
    return table([(f"{name}:", str(value)) for name, value in values.items()])
