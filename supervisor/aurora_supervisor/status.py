"""The tree's status, from the machine's states, the last heartbeats and the kernel."""

from __future__ import annotations

import os
from pathlib import Path

from aurora_actors.messages.supervision import ActorStatus, TreeStatus
from aurora_supervisor.child import Child
from aurora_supervisor.machine import TreeMachine

__all__ = ["tree_status"]


def tree_status(machine: TreeMachine, tree_id: str, clients: int) -> TreeStatus:
    """Describe the tree; its LSN is the highest that any actor has reported."""
    children = machine.children.values()
    beats = [child.last_beat for child in children if child.last_beat is not None]
    timelines = [int(beat.values.get("timeline", 0)) for beat in beats]
    return TreeStatus(
        supervisor_pid=os.getpid(),
        tree_id=tree_id,
        lsn=max((beat.lsn for beat in beats), default=0),
        timeline=max(timelines, default=0),
        clients=clients,
        actors=[_actor_status(child) for child in children],
    )


def _actor_status(child: Child) -> ActorStatus:
    beat = child.last_beat
    return ActorStatus(
        name=child.name,
        pid=child.pid,
        state=child.state.value,
        restarts=max(0, child.incarnation - 1),
        lsn=beat.lsn if beat else 0,
        mailbox_depth=beat.mailbox_depth if beat else 0,
        rss_bytes=_resident_bytes(child.pid),
        values=beat.values if beat else {},
    )


def _resident_bytes(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
    except OSError:
        return 0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
