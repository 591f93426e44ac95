"""The settings ``Aurora.open`` takes as keywords, for type checkers."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Literal, TypedDict

from aurora_actors.config import (
    ColdStoreMode,
    DurabilityMode,
    EvictionPolicy,
    HttpConfig,
    JobsConfig,
    RemoteConfig,
    TelemetryConfig,
    WorkerPoolConfig,
)
from aurora_actors.errors import ConfigError

__all__ = ["Settings", "check_settings"]


class Settings(TypedDict, total=False):
    """Every key of :class:`~aurora_actors.config.AuroraConfig` but ``db_path``."""

    durability_mode: DurabilityMode
    enable_wal: bool
    wal_sync_interval_ms: int
    checkpoint_interval_ms: int
    enable_write_buffering: bool
    write_buffer_size: int
    write_buffer_flush_interval_ms: int
    hot_cache_size_mb: int
    eviction_policy: EvictionPolicy
    query_memory_mb: int
    cold_cache_capacity_mb: int
    cold_mode: ColdStoreMode
    query_executors: int | None
    max_size_gb: int
    max_document_bytes: int
    max_transaction_bytes: int
    transaction_timeout_s: float
    auto_compact: bool
    compact_interval_mins: int
    change_retention: int
    change_retention_s: float | None
    audit_log_path: str | None
    audit_log_rotate_mb: int
    max_readers: int
    request_timeout_s: float
    slow_query_ms: int
    busy_poll_us: int
    live_busy_poll_us: int
    heartbeat_interval_ms: int
    hang_timeout_ms: int
    shutdown_grace_s: float
    max_restarts: int
    restart_window_s: float
    log_level: Literal["info", "warning", "error"]
    log_format: Literal["text", "json"]
    jobs: JobsConfig
    http: HttpConfig | None
    remote: RemoteConfig | None
    telemetry: TelemetryConfig | None
    worker_pools: dict[str, WorkerPoolConfig]


def check_settings(names: Iterable[str]) -> None:
    """Refuse what is no setting.

    Raises:
        ConfigError: names the first one, and the one that may have been meant.
    """
    known = Settings.__annotations__
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ConfigError(f"there is no setting {name}{hint}", key=name)
