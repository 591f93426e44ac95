"""Tokens: who may reach the database through the gateway, and what they may do.

A token is shown once, when it is created; the database keeps a hash of its secret in the
collection ``_sys_tokens``, under the token's name. The secret has 256 random bits, so a
plain SHA-256 cannot be guessed back. Whoever can open the database's files needs no
token: the methods here are for such callers.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Final, Self

import msgspec

from aurora_actors.client.document import Document
from aurora_actors.client.handle import Handle
from aurora_actors.client.protocol import STORAGE
from aurora_actors.errors import (
    CollectionNotFoundError,
    PermissionDeniedError,
    UniqueViolationError,
    UsageError,
)
from aurora_actors.messages.storage import (
    DefineCollection,
    DeleteDocument,
    InsertDocuments,
)
from aurora_actors.schema.types import (
    TOKENS,
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    encode_definition,
)
from aurora_actors.schema.values import encode_document

__all__ = [
    "Grant",
    "Role",
    "TokenHandle",
    "TokenInfo",
    "grant_of",
    "is_over",
    "name_in",
]

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_PREFIX: Final = "aur"
_LONGEST_S: Final = 100 * 365 * 86_400.0
_SECRET_BYTES: Final = 32
_NOBODY: Final = hashlib.sha256(b"").digest()
_DEFINITION: Final = CollectionDefinition(
    TOKENS,
    {
        "hash": FieldDefinition(FieldType.BYTES, nullable=False),
        "role": FieldDefinition(FieldType.STRING, nullable=False),
        "collections": FieldDefinition(FieldType.OBJECT),
        "created": FieldDefinition(FieldType.DATETIME, nullable=False),
        "expires": FieldDefinition(FieldType.DATETIME),
    },
)


class Role(IntEnum):
    """What a token allows; each role includes those before it."""

    NONE = 0
    """Nothing; for rules of single collections."""
    READ = 1
    """Read documents, watch them, see statistics."""
    WRITE = 2
    """Also insert, change and remove documents, and enqueue jobs."""
    ADMIN = 3
    """Also define and drop collections, manage jobs, see the database's own."""

    @classmethod
    def named(cls, name: str) -> Self:
        """The role called ``name``.

        Raises:
            UsageError: there is none.
        """
        try:
            return cls[name.upper()]
        except (KeyError, AttributeError) as exc:
            names = ", ".join(role.name.lower() for role in cls)
            raise UsageError(f"a role is one of {names}, not {name!r:.60}") from exc


class TokenInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A token without its secret.

    Attributes:
        name: What it was called.
        role: ``none``, ``read``, ``write`` or ``admin``.
        collections: Other roles for single collections, by name.
        created: When it was made.
        expires: When it ends; ``None`` never.
    """

    name: str
    role: str
    collections: dict[str, str]
    created: datetime
    expires: datetime | None


class Grant(msgspec.Struct, frozen=True):
    """What somebody may do.

    Attributes:
        name: The token's name.
        role: The role in general.
        collections: Other roles for single collections.
        lsn: The change that made the token; 0 without a token.
    """

    name: str
    role: Role
    collections: dict[str, Role] = {}
    lsn: int = 0

    def on(self, collection: str) -> Role:
        """The role on one collection; the database's own are for administrators."""
        if collection.startswith("_sys_"):
            return self.role if self.role is Role.ADMIN else Role.NONE
        return self.collections.get(collection, self.role)

    def need(self, role: Role, collection: str | None = None) -> None:
        """Let pass who has ``role``, on ``collection`` if one is given.

        Raises:
            PermissionDeniedError: the token's role is less.
        """
        found = self.role if collection is None else self.on(collection)
        if found < role:
            where = "" if collection is None else f" on {collection}"
            raise PermissionDeniedError(
                f"this needs the role {role.name.lower()}{where}; "
                f"the token {self.name!r} has {found.name.lower()}",
                role=found.name.lower(),
            )


