"""What one worker process holds, and what it has to say about it to storage.

The brain of the worker pool actor: no sockets, no loop, one thread. It asks for as many
jobs as it has room for, one claim at a time, and says how they ended, one request at a
time, so that what ends meanwhile goes along with the next.

Short jobs are claimed ahead: as many as the process gets done in about
``_AHEAD_S``, so that it need not wait for storage in between. Those that have to wait
here longer than expected, because one before them takes its time, are given back.

Invariants: every job that was claimed is in ``waiting``, in ``running``, or among the
outcomes that storage has not confirmed; each gets one outcome.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from aurora_actors.config import WorkerPoolConfig
from aurora_actors.jobs.handlers import Handler
from aurora_actors.jobs.run import Reason, Run
from aurora_actors.messages.jobs import (
    Claimed,
    ClaimJobs,
    FinishJobs,
    JobOutcome,
    JobProgress,
    RenewLeases,
    ReportProgress,
)
from aurora_actors.meters import Histogram
from aurora_actors.storage.jobs.document import decode_job

__all__ = ["Worker"]

_AHEAD_S: Final = 0.02
_MOST_AHEAD: Final = 256
_GIVE_BACK_S: Final = 0.25
_GIVE_UP_S: Final = 2.0
_REPORT_EVERY_S: Final = 0.1
_SMOOTHING: Final = 0.1
_OUTCOMES_AT_ONCE: Final = 1_000


class Worker:
    """One worker: the jobs it holds and what is to be said about them.

    Args:
        name: The worker's own name, which nobody had before.
        config: The pool's settings.
        handlers: What it can run.
        clock: Seconds, monotonic.
        wall: Seconds since 1970, by which jobs are due.

    Attributes:
        running: The runs that hosts have, begun or not.
        waiting: Jobs that wait for a free place here: hosts of several kinds do not know
            of each other. A single host is given all there is.
        draining: No more jobs are claimed or begun.
        tainted: A handler was given up that may still go on.
        ended: How many runs have ended here.
    """

    def __init__(
        self,
        name: str,
        config: WorkerPoolConfig,
        handlers: Mapping[str, Handler],
        clock: Callable[[], float],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._config = config
        self._handlers = handlers
        self._types = sorted(handlers)
        self._has_one_host = len({each.runtime for each in handlers.values()}) < 2
        self._clock = clock
        self._wall = wall
        self._run_times = Histogram("run_seconds")
        self._wait_times = Histogram("wait_seconds")
        self.running: dict[str, Run] = {}
        self.waiting: deque[Run] = deque()
        self.draining = self.tainted = False
        self.ended = self.refused = 0
        self._outcomes: list[JobOutcome] = []
        self._reports: dict[str, JobProgress] = {}
        self._alive: set[str] = set()
        self._claim: ClaimJobs | None = None
        self._claims = 0
        self._is_finishing = False
        self._typical_s = math.inf
        self._next_report = 0.0
        self._look_at = math.inf
        self._next_renewal = clock() + config.lease_s / 3

    @property
    def job_types(self) -> list[str]:
        """What it can run."""
        return self._types

    # -------------------------------------------------------------- claiming
    @property
    def ahead(self) -> int:
        """How many jobs are claimed beyond those that can run at once."""
        concurrency = self._config.concurrency
        if self._typical_s * _MOST_AHEAD <= _AHEAD_S * concurrency:
            return _MOST_AHEAD
        return int(_AHEAD_S * concurrency / self._typical_s)

    def next_claim(self) -> ClaimJobs | None:
        """The claim that is to be sent now, if any."""
        if self._claim is not None or self.draining or not self._types:
            return None
        held = len(self.running) + len(self.waiting)
        ahead = self.ahead
        room = self._config.concurrency + ahead - held
        if room < max(1, ahead // 2):
            return None
        return self._new_claim(room)

    def withdrawal(self) -> ClaimJobs | None:
        """What takes back the claim that is under way, if there is one."""
        return None if self._claim is None else self._new_claim(0)

    def _new_claim(self, room: int) -> ClaimJobs:
        self._claims += 1
        self._renewed()
        self._claim = ClaimJobs(
            worker=self.name,
            number=self._claims,
            queues=self._config.queues,
            job_types=self._types,
            max_jobs=room,
            wait_s=self._config.poll_interval_s,
            lease_s=self._config.lease_s,
        )
        return self._claim

    @property
    def is_claiming(self) -> bool:
        """Whether a claim is under way."""
        return self._claim is not None

    def claimed(self, claim: ClaimJobs, answer: Claimed) -> list[Run]:
        """Take what a claim has brought; returns runs that are to be cancelled."""
        if self._claim is not None and claim.number == self._claim.number:
            self._claim = None
        now, moment = self._clock(), self._wall()
        for claimed in answer.jobs:
            if claimed.id in self.running:
                continue  # the answer to a claim that was sent twice
            job = decode_job(claimed.document)
            handler = self._handlers.get(job.job_type)
            if handler is not None:
                due = (job.run_at or job.created_at).timestamp()
                run = Run(claimed, job, handler, now, max(0.0, moment - due))
                self.waiting.append(run)
                self._look_before(now + min(run.limit_s, _GIVE_BACK_S))
        if self.draining:
            self._give_back(Reason.SHUTDOWN)
        return self.to_cancel(answer.cancel)

    def to_cancel(self, ids: Iterable[str]) -> list[Run]:
        """The runs of these jobs, which are to be cancelled."""
        found = []
        wanted = set(ids)
        self._give_back(Reason.CANCELLED, wanted)
        for job_id in wanted:
            running = self.running.get(job_id)
            if running is not None and running.reason is None:
                found.append(self._interrupt(running, Reason.CANCELLED))
        return found

    # -------------------------------------------------------------- running
    def startable(self) -> list[Run]:
        """The runs to be begun now."""
        runs: list[Run] = []
        free = self._config.concurrency - len(self.running)
        if self._has_one_host:
            free = len(self.waiting)
        if self.draining:
            return runs
        while self.waiting and free > 0:
            run = self.waiting.popleft()
            self.running[run.id] = run
            runs.append(run)
            free -= 1
        return runs

    def done(self, run: Run) -> None:
        """A host has finished a run."""
        if self.running.get(run.id) is not run:
            return  # given up before
        del self.running[run.id]
        self.ended += 1
        took_s = self._measured(run)
        if self._typical_s == math.inf:
            self._typical_s = took_s
        else:
            self._typical_s += _SMOOTHING * (took_s - self._typical_s)
        self._note(run)

    def _measured(self, run: Run) -> float:
        """Count a run that has ended; returns how long it took."""
        if not run.started_at:
            return 0.0
        took_s = self._clock() - run.started_at
        self._run_times.record(took_s)
        self._wait_times.record(run.late_s + run.started_at - run.queued_at)
        return took_s

    def statistics(self) -> dict[str, int | float]:
        """Counters, and how long jobs took and had waited."""
        return {
            "jobs_running": len(self.running),
            "jobs_waiting": len(self.waiting),
            "jobs_ended": self.ended,
            "outcomes_refused": self.refused,
            "handlers": len(self._types),
            "draining": int(self.draining),
            **self._run_times.statistics(),
            **self._wait_times.statistics(),
        }

    def _note(self, run: Run) -> None:
        if run.outcome is not None and run.reason is not Reason.LOST:
            self._outcomes.append(run.outcome)

    def _interrupt(self, run: Run, reason: Reason) -> Run:
        run.reason = reason
        run.interrupted_at = self._clock()
        self._look_before(run.interrupted_at + _GIVE_UP_S)
        return run

    def report(self, run: Run, fraction: float | None, note: str) -> None:
        """A handler says how far it is; from any thread."""
        self._reports[run.id] = JobProgress(
            id=run.id, attempt=run.attempt, fraction=fraction, note=note
        )

    def alive(self, run: Run) -> None:
        """A handler says that it goes on; from any thread."""
        run.deadline = self._clock() + run.limit_s
        self._alive.add(run.id)

    # -------------------------------------------------------------- time
    def overdue(self) -> list[Run]:
        """Look at the clock; returns the runs that are to be interrupted now.

        Those that were and have not ended are given up: they have their outcome.
        """
        now = self._clock()
        interrupted: list[Run] = []
        if now < self._look_at:
            return interrupted
        self._look_at = math.inf
        stale = set()
        for run in [*self.running.values(), *self.waiting]:
            if run.reason is not None:
                if now >= run.interrupted_at + _GIVE_UP_S:
                    self._give_up(run)
                else:
                    self._look_before(run.interrupted_at + _GIVE_UP_S)
            elif run.started_at and now >= run.deadline:
                interrupted.append(self._interrupt(run, Reason.TIMEOUT))
            elif run.started_at:
                self._look_before(run.deadline)
            elif now >= run.queued_at + _GIVE_BACK_S:
                stale.add(run.id)
            else:
                self._look_before(run.queued_at + _GIVE_BACK_S)
        if stale:
            self._typical_s = max(self._typical_s, _GIVE_BACK_S)
            self._give_back(Reason.SHUTDOWN, stale)
        return interrupted

    def _look_before(self, moment: float) -> None:
        self._look_at = min(self._look_at, moment)

    def _give_up(self, run: Run) -> None:
        del self.running[run.id]
        self._measured(run)
        self.tainted = True
        run.was_interrupted()
        self._note(run)

    def _give_back(self, reason: Reason, ids: set[str] | None = None) -> None:
        """Withdraw runs that have not begun, wherever they are."""
        for run in [*self.running.values(), *self.waiting]:
            if (ids is None or run.id in ids) and run.withdraw(reason):
                if self.running.pop(run.id, None) is None:
                    self.waiting.remove(run)
                self._note(run)

    def next_look(self) -> float:
        """When :meth:`overdue` or :meth:`renewal` has something to do."""
        moment = self._look_at
        if self._has_lease:
            moment = min(moment, self._next_renewal)
        if self._reports or self._alive:
            moment = min(moment, self._next_report)
        return moment

    # -------------------------------------------------------------- ending
    def drain(self) -> None:
        """Claim and begin nothing more; what has not begun goes back."""
        self.draining = True
        self._give_back(Reason.SHUTDOWN)

    def end_all(self) -> list[Run]:
        """The time to drain is over: all runs are to be interrupted, and go back."""
        return [
            self._interrupt(run, Reason.SHUTDOWN)
            for run in self.running.values()
            if run.reason is None
        ]

    def give_up_all(self) -> None:
        """Give back even what has not ended."""
        for run in list(self.running.values()):
            self._give_up(run)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held, and all that was has been confirmed."""
        return not (
            self.running
            or self.waiting
            or self._outcomes
            or self._is_finishing
            or self._claim is not None
        )

    # -------------------------------------------------------------- saying
    def next_finish(self) -> FinishJobs | None:
        """How runs have ended that storage was not told of, if it is to be told now."""
        if not self._outcomes or self._is_finishing:
            return None
        now, later = (
            self._outcomes[:_OUTCOMES_AT_ONCE],
            self._outcomes[_OUTCOMES_AT_ONCE:],
        )
        self._outcomes = later
        self._is_finishing = True
        self._renewed()
        return FinishJobs(worker=self.name, outcomes=now)

    def confirmed(self, accepted: Iterable[bool]) -> int:
        """Storage has answered; returns how many outcomes it has refused."""
        self._is_finishing = False
        refused = sum(not each for each in accepted)
        self.refused += refused
        return refused

    def not_confirmed(self, request: FinishJobs) -> None:
        """Storage could not take outcomes: they are sent again."""
        self._is_finishing = False
        self._outcomes[:0] = request.outcomes

    def next_report(self) -> ReportProgress | None:
        """What handlers have said, if it is time to pass it on."""
        now = self._clock()
        if not self._reports or now < self._next_report:
            return None
        reports, self._reports = self._reports, {}
        self._next_report = now + _REPORT_EVERY_S
        still = [each for job_id, each in reports.items() if job_id in self.running]
        return ReportProgress(worker=self.name, reports=still) if still else None

    def renewal(self) -> RenewLeases | None:
        """What keeps the lease, if it is time for that."""
        now = self._clock()
        alive = bool(self._alive) and now >= self._next_report
        if not alive and (now < self._next_renewal or not self._has_lease):
            return None
        told, self._alive = self._alive, set()
        self._renewed()
        self._next_report = now + _REPORT_EVERY_S
        held = [*self.running, *(run.id for run in self.waiting)]
        return RenewLeases(
            worker=self.name,
            jobs=held,
            lease_s=self._config.lease_s,
            alive=sorted(told),
        )

    @property
    def _has_lease(self) -> bool:
        """Whether there is something that a lease keeps: jobs, or a claim that waits."""
        return bool(self.running or self.waiting or self._claim)

    def _renewed(self) -> None:
        self._next_renewal = self._clock() + self._config.lease_s / 3

    def lost(self, ids: Iterable[str]) -> list[Run]:
        """Jobs that are this worker's no more; returns runs to be interrupted."""
        wanted = set(ids)
        self._give_back(Reason.LOST, wanted)
        return [
            self._interrupt(run, Reason.LOST)
            for run in self.running.values()
            if run.id in wanted and run.reason is None
        ]
