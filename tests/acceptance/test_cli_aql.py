"""``aurora query`` and ``aurora shell`` as their users run them, the shell at a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import no_process_left

from aurora_actors import blocking

pytestmark = pytest.mark.processes

AURORA = Path(sys.executable).with_name("aurora")


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Iterator[Path]:
    """A database that runs, so that each command attaches to it."""
    path = tmp_path_factory.mktemp("cli") / "my.db"
    with blocking.open(path) as db:
        db.execute(
            """schema { define collection users { name: String! @unique  age: Int } }
               mutation { insertMany(collection: "users", data: [
                 {id: "a", name: "alice", age: 30} {id: "b", name: "bob", age: 20}]) }"""
        )
        yield path
    no_process_left(path)


def aurora(*arguments: object, stdin: str | None = None, code: int = 0):
    done = subprocess.run(
        [str(AURORA), *map(str, arguments)],
        input=stdin,
        stdin=None if stdin is not None else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def lines(*arguments: object, **options) -> list[object]:
    return [json.loads(line) for line in aurora("query", *arguments, **options).stdout.splitlines()]  # fmt: skip


# ------------------------------------------------------------------ query
def test_documents_are_a_line_of_json_each(path):
    text = "query ($min: Int = 0) { users(where: {age: {gte: $min}}, orderBy: name) { name age } }"
    assert lines(path, text) == [{"name": "alice", "age": 30}, {"name": "bob", "age": 20}]  # fmt: skip
    assert lines(path, text, "--variables", '{"min": 25}') == [{"name": "alice", "age": 30}]  # fmt: skip
    assert lines(path, "-", stdin=text.replace("= 0", "= 99")) == []


def test_other_results_are_one_line_and_several_have_their_names(path):
    assert lines(path, "{ users { aggregate { count avg(field: age) } } }") == [
        {"aggregate": {"count": 2, "avg": 25.0}}
    ]
    assert lines(path, "{ users { groupBy(field: age) { key count } } }") == [
        {"key": 20, "count": 1}, {"key": 30, "count": 1},
    ]  # fmt: skip
    assert lines(path, 'schema { drop collection none if exists }') == [
        {"operation": "drop", "collection": "none", "status": "unchanged"}
    ]  # fmt: skip
    both = lines(path, '{ a: users(id: "a") { name } all: users { aggregate { count } } }')  # fmt: skip
    assert both == [{"a": [{"name": "alice"}]}, {"all": {"aggregate": {"count": 2}}}]
    whole = json.loads(aurora("query", path, "{ users(orderBy: id) { id } }", "--json").stdout)  # fmt: skip
    assert whole == {"users": [{"id": "a"}, {"id": "b"}]}
    told = aurora("query", path, '{ users(id: "a") }', "--explain").stdout
    assert "primary_key" in told


def test_what_is_wrong_is_shown_with_its_place_and_an_exit_code(path):
    done = aurora("query", path, "{ users { nme } }", code=1)
    assert done.stdout == ""
    assert 'did you mean "name"?' in done.stderr
    assert re.search(
        r"^1 \| \{ users \{ nme \} \}\n  \| {11}\^$", done.stderr, re.MULTILINE
    )
    done = aurora("query", path, "{ users(", code=1)
    assert "line 1" in done.stderr
    assert "^" in done.stderr
    aurora("query", path, "{ users }", "--variables", "[1]", code=2)
    aurora("query", path.with_name("none.db"), "{ users }", code=1)
    aurora("query", path, code=2)


def test_a_subscription_is_followed(path):
    text = 'subscription @live { users(where: {name: "alice"}) { name } }'
    found = lines(path, text, "--events", "2")
    assert found[0] == {"type": "Added", "id": "a", "data": {"name": "alice"}}
    assert found[1]["type"] == "InitialComplete"


# ------------------------------------------------------------------ shell
class Terminal:
    """The shell at a pseudo-terminal."""

    def __init__(self, path: Path, history: Path) -> None:
        self._fd, inner = pty.openpty()
        env = {
            **os.environ,
            "TERM": "xterm",
            "COLUMNS": "120",
            "LINES": "40",
            "PROMPT_TOOLKIT_NO_CPR": "1",
            "AURORA_HISTORY": str(history),
        }
        self.process = subprocess.Popen(
            [str(AURORA), "shell", str(path)],
            stdin=inner, stdout=inner, stderr=inner, env=env, start_new_session=True,
        )  # fmt: skip
        os.close(inner)
        self._seen = ""

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def wait_for(self, pattern: str) -> str:
        """What was shown up to and with ``pattern``, which was not waited for before."""
        deadline = time.monotonic() + 45
        while True:
            found = re.search(pattern, self._seen)
            if found:
                shown, self._seen = self._seen[: found.end()], self._seen[found.end() :]
                return shown
            assert time.monotonic() < deadline, (pattern, self._seen[-2000:])
            if select.select([self._fd], [], [], 0.2)[0]:
                try:
                    data = os.read(self._fd, 65536)
                except OSError:
                    data = b""
                assert data, (pattern, self._seen[-2000:])
                self._seen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data.decode(errors="replace"))  # fmt: skip

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        os.close(self._fd)


@pytest.fixture
def terminal(path, tmp_path) -> Iterator[Terminal]:
    terminal = Terminal(path, tmp_path / "deep" / "history")
    try:
        terminal.wait_for("aql>")
        yield terminal
    finally:
        terminal.close()


def test_the_shell_runs_texts_of_several_lines_completes_and_remembers(terminal, tmp_path):  # fmt: skip
    terminal.type("{ users(orderBy: name)\r")
    terminal.wait_for(r"\.\.\.>")
    terminal.type("{ age na\t")
    terminal.wait_for("na *me")
    terminal.type(" } }\r")
    shown = terminal.wait_for(r"2 documents")
    assert re.search(r"age\s+name", shown)
    assert re.search(r"30\s+alice\s+20\s+bob", shown)
    terminal.wait_for(r"\d ms")
    terminal.type("{ users { nme } }\r")
    terminal.wait_for(r'did you mean "name"\?')
    terminal.wait_for("aql>")
    terminal.type(".quit\r")
    assert terminal.process.wait(60) == 0
    assert "orderBy: name" in (tmp_path / "deep" / "history").read_text()


def test_the_commands_of_the_shell(terminal, tmp_path):
    file = tmp_path / "items.jsonl"
    file.write_text('{"n": 1}\n{"n": 2}\n')
    for typed, expected in (
        (".schema", r"users\s[\s\S]*name\s+String!\s+@unique"),
        (".explain on", "aql>"),
        ('{ users(id: "a") { age } }', r"users: primary_key[\s\S]*age[\s\S]*30"),
        (".explain off", "aql>"),
        (".timing off", "aql>"),
        (f".import {file} items", "2 documents imported"),
        ("{ items { aggregate { sum(field: n) } } }", "3"),
        (".format json", "aql>"),
        ('{ users(id: "b") { name } }', r'\{"name":"bob"\}'),
        ('mutation { deleteFrom(collection: "items", all: true) }', r'\{"id":"'),
        (".nothing", r"no command \.nothing"),
        (".help", r"\.import FILE NAME"),
    ):
        terminal.type(f"{typed}\r")
        terminal.wait_for(expected)
    terminal.wait_for("aql>")  # before it, the terminal itself would take the key
    terminal.type("\x04")
    assert terminal.process.wait(60) == 0


def test_the_shell_takes_a_script_from_a_pipe(path):
    script = ".format json\n.timing off\n{ users(orderBy: name) {\n name } }\n{ nothing }\n{ users { aggregate { count } } }\n"
    done = aurora("shell", path, stdin=script)
    assert '{"name":"alice"}\n{"name":"bob"}' in done.stdout
    assert "there is no collection" in done.stdout
    assert '{"aggregate":{"count":2}}' in done.stdout
