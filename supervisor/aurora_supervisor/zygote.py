"""The zygote: imports the actor modules once, then forks actors on request.

``python -m aurora_supervisor.zygote FD RUNTIME_DIR TREE`` is started by the supervisor
with one end of a SOCK_SEQPACKET pair as FD. Each packet is one message: ``ForkActor``
(with two descriptors: the actor's log pipe and its lifeline) and ``KillActor`` come
in; ``ActorForked``, ``ActorExited``, ``ActorStopped`` and, when a fork fails,
``Failure`` go out.

Invariants:

* One thread, no event loop, no socket but the control socket: forking is safe here.
* It never outlives the supervisor: at the end of the control socket it kills and reaps
  all it forked, removes the runtime directory and exits. Its children never outlive
  it: the parent-death signal is the first thing each of them sets.
* It reaps every child, so that a process id it names is never another process. Each
  actor leads a process group of its own, so that what it started itself and left behind
  is killed with it. All stay in the session of the application: Linux shares out the
  processor between sessions first (autogroups), and an actor in a session of its own
  that wants a little of it at once would wait for its share.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
import traceback
from contextlib import suppress
from types import FrameType
from typing import Final, NoReturn

import msgspec
import setproctitle

from aurora_actors.config import AuroraConfig
from aurora_actors.errors import InternalError
from aurora_actors.messages.base import Failure, Message
from aurora_actors.messages.supervision import (
    ActorExited,
    ActorForked,
    ActorSpec,
    ActorStopped,
    ForkActor,
    KillActor,
    ZygoteRequest,
)
from aurora_supervisor.runtime_dir import remove_runtime_dir

__all__ = ["main"]

_PR_SET_PDEATHSIG: Final = 1
_MAX_PACKET: Final = 1 << 18
_DESCRIPTORS: Final = 2
_EXIT_ORPHANED: Final = 72
_ANY_CHANGE: Final = os.WEXITED | os.WSTOPPED | os.WCONTINUED
_ENDED: Final = (os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED)
_IGNORED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_libc = ctypes.CDLL(None, use_errno=True)
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ZygoteRequest)


class Zygote:
    """The loop: control socket in, SIGCHLD in, notices out."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: set[int] = set()
        self._pid = os.getpid()
        self._path = ""
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)

    def serve(self) -> None:
        """Serve until the supervisor is gone, then leave nothing behind."""
        # SIGTERM and SIGINT sent to a whole group or unit are for the supervisor,
        # which stops the actors in order; the zygote ends with the control socket.
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        # A stopped zygote has to see the end of the supervisor too.
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)
        signal.signal(signal.SIGCHLD, _nothing)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        try:
            while self._turn():
                pass
        finally:
            self._kill_all()

    def _turn(self) -> bool:
        ready = {key.fd for key, _ in self._selector.select()}
        try:
            if self._wake_read in ready:
                with suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)
                self._report_children()
            return self._control.fileno() not in ready or self._obey()
        except (BrokenPipeError, ConnectionResetError):
            return False

    # -------------------------------------------------------------- requests
    def _obey(self) -> bool:
        data, descriptors, _flags, _address = socket.recv_fds(
            self._control, _MAX_PACKET, _DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
        if not data:
            return False
        try:
            match _decoder.decode(data):
                case ForkActor(spec=spec):
                    self._fork(spec, descriptors)
                case KillActor(pid=pid, signal=number):
                    self._signal(pid, number)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _fork(self, spec: ActorSpec, descriptors: list[int]) -> None:
        if len(descriptors) != _DESCRIPTORS:
            self._refuse(spec, f"{len(descriptors)} descriptors came with the request")
            return
        try:
            self._take_name(spec)
            _import(spec.entry.partition(":")[0])
            pid = os.fork()
        except OSError as exc:
            self._refuse(spec, f"fork failed: {exc.strerror}")
            return
        if pid == 0:
            self._become_actor(spec, *descriptors)
        self._children.add(pid)
        self._send(ActorForked(name=spec.name, incarnation=spec.incarnation, pid=pid))

    def _take_name(self, spec: ActorSpec) -> None:
        # What database this is becomes known with the first actor; those that are
        # forked later have its path in their title from their first moment.
        if not self._path:
            config = msgspec.msgpack.decode(spec.config, type=AuroraConfig)
            self._path = str(config.path)
            setproctitle.setproctitle(f"aurora: zygote {self._path}")

    def _refuse(self, spec: ActorSpec, reason: str) -> None:
        error = InternalError(reason, name=spec.name, incarnation=spec.incarnation)
        self._send(Failure.of(error, "zygote"))

    def _signal(self, pid: int, number: int) -> None:
        if pid not in self._children:
            return
        if number == signal.SIGKILL:
            # The actor leads a session: what it started itself goes with it.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    def _send(self, message: Message) -> None:
        self._control.send(_encoder.encode(message))

    # -------------------------------------------------------------- children
    def _report_children(self) -> None:
        while self._children:
            found = os.waitid(os.P_ALL, 0, _ANY_CHANGE | os.WNOHANG | os.WNOWAIT)
            if found is None:
                return
            pid = found.si_pid
            if found.si_code in _ENDED:
                # Before it is reaped: until then nobody else can have its number.
                self._signal(pid, signal.SIGKILL)
            # It may have changed again since, so only this answer counts.
            _, status = os.waitpid(pid, os.WUNTRACED | os.WCONTINUED)
            if os.WIFSTOPPED(status) or os.WIFCONTINUED(status):
                stopped = os.WIFSTOPPED(status)
                self._send(ActorStopped(pid=pid, stopped=stopped))
            else:
                self._children.discard(pid)
                exit_code = os.waitstatus_to_exitcode(status)
                self._send(ActorExited(pid=pid, status=exit_code))

    def _kill_all(self) -> None:
        for pid in self._children:
            self._signal(pid, signal.SIGKILL)
        for pid in self._children:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)

    # -------------------------------------------------------------- the child
    def _become_actor(self, spec: ActorSpec, log_fd: int, lifeline_fd: int) -> NoReturn:
        status = 1
        try:
            _die_with_parent(self._pid)
            os.setpgid(0, 0)
            self._leave_zygote()
            os.dup2(log_fd, 1)
            os.dup2(log_fd, 2)
            os.close(log_fd)
            setproctitle.setproctitle(f"aurora: {spec.name} {self._path}")
            status = _run(spec, lifeline_fd)
        except BaseException:  # noqa: BLE001 - nothing may return into the zygote's loop
            traceback.print_exc()
        finally:
            _flush()
            os._exit(status)

    def _leave_zygote(self) -> None:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, *_IGNORED):
            signal.signal(number, signal.SIG_DFL)
        self._selector.close()
        self._control.close()
        os.close(self._wake_read)
        os.close(self._wake_write)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Make SIGCHLD write to the wake-up descriptor; the default would ignore it."""


def _die_with_parent(parent: int) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before the call: then nothing would ever come.
    if os.getppid() != parent:
        os._exit(_EXIT_ORPHANED)


def _run(spec: ActorSpec, lifeline_fd: int) -> int:
    """Run the actor's entry point; returns the exit status of the process."""
    module, _, function = spec.entry.partition(":")
    sys.path += [folder for folder in spec.import_path if folder not in sys.path]
    try:
        getattr(importlib.import_module(module), function)(spec, lifeline_fd)
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    return 0


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()


def _import(module: str) -> None:
    """Import what the first actor of a kind needs, for all that follow it as well.

    What fails here fails in the actor, with the same traceback in its log.
    """
    if module not in sys.modules:
        with suppress(Exception):
            importlib.import_module(module)


def _preload(tree: str) -> None:
    """Import what all actors share; what cannot be imported is said, not fatal.

    The actor that needs it fails on its own then, with the same traceback in its log.
    """
    try:
        for module in importlib.import_module(tree).PRELOAD:
            importlib.import_module(module)
    except Exception:  # noqa: BLE001 - an actor module may fail in any way
        traceback.print_exc()


def main(arguments: list[str]) -> int:
    """Run the zygote; ``arguments`` are FD, RUNTIME_DIR and TREE."""
    descriptor, runtime_dir, tree = arguments
    with socket.socket(fileno=int(descriptor)) as control:
        control.set_inheritable(False)
        setproctitle.setproctitle(f"aurora: zygote {runtime_dir}")
        try:
            # No garbage is made while importing, and what was imported stays: keep
            # the collector from touching pages that the actors share.
            gc.disable()
            _preload(tree)
            gc.freeze()
            gc.enable()
            Zygote(control).serve()
        finally:
            remove_runtime_dir(runtime_dir)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
