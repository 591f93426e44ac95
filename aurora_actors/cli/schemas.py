"""The commands for schemas: print one, migrate one."""

from __future__ import annotations

import argparse
from pathlib import Path

from aurora_actors.cli.opening import opened
from aurora_actors.cli.output import Output
from aurora_actors.errors import UsageError
from aurora_actors.schema.types import CollectionDefinition

__all__ = ["definition_lines", "migrate", "schema"]


def schema(given: argparse.Namespace, output: Output) -> int:
    """Print the definitions of collections."""
    with opened(given.path) as db:
        names = [given.collection] if given.collection else db.list_collections()
        found = [db.collection_definition(name) for name in names]
    value = {
        each.name: {
            "open": each.open,
            "fields": {name: str(field) for name, field in each.fields.items()},
            "indexes": [list(fields) for fields in each.indexes],
        }
        for each in found
    }
    lines = ["schema {"]
    for each in found:
        lines += [f"  {line}" for line in definition_lines(each)]
    output.result(value, [*lines, "}"])
    return 0


def definition_lines(definition: CollectionDefinition) -> list[str]:
    """A definition in AQL; indexes on several fields are a comment."""
    mark = " @open" if definition.open else ""
    head = f"define collection {definition.name}{mark} {{"
    fields = [f"  {name}: {field}" for name, field in definition.fields.items()]
    indexes = [f"  # index on {', '.join(each)}" for each in definition.indexes]
    return [head, *fields, *indexes, "}"]


def migrate(given: argparse.Namespace, output: Output) -> int:
    """Apply migrations."""
    path = Path(given.file)
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    with opened(given.path) as db:
        result = db.migrate(path, progress=output.progress, timeout=given.timeout)
    line = f"version {result.version}: {result.status}, {result.steps_applied} steps"
    output.result(result.value, [line])
    return 0
