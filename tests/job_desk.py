"""An engine whose jobs are claimed and finished by hand, under clocks set by hand."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from aurora_actors.config import AuroraConfig, JobsConfig
from aurora_actors.messages.base import Failure, Message
from aurora_actors.messages.jobs import (
    JOBS,
    CancelJobs,
    Claimed,
    ClaimedJob,
    ClaimJobs,
    EnqueueJobs,
    FinishJobs,
    JobOutcome,
    JobsFinished,
    NewJob,
    OutcomeKind,
    RenewLeases,
    RetryJobs,
)
from aurora_actors.messages.storage import Operation
from aurora_actors.schema.record import record_body, record_id
from aurora_actors.storage.engine import Engine, StorageCall
from aurora_actors.storage.jobs.document import JobDocument, decode_job
from aurora_actors.storage.jobs.index import keys_of
from aurora_actors.storage.reader import DataReader

START = datetime(2030, 1, 1, tzinfo=UTC).timestamp()


class JobDesk:
    """One engine, its clocks, and what its workers have been given."""

    def __init__(self, path: Path, **settings: float) -> None:
        limits = {
            name: settings.pop(name)
            for name in ("max_document_bytes",)
            if name in settings
        }
        jobs = msgspec.convert({"unknown_handler_s": 0.0, **settings}, JobsConfig)
        self.config = AuroraConfig(db_path=str(path), jobs=jobs, **limits)  # type: ignore[arg-type]
        self.mono = 1000.0
        self.wall = START
        self._number = self._tree = 0
        self._claims: dict[str, int] = {}
        self.answers: dict[str, list[Claimed]] = {}
        self.awaited: list[Message] = []
        path.mkdir(exist_ok=True)
        self.engine = self._open()

    def _open(self) -> Engine:
        return Engine.open(
            self.config,
            compile_predicate=lambda _: lambda _fields, _id: True,
            tree_id=f"tree-{self._tree}",
            clock=lambda: self.mono,
            wall=lambda: self.wall,
        )

    def restart(self, *, tree: bool = False) -> None:
        """Close the engine and open it again, in another tree or in the same.

        What is in memory is lost; with the tree, all workers are gone.
        """
        self.engine.close()
        self._tree += tree
        self.engine = self._open()
        self.settle()

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()

    def pass_time(self, seconds: float) -> None:
        """Let both clocks go on, and have done what is due."""
        self.mono += seconds
        self.wall += seconds
        self.settle()

    def settle(self) -> None:
        """Have done what is due now."""
        for _ in range(100):
            self.engine.run_jobs()
            self._collect()
            if self.engine.jobs.due() > 0:
                return
        raise AssertionError("there is always something to do")

    def _collect(self) -> None:
        for answer in self.engine.jobs.take_answers():
            if isinstance(answer.message, Claimed):
                self.answers.setdefault(answer.client, []).append(answer.message)
            else:
                self.awaited.append(answer.message)

    # -------------------------------------------------------------- requests
    def ask(self, request: Operation) -> Message:
        """Carry out one request, and what follows from it."""
        self._number += 1
        (reply,) = self.engine.execute([StorageCall("c-1", self._number, 0, request)])
        self._collect()
        return reply

    def done(self, request: Operation) -> Message:
        """Carry out one request that is not refused."""
        reply = self.ask(request)
        assert not isinstance(reply, Failure), reply.message
        return reply

    def enqueue(self, *jobs: NewJob) -> Message:
        """Enqueue jobs."""
        return self.done(EnqueueJobs(jobs=list(jobs)))

    def put(self, job_id: str, **fields: object) -> Message:
        """Enqueue one job."""
        return self.enqueue(
            NewJob(id=job_id, **{"job_type": "t", "payload": b"", **fields})  # type: ignore[arg-type]
        )

    def claim(self, worker: str, max_jobs: int = 1, **fields: object) -> None:
        """Send a claim; its answer comes to :meth:`taken`, now or later."""
        number = self._claims[worker] = self._claims.get(worker, 0) + 1
        request = ClaimJobs(
            worker=f"{worker}.1",
            number=number,
            max_jobs=max_jobs,
            **{"wait_s": 1e6, "lease_s": 30.0, **fields},  # type: ignore[arg-type]
        )
        self.engine.jobs.claim(worker, number, request)
        self.settle()

    def taken(self, worker: str) -> list[ClaimedJob]:
        """What a worker has been given since it was asked last."""
        answers = self.answers.pop(worker, [])
        return [job for answer in answers for job in answer.jobs]

    def take(self, worker: str, max_jobs: int = 1, **fields: object) -> list[str]:
        """Claim, and withdraw the claim if there is nothing; the ids of what came."""
        self.claim(worker, max_jobs, **fields)
        got = self.taken(worker)
        if not got:
            self.claim(worker, 0)
            self.answers.pop(worker, None)
        return [job.id for job in got]

    def finish(
        self,
        worker: str,
        ids: Iterable[str],
        kind: OutcomeKind = OutcomeKind.COMPLETED,
        attempt: int | None = None,
        **fields: object,
    ) -> list[bool]:
        """Say how attempts have ended; whether it counts."""
        outcomes = [
            JobOutcome(
                id=job_id,
                attempt=self.job(job_id).attempt if attempt is None else attempt,
                kind=kind,
                **fields,  # type: ignore[arg-type]
            )
            for job_id in ids
        ]
        reply = self.done(FinishJobs(worker=f"{worker}.1", outcomes=outcomes))
        assert isinstance(reply, JobsFinished)
        return reply.accepted

    def cancel(self, *ids: str) -> None:
        """Cancel jobs."""
        self.done(CancelJobs(ids=list(ids)))

    def retry(self, *ids: str) -> None:
        """Let jobs wait again."""
        self.done(RetryJobs(ids=list(ids)))

    def lose(self, worker: str) -> None:
        """The worker's process has ended."""
        self.engine.jobs.lose_mailbox(worker, f"{worker} has died")
        self.settle()

    def renew(self, worker: str, *jobs: str, **fields: object) -> tuple[list[str], ...]:
        """Renew a lease: which jobs are to be cancelled, and which are lost."""
        reply = self.engine.jobs.renew(
            RenewLeases(worker=f"{worker}.1", jobs=list(jobs), **fields)  # type: ignore[arg-type]
        )
        return reply.cancel, reply.lost

    # -------------------------------------------------------------- looking
    def jobs(self) -> dict[str, JobDocument]:
        """All jobs, as the documents say."""
        found: dict[str, JobDocument] = {}
        with (
            DataReader.open(self.config.path, max_size_gb=64, max_readers=64) as reader,
            reader.snapshot() as snapshot,
        ):
            if JOBS in {info.definition.name for info in snapshot.collections()}:
                info = snapshot.collection(JOBS)
                for _, record in snapshot.scan(info):
                    found[record_id(record)] = decode_job(record_body(record))
        return found

    def job(self, job_id: str) -> JobDocument:
        """One job."""
        return self.jobs()[job_id]

    def statuses(self) -> dict[str, str]:
        """The status of each job."""
        return {job_id: job.status for job_id, job in self.jobs().items()}

    def check_index(self) -> None:
        """Fail unless the entries of ``jobs`` follow from the documents."""
        expected: set[bytes] = set()
        counts: dict[bytes, int] = {}
        with (
            DataReader.open(self.config.path, max_size_gb=64, max_readers=64) as reader,
            reader.snapshot() as snapshot,
        ):
            names = {info.definition.name for info in snapshot.collections()}
            for row, record in (
                snapshot.scan(snapshot.collection(JOBS)) if JOBS in names else ()
            ):
                keys = keys_of(row, decode_job(record_body(record)))
                if keys.place:
                    expected.add(keys.place)
                counts[keys.counter] = counts.get(keys.counter, 0) + 1
            cursor = snapshot.txn.cursor(snapshot._tables.jobs)
            stored = {bytes(key): bytes(value) for key, value in cursor}
        assert {key for key in stored if key[:1] in b"prx"} == expected
        found = {
            key: int.from_bytes(value, "big")
            for key, value in stored.items()
            if key[:1] == b"n" and any(value)
        }
        assert found == counts
