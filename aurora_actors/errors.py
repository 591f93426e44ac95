"""The public exception tree, and how an error crosses a process boundary.

Every error a caller can see derives from :class:`AuroraError`. Below it stand six
groups, and below these one class for each decision a caller can take. An error has a
stable dotted ``code``, says whether the same call may succeed when repeated
(``retryable``), and carries the values it speaks of in ``context``.

Exceptions themselves never cross a process boundary: an actor answers with a
``Failure`` message (code, message, context) and :func:`from_code` makes the exception
again on the other side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, TypeAlias

__all__ = [
    "AuroraError",
    "CollectionExistsError",
    "CollectionNotFoundError",
    "ConfigError",
    "ConflictError",
    "CorruptionError",
    "DataError",
    "InternalError",
    "InvalidFilterError",
    "JobFailedError",
    "LaggedError",
    "LimitExceededError",
    "NotFoundError",
    "OverloadedError",
    "PermissionDeniedError",
    "ProtocolError",
    "QuerySyntaxError",
    "QueryValidationError",
    "StorageFullError",
    "TimeoutError_",
    "TreeDownError",
    "UnavailableError",
    "UniqueViolationError",
    "UsageError",
    "ValidationError",
    "all_codes",
    "from_code",
]

ContextValue: TypeAlias = "str | int | float | bool | list[str] | None"


class AuroraError(Exception):
    """The base of every error this package raises on purpose.

    Attributes:
        message: What happened, with which value, and what to do about it.
        context: The values the message speaks of, by name; only plain data.
    """

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **context: ContextValue) -> None:
        super().__init__(message)
        self.message = message
        self.context: dict[str, ContextValue] = context

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.context))


def _rebuild(
    cls: type[AuroraError], message: str, context: Mapping[str, ContextValue]
) -> AuroraError:
    return cls(message, **context)


# ------------------------------------------------------------------ usage
class UsageError(AuroraError):
    """The call itself is wrong; repeating it cannot help."""

    code = "usage"


class CollectionNotFoundError(UsageError):
    """No collection has this name. Context: ``collection``."""

    code = "usage.collection_not_found"


class CollectionExistsError(UsageError):
    """A collection of this name exists with another definition."""

    code = "usage.collection_exists"


class NotFoundError(UsageError):
    """No document has this id. Context: ``collection``, ``id``."""

    code = "usage.not_found"


class InvalidFilterError(UsageError):
    """A filter, ordering or other part of a query does not make sense."""

    code = "usage.invalid_filter"


class ConfigError(UsageError):
    """A setting is unknown, out of range, or differs from the running tree's."""

    code = "usage.config"


# ------------------------------------------------------------------ data
class DataError(AuroraError):
    """The data sent does not fit what the database holds or allows."""

    code = "data"


class ValidationError(DataError):
    """A document does not fit its collection. Context: ``collection``, ``path``."""

    code = "data.validation"

    @property
    def path(self) -> str | None:
        """The dotted path of the offending field, if one field is to blame."""
        value = self.context.get("path")
        return value if isinstance(value, str) else None


class UniqueViolationError(DataError):
    """Another document has this value in a unique field."""

    code = "data.unique_violation"

    @property
    def field(self) -> str | None:
        """The unique field; ``"id"`` for the document's id."""
        value = self.context.get("field")
        return value if isinstance(value, str) else None

    @property
    def value(self) -> ContextValue:
        """The value that is taken, as text when it is not plain data."""
        return self.context.get("value")


class ConflictError(DataError):
    """Something this transaction or statement read has changed since; run it again."""

    code = "data.conflict"
    retryable = True


class QuerySyntaxError(DataError):
    """A query text does not parse. Context: ``line``, ``column``."""

    code = "data.query_syntax"


class QueryValidationError(DataError):
    """A query text parses but does not fit the schema. Context: ``line``, ``column``."""

    code = "data.query_validation"


class JobFailedError(DataError):
    """A job that was waited for has ended without a result.

    Context: ``id``, ``status`` (``dead_letter`` or ``cancelled``), ``attempts`` and
    ``error_type``.
    """

    code = "data.job_failed"


class LimitExceededError(DataError):
    """A size, depth or count limit would be exceeded. Context: ``limit``."""

    code = "data.limit_exceeded"


# ------------------------------------------------------------------ availability
class UnavailableError(AuroraError):
    """The database cannot answer now; the same call may succeed later."""

    code = "unavailable"
    retryable = True


class TimeoutError_(UnavailableError, TimeoutError):  # noqa: N801, N818 - public contract
    """No answer within the call's deadline; a write may still have happened."""

    code = "unavailable.timeout"


class TreeDownError(UnavailableError):
    """The actor tree is not running, or stopped while the call was under way."""

    code = "unavailable.tree_down"


class OverloadedError(UnavailableError):
    """A queue is full; slow down and repeat."""

    code = "unavailable.overloaded"


class LaggedError(UnavailableError):
    """A consumer fell behind by more than is kept for it."""

    code = "unavailable.lagged"


class StorageFullError(UnavailableError):
    """The disk or the data file's map is full; reads go on."""

    code = "unavailable.storage_full"


# ------------------------------------------------------------------ the rest
class CorruptionError(AuroraError):
    """Stored bytes are damaged. Context: ``file``, ``offset`` where known."""

    code = "corruption"


class ProtocolError(AuroraError):
    """A message could not be understood, or comes from another version."""

    code = "protocol"


class PermissionDeniedError(AuroraError):
    """The caller may not do this."""

    code = "permission_denied"


class InternalError(AuroraError):
    """A defect in this package; please report it with the message."""

    code = "internal"


def _walk(cls: type[AuroraError]) -> list[type[AuroraError]]:
    # A subclass defined elsewhere is a finer shade of its parent, inside one process.
    found = [cls]
    for child in cls.__subclasses__():
        if child.__module__ == __name__:
            found.extend(_walk(child))
    return found


def all_codes() -> dict[str, type[AuroraError]]:
    """Every error code with the class it stands for."""
    return {cls.code: cls for cls in _walk(AuroraError)}


_BY_CODE = all_codes()


def from_code(
    code: str, message: str, context: Mapping[str, ContextValue]
) -> AuroraError:
    """Make the exception that ``code`` stands for; an unknown code is internal."""
    cls = _BY_CODE.get(code, InternalError)
    return cls(message, **context)
