"""The verbs of ``aurora jobs`` and ``aurora schedules``; their work is in ``cli.jobs``."""

from __future__ import annotations

from typing import Final

from aurora_actors.cli.command import PATH, Command, argument

__all__ = ["JOB_COMMANDS", "JOB_GROUPS"]

_STATUS: Final = argument(
    "--status",
    choices=("pending", "running", "failed", "completed", "dead_letter", "cancelled"),
    help="only jobs of this status",
)
_JOB_IDS: Final = argument("id", nargs="+", help="the job; may be several")
_SCHEDULES: Final = argument("name", nargs="+", help="the schedule; may be several")

JOB_GROUPS: Final = {
    "jobs": "background jobs",
    "schedules": "jobs that are enqueued at their times",
}

JOB_COMMANDS: Final[dict[str, Command]] = {
    "jobs list": Command(
        "jobs:list_",
        "list jobs, those enqueued last first",
        "aurora jobs list myapp.db --status dead_letter --queue mail",
        [
            PATH,
            _STATUS,
            argument("--queue", help="only jobs of this queue"),
            argument("--type", help="only jobs of this type"),
            argument(
                "--limit", type=int, default=50, help="at most so many (default: 50)"
            ),
        ],
    ),
    "jobs show": Command(
        "jobs:show",
        "show one job with its errors and their tracebacks",
        "aurora jobs show myapp.db 019f2b7c-7d6e-7000-8000-000000000000",
        [PATH, argument("id", help="the job")],
    ),
    "jobs retry": Command(
        "jobs:retry",
        "let dead letters and cancelled jobs wait again, with all their attempts",
        "aurora jobs retry myapp.db --dead-letters --queue mail",
        [
            PATH,
            argument("id", nargs="*", help="the job; may be several"),
            argument("--dead-letters", action="store_true", help="all dead letters"),
            argument("--queue", help="with --dead-letters: only those of this queue"),
        ],
    ),
    "jobs cancel": Command(
        "jobs:cancel",
        "cancel jobs: waiting ones at once, running ones by telling their handlers",
        "aurora jobs cancel myapp.db 019f2b7c-7d6e-7000-8000-000000000000",
        [PATH, _JOB_IDS],
    ),
    "jobs stats": Command(
        "jobs:stats",
        "show how many jobs there are, by queue and status",
        "aurora jobs stats myapp.db",
        [PATH],
    ),
    "jobs purge": Command(
        "jobs:purge",
        "remove jobs that have ended",
        "aurora jobs purge myapp.db --status completed --older-than 7d",
        [
            PATH,
            _STATUS,
            argument(
                "--older-than",
                metavar="TIME",
                help="only those that ended so long ago, like 30m, 12h or 7d",
            ),
        ],
    ),
    "schedules list": Command(
        "jobs:schedules",
        "list the schedules, and when they are due",
        "aurora schedules list myapp.db",
        [PATH],
    ),
    "schedules pause": Command(
        "jobs:pause_schedule",
        "leave out the ticks of schedules until they are resumed",
        "aurora schedules pause myapp.db nightly",
        [PATH, _SCHEDULES],
    ),
    "schedules resume": Command(
        "jobs:resume_schedule",
        "go on with paused schedules, from their next ticks",
        "aurora schedules resume myapp.db nightly",
        [PATH, _SCHEDULES],
    ),
}
