"""Checks of a text against the schema: all that is wrong with it, at once.

One module for each part of a text; each is a few small functions that walk their part
and report. What can be read into data (filters, orderings, mutations, statements) is
checked by reading it, so the check and the run cannot differ.
"""

from __future__ import annotations

from aurora_actors.aql.validation.document import (
    Checked,
    CheckedOperation,
    validate,
)

__all__ = ["Checked", "CheckedOperation", "validate"]
