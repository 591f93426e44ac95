"""Tokens over REST: who one is, and for administrators who else there is."""

from __future__ import annotations

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from aurora_actors.client.tokens import Role
from aurora_actors.errors import NotFoundError
from aurora_actors.http.routing import Asked
from aurora_actors.http.wire import answer, object_of

__all__ = ["create_token", "list_tokens", "revoke_token", "who_am_i"]


class _Wanted(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    role: str = "read"
    collections: dict[str, str] = {}
    expires_s: float | None = None


async def who_am_i(asked: Asked) -> Response:
    """The name and the roles of the token that was sent."""
    grant = asked.grant
    return answer(
        {
            "name": grant.name,
            "role": grant.role.name.lower(),
            "collections": {c: r.name.lower() for c, r in grant.collections.items()},
        }
    )


async def list_tokens(asked: Asked) -> Response:
    """All tokens, without their secrets."""
    asked.grant.need(Role.ADMIN)
    found = await asked.db.list_tokens()
    return answer({"tokens": [msgspec.structs.asdict(token) for token in found]})


async def create_token(asked: Asked) -> Response:
    """Make a token; it is shown in this answer and never again."""
    asked.grant.need(Role.ADMIN)
    try:
        wanted = msgspec.convert(await object_of(asked.request), _Wanted)
    except msgspec.ValidationError as exc:
        raise HTTPException(422, f"the body is not understood: {exc}") from exc
    token = await asked.db.create_token(
        wanted.name,
        wanted.role,
        collections=wanted.collections,
        expires_s=wanted.expires_s,
    )
    return answer({"name": wanted.name, "token": token}, 201)


async def revoke_token(asked: Asked) -> Response:
    """End a token at once."""
    asked.grant.need(Role.ADMIN)
    name = str(asked.request.path_params["token"])
    if not await asked.db.revoke_token(name):
        raise NotFoundError(f"there is no token {name!r:.80}")
    return Response(status_code=204)
