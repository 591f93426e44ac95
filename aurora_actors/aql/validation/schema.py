"""Rules for schema statements and migrations, each after the one before."""

from __future__ import annotations

from collections.abc import Mapping

from aurora_actors.aql import tree
from aurora_actors.aql.data_changes import read_data_change, version_checksum
from aurora_actors.aql.diagnostics import shorten
from aurora_actors.aql.schema_ops import apply_change, read_statement
from aurora_actors.aql.scope import Scope

__all__ = ["check_migration", "check_schema"]


def check_schema(scope: Scope, schema: tree.Schema) -> None:
    """Check the statements; what follows sees the definitions they leave."""
    for statement in schema.statements:
        _check_statement(scope, statement)
    _refuse_variables(scope)


def _check_statement(scope: Scope, statement: tree.Statement) -> None:
    here = scope.below(statement.name)
    change = read_statement(here, statement)
    if change is not None:
        apply_change(here, change)


def check_migration(
    scope: Scope, migration: tree.Migration, recorded: Mapping[str, str]
) -> None:
    """Check the versions that are not recorded yet.

    Args:
        scope: Where to report.
        migration: The versions.
        recorded: The checksum of each version that has been applied.
    """
    seen: set[str] = set()
    for version in migration.versions:
        here = scope.below(shorten(version.name))
        if version.name in seen:
            here.report(version, f"version {shorten(version.name)} stands twice")
            continue
        seen.add(version.name)
        if not version.name or len(version.name.encode()) > 255:
            here.report(version, "a version's name has 1 to 255 bytes")
        checksum = recorded.get(version.name)
        if checksum is None:
            _check_steps(here, version)
        elif checksum != version_checksum(version):
            here.report(
                version,
                f"version {shorten(version.name)} was applied with another text",
                "leave it as it was, and add a version",
            )
    _refuse_variables(scope)


def _check_steps(scope: Scope, version: tree.Version) -> None:
    for step in version.steps:
        if not isinstance(step, tree.MigrateData):
            _check_statement(scope, step)
            continue
        here = scope.below(step.collection)
        definition = here.collection(step.collection, step)
        if definition is not None:
            for assignment in step.assignments:
                read_data_change(here, assignment, definition)


def _refuse_variables(scope: Scope) -> None:
    for use in scope.session.uses:
        Scope(scope.session, use.path).report(
            tree.NullValue(position=use.position),
            f"${use.name}: schemas and migrations have no variables",
            "write the value in the text",
        )
    scope.session.uses = []
