"""What the writers of the kill tests do, what they wrote down, and what must be there.

A task has documents of its own, so that its operations, one after the other, lead from
one known state to the next. It notes each operation in a journal before it is sent and
after it was answered. From the journal alone follows what the database has to hold after
any crash: for each task the state after its answered operations, or, when one was under
way, the state after that one. The journal is a file that is only appended to; a line
that was begun by ``os.write`` is there as a whole when its writer is killed.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

ROWS, MOVES = "rows", "moves"
DOCUMENTS = 12
# What is done, and how often.
KINDS = {
    "insert": 2,
    "insert_many": 1,
    "increment": 2,
    "upsert": 1,
    "replace": 1,
    "delete": 1,
    "move": 2,
    "where": 1,
}

Documents: TypeAlias = dict[str, dict[str, Any]]
State: TypeAlias = dict[str, Documents]
# A kind and its arguments, as JSON has them.
Operation: TypeAlias = list[Any]


class Refused(Exception):  # noqa: N818 - an outcome, not an error
    """The operation changes nothing; the argument says why."""


def empty() -> State:
    """The state of a task that has done nothing."""
    return {ROWS: {}, MOVES: {}}


def random_operation(rng: random.Random, task: str, number: int) -> Operation:
    """The next thing a task does."""

    def name() -> str:
        return f"{task}-{rng.randrange(DOCUMENTS)}"

    def fields() -> dict[str, Any]:
        unique = f"{task}/{rng.randrange(DOCUMENTS)}" if rng.random() < 0.7 else None
        text = "x" * rng.choice([0, 10, 10, 3000])
        return {"task": task, "n": rng.randrange(100), "u": unique, "text": text}

    kind = rng.choices([*KINDS], [*KINDS.values()])[0]
    match kind:
        case "insert_many":
            return [kind, {name(): fields() for _ in range(rng.randrange(2, 6))}]
        case "insert" | "upsert" | "replace":
            return [kind, name(), fields()]
        case "increment":
            return [kind, name(), rng.randrange(1, 9)]
        case "move":
            one, other = rng.sample(range(DOCUMENTS), 2)
            ends = [f"{task}-{one}", f"{task}-{other}"]
            return [kind, *ends, rng.randrange(1, 9), f"{task}-move-{number}"]
        case "where":
            return [kind, rng.randrange(100), rng.randrange(1, 9)]
    return [kind, name()]


# ------------------------------------------------------------------ the model
def applied(state: State, operation: Operation) -> State:
    """The state after an operation.

    Raises:
        Refused: there is no such document, or a value is taken.
    """
    rows, moves = dict(state[ROWS]), dict(state[MOVES])
    match operation:
        case ["insert", str(name), dict(fields)]:
            _insert(rows, name, fields)
        case ["insert_many", dict(documents)]:
            for name, fields in documents.items():
                _insert(rows, name, fields)
        case ["increment", str(name), int(by)]:
            _add(rows, name, by)
        case ["upsert", str(name), dict(fields)]:
            _put(rows, name, {**rows.get(name, {}), **fields})
        case ["replace", str(name), dict(fields)]:
            if name not in rows:
                raise Refused("missing")
            _put(rows, name, fields)
        case ["delete", str(name)]:
            rows.pop(name, None)
        case ["move", str(one), str(other), int(by), str(note)]:
            _add(rows, one, -by)
            _add(rows, other, by)
            moves[note] = {"n": by}
        case ["where", int(least), int(by)]:
            for name, fields in list(rows.items()):
                if fields["n"] >= least:
                    _add(rows, name, by)
        case _:
            raise ValueError(operation)
    return {ROWS: rows, MOVES: moves}


def _insert(rows: Documents, name: str, fields: dict[str, Any]) -> None:
    if name in rows:
        raise Refused("taken")
    _put(rows, name, fields)


def _put(rows: Documents, name: str, fields: dict[str, Any]) -> None:
    value = fields["u"]
    for other, has in rows.items():
        if other != name and value is not None and has["u"] == value:
            raise Refused("taken")
    rows[name] = fields


def _add(rows: Documents, name: str, by: int) -> None:
    if name not in rows:
        raise Refused("missing")
    rows[name] = {**rows[name], "n": rows[name]["n"] + by}


def outcome_of(state: State, operation: Operation) -> tuple[State, str]:
    """The state after an operation, and what its sender is told."""
    try:
        return applied(state, operation), "done"
    except Refused as refused:
        return state, str(refused)


# ------------------------------------------------------------------ the journal
class Begun(NamedTuple):
    """Where a task has got to: what is certain, and what may have been added to it."""

    certain: State
    under_way: Operation | None
    number: int


class Journal:
    """Appends to the journal."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, task: str, what: str, operation: Operation | None = None) -> None:
        """Write down that an operation begins, was answered, or turned out undone."""
        line = json.dumps([task, what, operation])
        os.write(self._fd, line.encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def read_journal(path: Path) -> dict[str, Begun]:
    """How far each task has got."""
    tasks: dict[str, Begun] = {}
    lines = path.read_text().splitlines() if path.exists() else []
    for line in lines:
        task, what, operation = json.loads(line)
        begun = tasks.get(task, Begun(empty(), None, 0))
        if what == "begin":
            begun = Begun(begun.certain, operation, begun.number + 1)
        elif what == "undone":
            begun = Begun(begun.certain, None, begun.number)
        else:
            assert begun.under_way is not None
            state, expected = outcome_of(begun.certain, begun.under_way)
            assert what == expected, (task, begun, what)
            begun = Begun(state, None, begun.number)
        tasks[task] = begun
    return tasks


def answered(path: Path) -> int:
    """How many operations were answered."""
    text = path.read_text() if path.exists() else ""
    return sum(json.loads(line)[1] in _ANSWERS for line in text.splitlines())


_ANSWERS = {"done", "missing", "taken"}
