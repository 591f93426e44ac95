"""Texts that were bound before: a look-up instead of parsing, checking and binding.

One for each process that runs AQL, used by one thread. A text is bound anew when the
schema has changed; one with other variables is bound anew, but neither parsed nor
checked again.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec

from aurora_actors.aql.cache import CheckedTexts
from aurora_actors.aql.execution.compiling import compile_text
from aurora_actors.aql.execution.plans import Program
from aurora_actors.aql.execution.templates import template_of
from aurora_actors.aql.limits import DEFAULT_LIMITS, Limits
from aurora_actors.aql.migration.versions import recorded_versions
from aurora_actors.aql.parser import parse
from aurora_actors.aql.scope import Definitions
from aurora_actors.aql.validation import Checked, validate
from aurora_actors.schema.values import decode_document
from aurora_actors.storage.snapshot import Snapshot

__all__ = ["Programs"]

_MOST: Final = 1_000
_LONGEST: Final = 8 << 10
_MIGRATE: Final = "migrate"


class Programs:
    """An LRU cache from (text, variables) to programs.

    Args:
        limits: What one text may be.
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._checked = CheckedTexts(limits=limits)
        self._programs: OrderedDict[tuple[str, bytes], Program] = OrderedDict()
        self._version = -1

    def get(self, text: str, variables: bytes, snapshot: Snapshot) -> Program:
        """The program of a text at a snapshot.

        Args:
            text: The text.
            variables: An encoded document, or nothing.
            snapshot: Says which collections there are.

        Raises:
            QuerySyntaxError: it is no AQL.
            QueryValidationError: it does not fit the schema, or a variable does not.
            LimitExceededError: it is too large.
        """
        version = snapshot.catalog_version
        if version != self._version:
            self._programs.clear()
            self._version = version
        key = (text, variables)
        known = self._programs.get(key)
        if known is not None:
            self._programs.move_to_end(key)
            return known
        program = self._compile(text, variables, snapshot, version)
        if len(text) + len(variables) <= _LONGEST and _MIGRATE not in text:
            self._programs[key] = program
            if len(self._programs) > _MOST:
                self._programs.popitem(last=False)
        return program

    def _compile(
        self, text: str, variables: bytes, snapshot: Snapshot, version: int
    ) -> Program:
        definitions: Definitions = {
            info.definition.name: info.definition for info in snapshot.collections()
        }
        checked: Checked
        if _MIGRATE in text:
            checked = validate(
                parse(text, self._limits),
                definitions,
                text=text,
                recorded_versions=recorded_versions(snapshot),
                limits=self._limits,
            )
        else:
            checked = self._checked.get(text, version, definitions)
        given = decode_document(variables) if variables else {}
        program = compile_text(checked, definitions, given)
        template = template_of(checked, program, definitions, version)
        return msgspec.structs.replace(program, template=template)

    def statistics(self) -> dict[str, int]:
        """Counters for the process's statistics."""
        checked = self._checked.statistics()
        return {
            "aql_texts": checked.texts,
            "aql_text_hits": checked.hits,
            "aql_text_misses": checked.misses,
            "aql_programs": len(self._programs),
        }
