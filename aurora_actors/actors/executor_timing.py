"""How long an executor's requests take, and the log of those that take too long.

The time that a request waits for its asker to read is not counted: a consumer that reads
slowly makes no slow query. What is logged has the plan, with what was really read, and
the filter with its operands; documents are never logged.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final

from aurora_actors.messages.aql import ExecuteAql
from aurora_actors.messages.query import ChangeDocuments, Explain, RunQuery
from aurora_actors.meters import Histogram
from aurora_actors.query.aggregate import Aggregation
from aurora_actors.query.execute import Execution
from aurora_actors.telemetry import Tracer

__all__ = ["Timer", "Timings"]

logger = logging.getLogger(__name__)

_LONGEST_TEXT: Final = 2_000
_MOST_PLANS: Final = 4

_Request = RunQuery | ExecuteAql | ChangeDocuments | Explain


class Timer:
    """The time of one request.

    Attributes:
        executions: What was run for it, for the plans.
    """

    __slots__ = ("_started", "_waited_s", "executions")

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._waited_s = 0.0
        self.executions: list[Execution | Aggregation] = []

    def waited(self, seconds: float) -> None:
        """Take off the time that its asker has taken."""
        self._waited_s += seconds

    @property
    def seconds(self) -> float:
        """The time so far."""
        return time.monotonic() - self._started - self._waited_s


class Timings:
    """The histograms of an executor, and its slow queries.

    Args:
        slow_query_ms: From how many milliseconds on a request is logged; 0 logs none.
        tracer: Is told each request, if there is one.
    """

    def __init__(self, slow_query_ms: int, tracer: Tracer | None = None) -> None:
        self._tracer = tracer
        self._limit_s = slow_query_ms / 1000 if slow_query_ms else float("inf")
        self._queries = Histogram("query_seconds")
        self._statements = Histogram("statement_seconds")
        self._slow = 0

    def statistics(self) -> dict[str, int | float]:
        """The histograms, and how many requests were slow."""
        return {
            "slow_queries": self._slow,
            **self._queries.statistics(),
            **self._statements.statistics(),
        }

    def ended(self, key: tuple[str, int], request: _Request, timer: Timer) -> None:
        """A request has ended, in whatever way; ``key`` is its asker and number."""
        seconds, asker = timer.seconds, key[0]
        if self._tracer is not None:
            self._trace(self._tracer, key, request, timer)
        writes = isinstance(request, ChangeDocuments) or (
            isinstance(request, ExecuteAql) and request.writes
        )
        (self._statements if writes else self._queries).record(seconds)
        if seconds >= self._limit_s:
            self._slow += 1
            self._log(asker, request, seconds, timer.executions)

    @staticmethod
    def _trace(
        tracer: Tracer, key: tuple[str, int], request: _Request, timer: Timer
    ) -> None:
        told: dict[str, str | int | float | bool] = {}
        for number, execution in enumerate(timer.executions[:_MOST_PLANS]):
            plan, at = execution.plan, f"aurora.plan.{number}"
            told[f"{at}.collection"] = plan.collection
            told[f"{at}.access"] = str(plan.access)
            told[f"{at}.rows"] = plan.actual_rows or 0
            told[f"{at}.rows_read"] = plan.rows_read
        name = f"run {request.__struct_config__.tag}"
        tracer.span(key, "query_executor", "client", name, timer.seconds, told)

    @staticmethod
    def _log(
        asker: str,
        request: _Request,
        seconds: float,
        executions: Sequence[Execution | Aggregation],
    ) -> None:
        extra: dict[str, object] = {
            "milliseconds": round(1000 * seconds, 1),
            "asker": asker,
        }
        if isinstance(request, ExecuteAql):
            extra["text"] = request.text[:_LONGEST_TEXT]
        else:
            extra["collection"] = request.query.collection
        extra["plans"] = [_told(each) for each in executions[:_MOST_PLANS]]
        logger.warning("slow query", extra=extra)


def _told(execution: Execution | Aggregation) -> dict[str, object]:
    plan = execution.plan
    steps = {step.name: round(step.milliseconds, 1) for step in plan.steps}
    return {
        "collection": plan.collection,
        "access": str(plan.access),
        "index_field": plan.index_field,
        "filter": plan.filter[:_LONGEST_TEXT],
        "order": plan.order,
        "rows": plan.actual_rows,
        "rows_read": plan.rows_read,
        "steps_ms": steps,
    }
