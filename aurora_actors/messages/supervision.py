"""The supervisor's conversations: with its zygote, its actors, and the applications.

With the zygote it speaks over a socket pair, with actors over mailboxes, and with
applications over a Unix stream socket (``attach.sock``) whose end of file tells each
side that the other has gone. On streams a message is preceded by its length (see
``messages.framing``); the socket pair keeps boundaries: one packet is one message.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from aurora_actors.messages.base import PROTOCOL_VERSION, Failure, Message

__all__ = [
    "ActorExited",
    "ActorForked",
    "ActorGone",
    "ActorGroup",
    "ActorReady",
    "ActorSpec",
    "ActorStatus",
    "ActorStopped",
    "ApplicationNotice",
    "ApplicationRequest",
    "AskRestart",
    "Attach",
    "Attached",
    "ClientGone",
    "Detach",
    "Done",
    "ForkActor",
    "Heartbeat",
    "KillActor",
    "ReadStatus",
    "Ready",
    "RestartActor",
    "ScaleGroup",
    "ShutDown",
    "StartFailed",
    "StopTree",
    "SupervisorNotice",
    "ToActor",
    "TreeStatus",
    "TreeStopping",
    "ZygoteNotice",
    "ZygoteRequest",
    "decode_to_actor",
]


# ------------------------------------------------------------------ zygote
class ActorSpec(Message, frozen=True, kw_only=True, tag="supervision.spec"):
    """All an actor process is told when it starts.

    Attributes:
        name: Its mailbox's name, also its log name: ``query_executor-0``.
        entry: ``package.module:function``, called with this spec.
        runtime_dir: Where the mailboxes of the tree are.
        incarnation: Counts the starts of this actor, from 1.
        tree_id: Names this run of the tree.
        config: The encoded ``AuroraConfig``.
        arguments: What the actor's group was given, encoded; empty for the others.
        import_path: Directories from which it may import as well.
    """

    name: str
    entry: str
    runtime_dir: str
    incarnation: int
    tree_id: str
    config: bytes
    arguments: bytes = b""
    import_path: list[str] = []


class ForkActor(Message, frozen=True, kw_only=True, tag="zygote.fork"):
    """Fork a process for ``spec``; its output descriptor comes with the message."""

    spec: ActorSpec


class KillActor(Message, frozen=True, kw_only=True, tag="zygote.kill"):
    """Send a signal to a child, if it is still ours."""

    pid: int
    signal: int


ZygoteRequest: TypeAlias = ForkActor | KillActor


class ActorForked(Message, frozen=True, kw_only=True, tag="zygote.forked"):
    """The process for ``name`` exists."""

    name: str
    incarnation: int
    pid: int


class ActorExited(Message, frozen=True, kw_only=True, tag="zygote.exited"):
    """A child has ended and was reaped; ``status`` is negative for a signal."""

    pid: int
    status: int


class ActorStopped(Message, frozen=True, kw_only=True, tag="zygote.stopped"):
    """A child was stopped by a signal (SIGSTOP) or continued."""

    pid: int
    stopped: bool


ZygoteNotice: TypeAlias = ActorForked | ActorExited | ActorStopped | Failure


# ------------------------------------------------------------------ actors
class Ready(Message, frozen=True, kw_only=True, tag="actor.ready"):
    """The actor serves its mailbox."""

    pid: int
    incarnation: int


class Heartbeat(Message, frozen=True, kw_only=True, tag="actor.heartbeat"):
    """The actor's loop turns; sent every ``heartbeat_interval_ms``."""

    pid: int
    incarnation: int
    lsn: int = 0
    mailbox_depth: int = 0
    values: dict[str, int | float] = {}


class StartFailed(Message, frozen=True, kw_only=True, tag="actor.start_failed"):
    """The actor cannot start, and why; starting it again would not help."""

    pid: int
    incarnation: int
    failure: Failure


class AskRestart(Message, frozen=True, kw_only=True, tag="actor.ask_restart"):
    """The actor wants to give way to a fresh process of its name, in order."""

    pid: int
    incarnation: int


class ShutDown(Message, frozen=True, kw_only=True, tag="actor.shut_down"):
    """Finish what is in hand and exit within ``grace_s``."""

    grace_s: float


class ClientGone(Message, frozen=True, kw_only=True, tag="actor.client_gone"):
    """An application's mailbox has gone: drop its queries, replies and outcomes."""

    client: str


class ActorReady(Message, frozen=True, kw_only=True, tag="supervision.actor_ready"):
    """An actor has been (re)started: what it had not answered is to be sent again."""

    name: str
    incarnation: int


