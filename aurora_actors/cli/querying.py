"""``aurora query``: AQL for scripts, with one JSON value a line on the standard output.

What a text gives depends on what it asks for: documents and groups are a line each; a
page, aggregates, a schema statement or a migration are one line; of several results each
is a line that has its name. A subscription gives a line for each event, until it is
interrupted. Errors go to the standard error, with the place in the text.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from aurora_actors import blocking
from aurora_actors.aql.words import is_subscription
from aurora_actors.cli.opening import opened
from aurora_actors.cli.output import Output
from aurora_actors.client.aql_results import (
    BatchResult,
    ExecutionResult,
    MutationResult,
    QueryResult,
    json_text,
)
from aurora_actors.client.aql_stream import SubscriptionEvent
from aurora_actors.client.updates import Added, Modified, Removed, Update
from aurora_actors.errors import UsageError
from aurora_actors.query.plan import Plan

__all__ = ["plan_lines", "query", "result_lines"]

_STANDARD: Final = "-"
_Values: TypeAlias = Mapping[str, object] | None


def query(given: argparse.Namespace, output: Output) -> int:
    """Run a text."""
    text = sys.stdin.read() if given.text == _STANDARD else given.text
    variables = _variables(given.variables)
    with opened(given.path) as db:
        if is_subscription(text):
            _follow(db, text, variables, given.events)
        elif given.explain:
            plans = db.explain(text, variables, timeout=given.timeout)
            each = [plans] if isinstance(plans, Plan) else plans
            lines = [line for plan in each for line in plan_lines(plan)]
            output.result(plans, lines)
        else:
            result = db.execute(text, variables, timeout=given.timeout)
            if given.json:
                output.result(result.to_dict(), [])
            else:
                sys.stdout.writelines(f"{line}\n" for line in result_lines(result))
    return 0


def _variables(text: str | None) -> _Values:
    """``--variables``: a JSON object, or ``@`` and the name of a file that has one."""
    if text is None:
        return None
    try:
        if text.startswith("@"):
            text = Path(text[1:]).read_text("utf-8")
        return msgspec.json.decode(text, type=dict[str, object])
    except (OSError, ValueError) as exc:
        raise UsageError(f"--variables is to be a JSON object: {exc}") from exc


# ------------------------------------------------------------------ results
def result_lines(result: ExecutionResult) -> Iterator[str]:
    """A result as lines of JSON."""
    if isinstance(result, BatchResult):
        for each in result:
            yield json_text({each.name: each.value})
    elif isinstance(result, QueryResult) and result.groups is not None:
        yield from map(json_text, result.groups)
    elif isinstance(result, QueryResult | MutationResult):
        value = result.value
        yield from map(json_text, value if isinstance(value, list) else [value])
    else:
        yield json_text(result.value)


def plan_lines(plan: Plan) -> list[str]:
    """A plan for people."""
    by = f" by {plan.index_field}" if plan.index_field else ""
    rows = (
        f"{plan.actual_rows} of {plan.rows_read} read, {plan.estimated_rows} expected"
    )
    lines = [
        f"{plan.collection}: {plan.access}{by}",
        f"  filter: {plan.filter}",
        f"  rows: {rows}",
    ]
    if plan.order:
        lines.append(f"  order: {plan.order}")
    lines += [
        f"  {step.name}: {step.rows} rows, {step.milliseconds:.3f} ms"
        for step in plan.steps
    ]
    return lines


# ------------------------------------------------------------------ subscriptions
def _follow(
    db: blocking.Aurora, text: str, variables: _Values, most: int | None
) -> None:
    """A line for each event, at most ``most``."""
    if most is not None and most < 1:
        return
    with db.stream(text, variables) as events:
        for number, event in enumerate(map(_told, events), 1):
            sys.stdout.write(f"{json_text(event)}\n")
            sys.stdout.flush()
            if number == most:
                break


def _told(event: SubscriptionEvent | Update) -> dict[str, object]:
    """An event as plain values."""
    match event:
        case SubscriptionEvent():
            return event.to_dict()
        case (
            Added(document=document)
            | Modified(new=document)
            | Removed(document=document)
        ):
            data = document.to_dict()
            return {"type": type(event).__name__, "id": document.id, "data": data}
        case _:
            return {"type": type(event).__name__, "lsn": event.lsn}
