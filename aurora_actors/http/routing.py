"""From a request to its handler: the table of endpoints, and what a handler is given."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from aurora_actors.client.database import Aurora
from aurora_actors.client.tokens import Grant, Role
from aurora_actors.errors import AuroraError, ValidationError
from aurora_actors.http.gate import Gateway
from aurora_actors.http.problems import answer_error, answer_http_error
from aurora_actors.http.schemas import JsonSchema
from aurora_actors.schema.types import SYSTEM_PREFIX
from aurora_actors.telemetry import around

__all__ = ["Asked", "Endpoint", "Endpoints", "Handler", "Parameter", "routes_of"]

_FAILED: Final = 500
_GONE: Final = 499
_NAME: Final = re.compile(r"\{(\w+)\}")


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


class Endpoints:
    """Leads requests to endpoints; whatever is not one goes to another application.

    One regular expression finds the path, instead of one after the other: most requests
    are small, and there are dozens of paths. The other application has to answer what
    belongs to no path or no method.

    Args:
        app: Answers everything else.
        endpoints: The endpoints.
        gateway: The gateway.
    """

    def __init__(
        self, app: ASGIApp, endpoints: Sequence[Endpoint], gateway: Gateway
    ) -> None:
        self._app = app
        self._gateway = gateway
        self._ends: dict[int, tuple[dict[str, Endpoint], dict[str, int]]] = {}
        alternatives: list[str] = []
        groups = 0
        for path, methods in _by_path(endpoints).items():
            names = _NAME.findall(path)
            numbers = {name: groups + n for n, name in enumerate(names, 1)}
            groups += len(names) + 1
            self._ends[groups] = (methods, numbers)
            # The empty group at the end tells by its number which alternative it was.
            alternatives.append(_pattern(path) + "()")
        self._match = re.compile("|".join(alternatives), re.DOTALL).fullmatch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        endpoint = self._find(scope) if scope["type"] == "http" else None
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        tracer = self._gateway.tracer
        if tracer is None:
            await self._serve(endpoint, Request(scope, receive, send), send)
            return
        begun = time.perf_counter()
        with around() as what:
            request = Request(scope, receive, send)
            status = await self._serve(endpoint, request, send)
            tracer.served(
                what,
                f"{request.method} {endpoint.path}",
                time.perf_counter() - begun,
                {
                    "http.request.method": request.method,
                    "http.route": endpoint.path,
                    "http.response.status_code": status,
                },
                error=str(status) if status >= _FAILED else "",
                caller=request.headers.get("traceparent", ""),
            )

    async def _serve(self, endpoint: Endpoint, request: Request, send: Send) -> int:
        try:
            response = await self._answer(endpoint, request)
        except AuroraError as exc:
            response = await answer_error(request, exc)
        except HTTPException as exc:
            response = await answer_http_error(request, exc)
        except ClientDisconnect:
            return _GONE  # in the middle of the body: there is nobody to answer
        await response(request.scope, request.receive, send)
        return response.status_code

    def _find(self, scope: Scope) -> Endpoint | None:
        found = self._match(scope["path"])
        if found is None or found.lastindex is None:
            return None
        methods, numbers = self._ends[found.lastindex]
        method = scope["method"]
        endpoint = methods.get("GET" if method == "HEAD" else method)
        if endpoint is not None:
            scope["path_params"] = {n: found[k] for n, k in numbers.items()}
        return endpoint

    async def _answer(self, endpoint: Endpoint, request: Request) -> Response:
        gateway = self._gateway
        if endpoint.role is Role.NONE:
            grant = Grant("", Role.NONE)
        else:
            grant = await gateway.grant(request)
            await gateway.wait_attached()
            if not grant.collections:
                grant.need(endpoint.role)
        return await endpoint.handler(Asked(request, gateway, grant))


def routes_of(endpoints: Sequence[Endpoint]) -> list[Route]:
    """Routes that refuse the methods which the paths of ``endpoints`` have not."""
    return [
        Route(_NAME.sub(_in_route, path), _refused, methods=list(methods))
        for path, methods in _by_path(endpoints).items()
    ]


async def _refused(_request: Request) -> Response:
    raise HTTPException(404)


def _by_path(endpoints: Sequence[Endpoint]) -> dict[str, dict[str, Endpoint]]:
    by_path: dict[str, dict[str, Endpoint]] = {}
    for endpoint in endpoints:
        by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    return by_path


def _in_route(name: re.Match[str]) -> str:
    return "{id:path}" if name[1] == "id" else name[0]


def _pattern(path: str) -> str:
    """The regular expression of a path; an id may contain slashes."""
    parts = _NAME.split(path)
    made = [re.escape(parts[0])]
    for name, literal in zip(parts[1::2], parts[2::2], strict=True):
        made.append("(.*)" if name == "id" else "([^/]+)")
        made.append(re.escape(literal))
    return "".join(made)
