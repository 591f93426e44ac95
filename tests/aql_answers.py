"""What fuzzers of AQL share: examples, a schema, and what may happen to a text.

An answer is a checked text that can be read, or one of three typed errors with its
place in the text; nothing else may happen, and nothing may take long.
"""

from __future__ import annotations

import time
from pathlib import Path

from aurora_actors.aql import tree
from aurora_actors.aql.binding import bind_operation
from aurora_actors.aql.mutations import read_mutation
from aurora_actors.aql.parser import parse
from aurora_actors.aql.queries import read_query_arguments
from aurora_actors.aql.validation import Checked, validate
from aurora_actors.errors import (
    LimitExceededError,
    QuerySyntaxError,
    QueryValidationError,
)
from aurora_actors.query.predicate import encode_predicate
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition as Field,
    FieldType as T,
)
from aurora_actors.schema.values import encode_document

__all__ = ["EXAMPLES", "KNOWN", "REFUSALS", "check_answer"]

REFUSALS = (QuerySyntaxError, QueryValidationError, LimitExceededError)
FIXTURES = Path(__file__).parent / "fixtures" / "aql"
EXAMPLES = [path.read_text("utf-8") for path in sorted(FIXTURES.rglob("*.aql"))]
KNOWN = {
    collection.name: collection
    for collection in [
        CollectionDefinition(
            "users",
            {
                "username": Field(T.STRING),
                "email": Field(T.STRING),
                "name": Field(T.STRING, nullable=False),
                "age": Field(T.INT),
                "active": Field(T.BOOL),
                "role": Field(T.STRING),
                "visits": Field(T.INT),
                "tags": Field(T.array(T.STRING)),
                "address": Field(T.object({"city": T.STRING, "zip": T.STRING})),
            },
        ),
        CollectionDefinition("orders", {"amount": Field(T.FLOAT)}, open=True),
    ]
}


def check_answer(text: str) -> None:
    """Parse, check and read ``text``: an answer or a typed error, soon."""
    begun = time.process_time()
    refusal = None
    try:
        checked = validate(parse(text), KNOWN, text=text)
    except REFUSALS as exc:
        refusal = exc
    else:
        check_runs(checked)
    if isinstance(refusal, QuerySyntaxError):
        line, column = refusal.context["line"], refusal.context["column"]
        assert isinstance(line, int)
        assert isinstance(column, int)
        assert 1 <= line <= text.count("\n") + 1
        assert 1 <= column <= len(text) + 1
    assert time.process_time() - begun < 20


def check_runs(checked: Checked) -> None:
    """What was accepted and has no variables can be read and encoded."""
    for operation in checked.operations:
        definition = operation.definition
        if not isinstance(definition, tree.Operation) or operation.variables:
            continue
        scope = bind_operation(checked, operation, KNOWN, {})
        for root in definition.selection.items:
            assert isinstance(root, tree.Field)
            if definition.kind == "mutation":
                mutation = read_mutation(scope, root)
                for _, fields in getattr(mutation, "documents", ()):
                    encode_document(fields)
            elif root.name in KNOWN:
                found = read_query_arguments(scope, root, KNOWN[root.name])
                if found.predicate is not None:
                    encode_predicate(found.predicate)
        scope.session.finish()
