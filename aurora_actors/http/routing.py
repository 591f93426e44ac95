"""From a request to its handler: the table of endpoints, and what a handler is given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aurora_actors.client.database import Aurora
from aurora_actors.client.tokens import Grant, Role
from aurora_actors.errors import ValidationError
from aurora_actors.http.gate import Gateway
from aurora_actors.http.schemas import JsonSchema
from aurora_actors.schema.types import SYSTEM_PREFIX

__all__ = ["Asked", "Endpoint", "Handler", "Parameter", "routes_of"]


class Asked:
    """One request, with the one who sent it.

    Attributes:
        request: The request.
        grant: What its sender may do.
        gateway: The gateway it came to.
    """

    __slots__ = ("gateway", "grant", "request")

    def __init__(self, request: Request, gateway: Gateway, grant: Grant) -> None:
        self.request = request
        self.gateway = gateway
        self.grant = grant

    @property
    def db(self) -> Aurora:
        """The database."""
        return self.gateway.db()

    @property
    def document_id(self) -> str:
        """The id in the path."""
        return str(self.request.path_params["id"])

    def collection(self, role: Role) -> str:
        """The collection in the path, on which the sender needs ``role``.

        Raises:
            PermissionDeniedError: the sender has not.
            ValidationError: it is the database's own, and more than reading is wanted.
        """
        name = str(self.request.path_params["collection"])
        self.grant.need(role, name)
        if role > Role.READ and name.startswith(SYSTEM_PREFIX):
            raise ValidationError(
                f"{name:.80} belongs to the database", collection=name[:80]
            )
        return name


Handler: TypeAlias = Callable[[Asked], Awaitable[Response]]


class Parameter(NamedTuple):
    """A query parameter, for the description of the API."""

    name: str
    text: str
    type: str = "string"


class Endpoint(NamedTuple):
    """One method of one path.

    Attributes:
        method: The HTTP method.
        path: The path, with its parameters in braces.
        handler: What answers.
        role: What is needed in general; handlers ask for roles on collections.
        answers: The status of success, and what it gives.
        parameters: Query parameters.
        body: The media type of the body; empty when there is none.
        streams: The media type of a streamed answer; empty for JSON.
        takes: The name of the schema of the body.
        gives: The schema of the answer.
        group: Under which heading it is described.
    """

    method: str
    path: str
    handler: Handler
    role: Role
    answers: tuple[int, str]
    parameters: Sequence[Parameter] = ()
    body: str = ""
    streams: str = ""
    takes: str = ""
    gives: JsonSchema | None = None
    group: str = "Documents"

    @property
    def summary(self) -> str:
        """The first line of the handler's docstring."""
        return (self.handler.__doc__ or "").strip().splitlines()[0]


def routes_of(endpoints: Sequence[Endpoint], gateway: Gateway) -> list[Route]:
    """The routes that lead to ``endpoints``, one for each path."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for endpoint in endpoints:
        by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    return [
        # An id may contain slashes.
        Route(
            path.replace("{id}", "{id:path}"),
            _dispatch(methods, gateway),
            methods=list(methods),
        )
        for path, methods in by_path.items()
    ]


def _dispatch(
    methods: dict[str, Endpoint], gateway: Gateway
) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        endpoint = methods[method]
        if endpoint.role is Role.NONE:
            grant = Grant("", Role.NONE)
        else:
            grant = await gateway.grant(request)
            await gateway.wait_attached()
            if not grant.collections:
                grant.need(endpoint.role)
        return await endpoint.handler(Asked(request, gateway, grant))

    return serve
