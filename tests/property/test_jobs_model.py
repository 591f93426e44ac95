"""The state machine of jobs against a model, with clocks, crashes and restarts."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from job_desk import JobDesk

from aurora_actors.messages.jobs import (
    Backoff,
    LimitQueue,
    NewJob,
    OutcomeKind,
    PauseQueue,
    PurgeJobs,
    ResumeQueue,
)

AGEING_S = 100.0
WORKERS = st.sampled_from(["w-1", "w-2", "w-3"])
QUEUES = st.sampled_from(["a", "b"])
BACKOFF = Backoff(initial_s=50.0, factor=2.0, jitter=0.0)
ENDED = {"completed", "dead_letter", "cancelled"}


@dataclass
class Known:
    """A job as it should be."""

    id: str
    queue: str
    priority: int
    max_retries: int
    order: int
    due: float
    scheduled: bool
    key: str = ""
    status: str = "pending"
    attempt: int = 0
    tried: int = 0
    lost: int = 0
    worker: str = ""
    cancel: bool = False
    alone: bool = False

    @property
    def waits(self) -> bool:
        return self.status in {"pending", "failed"}

    @property
    def is_suspect(self) -> bool:
        return self.lost > 1 or (self.lost > 0 and self.tried >= self.max_retries)

    def wait_again(self) -> None:
        self.worker = ""
        if self.cancel:
            self.status = "cancelled"
        elif self.tried > self.max_retries:
            self.status = "dead_letter"
        else:
            self.status = "pending"


class JobsMachine(RuleBasedStateMachine):
    """Requests, clocks and accidents, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="jobs-"))
        self.desk = JobDesk(self.folder / "db", ageing_s=AGEING_S, retention_s=1e9)
        self.jobs: dict[str, Known] = {}
        self.made = 0
        self.paused: set[str] = set()
        self.limits: dict[str, int] = {}

    def teardown(self) -> None:
        self.desk.close()
        shutil.rmtree(self.folder)

    def now(self) -> float:
        return self.desk.wall

    # -------------------------------------------------------------- requests
    @rule(
        queue=QUEUES,
        priority=st.integers(0, 3),
        retries=st.integers(0, 3),
        delay=st.sampled_from([0.0, 0.0, 0.0, 40.0]),
        key=st.sampled_from(["", "", "k"]),
        count=st.integers(1, 3),
    )
    def enqueue(self, queue, priority, retries, delay, key, count):
        new = []
        for _ in range(count):
            self.made += 1
            new.append(
                NewJob(
                    id=f"j{self.made:03}",
                    job_type="t",
                    payload=b"",
                    queue=queue,
                    priority=priority,
                    max_retries=retries,
                    delay_s=delay,
                    unique_key=key,
                    backoff=BACKOFF,
                    timeout_s=0.0,
                )
            )
        self.desk.enqueue(*new)
        for job in new:
            holders = (each for each in self.jobs.values() if each.key == key)
            if key and any(each.status not in ENDED for each in holders):
                continue
            due = self.now() + delay
            self.jobs[job.id] = Known(
                job.id, queue, priority, retries, int(job.id[1:]), due, delay > 0, key
            )

    @rule(worker=WORKERS, count=st.integers(1, 4), queues=st.sampled_from([[], ["a"]]))
    def claim(self, worker, count, queues):
        expected = self.expected(worker, count, queues)
        got = self.desk.take(worker, count, queues=queues)
        assert got == [job.id for job in expected]
        for job in expected:
            job.status, job.worker, job.alone = "running", worker, job.is_suspect
            job.attempt += 1
            job.tried += 1

    def expected(self, worker: str, count: int, queues: list[str]) -> list[Known]:
        """What a claim is given when nobody else claims."""
        now, running = self.now(), [j for j in self.jobs.values() if j.worker]
        mine = [job for job in running if job.worker == worker]
        if any(job.alone for job in mine):
            return []
        room = {
            queue: limit - sum(job.queue == queue for job in running)
            for queue, limit in self.limits.items()
        }
        ready = sorted(
            (
                job
                for job in self.jobs.values()
                if job.waits
                and (not job.scheduled or job.due <= now)
                and (not queues or job.queue in queues)
                and job.queue not in self.paused
            ),
            key=lambda job: (job.due - job.priority * AGEING_S, job.order),
        )
        chosen: list[Known] = []
        for job in ready:
            if len(chosen) == count:
                break
            if room.get(job.queue, 1) < 1:
                continue
            if job.queue in room:
                room[job.queue] -= 1
            chosen.append(job)
        suspects = [job for job in chosen if job.is_suspect]
        if not suspects:
            return chosen
        if mine:
            return []
        return suspects[:1]

    @precondition(lambda self: any(job.worker for job in self.jobs.values()))
    @rule(
        data=st.data(),
        kind=st.sampled_from(list(OutcomeKind)),
        accident=st.sampled_from(["", "", "", "attempt", "worker", "twice"]),
    )
    def finish(self, data, kind, accident):
        held = sorted(job.id for job in self.jobs.values() if job.worker)
        job = self.jobs[data.draw(st.sampled_from(held))]
        worker = job.worker
        if accident == "attempt":
            late = job.attempt - 1
            assert self.desk.finish(worker, [job.id], kind, attempt=late) == [False]
            return
        if accident == "worker":
            assert self.desk.finish("w-9", [job.id], kind) == [False]
            return
        assert self.desk.finish(worker, [job.id], kind) == [True]
        self.end(job, kind)
        if accident == "twice":
            again = self.desk.finish(worker, [job.id], kind)
            assert again == [True], "a repeat of what was accepted is accepted"

    def end(self, job: Known, kind: OutcomeKind) -> None:
        job.worker = ""
        if kind is not OutcomeKind.RELEASED:
            job.lost = 0
        match kind:
            case OutcomeKind.COMPLETED:
                job.status = "completed"
            case OutcomeKind.CANCELLED:
                job.status = "cancelled"
            case OutcomeKind.RELEASED:
                job.tried -= 1
                job.wait_again()
            case OutcomeKind.DEAD | OutcomeKind.FAILED:
                if job.cancel:
                    job.status = "cancelled"
                elif kind is OutcomeKind.DEAD or job.tried > job.max_retries:
                    job.status = "dead_letter"
                else:
                    job.status, job.scheduled = "failed", True
                    job.due = self.now() + 50.0 * 2.0 ** (job.tried - 1)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data):
        job = self.jobs[data.draw(st.sampled_from(sorted(self.jobs)))]
        self.desk.cancel(job.id)
        if job.waits:
            job.status = "cancelled"
        elif job.worker:
            told = self.desk.answers.pop(job.worker, [])
            assert [each.cancel for each in told] == ([] if job.cancel else [[job.id]])
            job.cancel = True
            assert self.desk.renew(job.worker, job.id) == ([job.id], [])

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def retry(self, data):
        job = self.jobs[data.draw(st.sampled_from(sorted(self.jobs)))]
        self.desk.retry(job.id)
        if job.status not in {"dead_letter", "cancelled", "failed"}:
            return
        replaced = job.key and any(
            other.key == job.key and other.status not in ENDED and other is not job
            for other in self.jobs.values()
        )
        if job.status in ENDED and replaced:
            return
        job.status, job.scheduled, job.cancel, job.tried = "pending", False, False, 0
        job.due = self.created(job)

    def created(self, job: Known) -> float:
        return self.desk.job(job.id).created_at.timestamp()

    @rule(queue=QUEUES, limit=st.sampled_from([None, 1, 3]))
    def limit(self, queue, limit):
        self.desk.done(LimitQueue(queue=queue, concurrency=limit))
        self.limits.pop(queue, None)
        if limit is not None:
            self.limits[queue] = limit

    @rule(queue=QUEUES, pauses=st.booleans())
    def pause(self, queue, pauses):
        self.desk.done(PauseQueue(queue=queue) if pauses else ResumeQueue(queue=queue))
        (self.paused.add if pauses else self.paused.discard)(queue)

    @rule(status=st.sampled_from(["", "completed", "dead_letter"]))
    def purge(self, status):
        self.desk.done(PurgeJobs(status=status))
        for job in list(self.jobs.values()):
            if job.status in ENDED and status in {"", job.status}:
                del self.jobs[job.id]

    # -------------------------------------------------------------- accidents
    @rule(seconds=st.sampled_from([0.5, 10.0, 29.0, 60.0, 300.0]))
    def pass_time(self, seconds):
        self.desk.pass_time(seconds)
        if seconds >= 30.0:
            for worker in {job.worker for job in self.jobs.values()} - {""}:
                self.lose(worker)
        else:
            self.keep_alive()

    @rule(seconds=st.sampled_from([-3600.0, 30.0, 3600.0]))
    def set_the_clock(self, seconds):
        """The system's clock jumps; leases do not run on it."""
        if seconds > 0:
            self.desk.wall += seconds
            self.desk.settle()

    def keep_alive(self) -> None:
        for worker in {job.worker for job in self.jobs.values()} - {""}:
            held = sorted(job.id for job in self.jobs.values() if job.worker == worker)
            assert self.desk.renew(worker, *held)[1] == []

    @rule(worker=WORKERS)
    def kill(self, worker):
        self.desk.lose(worker)
        self.lose(worker)

    def lose(self, worker: str) -> None:
        for job in self.jobs.values():
            if job.worker == worker:
                job.lost += 1
                job.wait_again()

    @rule()
    def restart_the_tree(self):
        self.desk.restart(tree=True)
        for worker in {job.worker for job in self.jobs.values()} - {""}:
            self.lose(worker)

    @rule()
    def restart(self):
        self.desk.restart()
        for job in self.jobs.values():
            job.alone = False
        self.keep_alive()

    # -------------------------------------------------------------- always
    @invariant()
    def documents_are_as_in_the_model(self):
        found = self.desk.jobs()
        assert {
            job_id: (job.status, job.attempt, job.attempt - job.uncounted)
            for job_id, job in found.items()
        } == {
            job.id: (job.status, job.attempt, job.tried) for job in self.jobs.values()
        }

    @invariant()
    def the_index_follows_from_the_documents(self):
        self.desk.check_index()


def run(examples: int, steps: int) -> None:
    """Run the machine."""
    run_state_machine_as_test(
        JobsMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_jobs_behave_as_the_model_says():
    run(8, 30)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_jobs_behave_as_the_model_says_at_length():
    run(400, 60)
