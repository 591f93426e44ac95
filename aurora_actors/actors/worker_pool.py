"""A worker process: claims jobs from storage, has them run, says how they ended.

The mailbox and the clock around :class:`~aurora_actors.jobs.worker.Worker`, which does
the thinking. Handlers run in other threads (``aurora_actors.jobs``): whatever they do,
this loop renews leases, passes on cancellations, and notices when their time is over.

Invariants:

* It is ready before it has imported its handlers: importing may take its time or fail,
  and neither is the tree's concern.
* What it has not had confirmed it says again when storage has been restarted; storage
  recognises repeats by job, attempt and worker.
* When it is told to stop it claims nothing more, gives back what has not begun, waits
  for the rest as long as it may, gives that back as well, and leaves when storage has
  confirmed all of it.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import trio

from aurora_actors.actors.runtime import SUPERVISOR, ActorContext, orders, run_actor
from aurora_actors.actors.worker_scaling import Scaling
from aurora_actors.errors import AuroraError, ConfigError
from aurora_actors.jobs.handlers import Handler, check_allowed, load_handlers
from aurora_actors.jobs.hosts import Hosts
from aurora_actors.jobs.run import Run
from aurora_actors.jobs.worker import Worker
from aurora_actors.messages.base import Failure, Mail, Message
from aurora_actors.messages.jobs import (
    Claimed,
    ClaimJobs,
    FinishJobs,
    JobsFinished,
    JobStatistics,
    LeasesRenewed,
)
from aurora_actors.messages.pools import (
    PoolState,
    decode_pool_arguments,
    decode_pool_request,
)
from aurora_actors.messages.storage import decode_storage_reply
from aurora_actors.messages.supervision import (
    ActorReady,
    ActorSpec,
    AskRestart,
    ClientGone,
    ShutDown,
)

__all__ = ["main", "serve"]

logger = logging.getLogger(__name__)

STORAGE: Final = "storage"
_LOOK_EVERY_S: Final = 1.0
_AGAIN_S: Final = 0.5
_DRAIN_SHARE: Final = 0.8
_LAST_S: Final = 0.5


def main(spec: ActorSpec, lifeline_fd: int) -> None:
    """Run a worker; the entry point the supervisor starts."""
    # What handlers print goes to the tree's log, line by line.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a text file here
    run_actor(spec, lifeline_fd, serve, low_latency=True)


async def serve(context: ActorContext) -> None:
    """Load the handlers and run jobs until told to stop."""
    await WorkerActor(context).serve()


class WorkerActor:
    """The mailbox loop around a :class:`Worker`."""

    def __init__(self, context: ActorContext) -> None:
        self._context = context
        self._channel = context.channel
        told = decode_pool_arguments(context.spec.arguments)
        self._pool = told.config
        token = f"{context.spec.incarnation}-{secrets.token_hex(6)}"
        self._name = f"{context.spec.name}.{token}"
        self._worker = self._new_worker({})
        self._failure: Failure | None = None
        self._is_loaded = False
        self._askers: list[tuple[str, int]] = []
        self._hosts: Hosts
        self._ended: deque[Run] = deque()
        self._is_told = False
        self._token: trio.lowlevel.TrioToken
        self._sent: dict[int, Message] = {}
        self._number = 0
        self._alarm = trio.CancelScope()
        self._stop_at = float("inf")
        self._is_over = trio.Event()
        self._wants_restart = False
        self._scaling = Scaling(told, context.spec)
        context.statistics = self._statistics

    def _new_worker(self, handlers: dict[str, Handler]) -> Worker:
        return Worker(self._name, self._pool, handlers, time.monotonic)

    async def serve(self) -> None:
        """Serve until told to stop, and all is said that is to be said."""
        self._token = trio.lowlevel.current_trio_token()
        self._hosts = Hosts(self._context.config, self._pool.concurrency, self._finish)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read)
            nursery.start_soon(self._load)
            nursery.start_soon(self._watch_clock)
            self._context.ready()
            await self._is_over.wait()
            nursery.cancel_scope.cancel()

    # -------------------------------------------------------------- handlers
    async def _load(self) -> None:
        """Import the handlers; in a thread, because that may take long."""
        try:
            handlers = await trio.to_thread.run_sync(self._load_now)
        except AuroraError as exc:
            logger.error("no handlers", extra={"reason": exc.message})  # noqa: TRY400 - said in full
            self._failure = Failure.of(exc, self._context.spec.name)
        else:
            self._worker = self._new_worker(handlers)
            if self._stop_at < float("inf"):
                self._worker.drain()
        self._is_loaded = True
        for asker in self._askers:
            self._channel.queue(*asker, self._state())
        self._pump()

    def _load_now(self) -> dict[str, Handler]:
        paths = self._pool.paths
        extra = os.environ.get("AURORA_IMPORT_PATH", "").split(os.pathsep)
        sys.path += [folder for folder in extra if folder and folder not in sys.path]
        check_allowed(paths, self._context.config.jobs.handler_modules)
        handlers = load_handlers(self._pool.handlers)
        if not handlers:
            raise ConfigError("a pool needs handlers")
        self._hosts.open({handler.runtime for handler in handlers.values()})
        return handlers

    def _state(self) -> PoolState:
        return PoolState(job_types=self._worker.job_types, failure=self._failure)

    # -------------------------------------------------------------- mail
    async def _read(self) -> None:
        while True:
            for mail in await self._channel.receive():
                if mail.sender == SUPERVISOR:
                    self._obey(mail)
                elif mail.sender == STORAGE:
                    for letter in mail.letters:
                        self._take(letter.request_id, letter.body)
                else:
                    self._answer(mail)
            self._pump()

    def _obey(self, mail: Mail) -> None:
        for order in orders(mail):
            match order:
                case ShutDown(grace_s=grace_s):
                    self._begin_drain(grace_s)
                case ActorReady(name=name) if name == STORAGE:
                    for number, message in self._sent.items():
                        self._channel.queue(STORAGE, number, message)
                case ClientGone(client=client):
                    self._channel.forget(client)
                case _:
                    pass

    def _answer(self, mail: Mail) -> None:
        for letter in mail.letters:
            try:
                decode_pool_request(letter.body)
            except (msgspec.DecodeError, UnicodeDecodeError) as exc:
                logger.warning("refused a request", extra={"reason": str(exc)})
                continue
            asker = mail.sender, letter.request_id
            if self._is_loaded:
                self._channel.queue(*asker, self._state())
            else:
                self._askers.append(asker)

    def _take(self, number: int, body: msgspec.Raw) -> None:
        reply = decode_storage_reply(body)
        if number == 0 and isinstance(reply, Claimed):
            self._interrupt(self._worker.to_cancel(reply.cancel))
            return
        request = self._sent.pop(number, None)
        match reply:
            case Claimed() if isinstance(request, ClaimJobs):
                self._interrupt(self._worker.claimed(request, reply))
            case JobsFinished(accepted=accepted):
                refused = self._worker.confirmed(accepted)
                if refused:
                    logger.warning("outcomes came too late", extra={"count": refused})
            case LeasesRenewed(cancel=cancel, lost=lost):
                self._interrupt(self._worker.to_cancel(cancel))
                self._interrupt(self._worker.lost(lost))
            case JobStatistics():
                self._scaling.learn(reply, len(self._worker.running))
            case Failure() if isinstance(request, FinishJobs):
                logger.warning("outcomes not taken", extra={"reason": reply.message})
                self._again(request)
            case _:
                pass

    def _again(self, request: FinishJobs) -> None:
        async def send_later() -> None:
            await trio.sleep(_AGAIN_S)
            self._worker.not_confirmed(request)
            self._pump()

        trio.lowlevel.spawn_system_task(send_later)

    def _send(self, message: Message) -> None:
        self._number += 1
        self._sent[self._number] = message
        self._channel.queue(STORAGE, self._number, message)

    # -------------------------------------------------------------- runs
    def _finish(self, runs: Sequence[Run]) -> None:
        """Runs have ended; called in a host's thread."""
        self._ended.extend(runs)
        self._tell()

    def _tell(self) -> None:
        if not self._is_told:
            self._is_told = True
            self._token.run_sync_soon(self._collect)

    def _collect(self) -> None:
        self._is_told = False
        while self._ended:
            self._worker.done(self._ended.popleft())
        self._pump()

    def _interrupt(self, runs: list[Run]) -> None:
        for run in runs:
            self._hosts.interrupt(run)

    # -------------------------------------------------------------- after each event
    def _pump(self) -> None:
        """Begin and say what there is to begin and to say."""
        worker = self._worker
        runs = worker.startable()
        if runs:
            self._hosts.start(runs, worker, self._tell)
        for message in (
            worker.next_finish(),
            worker.next_report(),
            worker.renewal(),
            worker.next_claim(),
        ):
            if message is not None:
                self._send(message)
        self._channel.flush()
        due = min(worker.next_look(), time.monotonic() + _LOOK_EVERY_S)
        self._wake_at(due)
        if worker.draining and worker.is_empty:
            self._is_over.set()

    def _wake_at(self, moment: float) -> None:
        deadline = trio.current_time() + max(0.0, moment - time.monotonic())
        self._alarm.deadline = min(self._alarm.deadline, deadline)

    async def _watch_clock(self) -> None:
        while True:
            deadline = trio.current_time() + _LOOK_EVERY_S
            with trio.CancelScope(deadline=deadline) as self._alarm:
                self._wake_at(self._worker.next_look())
                await trio.sleep_forever()
            self._look()

    def _look(self) -> None:
        worker = self._worker
        self._interrupt(worker.overdue())
        if time.monotonic() >= self._stop_at:
            self._interrupt(worker.end_all())
            if time.monotonic() >= self._stop_at + _LAST_S:
                worker.give_up_all()
        elif not worker.draining:
            self._look_around()
        self._pump()

    # -------------------------------------------------------------- the end
    def _begin_drain(self, grace_s: float) -> None:
        if self._worker.draining:
            return
        self._stop_at = time.monotonic() + max(0.0, grace_s * _DRAIN_SHARE - _LAST_S)
        withdrawal = self._worker.withdrawal()
        self._worker.drain()
        if withdrawal is not None:
            self._send(withdrawal)
        self._wake_at(self._stop_at)

    # -------------------------------------------------------------- now and then
    def _look_around(self) -> None:
        reason = self._reason_to_go()
        if reason and not self._wants_restart:
            self._wants_restart = True
            logger.info("gives way to a fresh process", extra={"reason": reason})
            spec = self._context.spec
            notice = AskRestart(pid=os.getpid(), incarnation=spec.incarnation)
            self._channel.post(SUPERVISOR, 0, notice)
        for to, message in self._scaling.turn(time.monotonic()):
            if to == STORAGE:
                self._send(message)
            else:
                self._channel.post(to, 0, message)

    def _reason_to_go(self) -> str:
        worker, pool = self._worker, self._pool
        if worker.tainted:
            return "a handler did not end when it had to"
        if pool.max_jobs is not None and worker.ended >= pool.max_jobs:
            return f"{worker.ended} jobs"
        if pool.max_memory_mb is not None:
            used = resident_mb()
            if used > pool.max_memory_mb:
                return f"{used} MiB of memory"
        return ""

    def _statistics(self) -> dict[str, int | float]:
        return self._worker.statistics()


def resident_mb() -> int:
    """The memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20
