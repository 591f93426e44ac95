"""The zygote that is forked begins as one that is executed does."""

from __future__ import annotations

import json
import subprocess
import sys

# What the child finds: its arguments, blocked signals, descriptors, and import path.
_SCRIPT = """
import json, os, signal, socket, sys
from aurora_supervisor.spawn import fork_zygote

def run(arguments):
    control, *others = arguments
    descriptors = [int(name) for name in os.listdir("/proc/self/fd")]
    with socket.socket(fileno=int(control)) as answers:
        blocked = [*signal.pthread_sigmask(signal.SIG_BLOCK, ())]
        stray = {fd for fd in descriptors if fd > 2 and fd != int(control)}
        stray = [fd for fd in stray if os.path.exists(f"/proc/self/fd/{fd}")]
        found = [others, blocked, stray, sys.path]
        answers.send(json.dumps(found).encode())
    return 7

os.dup2(2, 700)
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD, signal.SIGTERM))
zygote = fork_zygote("directory", "tree", run)
found = json.loads(zygote.control.recv(65536))
status = os.waitstatus_to_exitcode(os.waitpid(zygote.pid, 0)[1])
print(json.dumps([*found, sys.path, status]))
"""


def test_a_forked_zygote_is_as_one_that_was_executed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True
    )
    arguments, blocked, stray, path, whole_path, status = json.loads(done.stdout)
    assert arguments == ["directory", "tree"]
    assert (blocked, stray, status) == ([], [], 7)
    # The first is where the command is, or where it was called.
    assert path == whole_path[1:]
