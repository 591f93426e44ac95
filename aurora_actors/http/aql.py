"""AQL over HTTP: one text, its variables, all its results; subscriptions as events.

What a text touches is read from the text itself, and the sender needs the role for each
collection of it: ``read`` to read, ``write`` to change, ``admin`` for schema blocks and
migrations.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from aurora_actors.aql.reach import reach_of
from aurora_actors.client.aql_results import (
    BatchResult,
    ExecutionResult,
    MigrationResult,
    MutationResult,
    QueryResult,
    SchemaResult,
)
from aurora_actors.client.tokens import Grant, Role
from aurora_actors.errors import PermissionDeniedError
from aurora_actors.http.routing import Asked
from aurora_actors.http.wire import encode_json, object_of
from aurora_actors.query.plan import Plan
from aurora_actors.schema.text import from_json

__all__ = ["allow", "execute_text", "given_variables", "variables_in"]

_KINDS: Final[dict[type, str]] = {
    QueryResult: "query",
    MutationResult: "mutation",
    SchemaResult: "schema",
    MigrationResult: "migration",
}


class _Text(msgspec.Struct, forbid_unknown_fields=True):
    query: str
    variables: dict[str, Any] | None = None
    explain: bool = False


async def execute_text(asked: Asked) -> Response:
    """Run an AQL text; ``explain`` gives the plans of its queries instead."""
    if "idempotency-key" in asked.request.headers:
        raise HTTPException(
            400, "an Idempotency-Key cannot be used here; insert with ids instead"
        )
    try:
        given = msgspec.convert(await object_of(asked.request), _Text)
    except msgspec.ValidationError as exc:
        raise HTTPException(422, f"the body is not understood: {exc}") from exc
    allow(asked.grant, given.query)
    variables = variables_in(given.variables)
    if given.explain:
        plans = await asked.db.explain(given.query, variables)
        found = plans if isinstance(plans, list) else [plans]
        return _answer({"plans": [_plan_out(plan) for plan in found]})
    return _answer(_results_out(await asked.db.execute(given.query, variables)))


def allow(grant: Grant, text: str) -> None:
    """Let pass who may do what ``text`` does.

    Raises:
        PermissionDeniedError: the role is less.
        QuerySyntaxError: it is no AQL.
    """
    reach = reach_of(text)
    if reach.defines:
        grant.need(Role.ADMIN)
    if reach.enqueues:
        grant.need(Role.WRITE)
    if reach.introspects:
        grant.need(Role.READ)
        hidden = [c for c, role in grant.collections.items() if role < Role.READ]
        if hidden:
            raise PermissionDeniedError("this token may not see all collections")
    for name in sorted(reach.reads):
        grant.need(Role.READ, name)
    for name in sorted(reach.writes):
        grant.need(Role.WRITE, name)


def variables_in(given: Mapping[str, Any] | None) -> dict[str, object] | None:
    """Variables as the database has them: ``{"$datetime": …}`` and the like are marks."""
    return from_json(given, {}) if given else None


def given_variables(request: Request) -> dict[str, object] | None:
    """The variables among the query parameters, a JSON object."""
    text = request.query_params.get("variables")
    if not text:
        return None
    try:
        return variables_in(msgspec.json.decode(text, type=dict[str, Any]))
    except (msgspec.DecodeError, RecursionError, UnicodeError) as exc:
        raise HTTPException(400, f"variables is no JSON object: {exc}") from exc


# ------------------------------------------------------------------ results
def _results_out(result: ExecutionResult) -> dict[str, Any]:
    results = result.results if isinstance(result, BatchResult) else [result]
    data: dict[str, Any] = {}
    told = []
    for each in results:
        name, number = each.name or _KINDS[type(each)], 1
        while name in data:
            number += 1
            name = f"{each.name}_{number}"
        data[name] = each.value
        told.append({"name": name, "type": _KINDS[type(each)], **_about(each)})
    return {"data": data, "results": told}


def _about(
    result: QueryResult | MutationResult | SchemaResult | MigrationResult,
) -> dict[str, Any]:
    match result:
        case QueryResult():
            about: dict[str, Any] = {"collection": result.collection}
            if result.page_info is not None:
                about["page_info"] = result.page_info
            if result.explain is not None:
                about["explain"] = _plan_out(result.explain)
            return about
        case MutationResult():
            return {
                "operation": result.operation,
                "collection": result.collection,
                "affected_count": result.affected_count,
            }
        case _:
            return dict(result.value)


def _plan_out(plan: Plan) -> dict[str, Any]:
    shown = msgspec.structs.asdict(plan)
    shown["steps"] = [msgspec.structs.asdict(step) for step in plan.steps]
    return shown


def _answer(content: object) -> Response:
    try:
        body = encode_json(content)
    except OverflowError:
        # A sum may have more than 64 bits, which JSON does not mind.
        body = json.dumps(content, default=msgspec.to_builtins).encode()
    return Response(body, media_type="application/json")
