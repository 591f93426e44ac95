"""Tokens for threads; a part of the facade.

Each method promises what the one of the same name of :class:`aurora_actors.Aurora`
promises.
"""

from __future__ import annotations

from collections.abc import Mapping

from aurora_actors.client.database import Aurora
from aurora_actors.client.driving import run_now
from aurora_actors.client.tokens import TokenInfo

__all__ = ["BlockingTokens"]


class BlockingTokens:
    """A base of the blocking database class."""

    _db: Aurora

    def create_token(
        self,
        name: str,
        role: str = "read",
        *,
        collections: Mapping[str, str] | None = None,
        expires_s: float | None = None,
        timeout: float | None = None,
    ) -> str:
        """Make a token for the gateway and remote clients; it is shown only here."""
        return run_now(
            self._db.create_token(
                name,
                role,
                collections=collections,
                expires_s=expires_s,
                timeout=timeout,
            )
        )

    def revoke_token(self, name: str, *, timeout: float | None = None) -> bool:
        """End a token at once; returns whether there was one of this name."""
        return run_now(self._db.revoke_token(name, timeout=timeout))

    def list_tokens(self, *, timeout: float | None = None) -> list[TokenInfo]:
        """All tokens, sorted by name."""
        return run_now(self._db.list_tokens(timeout=timeout))
