"""Settings of a database and its tree of processes.

:class:`AuroraConfig` is one frozen struct, made in code or read from a TOML file. It
is validated as a whole when it is made; unknown keys and values out of range are a
:class:`~aurora_actors.errors.ConfigError` that names the key. ``config/aurora.toml``
documents each key with its default.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from aurora_actors.errors import ConfigError

__all__ = [
    "AuroraConfig",
    "ColdStoreMode",
    "DurabilityMode",
    "EvictionPolicy",
    "HttpConfig",
    "JobsConfig",
    "RemoteConfig",
    "TelemetryConfig",
    "WorkerPoolConfig",
    "check_pool_name",
    "differences",
]

Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
_POOL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}\Z")

_MIB = 1 << 20


class DurabilityMode(Enum):
    """What an acknowledged write survives."""

    NONE = "none"
    """Nothing is promised past the last checkpoint; no log is written."""
    WAL = "wal"
    """The crash of any process; after power loss all but ``wal_sync_interval_ms``."""
    STRICT = "strict"
    """Power loss: the log is synced before the reply, once for the whole batch."""
    SYNCHRONOUS = "synchronous"
    """Power loss without a log: each commit of the store is synced."""


class EvictionPolicy(Enum):
    """Which documents leave a query executor's hot cache first."""

    LRU = "lru"
    """The one not used for the longest time."""
    LFU = "lfu"
    """The one used least often."""


class ColdStoreMode(Enum):
    """What the files on disk are tuned for."""

    HIGH_THROUGHPUT = "high_throughput"
    """Long preallocated log segments, the whole ``change_retention`` kept."""
    LOW_SPACE = "low_space"
    """Short log segments, a tenth of the retention, checkpoints at a quarter the size."""


class HttpConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP gateway (table ``[http]``); needs the extra ``http``.

    Beyond this machine it listens only with TLS, unless ``allow_plaintext`` says that a
    proxy in front of it does that.

    Raises:
        ConfigError: when a value is out of range; the message names the key.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 7480
    tls_certificate: str | None = None
    tls_key: str | None = None
    allow_plaintext: bool = False
    anonymous: Literal["read", "write", "admin"] | None = None
    cors_origins: list[str] = []
    allowed_hosts: list[str] = []
    max_body_bytes: Annotated[int, Meta(ge=1024)] = 16 * _MIB
    header_timeout_s: Seconds = 10.0
    body_timeout_s: Seconds = 30.0
    max_connections: Positive = 20_000

    def __post_init__(self) -> None:
        _check_fields(self, "http.")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ConfigError(
                "setting http.tls_key: certificate and key go together",
                key="http.tls_key",
            )
        if self.tls_key is None and not self.allow_plaintext and not self.is_local:
            raise ConfigError(
                f"setting http.host: {self.host} can be reached from other machines: give "
                "tls_certificate and tls_key, or allow_plaintext=True behind a proxy",
                key="http.host",
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the gateway."""
        try:
            return (
                self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
            )
        except ValueError:
            return False


class RemoteConfig(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Remote clients (table ``[remote]``): ``Aurora.connect("tls+tcp://...")``.

    It listens with TLS only, and lets nobody in without a token.

    Raises:
        ConfigError: when a value is out of range; the message names the key.
    """

    tls_certificate: str
    tls_key: str
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 7878
    max_clients: Positive = 1000
    resume_s: Seconds = 60.0

    def __post_init__(self) -> None:
        _check_fields(self, "remote.")


class TelemetryConfig(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Traces (table ``[telemetry]``); needs the extra ``otel``.

    Raises:
        ConfigError: when a value is out of range; the message names the key.
    """

    endpoint: str = "http://127.0.0.1:4318/v1/traces"
    sample: Annotated[float, Meta(ge=0, le=1)] = 1.0

    def __post_init__(self) -> None:
        _check_fields(self, "telemetry.")


class JobsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Background jobs (table ``[jobs]``).

    Raises:
        ConfigError: when a value is out of range; the message names the key.
    """

    ageing_s: Annotated[float, Meta(ge=0)] = 300.0
    unknown_handler_s: Annotated[float, Meta(ge=0)] = 5.0
    handler_modules: list[str] = []
    retention_s: Annotated[float, Meta(ge=0)] = 86_400.0
    dead_letter_retention_s: Annotated[float, Meta(ge=0)] = 2_592_000.0
    cleanup_interval_seconds: Seconds = 60.0
    allow_fake_clock: bool = False

    def __post_init__(self) -> None:
        _check_fields(self, "jobs.")


class WorkerPoolConfig(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """A pool of worker processes (table ``[worker_pools.<name>]``).

    Raises:
        ConfigError: when a value is out of range; the message names the key.
    """

    handlers: str | list[str] | dict[str, str]
    processes: Annotated[int, Meta(ge=0, le=999)] = 1
    concurrency: Annotated[int, Meta(ge=1, le=10_000)] = 8
    queues: list[str] = []
    max_processes: Annotated[int, Meta(ge=1, le=999)] | None = None
    max_jobs: Positive | None = None
    max_memory_mb: Positive | None = None
    lease_s: Seconds = 30.0
    poll_interval_s: Seconds = 5.0
    drain_s: Seconds | None = None
    import_path: list[str] = []

    def __post_init__(self) -> None:
        _check_fields(self, "worker_pools.")
        if self.max_processes is not None and not (
            1 <= self.processes <= self.max_processes
        ):
            raise ConfigError(
                "setting worker_pools.max_processes: a pool that scales itself has "
                "from 1 to max_processes processes",
                key="worker_pools.max_processes",
            )
        if not self.handlers or not all(self.paths):
            raise ConfigError(
                "setting worker_pools.handlers: name a module, or module:function",
                key="worker_pools.handlers",
            )

    @property
    def paths(self) -> list[str]:
        """The import paths of the handlers."""
        if isinstance(self.handlers, str):
            return [self.handlers]
        if isinstance(self.handlers, dict):
            return list(self.handlers.values())
        return self.handlers


class AuroraConfig(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """All settings of one database; see ``config/aurora.toml`` for each key's effect.

    Raises:
        ConfigError: when a value is out of range; the message names the key.
    """

    db_path: str
    durability_mode: DurabilityMode = DurabilityMode.WAL
    enable_wal: bool = True
    wal_sync_interval_ms: Positive = 200
    checkpoint_interval_ms: Positive = 10_000
    enable_write_buffering: bool = True
    write_buffer_size: Positive = 10_000
    write_buffer_flush_interval_ms: Positive = 1_000
    hot_cache_size_mb: Annotated[int, Meta(ge=0)] = 256
    eviction_policy: EvictionPolicy = EvictionPolicy.LRU
    query_memory_mb: Positive = 512
    cold_cache_capacity_mb: Annotated[int, Meta(ge=0)] = 1024
    cold_mode: ColdStoreMode = ColdStoreMode.HIGH_THROUGHPUT
    query_executors: Annotated[int, Meta(ge=1, le=256)] | None = None
    max_size_gb: Annotated[int, Meta(ge=1, le=65_536)] = 64
    max_document_bytes: Annotated[int, Meta(ge=64, le=64 * _MIB)] = 16 * _MIB
    max_transaction_bytes: Annotated[int, Meta(ge=64, le=64 * _MIB)] = 16 * _MIB
    transaction_timeout_s: Seconds = 60.0
    auto_compact: bool = True
    compact_interval_mins: Positive = 60
    change_retention: Positive = 100_000
    change_retention_s: Seconds | None = None
    audit_log_path: str | None = None
    audit_log_rotate_mb: Positive = 64
    max_readers: Annotated[int, Meta(ge=16, le=100_000)] = 1024
    request_timeout_s: Seconds = 30.0
    slow_query_ms: Annotated[int, Meta(ge=0)] = 1_000
    busy_poll_us: Annotated[int, Meta(ge=0, le=10_000)] = 200
    live_busy_poll_us: Annotated[int, Meta(ge=0, le=10_000)] = 2_000
    heartbeat_interval_ms: Annotated[int, Meta(ge=20, le=60_000)] = 250
    hang_timeout_ms: Annotated[int, Meta(ge=100)] = 10_000
    shutdown_grace_s: Seconds = 10.0
    max_restarts: Positive = 20
    restart_window_s: Seconds = 60.0
    log_level: Literal["info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    jobs: JobsConfig = msgspec.field(default_factory=JobsConfig)
    http: HttpConfig | None = None
    remote: RemoteConfig | None = None
    telemetry: TelemetryConfig | None = None
    worker_pools: dict[str, WorkerPoolConfig] = {}

    def __post_init__(self) -> None:
        for key in ("db_path", "audit_log_path"):
            if isinstance(path := getattr(self, key), os.PathLike):
                msgspec.structs.force_setattr(self, key, os.fspath(path))
        _check_fields(self)
        for key in ("db_path", "audit_log_path"):
            if getattr(self, key) == "":
                raise ConfigError(f"setting {key} is empty", key=key)
        for name in self.worker_pools:
            check_pool_name(name)
        if not self.enable_wal and self.durability_mode is DurabilityMode.STRICT:
            raise ConfigError(
                "durability_mode STRICT needs the log: set enable_wal=True",
                key="enable_wal",
            )

    @property
    def durability(self) -> DurabilityMode:
        """The mode in force: ``enable_wal=False`` turns WAL into NONE."""
        if not self.enable_wal and self.durability_mode is DurabilityMode.WAL:
            return DurabilityMode.NONE
        return self.durability_mode

    @property
    def usual_look_s(self) -> float:
        """How long a process looks for the next request before it sleeps."""
        return self.busy_poll_us / 1e6

    @property
    def live_look_s(self) -> float:
        """The same for storage and the dispatcher while somebody waits for events."""
        return max(self.busy_poll_us, self.live_busy_poll_us) / 1e6

    @property
    def executors(self) -> int:
        """The number of query executor processes: as set, or one for each core."""
        return self.query_executors or max(1, len(os.sched_getaffinity(0)))

    @property
    def path(self) -> Path:
        """The database directory, absolute, with symbolic links resolved."""
        return Path(self.db_path).expanduser().resolve()

    @property
    def audit_path(self) -> Path | None:
        """The audit log, absolute; a relative path begins at the database."""
        if not self.audit_log_path:
            return None
        return self.path / Path(self.audit_log_path).expanduser()

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> AuroraConfig:
        """Read a configuration file.

        Raises:
            ConfigError: the file is missing, is not TOML, has an unknown key or a
                value of the wrong type or out of range.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as exc:
            raise ConfigError(f"cannot read {path}: {exc.strerror}") from exc
        try:
            return msgspec.convert(tomllib.loads(text), type=cls)
        except tomllib.TOMLDecodeError as exc:
            raise ConfigError(f"{path} is not valid TOML: {exc}") from exc
        except msgspec.ValidationError as exc:
            raise ConfigError(f"{path}: {exc}") from exc


def check_pool_name(name: str) -> str:
    """Check the name of a worker pool.

    Raises:
        ConfigError: it cannot be one.
    """
    if not isinstance(name, str) or not _POOL_NAME.match(name):
        raise ConfigError(
            f"{str(name)[:60]!r} cannot be the name of a pool: it has up to 32 of a-z, "
            "0-9, - and _",
            key="worker_pools",
        )
    return name


def _check_fields(settings: msgspec.Struct, prefix: str = "") -> None:
    # Decoding checks constraints; construction in Python does not.
    for field in msgspec.structs.fields(settings):
        key = f"{prefix}{field.name}"
        try:
            _check(getattr(settings, field.name), field.type)
        except msgspec.ValidationError as exc:
            raise ConfigError(f"setting {key}: {exc}", key=key) from exc


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def _check(value: object, kind: object) -> None:
    if isinstance(kind, type) and issubclass(kind, Enum):
        if not isinstance(value, kind):
            names = ", ".join(f"{kind.__name__}.{member.name}" for member in kind)
            raise msgspec.ValidationError(f"{value!r} is none of {names}")
    else:
        msgspec.convert(value, type=kind)


_NOT_COMPARED = frozenset({"db_path", "log_level", "log_format"})
"""What an application need not know: it says nothing about the data."""


def differences(ours: AuroraConfig, theirs: AuroraConfig) -> list[str]:
    """The settings in which two configurations differ, as readable lines."""
    return [
        f"{name}: {_plain(getattr(ours, name))!r} here, "
        f"{_plain(getattr(theirs, name))!r} in the running tree"
        for name in ours.__struct_fields__
        if name not in _NOT_COMPARED and getattr(ours, name) != getattr(theirs, name)
    ]
