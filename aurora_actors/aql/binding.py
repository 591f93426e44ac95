"""From a checked text and given variables to arguments that can be run.

Pure. The caller binds an operation, reads what it needs with the readers of
:mod:`~aurora_actors.aql.queries`, :mod:`~aurora_actors.aql.mutations`,
:mod:`~aurora_actors.aql.aggregates` and :mod:`~aurora_actors.aql.selections`, and ends
with ``scope.session.finish()``, which raises what only the values could show::

    check_variables(checked, given)
    scope = bind_operation(checked, checked.operations[0], definitions, given)
    arguments = read_query_arguments(scope.below("users"), field, definitions["users"])
    scope.session.finish()
"""

from __future__ import annotations

from collections.abc import Mapping

from aurora_actors.aql.limits import DEFAULT_LIMITS, Limits
from aurora_actors.aql.scope import Definitions, Scope, Session
from aurora_actors.aql.validation import Checked, CheckedOperation
from aurora_actors.aql.variables import bind, check_given

__all__ = ["bind_operation", "check_variables"]


def check_variables(checked: Checked, given: Mapping[str, object]) -> None:
    """Refuse variables that nothing in the text has.

    Raises:
        QueryValidationError: with a hint when a name is near one that it has.
    """
    session = Session(checked.text, {}, {})
    signatures = [
        signature
        for operation in checked.operations
        for signature in operation.variables
    ]
    check_given(Scope(session), signatures, given)
    session.finish()


def bind_operation(
    checked: Checked,
    operation: CheckedOperation,
    definitions: Definitions,
    given: Mapping[str, object],
    limits: Limits = DEFAULT_LIMITS,
) -> Scope:
    """The scope in which the operation's arguments have their values.

    Raises:
        QueryValidationError: a required variable is missing, or one has a value that
            its type does not take.
    """
    session = Session(checked.text, definitions, checked.fragments, {}, limits)
    scope = Scope(session)
    session.variables = bind(scope, operation.variables, given)
    session.finish()
    return scope
