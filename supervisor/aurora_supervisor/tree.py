"""The supervisor of one tree: carries out what the machine decides.

It runs in the supervisor process, in one trio loop, and owns the processes, the
supervisor's mailbox and the attach server. Everything that happens (a notice of the
zygote, a message of an actor, a signal, a request, the clock) is given to the
:class:`~aurora_supervisor.machine.TreeMachine` at once, and the
instructions that come back are carried out without waiting for anything, so that no
event is ever seen in a state that is about to change.
"""

from __future__ import annotations

import logging
import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, assert_never

import msgspec
import trio

from aurora_actors.config import AuroraConfig
from aurora_actors.errors import TreeDownError, UsageError
from aurora_actors.messages.base import Failure, Mail, Message
from aurora_actors.messages.supervision import (
    ActorExited,
    ActorForked,
    ActorGone,
    ActorGroup,
    ActorReady,
    ActorSpec,
    ActorStopped,
    AskRestart,
    Attached,
    ClientGone,
    Done,
    Heartbeat,
    Ready,
    ScaleGroup,
    ShutDown,
    StartFailed,
    SupervisorNotice,
    TreeStatus,
    TreeStopping,
    ZygoteNotice,
)
from aurora_actors.transport.mailbox import Mailbox
from aurora_actors.transport.sockets import mailbox_path
from aurora_actors.transport.streams import stream_path
from aurora_supervisor.attach import AttachServer
from aurora_supervisor.child import (
    Announce,
    AskToStop,
    ChildPlan,
    Finished,
    Fork,
    Instruction,
    Lost,
    Signal,
    Started,
    StartZygote,
    State,
    Stopping,
    Timing,
)
from aurora_supervisor.machine import TICK_S, TreeMachine
from aurora_supervisor.peer import Peer
from aurora_supervisor.policy import RestartPolicy
from aurora_supervisor.processes import Processes, is_child
from aurora_supervisor.reload import read_change
from aurora_supervisor.runtime_dir import ATTACH_SOCKET
from aurora_supervisor.spawn import ZygoteProcess
from aurora_supervisor.status import tree_status
from aurora_supervisor.surroundings import Surroundings
from aurora_supervisor.zygote_link import ZygoteLink

__all__ = ["Tree"]

logger = logging.getLogger(__name__)

_NAME: Final = "supervisor"
_START_TIMEOUT_S: Final = 60.0

_notice_decoder = msgspec.msgpack.Decoder(SupervisorNotice)


