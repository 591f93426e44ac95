"""Measure the database against the limits of the machine it runs on.

``make bench`` prints ratios: to a bare LMDB look-up, to a bare nng round trip, to a bare
log write. Absolute times are those of this machine at this moment.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from aql import aql
from crashes import recovery, strict
from gateway import gateway
from indexing import indexing
from jobs import background_jobs
from latency import latency
from limits import Limits, measure_limits
from live import fan_out, matching, memory, under_load
from report import Report
from workloads import (
    concurrent_writes,
    deletes,
    point_reads,
    scans,
    single_writes,
    startup,
)

WORKLOADS: dict[str, Callable[[Path, Limits, Report], None]] = {
    "startup": startup,
    "reads": point_reads,
    "writes": single_writes,
    "concurrent": concurrent_writes,
    "deletes": deletes,
    "scans": scans,
    "indexing": indexing,
    "strict": strict,
    "recovery": recovery,
    "aql": aql,
    "live_latency": latency,
    "live_under_load": under_load,
    "live_matching": matching,
    "live_fan_out": fan_out,
    "jobs": background_jobs,
    "live_memory": memory,
    "gateway": gateway,
}


def main() -> None:
    """Run the chosen workloads, all by default, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", nargs="*", choices=[*WORKLOADS, []], default=[])
    chosen = parser.parse_args().workload or list(WORKLOADS)
    report = Report()
    with tempfile.TemporaryDirectory(prefix="aurora-bench-") as directory:
        limits = measure_limits(Path(directory))
        report.limits(limits)
        for name in chosen:
            WORKLOADS[name](Path(directory), limits, report)
    report.show()


if __name__ == "__main__":
    main()
