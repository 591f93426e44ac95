"""What every actor process does besides its own work.

An actor is a trio function ``serve(context)`` that binds nothing, forks nothing and
knows no path: its channel, its configuration and its identity come in the
:class:`ActorContext`. Around it the runtime keeps four tasks:

* the channel's sender, for what receivers did not take at once;
* the heartbeat, which tells the supervisor every ``heartbeat_interval_ms`` that the
  loop turns, with the actor's LSN and counters;
* the lifeline: the end of file of a pipe whose other end only the supervisor holds
  means that the supervisor is gone, and the process exits at once;
* the actor itself. It ends by returning, after the supervisor asked it to shut down
  (``context.shutting_down``), or by an exception, which ends the process with a
  traceback in the log: the supervisor starts a new one.

An actor that cannot start raises an :class:`~aurora_actors.errors.AuroraError` before
``context.ready()``; the supervisor is told why and does not try again.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping

import msgspec
import trio

from aurora_actors.config import AuroraConfig
from aurora_actors.errors import AuroraError
from aurora_actors.messages.base import Failure, Mail
from aurora_actors.messages.supervision import (
    ActorSpec,
    Heartbeat,
    Ready,
    StartFailed,
    ToActor,
    decode_to_actor,
)
from aurora_actors.telemetry import Tracer
from aurora_actors.transport.channel import Channel
from aurora_actors.transport.mailbox import Mailbox

__all__ = ["SUPERVISOR", "ActorContext", "orders", "run_actor"]

SUPERVISOR = "supervisor"

_EXIT_LIFELINE = 70
_EXIT_START_FAILED = 71

logger = logging.getLogger(__name__)


class ActorContext:
    """What an actor gets: who it is, its settings, its channel."""

    def __init__(self, spec: ActorSpec, config: AuroraConfig, channel: Channel) -> None:
        self.spec = spec
        self.config = config
        self.channel = channel
        self.is_ready = False
        self.lsn: Callable[[], int] = _zero
        self.statistics: Callable[[], Mapping[str, int | float]] = dict
        self.tracer: Tracer | None = None

    def ready(self) -> None:
        """Tell the supervisor that the mailbox is served from now on."""
        self.is_ready = True
        # First, so that whoever sees the actor ready sees its counters, too.
        self.channel.post(SUPERVISOR, 0, self.heartbeat())
        notice = Ready(pid=os.getpid(), incarnation=self.spec.incarnation)
        self.channel.post(SUPERVISOR, 0, notice)

    def heartbeat(self) -> Heartbeat:
        """The present state, as the supervisor wants to know it."""
        return Heartbeat(
            pid=os.getpid(),
            incarnation=self.spec.incarnation,
            lsn=self.lsn(),
            values={**self.statistics(), **self.channel.statistics()},
        )


def orders(mail: Mail) -> Iterator[ToActor]:
    """What the supervisor says in ``mail``; what is not understood is logged."""
    for letter in mail.letters:
        try:
            yield decode_to_actor(letter.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            logger.warning("refused an order", extra={"reason": str(exc)})


def _zero() -> int:
    return 0


Serve = Callable[[ActorContext], Awaitable[None]]


def run_actor(
    spec: ActorSpec, lifeline_fd: int, serve: Serve, *, low_latency: bool = False
) -> None:
    """Run one actor until it returns; the body of every actor's ``main``.

    Args:
        spec: Who it is.
        lifeline_fd: Ends with the supervisor.
        serve: The actor itself.
        low_latency: Its mailbox has a stream socket, and it sends to those of others.
    """
    _log_as_json()
    config = msgspec.msgpack.decode(spec.config, type=AuroraConfig)
    trio.run(_run, spec, config, lifeline_fd, serve, low_latency)


async def _run(
    spec: ActorSpec,
    config: AuroraConfig,
    lifeline_fd: int,
    serve: Serve,
    low_latency: bool,
) -> None:
    channel = Mailbox(
        spec.runtime_dir,
        spec.name,
        has_stream=low_latency,
        uses_streams=low_latency,
        busy_poll_s=config.usual_look_s,
    )
    context = ActorContext(spec, config, channel)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch_lifeline, lifeline_fd)
            nursery.start_soon(channel.run)
            nursery.start_soon(_beat, context)
            try:
                if config.telemetry is not None:
                    context.tracer = Tracer(config.telemetry, spec.name)
                await serve(context)
            except AuroraError as exc:
                if context.is_ready:
                    raise
                await _report_start_failure(context, exc)
            nursery.cancel_scope.cancel()
    finally:
        channel.close()
        if context.tracer is not None:
            context.tracer.close()


async def _watch_lifeline(fd: int) -> None:
    await trio.lowlevel.wait_readable(fd)
    os._exit(_EXIT_LIFELINE)


async def _beat(context: ActorContext) -> None:
    interval_s = context.config.heartbeat_interval_ms / 1000
    while True:
        await trio.sleep(interval_s)
        if context.is_ready:
            context.channel.post(SUPERVISOR, 0, context.heartbeat())


async def _report_start_failure(context: ActorContext, error: AuroraError) -> None:
    logger.error("cannot start", extra={"reason": error.message, "code": error.code})
    notice = StartFailed(
        pid=os.getpid(),
        incarnation=context.spec.incarnation,
        failure=Failure.of(error, context.spec.name),
    )
    context.channel.post(SUPERVISOR, 0, notice)
    # Exit only when the supervisor has acted on it: it ends this process.
    await trio.sleep(context.config.shutdown_grace_s)
    os._exit(_EXIT_START_FAILED)


class _JsonLines(logging.Formatter):
    """One JSON object per record, which the supervisor reads and forwards."""

    _STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}

    def format(self, record: logging.LogRecord) -> str:
        extra = {
            key: value
            for key, value in vars(record).items()
            if key not in self._STANDARD
        }
        entry: dict[str, object] = {
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if extra:
            entry["extra"] = extra
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def _log_as_json() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
