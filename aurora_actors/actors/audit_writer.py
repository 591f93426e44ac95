"""The audit writer: records each change in a file, from the change log.

It runs only where ``audit_log_path`` is set. It follows storage like any other reader,
so writers never wait for it; storage keeps the changes for it that it has not recorded
yet, as far as the limits of the change log go. The file itself says how far it is (see
``reactive.audit``), so each change is recorded once, however often the writer dies.

What it has written is synced before storage is told that it need not be kept.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Final

import trio

from aurora_actors.actors.follower import STORAGE, Follower
from aurora_actors.actors.runtime import SUPERVISOR, ActorContext, orders, run_actor
from aurora_actors.errors import ConfigError, LaggedError, UnavailableError
from aurora_actors.messages.base import Mail
from aurora_actors.messages.supervision import (
    ActorReady,
    ActorSpec,
    ClientGone,
    ShutDown,
)
from aurora_actors.reactive.audit import AuditFile, audit_line, cut_line, gap_line
from aurora_actors.schema.types import decode_definition
from aurora_actors.storage.changes import Change, ChangeKind
from aurora_actors.storage.origins import Origin
from aurora_actors.storage.reader import DataReader, Snapshot

__all__ = ["main", "serve"]

logger = logging.getLogger(__name__)

_CHANGES_A_STEP: Final = 500
_SYNC_S: Final = 0.5


def main(spec: ActorSpec, lifeline_fd: int) -> None:
    """Run the audit writer; the entry point the supervisor starts."""
    run_actor(spec, lifeline_fd, serve)


async def serve(context: ActorContext) -> None:
    """Open the database and the audit log, and follow until told to stop."""
    config = context.config
    path = config.audit_path
    if path is None:
        raise ConfigError("audit_log_path is not set", key="audit_log_path")
    file = AuditFile.open(path, config.audit_log_rotate_mb << 20)
    try:
        with DataReader.open(
            config.path, max_size_gb=config.max_size_gb, max_readers=config.max_readers
        ) as reader:
            actor = AuditActor(reader, file, context)
            context.ready()
            await actor.serve()
    finally:
        file.close()


class AuditActor:
    """The mailbox loop around an :class:`AuditFile`."""

    def __init__(
        self, reader: DataReader, file: AuditFile, context: ActorContext
    ) -> None:
        self._reader = reader
        self._file = file
        self._channel = context.channel
        self._follower = Follower(context.channel, keep=True)
        self._names: dict[int, str] = {}
        self._stopping = False
        self._lines = self._refusals = 0
        context.lsn = lambda: file.lsn
        context.statistics = self.statistics

    def statistics(self) -> dict[str, int | float]:
        """How far the log goes."""
        counts = {"lines": self._lines, "refusals": self._refusals}
        return {"lsn": self._file.lsn, **counts}

    async def serve(self) -> None:
        """Serve the mailbox until the supervisor says to shut down."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ask_now_and_then)
            await self._catch_up()
            while not self._stopping:
                is_due = False
                for mail in await self._channel.receive():
                    is_due |= self._take(mail)
                if is_due or self._stopping:
                    await self._catch_up()
            with suppress(UnavailableError):
                self._file.sync()
            nursery.cancel_scope.cancel()

    def _take(self, mail: Mail) -> bool:
        if mail.sender == STORAGE:
            return self._follower.on_mail(mail)
        if mail.sender == SUPERVISOR:
            for order in orders(mail):
                match order:
                    case ShutDown():
                        self._stopping = True
                    case ClientGone(client=client):
                        self._channel.forget(client)
                    case ActorReady(name=name):
                        if name == STORAGE:
                            # Its history may have been cut: look at once.
                            return True
        return False

    async def _ask_now_and_then(self) -> None:
        """Sync what was written, and only then say how far it goes.

        Being asked at every commit would cost storage a turn for each; the log need
        not be newer than half a second.
        """
        while True:
            try:
                self._file.sync()
            except UnavailableError as exc:
                self._complain(exc)
            else:
                self._follower.ask(self._file.lsn)
                self._channel.flush()
            await trio.sleep(_SYNC_S)

    def _complain(self, error: UnavailableError) -> None:
        """The system refuses the file: the database goes on, and we try again."""
        self._refusals += 1
        logger.error("cannot write the audit log", extra={"reason": error.message})

    # -------------------------------------------------------------- recording
    async def _catch_up(self) -> None:
        try:
            while self._record_some():
                await trio.lowlevel.checkpoint()
        except UnavailableError as exc:
            self._complain(exc)

    def _record_some(self) -> bool:
        """Record some hundred changes; true when there are more."""
        file = self._file
        with self._reader.snapshot() as snapshot:
            if snapshot.lsn < file.lsn:
                first, last = snapshot.lsn + 1, file.lsn
                logger.warning("history was cut", extra={"first": first, "last": last})
                file.append([cut_line(first, last)], snapshot.lsn)
            if snapshot.lsn == file.lsn:
                return False
            try:
                changes = snapshot.changes(file.lsn, snapshot.lsn)
                found = list(islice(changes, _CHANGES_A_STEP))
            except LaggedError:
                self._note_gap(file.lsn + 1, snapshot.first_change - 1)
                return True
            self._record(snapshot, found)
        return len(found) == _CHANGES_A_STEP

    def _note_gap(self, first: int, last: int) -> None:
        logger.warning("changes were lost", extra={"first": first, "last": last})
        self._file.append([gap_line(first, last)], last)

    def _record(self, snapshot: Snapshot, changes: list[Change]) -> None:
        """Write lines for ``changes``; those missing among them are a gap."""
        lines: list[bytes] = []
        seen = self._file.lsn
        origins = _Origins(snapshot.origins(seen))
        for change in changes:
            if change.lsn > seen + 1:
                # Its document went with its collection before it could be recorded.
                lines.append(gap_line(seen + 1, change.lsn - 1))
            lines.append(
                audit_line(change, self._name(snapshot, change), origins.of(change.lsn))
            )
            seen = change.lsn
        if len(changes) < _CHANGES_A_STEP and seen < snapshot.lsn:
            lines.append(gap_line(seen + 1, snapshot.lsn))
            seen = snapshot.lsn
        self._lines += len(lines)
        self._file.append(lines, seen)

    def _name(self, snapshot: Snapshot, change: Change) -> str:
        """What the change's collection is called."""
        number = change.collection
        if change.kind >= ChangeKind.DEFINE:
            encoded = change.old if change.new is None else change.new
            self._names[number] = decode_definition(bytes(encoded or b"")).name
        elif number not in self._names:
            self._names.update((i.id, i.name) for i in snapshot.collections())
            if number not in self._names:
                self._names[number] = _later_name(snapshot, change)
        return self._names[number]


def _later_name(snapshot: Snapshot, change: Change) -> str:
    """The name of a collection that was removed since, from its removal."""
    for later in snapshot.changes(change.lsn):
        if later.collection == change.collection and later.kind is ChangeKind.DROP:
            return decode_definition(bytes(later.old or b"")).name
    return ""


class _Origins:
    """The notes on where changes come from, taken in order."""

    def __init__(self, notes: Iterator[Origin]) -> None:
        self._notes = notes
        self._present: Origin | None = None
        self._next = next(notes, None)

    def of(self, lsn: int) -> Origin | None:
        """Where change ``lsn`` comes from; asked in ascending order."""
        while self._next is not None and self._next.lsn <= lsn:
            self._present, self._next = self._next, next(self._notes, None)
        return self._present
