"""Running a tree: what comes before the trio loop and after it.

Called by ``cli`` in the supervisor process, with a zygote that is already importing.
Here the database directory is locked and cleared of what a crash left, the log is
opened, the tree is run, and every way it can end becomes an exit status.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import importlib
import logging
import os
import socket
import sys
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec
import setproctitle
import trio

from aurora_actors.config import AuroraConfig
from aurora_actors.errors import (
    AuroraError,
    ConfigError,
    InternalError,
    ProtocolError,
    UnavailableError,
)
from aurora_actors.location import (
    PublishedTree,
    prepare_directory,
    publish,
    read_published,
    try_lock,
    withdraw,
)
from aurora_actors.messages.base import PROTOCOL_VERSION, Failure
from aurora_actors.messages.framing import FrameReader
from aurora_actors.messages.supervision import ActorGroup
from aurora_supervisor.child import ChildPlan
from aurora_supervisor.exits import ExitStatus
from aurora_supervisor.journal import Journal, LogFormat, LogHandler
from aurora_supervisor.logs import LOG_NAME, LogFile, StandardError
from aurora_supervisor.markers import Markers
from aurora_supervisor.notify import ServiceManager
from aurora_supervisor.peer import Peer
from aurora_supervisor.runtime_dir import ATTACH_SOCKET, remove_runtime_dir
from aurora_supervisor.spawn import ZygoteProcess
from aurora_supervisor.surroundings import Surroundings
from aurora_supervisor.tree import Tree

__all__ = [
    "RunOptions",
    "Standalone",
    "report_failure",
    "run_embedded",
    "run_standalone",
]

logger = logging.getLogger(__name__)

_PR_SET_CHILD_SUBREAPER: Final = 36
_SETTINGS_S: Final = 10.0


class RunOptions(NamedTuple):
    """What is fixed before the configuration is known.

    Attributes:
        zygote: The running zygote.
        runtime_dir: Made already, and known to the zygote.
        tree_module: The module that lists the actors.
    """

    zygote: ZygoteProcess
    runtime_dir: str
    tree_module: str


class Standalone(NamedTuple):
    """What the command line says about a standalone tree.

    Attributes:
        db: The database directory, to be run with default settings.
        config: A configuration file, when ``db`` is not given.
        log_format: In the place of the configuration's ``log_format``.
        log_level: In the place of the configuration's ``log_level``.
        markers: Files that say how far the tree is.
    """

    db: str | None
    config: str | None
    log_format: LogFormat | None = None
    log_level: Literal["info", "warning", "error"] | None = None
    markers: Markers = Markers()

    def read(self) -> AuroraConfig:
        """The configuration.

        Raises:
            ConfigError: it cannot be read, or something in it will not do.
        """
        if self.db:
            config = AuroraConfig(db_path=self.db)
        else:
            config = AuroraConfig.from_toml(self.config or "")
        return msgspec.structs.replace(
            config,
            log_format=self.log_format or config.log_format,
            log_level=self.log_level or config.log_level,
        )


def run_standalone(given: Standalone, options: RunOptions) -> int:
    """Run a tree that lives until it is told to stop.

    It logs to standard error and to ``aurora.log`` in the database directory.
    """
    try:
        config = given.read()
        prepare_directory(config.path)
        lock = try_lock(config.path)
    except ConfigError as exc:
        return _say(exc.message, ExitStatus.CONFIG)
    if lock is None:
        running = read_published(config.path)
        by = f" by process {running.pid}" if running else ""
        return _say(f"{config.path} is run already{by}", ExitStatus.ALREADY_RUNNING)
    try:
        sink = LogFile(config.path / LOG_NAME)
        given.markers.begin()
    except OSError as exc:
        return _say(f"{exc.filename}: {exc.strerror}", ExitStatus.CONFIG)
    journal = Journal(
        StandardError(), sink, style=config.log_format, level=config.log_level
    )
    try:
        failure = _run(config, options, journal, lock, None, given)
    finally:
        given.markers.end()
    if failure is None:
        return ExitStatus.OK
    return _say(failure.message, _status_of(failure))


def _say(text: str, status: ExitStatus) -> ExitStatus:
    print(f"aurora-supervisor: {text}", file=sys.stderr)  # noqa: T201 - the command's own answer
    return status


def report_failure(ready_fd: int, reason: str) -> None:
    """Tell the opener that there was not even a zygote to run."""
    with socket.socket(fileno=ready_fd) as opener:
        Peer(opener).post(Failure.of(ConfigError(reason), "supervisor"))


def run_embedded(options: RunOptions, lock_fd: int, ready_fd: int) -> int:
    """Run a tree for the applications that use it; its opener waits at ``ready_fd``.

    The opener sends the encoded configuration and gets ``Done`` or a ``Failure``.
    """
    with socket.socket(fileno=ready_fd) as opener:
        try:
            config = _receive_settings(opener)
            sink = LogFile(config.path / LOG_NAME, is_stderr=True)
            journal = Journal(sink, style=config.log_format, level=config.log_level)
            peer = Peer(opener)
            failure = _run(config, options, journal, lock_fd, peer)
        except (AuroraError, OSError) as exc:
            failure = Failure.of(_as_error(exc), "supervisor")
            Peer(opener).post(failure)
    return ExitStatus.OK if failure is None else _status_of(failure)


def _status_of(failure: Failure) -> ExitStatus:
    if failure.code == ConfigError.code:
        return ExitStatus.CONFIG
    return ExitStatus.FAILED


def _receive_settings(opener: socket.socket) -> AuroraConfig:
    opener.settimeout(_SETTINGS_S)
    frames = FrameReader()
    try:
        while (body := frames.next_frame()) is None:
            data = opener.recv(1 << 16)
            if not data:
                raise ProtocolError("the opener left before it had sent its settings")
            frames.feed(data)
        return msgspec.msgpack.decode(body, type=AuroraConfig)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ProtocolError(f"no settings from the opener: {exc}") from exc


def _run(
    config: AuroraConfig,
    options: RunOptions,
    journal: Journal,
    lock: int,
    opener: Peer | None,
    given: Standalone | None = None,
) -> Failure | None:
    path = config.path
    setproctitle.setproctitle(f"aurora: supervisor {path}")
    _log_to(journal)
    _adopt_orphans()
    _clear_remains(path)
    tree_id = uuid.uuid4().hex
    around = Surroundings(
        runtime_dir=options.runtime_dir,
        tree_id=tree_id,
        tree_module=options.tree_module,
        journal=journal,
        service=ServiceManager(os.environ),
        embedded=opener is not None,
        opener=opener,
        withdraw=lambda: _withdraw(path, given),
        started=given.markers.ready if given else lambda: None,
        reload=given.read if given and given.config else None,
        reloads=_reloads(options.tree_module),
    )
    try:
        plans, groups = _plans(options.tree_module, config)
        # What was imported stays; the collector need not look at it again.
        gc.freeze()
        gc.enable()
        return trio.run(_publish_and_run, config, plans, groups, options.zygote, around)
    except Exception as exc:  # one exit for every defect, told to whoever waits
        logger.exception("the supervisor failed")
        failure = Failure.of(_as_error(exc), "supervisor")
        if opener is not None:
            opener.post(failure)
        return failure
    finally:
        withdraw(path)
        remove_runtime_dir(options.runtime_dir)
        # Explicitly, because a fork of the opener may hold a copy of the descriptor.
        fcntl.flock(lock, fcntl.LOCK_UN)


def _as_error(exc: Exception) -> AuroraError:
    if isinstance(exc, AuroraError):
        return exc
    if isinstance(exc, OSError):
        return UnavailableError(f"the supervisor cannot run: {exc}")
    return InternalError(f"the supervisor failed: {type(exc).__name__}: {exc}")


async def _publish_and_run(
    config: AuroraConfig,
    plans: Sequence[ChildPlan],
    groups: Sequence[tuple[ActorGroup, int]],
    zygote: ZygoteProcess,
    around: Surroundings,
) -> Failure | None:
    tree = Tree(config, plans, zygote, around, groups)
    published = PublishedTree(
        pid=os.getpid(),
        tree_id=around.tree_id,
        attach=f"{around.runtime_dir}/{ATTACH_SOCKET}",
        version=PROTOCOL_VERSION,
        started_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
    return await tree.run(lambda: publish(config.path, published))


def _plans(
    tree_module: str, config: AuroraConfig
) -> tuple[list[ChildPlan], list[tuple[ActorGroup, int]]]:
    """The tree's actors, and its groups of actors, if it has such."""
    try:
        module = importlib.import_module(tree_module)
        plans: list[ChildPlan] = list(module.actor_entries(config))
        groups = getattr(module, "actor_groups", None)
        return plans, [] if groups is None else list(groups(config))
    except (ImportError, AttributeError) as exc:
        raise ConfigError(f"{tree_module} describes no tree: {exc}") from exc


def _withdraw(path: Path, given: Standalone | None) -> None:
    withdraw(path)
    if given is not None:
        given.markers.unready()


def _reloads(tree_module: str) -> Mapping[str, str]:
    try:
        module = importlib.import_module(tree_module)
    except ImportError:
        return {}  # what is wrong with it is said by ``_plans``
    reloads: Mapping[str, str] = getattr(module, "RELOADS", {})
    return reloads


def _clear_remains(path: Path) -> None:
    """Remove what a supervisor left that was killed together with its zygote."""
    remains = read_published(path)
    if remains is not None:
        # The lock is ours, so nobody is there any more.
        remove_runtime_dir(remains.attach.rpartition("/")[0])
        withdraw(path)


def _log_to(journal: Journal) -> None:
    root = logging.getLogger()
    root.handlers[:] = [LogHandler(journal)]
    root.setLevel(logging.INFO)


def _adopt_orphans() -> None:
    # Actors whose zygote died become children of this process, which reaps them and
    # so knows when they are gone.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
