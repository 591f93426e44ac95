"""Going on with an import that was interrupted, where it was.

The state is a small file beside the imported one, written after each batch. A crash may
fall between a batch and its entry, so the first batch of a later run may be there
already, in part: its documents are recognised by their ids. Documents that bring no id
get one that follows from the state's seed and their line, the same in every run.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
import uuid
from pathlib import Path
from typing import Final, Self

import msgspec

from aurora_actors.errors import UsageError
from aurora_actors.storage.environment import file_errors

__all__ = ["ImportState"]

_LINES_A_MS: Final = 1 << 12


class ImportState(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How far an import is.

    Attributes:
        collection: The collection.
        size: The size of the file.
        modified_ns: When it was last changed.
        seed: What new ids are made of.
        started_ms: Their time.
        line: All up to this line is done.
        documents: How many documents were inserted.
        skipped: How many were not.
    """

    collection: str
    size: int
    modified_ns: int
    seed: bytes
    started_ms: int
    line: int = 0
    documents: int = 0
    skipped: int = 0

    @classmethod
    def begin(cls, path: Path, file: Path, collection: str) -> Self:
        """The state kept at ``path``, or a new one for ``file``.

        Raises:
            UsageError: what is there belongs to another import.
        """
        found = file.stat()
        fresh = cls(
            collection=collection,
            size=found.st_size,
            modified_ns=found.st_mtime_ns,
            seed=secrets.token_bytes(16),
            started_ms=time.time_ns() // 1_000_000,
        )
        try:
            kept = msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return fresh
        except (OSError, msgspec.DecodeError) as exc:
            raise UsageError(f"{path} is no state of an import: {exc}") from exc
        if kept._identity() != fresh._identity():  # noqa: SLF001 - same class
            raise UsageError(
                f"{path} belongs to another import, or {file.name} has changed since; "
                "remove it to begin anew"
            )
        return kept

    def _identity(self) -> tuple[str, int, int]:
        return self.collection, self.size, self.modified_ns

    def save(self, path: Path) -> None:
        """Write the state in one step."""
        draft = path.with_name(f"{path.name}.new")
        with file_errors(path):
            with draft.open("wb") as file:
                file.write(msgspec.json.encode(self))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)

    def id_for(self, line: int) -> str:
        """The id of a document that brings none: a UUIDv7 that follows from its line."""
        digest = hashlib.blake2b(
            line.to_bytes(8, "big"), digest_size=8, key=self.seed
        ).digest()
        milliseconds = self.started_ms + line // _LINES_A_MS
        value = (milliseconds & ((1 << 48) - 1)) << 80
        value |= 0x7 << 76 | (line % _LINES_A_MS) << 64 | 0b10 << 62
        value |= int.from_bytes(digest, "big") & ((1 << 62) - 1)
        return str(uuid.UUID(int=value))
