"""``aurora-supervisor`` from outside: logs, reload, pid and ready files, JSON answers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from supervised import Supervised, read_status, standalone, tree
from support import DEADLINE_S, wait_until

from aurora_actors.client.launch import connect_running

__all__ = ["tree"]

pytestmark = pytest.mark.processes


def configure(tree: Supervised, **settings: object) -> Path:
    """Write a configuration file."""
    file = tree.path.with_suffix(".toml")
    lines = [f'db_path = "{tree.path}"', "heartbeat_interval_ms = 20"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    file.write_text("\n".join(lines))
    return file


def test_marker_files_are_there_while_the_tree_is(tree: Supervised, tmp_path: Path):
    pid_file, ready_file = tmp_path / "aurora.pid", tmp_path / "aurora.ready"
    ready_file.write_text("left over")
    arguments = ("--pid-file", str(pid_file), "--ready-file", str(ready_file))
    with standalone(tree, "--db", str(tree.path), *arguments) as process:
        wait_until(ready_file.exists, "the ready file")
        assert int(pid_file.read_text()) == process.pid == int(ready_file.read_text())
    assert not pid_file.exists()
    assert not ready_file.exists()


def test_a_marker_file_that_cannot_be_written_is_an_error_of_the_configuration(
    tree: Supervised,
):
    result = tree.command("run", "--db", str(tree.path), "--pid-file", "/nowhere/pid")
    assert result.returncode == 5
    assert "/nowhere/pid" in result.stderr


def test_logs_are_shown_filtered_and_followed(tree: Supervised):
    with standalone(tree, "--db", str(tree.path)):
        wait_until(lambda: "tree started" in tree.log(), "the tree's start")
        shown = tree.command("logs", str(tree.path), "--actor", "supervisor")
        assert "tree started" in shown.stdout
        entries = [
            json.loads(line)
            for line in tree.command(
                "logs", str(tree.path), "--json", "-n", "3"
            ).stdout.splitlines()
        ]
        assert len(entries) == 3
        assert {"time", "level", "actor", "message"} <= entries[0].keys()
        errors = tree.command("logs", str(tree.path), "--level", "error")
        assert errors.stdout == ""
        with subprocess.Popen(
            [
                *(sys.executable, "-m", "aurora_supervisor", "logs"),
                *(str(tree.path), "--follow", "-n", "1", "--actor", "supervisor"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        ) as following:
            assert following.stdout is not None
            assert "tree started" in following.stdout.readline()
            assert tree.command("restart", str(tree.path), "first").returncode == 0
            assert "actor ready" in following.stdout.readline()
            following.send_signal(signal.SIGINT)
            assert following.wait(DEADLINE_S) == 130
    # The log outlives the tree.
    assert "tree started" in tree.command("logs", str(tree.path)).stdout


def test_log_lines_can_be_json(tree: Supervised):
    with standalone(tree, "--db", str(tree.path), "--log-format", "json"):
        wait_until(lambda: "tree started" in tree.log(), "the tree's start")
        lines = tree.log().splitlines()
    entries = [json.loads(line) for line in lines]
    started = next(e for e in entries if e["message"] == "tree started")
    assert started["actor"] == "supervisor"
    assert started["level"] == "INFO"
    assert started["extra"]["tree_id"]


def test_a_reload_takes_over_what_can_change_and_names_the_rest(tree: Supervised):
    file = configure(tree)
    with standalone(tree, "--config", str(file)) as process:
        configure(tree, log_format="json", max_restarts=3, max_readers=99)
        assert tree.command("reload", str(tree.path)).returncode == 0
        wait_until(lambda: "configuration reloaded" in tree.log(), "the reload")
        assert "need a restart of the tree settings=['max_readers']" in tree.log()
        assert "settings=['max_restarts', 'log_format']" in tree.log()
        connection = connect_running(tree.path)
        assert connection is not None
        with connection:
            assert read_status(connection).supervisor_pid == process.pid
        file.write_text("nonsense =")
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: "the configuration stays" in tree.log(), "the refusal")
        last = json.loads(tree.log().splitlines()[-1])
        assert last["level"] == "ERROR"
        assert "not valid TOML" in last["extra"]["reason"]


def test_commands_answer_and_refuse_in_json(tree: Supervised):
    for command in (["status"], ["stop"], ["restart", "first"], ["reload"]):
        result = tree.command(command[0], str(tree.path), *command[1:], "--json")
        assert result.returncode == 3
        assert json.loads(result.stderr)["error"]["code"] == "unavailable.tree_down"
    with standalone(tree, "--db", str(tree.path)):
        path = str(tree.path)
        done = tree.command("restart", path, "first", "--json")
        assert json.loads(done.stdout) == {"restarted": "first"}
        wrong = tree.command("restart", path, "nobody", "--json")
        assert wrong.returncode == 1
        assert "nobody" in json.loads(wrong.stderr)["error"]["message"]
        done = tree.command("stop", path, "--json")
        assert json.loads(done.stdout) == {"stopped": True}
