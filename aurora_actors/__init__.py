"""aurora-actors: an embedded document database, built from supervised processes.

``async with Aurora.open("myapp.db") as db`` under trio or asyncio, and
``with blocking.open("myapp.db") as db`` without either. Everything public can be
imported from here; names are loaded when they are first used, because a program that
only catches an error should not wait for sockets and event loops to be imported.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aurora_actors import blocking
    from aurora_actors.client.aggregating import (
        Aggregate,
        Avg,
        Count,
        CountDistinct,
        First,
        Group,
        Last,
        Max,
        Min,
        StdDev,
        Sum,
    )
    from aurora_actors.client.aql_document import ResultDocument
    from aurora_actors.client.aql_results import (
        BatchResult,
        ExecutionResult,
        MigrationResult,
        MutationResult,
        QueryResult,
        SchemaResult,
    )
    from aurora_actors.client.aql_stream import AqlStream, SubscriptionEvent
    from aurora_actors.client.database import Aurora
    from aurora_actors.client.document import Document
    from aurora_actors.client.grouping import GroupedQuery
    from aurora_actors.client.importing import ImportFault, ImportReport
    from aurora_actors.client.indexes import IndexInfo
    from aurora_actors.client.jobs import JobStats
    from aurora_actors.client.jobs_context import JobContext
    from aurora_actors.client.jobs_function import JobFunction, job
    from aurora_actors.client.jobs_model import (
        Job,
        JobAttemptError,
        JobInfo,
        JobStatus,
    )
    from aurora_actors.client.jobs_system import WorkerConfig, WorkerSystem
    from aurora_actors.client.paging import Edge, Page, PageInfo
    from aurora_actors.client.query import Query
    from aurora_actors.client.receipts import Receipt
    from aurora_actors.client.schedules import ScheduleInfo
    from aurora_actors.client.stream import DocumentStream
    from aurora_actors.client.transaction import Savepoint, Transaction
    from aurora_actors.client.updates import (
        Added,
        ChangeEvent,
        ChangeType,
        Heartbeat,
        HistoryLost,
        InitialComplete,
        Modified,
        Removed,
        Update,
    )
    from aurora_actors.client.watch import Listener, Watcher
    from aurora_actors.config import (
        AuroraConfig,
        ColdStoreMode,
        DurabilityMode,
        EvictionPolicy,
        HttpConfig,
        JobsConfig,
        RemoteConfig,
        TelemetryConfig,
        WorkerPoolConfig,
    )
    from aurora_actors.errors import (
        AuroraError,
        CollectionExistsError,
        CollectionNotFoundError,
        ConfigError,
        ConflictError,
        CorruptionError,
        DataError,
        InternalError,
        InvalidFilterError,
        JobFailedError,
        LaggedError,
        LimitExceededError,
        NotFoundError,
        OverloadedError,
        PermissionDeniedError,
        ProtocolError,
        QuerySyntaxError,
        QueryValidationError,
        StorageFullError,
        TimeoutError_,
        TreeDownError,
        UnavailableError,
        UniqueViolationError,
        UsageError,
        ValidationError,
    )
    from aurora_actors.messages.jobs import Backoff, JobPriority, QueueStatistics
    from aurora_actors.messages.schedules import Misfire
    from aurora_actors.messages.storage import Compacted
    from aurora_actors.messages.supervision import ActorStatus, TreeStatus
    from aurora_actors.query.filters import Filter, FilterBuilder, field
    from aurora_actors.query.plan import Plan
    from aurora_actors.schema.models import Indexed, Unique
    from aurora_actors.schema.patch import (
        AddToSet,
        Decrement,
        Increment,
        Pull,
        Push,
        Unset,
    )
    from aurora_actors.schema.types import (
        CollectionDefinition,
        FieldDefinition,
        FieldType,
    )
    from aurora_actors.storage.reports import BackupManifest, BackupReport, ExportReport

__all__ = [
    "ActorStatus",
    "AddToSet",
    "Added",
    "Aggregate",
    "AqlStream",
    "Aurora",
    "AuroraConfig",
    "AuroraError",
    "Avg",
    "Backoff",
    "BackupManifest",
    "BackupReport",
    "BatchResult",
    "ChangeEvent",
    "ChangeType",
    "ColdStoreMode",
    "CollectionDefinition",
    "CollectionExistsError",
    "CollectionNotFoundError",
    "Compacted",
    "ConfigError",
    "ConflictError",
    "CorruptionError",
    "Count",
    "CountDistinct",
    "DataError",
    "Decrement",
    "Document",
    "DocumentStream",
    "DurabilityMode",
    "Edge",
    "EvictionPolicy",
    "ExecutionResult",
    "ExportReport",
    "FieldDefinition",
    "FieldType",
    "Filter",
    "FilterBuilder",
    "First",
    "Group",
    "GroupedQuery",
    "Heartbeat",
    "HistoryLost",
    "HttpConfig",
    "ImportFault",
    "ImportReport",
    "Increment",
    "IndexInfo",
    "Indexed",
    "InitialComplete",
    "InternalError",
    "InvalidFilterError",
    "Job",
    "JobAttemptError",
    "JobContext",
    "JobFailedError",
    "JobFunction",
    "JobInfo",
    "JobPriority",
    "JobStats",
    "JobStatus",
    "JobsConfig",
    "LaggedError",
    "Last",
    "LimitExceededError",
    "Listener",
    "Max",
    "MigrationResult",
    "Min",
    "Misfire",
    "Modified",
    "MutationResult",
    "NotFoundError",
    "OverloadedError",
    "Page",
    "PageInfo",
    "PermissionDeniedError",
    "Plan",
    "ProtocolError",
    "Pull",
    "Push",
    "Query",
    "QueryResult",
    "QuerySyntaxError",
    "QueryValidationError",
    "QueueStatistics",
    "Receipt",
    "RemoteConfig",
    "Removed",
    "ResultDocument",
    "Savepoint",
    "ScheduleInfo",
    "SchemaResult",
    "StdDev",
    "StorageFullError",
    "SubscriptionEvent",
    "Sum",
    "TelemetryConfig",
    "TimeoutError_",
    "Transaction",
    "TreeDownError",
    "TreeStatus",
    "UnavailableError",
    "Unique",
    "UniqueViolationError",
    "Unset",
    "Update",
    "UsageError",
    "ValidationError",
    "Watcher",
    "WorkerConfig",
    "WorkerPoolConfig",
    "WorkerSystem",
    "blocking",
    "field",
    "job",
]

_HOMES = {
    "client.aggregating": (
        "Aggregate",
        "Avg",
        "Count",
        "CountDistinct",
        "First",
        "Group",
        "Last",
        "Max",
        "Min",
        "StdDev",
        "Sum",
    ),
    "client.aql_document": ("ResultDocument",),
    "client.aql_results": (
        "BatchResult",
        "ExecutionResult",
        "MigrationResult",
        "MutationResult",
        "QueryResult",
        "SchemaResult",
    ),
    "client.aql_stream": ("AqlStream", "SubscriptionEvent"),
    "client.database": ("Aurora",),
    "client.grouping": ("GroupedQuery",),
    "client.document": ("Document",),
    "client.indexes": ("IndexInfo",),
    "client.jobs": ("JobStats",),
    "client.jobs_context": ("JobContext",),
    "client.jobs_function": ("JobFunction", "job"),
    "client.jobs_model": ("Job", "JobAttemptError", "JobInfo", "JobStatus"),
    "client.jobs_system": ("WorkerConfig", "WorkerSystem"),
    "client.schedules": ("ScheduleInfo",),
    "messages.schedules": ("Misfire",),
    "client.paging": ("Edge", "Page", "PageInfo"),
    "client.query": ("Query",),
    "client.receipts": ("Receipt",),
    "client.stream": ("DocumentStream",),
    "client.transaction": ("Savepoint", "Transaction"),
    "client.updates": (
        "Added",
        "ChangeEvent",
        "ChangeType",
        "Heartbeat",
        "HistoryLost",
        "InitialComplete",
        "Modified",
        "Removed",
        "Update",
    ),
    "client.watch": ("Listener", "Watcher"),
    "config": (
        "AuroraConfig",
        "ColdStoreMode",
        "DurabilityMode",
        "EvictionPolicy",
        "HttpConfig",
        "RemoteConfig",
        "TelemetryConfig",
        "JobsConfig",
        "WorkerPoolConfig",
    ),
    "client.importing": ("ImportFault", "ImportReport"),
    "messages.jobs": ("Backoff", "JobPriority", "QueueStatistics"),
    "messages.storage": ("Compacted",),
    "storage.reports": ("BackupManifest", "BackupReport", "ExportReport"),
    "messages.supervision": ("ActorStatus", "TreeStatus"),
    "query.filters": ("Filter", "FilterBuilder", "field"),
    "query.plan": ("Plan",),
    "schema.models": ("Indexed", "Unique"),
    "schema.patch": (
        "AddToSet",
        "Decrement",
        "Increment",
        "Pull",
        "Push",
        "Unset",
    ),
    "schema.types": ("CollectionDefinition", "FieldDefinition", "FieldType"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name == "blocking":
        return import_module("aurora_actors.blocking")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOME_OF.get(name, "errors")
    value = getattr(import_module(f"aurora_actors.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