class Tree:
    """One run of a tree, from the first fork to the last exit."""

    def __init__(
        self,
        config: AuroraConfig,
        plans: Sequence[ChildPlan],
        zygote: ZygoteProcess,
        around: Surroundings,
        groups: Sequence[tuple[ActorGroup, int]] = (),
    ) -> None:
        self.config = config
        self._around = around
        self._encoded_config = msgspec.msgpack.encode(config)
        hang_timeout_s = config.hang_timeout_ms / 1000
        self._timing = Timing(hang_timeout_s, max(_START_TIMEOUT_S, 2 * hang_timeout_s))
        self._machine = TreeMachine(
            plans,
            RestartPolicy(config.max_restarts, config.restart_window_s),
            self._timing,
        )
        for group, count in groups:
            self._machine.scale(0.0, group.name, count, group)
        self._processes = Processes(
            zygote, around.runtime_dir, around.tree_module, around.journal
        )
        self._opener_gone = around.opener is None
        self._tick_scope = trio.CancelScope()
        self._settled = trio.Event()
        self._attached = 0
        self._finished = trio.Event()
        self._changed = trio.Event()

    async def run(self, publish: Callable[[], None]) -> Failure | None:
        """Start, supervise and stop; returns why it stopped, unless it was asked to.

        ``publish`` is called when applications can connect, before actors start.
        """
        around = self._around
        self._mailbox = Mailbox(around.runtime_dir, _NAME)
        self._server = AttachServer(f"{around.runtime_dir}/{ATTACH_SOCKET}", self)
        publish()
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                await nursery.start(self._handle_signals)
                await nursery.start(self._reap)
                nursery.start_soon(self._read_zygote, self._processes.zygote)
                nursery.start_soon(self._read_mail)
                nursery.start_soon(self._mailbox.run)
                await nursery.start(self._server.run)
                nursery.start_soon(self._tick)
                nursery.start_soon(around.service.keep_watchdog)
                if around.opener is not None:
                    nursery.start_soon(self._watch_opener, around.opener)
                self._apply(self._machine.zygote_started(trio.current_time()))
                await self._finished.wait()
                await self._processes.zygote.end()
                nursery.cancel_scope.cancel()
        finally:
            self._processes.close()
            self._mailbox.close()
            await self._server.close()
        return self._machine.failure

    # -------------------------------------------------------------- what happens
    async def _handle_signals(
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        # These are in force again when the receiver is closed: a signal that comes when
        # the tree has ended must not end the process before it has cleared up.
        early: list[int] = []
        for each in numbers:
            signal.signal(each, lambda got, _frame: early.append(got))
        with trio.open_signal_receiver(*numbers) as received:
            if early:
                self.stop()
            task_status.started()
            async for number in received:
                name = signal.Signals(number).name
                if number == signal.SIGHUP and not self._around.embedded:
                    self._reload()
                    continue
                logger.info("asked to stop", extra={"signal": name})
                self.stop()

    def _reload(self) -> None:
        """Take over what can change of the configuration file while the tree runs."""
        change = read_change(self.config, self._around)
        if change is None:
            return
        around, config = self._around, change.config
        self.config, self._encoded_config = config, msgspec.msgpack.encode(config)
        around.journal.style = config.log_format
        around.journal.level = config.log_level
        self._machine.change_policy(
            RestartPolicy(config.max_restarts, config.restart_window_s)
        )
        for name in change.actors:
            if name in self._machine.children:
                self._apply(self._machine.restart(trio.current_time(), name))

    async def _reap(
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.open_signal_receiver(signal.SIGCHLD) as received:
            task_status.started()
            self._collect()
            async for _ in received:
                self._collect()

    def _collect(self) -> None:
        reaped = self._processes.reap()
        self._notice(reaped.notices)
        if reaped.zygote_ended:
            # Before its children's ends, which are consequences of it.
            self._apply(self._machine.zygote_lost(trio.current_time()))
        for pid, status in reaped.exits:
            self._exited(pid, status)
        if reaped.zygote_ended:
            # Those that it had reaped and could not tell of any more.
            for pid in self._machine.pids():
                if not is_child(pid):
                    self._exited(pid, -signal.SIGKILL)

    async def _read_zygote(self, zygote: ZygoteLink) -> None:
        while (notices := await zygote.receive()) is not None:
            self._notice(notices)
        zygote.kill()

    def _notice(self, notices: Sequence[ZygoteNotice]) -> None:
        machine = self._machine
        for notice in notices:
            now = trio.current_time()
            match notice:
                case ActorForked(name=name, incarnation=incarnation, pid=pid):
                    self._apply(machine.forked(now, name, incarnation, pid))
                case ActorExited(pid=pid, status=status):
                    self._exited(pid, status)
                case ActorStopped(pid=pid, stopped=stopped):
                    self._apply(machine.halted(now, pid, stopped=stopped))
                case Failure(context=context, message=reason):
                    name = str(context["name"])
                    number = int(str(context["incarnation"]))
                    self._apply(machine.fork_failed(now, name, number, reason))
                case _:
                    assert_never(notice)

    def _exited(self, pid: int, status: int) -> None:
        actor = self._machine.name_of(pid)
        last_words = self._processes.last_words(actor)
        now = trio.current_time()
        self._apply(self._machine.exited(now, pid, status, last_words))

    async def _read_mail(self) -> None:
        while True:
            for mail in await self._mailbox.receive():
                self._take(mail)

    def _take(self, mail: Mail) -> None:
        machine, name = self._machine, mail.sender
        for letter in mail.letters:
            now = trio.current_time()
            try:
                notice = _notice_decoder.decode(letter.body)
            except (msgspec.DecodeError, UnicodeDecodeError) as exc:
                logger.warning(
                    "refused a message", extra={"sender": name, "reason": str(exc)}
                )
                continue
            match notice:
                case Ready():
                    self._apply(machine.ready(now, name, notice))
                case Heartbeat():
                    self._apply(machine.heartbeat(now, name, notice))
                case StartFailed():
                    self._apply(machine.start_failed(now, name, notice))
                case AskRestart():
                    self._apply(machine.give_way(now, name, notice))
                case ScaleGroup(name=group, count=count):
                    self._scale_for(name, group, count)
                case _:
                    assert_never(notice)

    def _scale_for(self, actor: str, group: str, count: int) -> None:
        """One of a group says how many of them there should be."""
        try:
            self.scale(group, count, None)
        except UsageError as exc:
            logger.warning("refused", extra={"actor": actor, "reason": exc.message})

    async def _tick(self) -> None:
        while True:
            now = trio.current_time()
            self._processes.kill_halted_zygote(now, self._timing.halt_grace_s)
            self._apply(self._machine.tick(now))
            deadline = min(now + TICK_S, self._machine.due(now))
            with trio.CancelScope(deadline=deadline) as self._tick_scope:
                await trio.sleep_forever()

    async def _watch_opener(self, opener: Peer) -> None:
        while await opener.receive() is not None:
            pass
        self._opener_gone = True
        self.clients_changed()

    # -------------------------------------------------------------- what is done
    def _apply(self, instructions: Sequence[Instruction]) -> None:
        waiting = deque(instructions)
        while waiting:
            waiting.extend(self._carry_out(waiting.popleft()))
        due = self._machine.due(trio.current_time())
        self._tick_scope.deadline = min(self._tick_scope.deadline, due)

    def _carry_out(self, instruction: Instruction) -> Sequence[Instruction]:
        match instruction:
            case Fork(name=name, incarnation=incarnation):
                self._fork(name, incarnation)
            case Signal(pid=pid, number=number):
                self._processes.signal(pid, number)
            case AskToStop(name=name, grace_s=grace_s):
                self._mailbox.post(name, 0, ShutDown(grace_s=grace_s))
            case Announce(name=name, incarnation=incarnation):
                self._announce(name, incarnation)
            case Lost(name=name, incarnation=incarnation, cause=cause):
                self._tell_actors(
                    ActorGone(name=name, incarnation=incarnation, cause=cause), name
                )
                self._change()
            case StartZygote():
                return self._start_zygote()
            case Started():
                self._on_started()
            case Stopping(failure=failure):
                self._on_stopping(failure)
            case Finished():
                self._finished.set()
            case _:
                assert_never(instruction)
        return ()

    def _fork(self, name: str, incarnation: int) -> None:
        around = self._around
        # The predecessor's socket, and what was queued for it, are not for this one.
        self._mailbox.forget(name)
        self._remove_sockets(name)
        child = self._machine.children[name]
        group = child.group
        spec = ActorSpec(
            name=name,
            entry=child.plan.entry,
            runtime_dir=around.runtime_dir,
            incarnation=incarnation,
            tree_id=around.tree_id,
            config=self._encoded_config,
            arguments=b"" if group is None else group.arguments,
            import_path=[] if group is None else group.import_path,
        )
        self._nursery.start_soon(self._processes.fork(spec).run)

    def _announce(self, name: str, incarnation: int) -> None:
        notice = ActorReady(name=name, incarnation=incarnation)
        self._server.broadcast(notice)
        self._tell_actors(notice, besides=name)
        self._change()

    def _tell_actors(self, message: Message, besides: str = "") -> None:
        for name, child in self._machine.children.items():
            if name != besides and child.state in (State.READY, State.STARTING):
                self._mailbox.post(name, 0, message)

    def _start_zygote(self) -> Sequence[Instruction]:
        now = trio.current_time()
        try:
            self._processes.start_zygote()
        except OSError as exc:
            error = TreeDownError(f"no new zygote could be started: {exc}")
            return self._machine.stop(now, Failure.of(error, _NAME))
        self._nursery.start_soon(self._read_zygote, self._processes.zygote)
        return self._machine.zygote_started(now)

    def _on_started(self) -> None:
        self._settled.set()
        self._around.service.notify(f"READY=1\nSTATUS=serving {self.config.path}")
        self._around.started()
        logger.info("tree started", extra={"tree_id": self._around.tree_id})
        if self._around.opener is not None:
            self._around.opener.post(Done())
        if self._around.embedded and self._opener_gone:
            self.clients_changed()

    def _on_stopping(self, failure: Failure | None) -> None:
        around = self._around
        around.service.notify("STOPPING=1")
        around.withdraw()
        self._server.stop_listening()
        self._server.broadcast(TreeStopping(failure=failure))
        if around.opener is not None and not self._machine.started:
            around.opener.post(self._why_not_started())
        self._settled.set()
        self._change()

    def _why_not_started(self) -> Failure:
        stopped = TreeDownError("the tree was stopped before it had started")
        return self._machine.failure or Failure.of(stopped, _NAME)

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # -------------------------------------------------------------- for the attach server
    async def wait_started(self) -> Failure | None:
        """Wait until all actors are ready; a failure when that will not happen."""
        await self._settled.wait()
        return None if self._machine.started else self._why_not_started()

    def attached(self) -> Attached:
        """The answer to an application that attaches now."""
        children = self._machine.children.values()
        number, self._attached = self._attached, self._attached + 1
        return Attached(
            tree_id=self._around.tree_id,
            supervisor_pid=os.getpid(),
            runtime_dir=self._around.runtime_dir,
            config=self._encoded_config,
            incarnations={child.name: child.incarnation for child in children},
            number=number,
        )

    def status(self, clients: int) -> TreeStatus:
        """The state of the tree."""
        return tree_status(self._machine, self._around.tree_id, clients)

    async def restart(self, name: str) -> Failure | None:
        """Restart one actor and wait until it is ready again."""
        child = self._machine.children.get(name)
        if child is None:
            names = ", ".join(self._machine.children)
            raise UsageError(f"no actor is called {name!r}; there are: {names}")
        before = child.incarnation
        self._apply(self._machine.restart(trio.current_time(), name))
        while child.incarnation == before or child.state is not State.READY:
            if self._machine.stopping:
                error = TreeDownError("the tree is stopping")
                return self._machine.failure or Failure.of(error, _NAME)
            await self._changed.wait()
        return None

    def scale(self, name: str, count: int, group: ActorGroup | None) -> None:
        """Have so many actors of a group from now on."""
        self._apply(self._machine.scale(trio.current_time(), name, count, group))
        self._change()

    def stop(self) -> None:
        """Begin to stop the tree in order."""
        self._apply(self._machine.stop(trio.current_time()))

    def is_actor(self, name: str) -> bool:
        """Whether the name is one of the tree's own mailboxes."""
        return name == _NAME or name in self._machine.children

    def client_gone(self, name: str) -> None:
        """Remove an application's mailbox and tell the actors."""
        self._mailbox.forget(name)
        self._remove_sockets(name)
        self._tell_actors(ClientGone(client=name))

    def _remove_sockets(self, name: str) -> None:
        for path_of in (mailbox_path, stream_path):
            Path(path_of(self._around.runtime_dir, name)).unlink(missing_ok=True)

    def clients_changed(self) -> None:
        """Stop an embedded tree that nobody uses and nobody is about to use."""
        if self._around.embedded and self._opener_gone and not self._server.is_wanted():
            self.stop()
