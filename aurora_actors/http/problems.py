"""Errors as the gateway tells them: ``application/problem+json`` (RFC 9457).

``code`` is the error's stable code (see docs/errors.md), ``detail`` its message,
``retryable`` whether the same request may succeed later, ``context`` the values the
message speaks of.
"""

from __future__ import annotations

import logging
from typing import Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from aurora_actors.errors import AuroraError, InternalError

__all__ = ["PROBLEM_TYPE", "answer_error", "answer_http_error", "problem", "status_of"]

PROBLEM_TYPE: Final = "application/problem+json"

logger = logging.getLogger(__name__)

_STATUS: Final = {
    "usage.not_found": 404,
    "usage.collection_not_found": 404,
    "usage.collection_exists": 409,
    "usage": 400,
    "data.unique_violation": 409,
    "data.conflict": 409,
    "data.limit_exceeded": 413,
    "data.query_syntax": 400,
    "data.query_validation": 422,
    "data": 422,
    "unavailable.timeout": 504,
    "unavailable": 503,
    "protocol": 400,
    "permission_denied": 403,
}
_RETRY_AFTER_S: Final = "1"


def status_of(code: str) -> int:
    """The HTTP status of an error code, or of the nearest group it belongs to."""
    while code:
        if (status := _STATUS.get(code)) is not None:
            return status
        code = code.rpartition(".")[0]
    return 500


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    retryable: bool = False,
    context: object = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """A problem response."""
    body = {
        "type": "about:blank",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "code": code,
        "detail": detail,
        "retryable": retryable,
    }
    if context:
        body["context"] = context
    return Response(
        msgspec.json.encode(body), status, headers=headers, media_type=PROBLEM_TYPE
    )


_TITLES: Final = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    412: "Precondition failed",
    413: "Too large",
    415: "Unsupported media type",
    422: "Unprocessable",
    500: "Internal error",
    503: "Unavailable",
    504: "Timeout",
}


async def answer_error(_request: Request, exc: Exception) -> Response:
    """Answer an error of the database, or of the gateway itself."""
    if not isinstance(exc, AuroraError):
        logger.error("a request failed", exc_info=exc)
        exc = InternalError("the gateway failed; its log says more")
    status = status_of(exc.code)
    headers = {"Retry-After": _RETRY_AFTER_S} if status == 503 else None
    return problem(
        status,
        exc.code,
        exc.message,
        retryable=exc.retryable,
        context=exc.context,
        headers=headers,
    )


async def answer_http_error(_request: Request, exc: Exception) -> Response:
    """Answer what the router or a handler refused."""
    if not isinstance(exc, HTTPException):  # registered for this class alone
        raise exc
    code = {404: "http.no_such_path", 405: "http.method"}.get(
        exc.status_code, f"http.{exc.status_code}"
    )
    headers = dict(exc.headers or {})
    return problem(exc.status_code, code, exc.detail, headers=headers)