def name_in(token: str) -> str | None:
    """The name under which ``token`` would be kept; ``None`` when it is no token."""
    prefix, _, rest = token.partition(".")
    name = rest.partition(".")[0]
    return name if prefix == _PREFIX and _NAME.match(name) else None


def grant_of(token: str, kept: Document | None) -> Grant | None:
    """What ``token`` allows, or ``None`` when it is wrong, revoked or over.

    Takes the same time whether the name or the secret is wrong.

    Args:
        token: As it was given out.
        kept: The document of ``_sys_tokens`` under its name.
    """
    secret = token.rpartition(".")[2]
    given = hashlib.sha256(secret.encode("utf-8", "replace")).digest()
    known = _NOBODY if kept is None else bytes(kept["hash"])
    if not hmac.compare_digest(given, known) or kept is None or is_over(kept):
        return None
    rules = kept.get("collections") or {}
    return Grant(
        kept.id,
        Role.named(kept["role"]),
        {c: Role.named(r) for c, r in rules.items()},
        kept.lsn,
    )


def is_over(kept: Document) -> bool:
    """Whether the time of the token in this document of ``_sys_tokens`` is over."""
    expires = kept.get("expires")
    return expires is not None and bool(expires <= datetime.now(UTC))


class TokenHandle(Handle):
    """Adds the management of tokens to a database object."""

    async def create_token(
        self,
        name: str,
        role: str = "read",
        *,
        collections: Mapping[str, str] | None = None,
        expires_s: float | None = None,
        timeout: float | None = None,
    ) -> str:
        """Make a token for the gateway and remote clients.

        Args:
            name: What to call it: letters, digits, ``_`` and ``-``, at most 64.
            role: ``read``, ``write``, ``admin``, or ``none`` when only
                ``collections`` count.
            collections: Other roles for single collections, by name.
            expires_s: After how many seconds it ends; never if not given.
            timeout: In seconds.

        Returns:
            The token. It cannot be shown again: only a hash is kept.

        Raises:
            UsageError: the name will not do or is taken, there is no such role, or
                the time is no time.
        """
        if not isinstance(name, str) or not _NAME.match(name):
            raise UsageError(
                f"a token's name has 1 to 64 letters, digits, _ and -, not {name!r:.80}"
            )
        if expires_s is not None and not 0 < expires_s <= _LONGEST_S:
            raise UsageError("expires_s is a number of seconds, of 100 years at most")
        rules = {c: Role.named(r).name.lower() for c, r in (collections or {}).items()}
        now = datetime.now(UTC)
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        document = {
            "hash": hashlib.sha256(secret.encode()).digest(),
            "role": Role.named(role).name.lower(),
            "collections": rules or None,
            "created": now,
            "expires": None
            if expires_s is None
            else now + timedelta(seconds=expires_s),
        }
        shell = self._open().shell
        define = DefineCollection(definition=encode_definition(_DEFINITION))
        await shell.call(STORAGE, define, timeout)
        insert = InsertDocuments(
            collection=TOKENS, ids=[name], documents=[encode_document(document)]
        )
        try:
            await shell.call(STORAGE, insert, timeout)
        except UniqueViolationError as exc:
            raise UsageError(f"there is a token called {name!r} already") from exc
        return f"{_PREFIX}.{name}.{secret}"

    async def revoke_token(self, name: str, *, timeout: float | None = None) -> bool:
        """End a token at once; returns whether there was one of this name."""
        request = DeleteDocument(collection=TOKENS, id=name)
        try:
            return (await self._write(request, timeout)).affected > 0
        except CollectionNotFoundError:
            return False

    async def list_tokens(self, *, timeout: float | None = None) -> list[TokenInfo]:
        """All tokens, sorted by name."""
        documents = await self._open().tokens(timeout)
        return [
            TokenInfo(
                name=document.id,
                role=document["role"],
                collections=document.get("collections") or {},
                created=document["created"],
                expires=document.get("expires"),
            )
            for document in sorted(documents, key=lambda document: document.id)
        ]
