"""What is set of queues: documents of ``_sys_queues``, and the same in memory.

Storage process only.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from aurora_actors.errors import ValidationError
from aurora_actors.messages.jobs import LimitQueue, PauseQueue, ResumeQueue
from aurora_actors.schema.record import pack_record
from aurora_actors.schema.values import encode_document
from aurora_actors.storage.jobs.desk import Desk
from aurora_actors.storage.jobs.document import (
    QUEUES_DEFINITION,
    QueueDocument,
    encode_job,
)
from aurora_actors.storage.jobs.enqueueing import InsertAll
from aurora_actors.storage.jobs.rows import own_collection
from aurora_actors.storage.keys import id_key
from aurora_actors.storage.writeset import WriteSet

__all__ = ["set_queue"]

_LONGEST_NAME: Final = 128


def set_queue(
    batch: WriteSet,
    desk: Desk,
    request: PauseQueue | ResumeQueue | LimitQueue,
    insert_all: InsertAll,
) -> bool:
    """Pause, resume or limit a queue; returns whether that changes anything.

    Raises:
        ValidationError: the name or a limit makes no sense.
    """
    name = request.queue
    if not name or len(name.encode()) > _LONGEST_NAME:
        raise ValidationError("a queue needs a name", path="queue")
    old = desk.queues.get(name, QueueDocument())
    if isinstance(request, LimitQueue):
        _check_limits(request)
        limits = {"concurrency": request.concurrency, "rate": request.rate}
        new = replace(old, **limits, period_s=request.period_s)
    else:
        new = replace(old, paused=isinstance(request, PauseQueue))
    if new == old:
        return False
    _put_queue(batch, name, new, insert_all)
    batch.note(desk.queues, name, new)
    desk.stale = True
    return True


def _check_limits(request: LimitQueue) -> None:
    for path, value in (("concurrency", request.concurrency), ("rate", request.rate)):
        if value is not None and value < 1:
            raise ValidationError(
                f"{path} must be at least 1; pause the queue to stop it", path=path
            )
    if not 0.001 <= request.period_s <= 1e7:
        raise ValidationError("period_s must be from 0.001 to 1e7", path="period_s")


def _put_queue(
    batch: WriteSet, name: str, settings: QueueDocument, insert_all: InsertAll
) -> None:
    collection = own_collection(batch, QUEUES_DEFINITION)
    body = encode_job(settings) if settings != QueueDocument() else encode_document({})
    row = batch.row_of(id_key(collection, name))
    if row is None:
        insert_all(batch, collection, [name], [body])
        return
    old = batch.record(collection, row)
    if old is not None:
        new = pack_record(batch.lsn + 1, name, body)
        batch.update(collection, row, old, new, freed=(), taken=())