class ActorGone(Message, frozen=True, kw_only=True, tag="supervision.actor_gone"):
    """The process of an actor of a group has ended; ``cause`` is how, as a sentence."""

    name: str
    incarnation: int
    cause: str


ToActor: TypeAlias = ShutDown | ClientGone | ActorReady | ActorGone


_to_actor_decoder = msgspec.msgpack.Decoder(ToActor)


def decode_to_actor(body: msgspec.Raw | bytes) -> ToActor:
    """Decode what the supervisor tells an actor."""
    message: ToActor = _to_actor_decoder.decode(body)
    return message


# ------------------------------------------------------------------ applications
class Attach(Message, frozen=True, kw_only=True, tag="tree.attach"):
    """The first message on an application's connection.

    Attributes:
        client: The mailbox name the application will bind; ``None`` only watches or
            commands the tree, and does not keep an embedded tree alive.
        settings: The encoded ``AuroraConfig`` the application asked for, to be
            compared with the tree's; ``None`` takes the tree as it is.
        member: It is a process of the tree itself (a worker, the gateway): it is
            served like an application, but does not keep an embedded tree alive.
    """

    version: int = PROTOCOL_VERSION
    client: str | None
    pid: int
    settings: bytes | None = None
    member: bool = False


class ReadStatus(Message, frozen=True, kw_only=True, tag="tree.read_status"):
    """Ask for the state of the tree."""


class RestartActor(Message, frozen=True, kw_only=True, tag="tree.restart_actor"):
    """Stop one actor gracefully and start it again."""

    name: str


class ActorGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Actors of one kind, ``<name>-0``, ``<name>-1``…, of which the tree can do without.

    Attributes:
        name: What their names begin with.
        entry: ``package.module:function``.
        order: As for other actors; must be higher than that of those.
        grace_s: How long each may take to finish when it is told to stop.
        arguments: What they are told when they start, encoded.
        import_path: Directories from which they may import as well.
    """

    name: str
    entry: str
    order: int
    grace_s: float
    arguments: bytes = b""
    import_path: list[str] = []


class ScaleGroup(Message, frozen=True, kw_only=True, tag="tree.scale_group"):
    """Have ``count`` actors of a group from now on; answered at once by ``Done``.

    Those beyond ``count`` are told to stop and have their grace; see the status for how
    far it is.

    Attributes:
        name: The group.
        count: How many.
        group: What it is; ``None`` for one that is known already. A group that has
            actors cannot be given other arguments.
    """

    name: str
    count: int
    group: ActorGroup | None = None


SupervisorNotice: TypeAlias = Ready | Heartbeat | StartFailed | AskRestart | ScaleGroup


class StopTree(Message, frozen=True, kw_only=True, tag="tree.stop"):
    """Stop the whole tree in order."""


class Detach(Message, frozen=True, kw_only=True, tag="tree.detach"):
    """The application is done; the connection ends when that has been acted on."""


ApplicationRequest: TypeAlias = (
    Attach | ReadStatus | RestartActor | ScaleGroup | StopTree | Detach
)


class Attached(Message, frozen=True, kw_only=True, tag="tree.attached"):
    """The tree serves this application.

    Attributes:
        incarnations: How often each actor has been started, by mailbox name.
        config: The encoded ``AuroraConfig`` in force.
        number: How many had attached before; spreads applications over executors.
    """

    version: int = PROTOCOL_VERSION
    tree_id: str
    supervisor_pid: int
    runtime_dir: str
    config: bytes
    incarnations: dict[str, int]
    number: int = 0


class ActorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the tree, as the supervisor sees it.

    Attributes:
        pid: 0 while it has no process. (A signal to 0 goes to the whole process group
            of its sender: look before you kill.)
        state: ``starting``, ``ready``, ``stopping``, ``backoff`` or ``stopped``.
    """

    name: str
    pid: int
    state: str
    restarts: int
    lsn: int
    mailbox_depth: int
    rss_bytes: int
    values: dict[str, int | float] = {}


class TreeStatus(Message, frozen=True, kw_only=True, tag="tree.status"):
    """The whole tree at one moment."""

    supervisor_pid: int
    tree_id: str
    lsn: int
    timeline: int
    clients: int
    actors: list[ActorStatus]


class Done(Message, frozen=True, kw_only=True, tag="tree.done"):
    """What was asked has been done."""


class TreeStopping(Message, frozen=True, kw_only=True, tag="tree.stopping"):
    """The tree is going down; ``failure`` names the cause unless it was asked to."""

    failure: Failure | None = None


ApplicationNotice: TypeAlias = (
    Attached | ActorReady | TreeStatus | Done | TreeStopping | Failure
)
