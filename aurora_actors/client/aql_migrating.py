"""Applying migrations from a file or a text, with progress.

An executor does it and tells how far it is. When it dies, another one is asked to go on;
all of them act for one run, so the result counts what the run has applied, whoever did.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from aurora_actors.aql.execution.notes import Note, decode_note
from aurora_actors.aql.execution.seeds import new_seed
from aurora_actors.client.aql_results import MigrationResult
from aurora_actors.client.shell import Shell
from aurora_actors.errors import (
    InternalError,
    TreeDownError,
    UnavailableError,
    UsageError,
)
from aurora_actors.messages.aql import ExecuteAql

__all__ = ["MigrationProgress", "read_migration", "run_migration"]

MigrationProgress: TypeAlias = Callable[[str, int, int], None]
"""Told what is done, how much of it, of how much: the documents of a collection while
they are copied (``"users"``), the versions (``"version 1.1"``) as they are applied."""

_A_DAY_S: Final = 86_400.0
_ATTEMPTS: Final = 20


def read_migration(source: str | os.PathLike[str]) -> str:
    """The text itself, or what the file has.

    Raises:
        UsageError: the file cannot be read.
    """
    if isinstance(source, str) and "{" in source:
        return source
    if not isinstance(source, str | os.PathLike):
        raise UsageError(f"migrate takes a path or a text, not {type(source).__name__}")
    try:
        return Path(source).read_text("utf-8")
    except (OSError, ValueError) as exc:
        raise UsageError(f"cannot read the migration {source!s:.200}: {exc}") from exc


async def run_migration(
    shell: Shell,
    text: str,
    progress: MigrationProgress | None,
    timeout: float | None,
) -> MigrationResult:
    """Apply a migration.

    Raises:
        AuroraError: a version was refused; those before it are applied.
    """
    request = ExecuteAql(
        text=text,
        seed=new_seed(),
        migrates=True,
        deadline_s=_A_DAY_S if timeout is None else timeout,
    )
    for left in reversed(range(_ATTEMPTS)):
        try:
            return await _one_run(shell, request, progress)
        except TreeDownError:
            raise
        except UnavailableError as exc:
            if not left or "actor" not in exc.context:
                raise
    raise InternalError("a migration was neither done nor refused")


async def _one_run(
    shell: Shell, request: ExecuteAql, progress: MigrationProgress | None
) -> MigrationResult:
    stream = shell.open_stream(request)
    ended = False
    try:
        while True:
            chunk = await shell.next_chunk(stream, request.deadline_s)
            if chunk is None:
                ended = True
                raise InternalError("a migration has ended without a result")
            note = decode_note(chunk.note)
            if note.kind != "progress":
                ended = True
                return _result(note)
            if progress is not None:
                progress(note.name, note.affected, note.steps)
    finally:
        if not ended:
            shell.abandon(stream)


def _result(note: Note) -> MigrationResult:
    return MigrationResult(
        version=note.version, steps_applied=note.steps, status=note.status
    )
