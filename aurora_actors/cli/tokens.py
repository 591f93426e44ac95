"""The commands for the tokens of the HTTP gateway."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

from aurora_actors.cli.opening import opened
from aurora_actors.cli.output import Output, table
from aurora_actors.errors import NotFoundError, UsageError

__all__ = ["create", "list_", "revoke"]

_DAY_S: Final = 86_400.0


def create(given: argparse.Namespace, output: Output) -> int:
    """Make a token."""
    with opened(given.path) as db:
        token = db.create_token(
            given.name,
            given.role,
            collections=_rules(given.collection),
            expires_s=None if given.days is None else given.days * _DAY_S,
        )
    output.result({"name": given.name, "token": token}, [token])
    return 0


def _rules(given: Sequence[str]) -> dict[str, str]:
    rules: dict[str, str] = {}
    for text in given:
        name, equals, role = text.partition("=")
        if not (name and equals and role):
            raise UsageError(f"write --collection as NAME=ROLE, not {text!r:.80}")
        rules[name] = role
    return rules


def list_(given: argparse.Namespace, output: Output) -> int:
    """List the tokens."""
    with opened(given.path) as db:
        tokens = db.list_tokens()
    rows = [("name", "role", "collections", "created", "expires")]
    for token in tokens:
        rules = ", ".join(f"{c}={role}" for c, role in token.collections.items())
        end = "never" if token.expires is None else f"{token.expires:%Y-%m-%d %H:%M}"
        created = f"{token.created:%Y-%m-%d %H:%M}"
        rows.append((token.name, token.role, rules, created, end))
    output.result(tokens, table(rows) if tokens else ["there are no tokens"])
    return 0


def revoke(given: argparse.Namespace, output: Output) -> int:
    """End a token."""
    with opened(given.path) as db:
        found = db.revoke_token(given.name)
    if not found:
        raise NotFoundError(f"there is no token called {given.name!r:.80}")
    output.result({"revoked": given.name}, [f"{given.name} is revoked"])
    return 0
