"""Trees of real processes: start, attach, status, stop, and the command line."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from supervised import (
    ACTORS,
    TREE,
    Supervised,
    next_of,
    read_status,
    rest_of,
    standalone,
    tree,
)
from support import DEADLINE_S, wait_until

from aurora_actors.client.launch import (
    connect_running,
    join_tree,
    launch_or_find,
    open_tree,
)
from aurora_actors.errors import (
    ConfigError,
    CorruptionError,
    ProtocolError,
    TimeoutError_,
    TreeDownError,
    UnavailableError,
    UsageError,
)
from aurora_actors.messages.base import Failure
from aurora_actors.messages.framing import encode_frame
from aurora_actors.messages.supervision import (
    Attach,
    Done,
    RestartActor,
    StopTree,
    TreeStopping,
)

__all__ = ["tree"]

pytestmark = pytest.mark.processes


# ------------------------------------------------------------------ start and stop
def test_the_first_application_starts_the_tree_and_the_last_one_stops_it(
    tree: Supervised,
):
    with tree.open() as first:
        assert first.attached.incarnations == dict.fromkeys(ACTORS, 1)
        with tree.open() as second:
            assert second.attached.tree_id == first.attached.tree_id
            first.leave(DEADLINE_S)
            assert read_status(second).clients == 1
            second.leave(DEADLINE_S)
    assert not psutil.pid_exists(first.attached.supervisor_pid)
    tree.nothing_left(0.1)
    assert {entry.name for entry in tree.path.iterdir()} == {
        "aurora.log",
        "lock",
        "notes",
    }


def test_actors_start_in_order_and_stop_in_reverse(tree: Supervised):
    with tree.open() as application:
        application.leave(DEADLINE_S)
    started = [line.split()[1] for line in tree.notes() if "start" in line]
    stopped = [line.split()[1] for line in tree.notes() if "stop" in line]
    assert started[0] == stopped[-1] == "first"
    assert set(started) == set(stopped) == ACTORS


def test_processes_sockets_and_files_are_the_owners_alone(tree: Supervised):
    with tree.open() as application:
        runtime = Path(application.attached.runtime_dir)
        private = [tree.path, runtime]
        assert [stat.S_IMODE(path.stat().st_mode) for path in private] == [0o700] * 2
        files = [tree.path / "lock", tree.path / "supervisor.json"]
        files += [tree.path / "aurora.log", runtime / "attach.sock"]
        assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600] * 4
        application.leave(DEADLINE_S)


def test_actors_have_process_groups_of_their_own_and_no_descriptor_of_the_application(
    tree: Supervised,
):
    foreign = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(foreign, True)
    with tree.open() as application:
        os.close(foreign)
        for process in tree.processes():
            names = {
                str(entry.readlink())
                for entry in Path(f"/proc/{process.pid}/fd").iterdir()
            }
            assert "/etc/hostname" not in names
            is_supervisor = process.pid == application.attached.supervisor_pid
            assert (str(tree.path / "lock") in names) == is_supervisor
            # Ctrl-C is for the application; the scheduler is to see one session.
            assert os.getpgid(process.pid) != os.getpgid(0)
            assert os.getsid(process.pid) == os.getsid(0)
        application.leave(DEADLINE_S)


def test_titles_say_what_each_process_is(tree: Supervised):
    with tree.open() as application:
        titles = {process.cmdline()[0].strip("\0") for process in tree.processes()}
        assert titles == {
            f"aurora: {name} {tree.path}" for name in ACTORS | {"supervisor", "zygote"}
        }
        application.leave(DEADLINE_S)


def test_output_of_the_actors_is_in_the_log_with_their_names(tree: Supervised):
    with tree.open() as application:
        application.leave(DEADLINE_S)
    assert " WARNING second-0: plain text\n" in tree.log()
    assert " INFO first small_tree: a record number=7\n" in tree.log()


def test_closing_without_a_word_stops_the_tree_too(tree: Supervised):
    tree.open().close()
    tree.nothing_left()
    assert not (tree.path / "supervisor.json").exists()


def test_the_database_can_be_opened_again_at_once(tree: Supervised):
    for _ in range(3):
        tree.open().close()
    with tree.open() as application:
        application.leave(DEADLINE_S)


def test_racing_openers_share_one_tree(tree: Supervised):
    together = threading.Barrier(6)

    def join(_number: int):
        together.wait()
        return tree.open()

    with ThreadPoolExecutor(6) as threads:
        connections = list(threads.map(join, range(6)))
    assert len({c.attached.supervisor_pid for c in connections}) == 1
    assert read_status(connections[0]).clients == 6
    assert len([n for n in tree.notes() if n.startswith("start first")]) == 1
    for connection in connections:
        connection.leave(DEADLINE_S)


def test_leaving_is_announced_to_the_actors_and_clears_the_mailbox(tree: Supervised):
    with tree.open() as stays:
        runtime = Path(stays.attached.runtime_dir)
        for leave in ("orderly", "abrupt"):
            name = f"guest-{leave}"
            guest = open_tree(tree.config(), name, tree=TREE)
            (runtime / f"{name}.ipc").touch()
            if leave == "orderly":
                guest.leave(DEADLINE_S)
            else:
                guest.close()
            wait_until_gone(tree, name)
            assert not (runtime / f"{name}.ipc").exists()
        stays.leave(DEADLINE_S)


def wait_until_gone(tree: Supervised, name: str) -> None:
    told = {f"gone {name} {actor}" for actor in ACTORS}
    wait_until(lambda: told <= set(tree.notes()), f"{name} announced as gone")


# ------------------------------------------------------------------ what is refused
def test_other_settings_than_the_running_trees_are_refused_by_name(tree: Supervised):
    with tree.open() as application:
        with pytest.raises(ConfigError, match="hot_cache_size_mb: 7 here, 256 in the"):
            tree.open(hot_cache_size_mb=7)
        with open_tree(str(tree.path), "takes-it-as-it-is", tree=TREE) as other:
            assert other.attached.config == application.attached.config
            other.leave(DEADLINE_S)
        application.leave(DEADLINE_S)


def test_a_mailbox_name_that_is_taken_or_malformed_is_refused(tree: Supervised):
    with tree.open() as application:
        for name in ("first", "supervisor", "c-0", "../evil", ""):
            with pytest.raises(UsageError, match="mailbox name"):
                open_tree(tree.config(), name, tree=TREE)
        application.leave(DEADLINE_S)


def test_a_process_of_the_tree_is_served_but_does_not_keep_it_alive(tree: Supervised):
    application = tree.open()
    with join_tree(tree.config().path, "member-1", DEADLINE_S) as member:
        assert read_status(application).clients == 1
        application.leave(DEADLINE_S)
        assert isinstance(next_of(member, TreeStopping), TreeStopping)
    with pytest.raises(TreeDownError, match="no tree serves"):
        join_tree(tree.config().path, "member-2", DEADLINE_S)


def test_the_last_application_may_leave_while_a_process_of_the_tree_attaches(
    tree: Supervised,
):
    application = tree.open()
    with launch_or_find(tree.config()) as late:
        application.leave(DEADLINE_S)
        late.attach(Attach(client="member-1", pid=os.getpid(), member=True), DEADLINE_S)
        assert isinstance(next_of(late, TreeStopping), TreeStopping)


def test_another_protocol_version_is_refused(tree: Supervised):
    with tree.open() as application:
        with (
            launch_or_find(tree.config()) as stranger,
            pytest.raises(ProtocolError, match="speaks protocol version 99"),
        ):
            stranger.attach(Attach(version=99, client="x", pid=1), DEADLINE_S)
        application.leave(DEADLINE_S)


def test_a_stream_that_makes_no_sense_gets_a_failure_and_is_closed(tree: Supervised):
    # An absurd length, no msgpack, and who is not attached.
    datas = [b"\xff\xff\xff\xff", encode_frame(b"\xc1"), encode_frame(StopTree())]
    with tree.open() as application:
        for data in datas:
            with launch_or_find(tree.config()) as stranger:
                stranger.socket.sendall(data)
                failure = stranger.receive(DEADLINE_S)
                assert isinstance(failure, Failure), data
                assert failure.code == ProtocolError.code
                assert stranger.receive(DEADLINE_S) is None
            assert read_status(application).clients == 1
        application.leave(DEADLINE_S)


def test_a_path_that_is_a_file_is_refused_before_anything_starts(tree: Supervised):
    tree.path.write_text("precious")
    with pytest.raises(ConfigError, match="is a file"):
        tree.open()
    assert tree.path.read_text() == "precious"


# ------------------------------------------------------------------ failing starts
def test_an_actors_own_reason_why_it_cannot_start_reaches_the_opener(tree: Supervised):
    tree.behave("second-0", "refuse")
    with pytest.raises(CorruptionError, match="the log is damaged") as caught:
        tree.open()
    assert caught.value.context == {"file": "wal/1.log", "offset": 7}
    tree.nothing_left()
    tree.behave("second-0")
    with tree.open() as application:
        application.leave(DEADLINE_S)


def test_an_actor_that_only_dies_fails_the_start_with_its_last_words(tree: Supervised):
    tree.behave("first", "die")
    with pytest.raises(UnavailableError) as caught:
        tree.open()
    assert not isinstance(caught.value, TreeDownError)
    assert "first was started 3 times and never became ready" in caught.value.message
    assert "ended with status 3 (a last word)" in caught.value.message


def test_a_tree_module_that_does_not_exist_is_said_clearly(tree: Supervised):
    with pytest.raises(ConfigError, match="no_such_tree describes no tree"):
        open_tree(tree.config(), "c", tree="no_such_tree")


def test_an_opener_that_gives_up_leaves_nothing_behind(tree: Supervised):
    with pytest.raises(TimeoutError_):
        tree.open(timeout_s=0.05)
    tree.nothing_left()


# ------------------------------------------------------------------ commands
def test_status_shows_every_process_with_its_vital_signs(tree: Supervised):
    with tree.open() as application:
        wait_until(
            lambda: all(actor.lsn for actor in read_status(application).actors),
            "heartbeats",
        )
        shown = tree.command("status", str(tree.path), "--json")
        assert shown.returncode == 0
        status = json.loads(shown.stdout)
        assert status["clients"] == 1
        assert (status["lsn"], status["timeline"]) == (41, 2)
        assert {actor["name"] for actor in status["actors"]} == ACTORS
        for entry in status["actors"]:
            assert entry["state"] == "ready"
            assert entry["rss_bytes"] > 1 << 20
            assert psutil.pid_exists(entry["pid"])
        table = tree.command("status", str(tree.path)).stdout
        assert all(name in table for name in ACTORS)
        application.leave(DEADLINE_S)


def test_restart_replaces_one_actor_gently(tree: Supervised):
    with tree.open() as application:
        before = {actor.name: actor.pid for actor in read_status(application).actors}
        assert tree.command("restart", str(tree.path), "first").returncode == 0
        status = {actor.name: actor for actor in read_status(application).actors}
        assert status["first"].pid != before["first"]
        assert status["first"].restarts == 1
        assert status["second-0"].pid == before["second-0"]
        assert "stop first" in tree.notes()
        wrong = tree.command("restart", str(tree.path), "nobody")
        assert wrong.returncode == 1
        assert "no actor is called 'nobody'; there are: first" in wrong.stderr
        application.leave(DEADLINE_S)


def test_stop_ends_the_tree_under_its_applications(tree: Supervised):
    with tree.open() as application:
        assert tree.command("stop", str(tree.path)).returncode == 0
        tree.nothing_left()
        assert TreeStopping() in rest_of(application)


def test_commands_say_when_nobody_is_there(tree: Supervised):
    for command in (["status"], ["stop"], ["restart", "first"]):
        result = tree.command(command[0], str(tree.path), *command[1:])
        assert result.returncode == 3
        assert "nobody runs" in result.stderr


def test_an_application_may_restart_and_watch(tree: Supervised):
    with tree.open() as application:
        watcher = connect_running(tree.path)
        assert watcher is not None
        application.send(RestartActor(name="second-1"))
        assert next_of(application, Done) == Done()
        assert read_status(watcher).clients == 1
        application.leave(DEADLINE_S)
        assert TreeStopping() in rest_of(watcher)
        watcher.close()


# ------------------------------------------------------------------ standalone
def test_a_standalone_tree_outlives_its_applications_and_stops_on_sigterm(
    tree: Supervised,
):
    with standalone(tree, "--db", str(tree.path)) as process:
        for _ in range(2):
            with open_tree(str(tree.path), "c-1") as application:
                assert application.attached.supervisor_pid == process.pid
                application.leave(DEADLINE_S)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
    tree.nothing_left(0.1)


def test_a_standalone_tree_needs_no_standard_error(tree: Supervised):
    closed = ("sh", "-c", 'exec "$@" 2>&-', "sh")
    with (
        standalone(tree, "--db", str(tree.path), shell=closed) as process,
        open_tree(str(tree.path), "c-1") as application,
    ):
        assert application.attached.supervisor_pid == process.pid
        application.leave(DEADLINE_S)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0


_BLOCKING = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_standalone_tree_hears_signals_that_its_starter_blocks(tree: Supervised):
    shell = (sys.executable, "-c", _BLOCKING)
    with standalone(tree, "--db", str(tree.path), shell=shell) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0


def test_signals_at_the_end_of_a_tree_do_not_keep_it_from_clearing_up(
    tree: Supervised,
):
    with standalone(tree, "--db", str(tree.path)) as process:
        while process.poll() is None:
            process.send_signal(signal.SIGTERM)
            time.sleep(0.001)
        # The interpreter's own end is too late to be guarded.
        assert process.returncode in {0, -signal.SIGTERM}
        assert not list(tree.runtime_dir.glob("aurora-*"))


def test_a_standalone_tree_reads_its_configuration_file(tree: Supervised):
    file = tree.path.with_suffix(".toml")
    file.write_text(f'db_path = "{tree.path}"\nhot_cache_size_mb = 9\n')
    with standalone(tree, "--config", str(file)) as process:
        second = tree.command("run", "--db", str(tree.path))
        assert second.returncode == 4
        assert f"is run already by process {process.pid}" in second.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 0


def test_a_standalone_tree_that_cannot_start_says_why(tree: Supervised):
    tree.behave("first", "refuse")
    result = tree.command("run", "--db", str(tree.path), "--tree", TREE)
    assert result.returncode == 1
    assert result.stderr.endswith("aurora-supervisor: the log is damaged\n")


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["run"], 2, "needs --db PATH or --config FILE"),
        (["run", "--embedded"], 2, "needs --lock-fd and --ready-fd"),
        (["run", "--db", "/nowhere/my.db"], 5, "/nowhere does not exist"),
        (["run", "--config", "/nowhere.toml"], 5, "cannot read /nowhere.toml"),
        (["run", "--colour"], 2, "unrecognized arguments"),
        (["status"], 2, "required: PATH"),
    ],
)
def test_wrong_commands_have_their_own_exit_status(
    tree: Supervised, arguments: list[str], status: int, text: str
):
    result = tree.command(*arguments)
    assert result.returncode == status
    assert text in result.stderr


def test_the_service_manager_is_told_of_start_and_stop(
    tree: Supervised, runtime_dir: Path
):
    with standalone(tree, "--db", str(tree.path)) as process:
        (runtime_dir / "notify").unlink()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(runtime_dir / "notify"))
            manager.settimeout(DEADLINE_S)
            process.send_signal(signal.SIGTERM)
            assert manager.recv(100) == b"STOPPING=1"
