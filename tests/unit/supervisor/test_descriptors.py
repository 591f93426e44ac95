"""What a process inherits and does not need is closed, whatever the limit says."""

from __future__ import annotations

import subprocess
import sys

# The limit of open files is as high as it may be; 20 and 700 are open, 20 is to stay.
_SCRIPT = """
import os, resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
from aurora_supervisor.descriptors import close_all_but
for number in (3, 20, 700):
    os.dup2(2, number)
close_all_but((20,))
found = set()
for number in range(1000):
    try:
        os.fstat(number)
    except OSError:
        continue
    found.add(number)
print(sorted(found))
"""


def test_all_but_the_standard_ones_and_those_to_keep_are_closed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[0, 1, 2, 20]"
