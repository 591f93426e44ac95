"""AQL for threads; a part of the facade.

Each method promises what the one of the same name of :class:`aurora_actors.Aurora`
promises.
"""

from __future__ import annotations

from collections.abc import Mapping

from aurora_actors.client.aql_results import ExecutionResult
from aurora_actors.client.database import Aurora
from aurora_actors.client.driving import run_now
from aurora_actors.query.plan import Plan

__all__ = ["BlockingAql"]


class BlockingAql:
    """The base of the blocking database class."""

    _db: Aurora

    def execute(
        self,
        text: str,
        variables: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
    ) -> ExecutionResult:
        """Run an AQL text."""
        return run_now(self._db.execute(text, variables, timeout=timeout))

    def explain(
        self,
        text: str,
        variables: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
    ) -> Plan | list[Plan]:
        """Run the queries of a text and tell how."""
        return run_now(self._db.explain(text, variables, timeout=timeout))
