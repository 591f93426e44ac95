"""A process that writes as its seed says, until it is killed; see ``faults.journal``.

It first compares the database with the journal of its predecessors. Then it takes
commands on its standard input: ``run N`` makes its tasks do N operations more, after
which everything is compared again; the end of the input ends it. It answers with one
JSON line. It exits with 3 when its tree is gone.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import msgspec
import trio
from faults.journal import (
    MOVES,
    ROWS,
    Begun,
    Documents,
    Journal,
    Operation,
    State,
    empty,
    outcome_of,
    random_operation,
    read_journal,
)

from aurora_actors import (
    Aurora,
    AuroraConfig,
    FieldDefinition,
    FieldType,
    Increment,
    NotFoundError,
    Transaction,
    TreeDownError,
    UniqueViolationError,
    field,
)

TASKS = 6
TREE_IS_GONE = 3
FIELDS = {
    "task": FieldDefinition(FieldType.STRING, indexed=True),
    "n": FieldDefinition(FieldType.INT, indexed=True),
    "u": FieldDefinition(FieldType.STRING, unique=True),
    "text": FieldDefinition(FieldType.STRING),
}


class Writer:
    """The tasks of one process, on one open database."""

    def __init__(self, db: Aurora, journal: Path, seed: str) -> None:
        self.db = db
        self.begun = read_journal(journal)
        self.journal = Journal(journal)
        self.seed = seed
        self.left = 0

    # -------------------------------------------------------------- writing
    async def run(self, count: int) -> None:
        """Do ``count`` operations, shared by all tasks, then compare."""
        self.left = count
        async with trio.open_nursery() as nursery:
            for number in range(TASKS):
                nursery.start_soon(self._work, f"t{number}")
        await self.compare()

    async def _work(self, task: str) -> None:
        while self.left > 0:
            self.left -= 1
            state, _, number = self.begun.get(task, Begun(empty(), None, 0))
            rng = random.Random(f"{self.seed} {task} {number}")
            operation = random_operation(rng, task, number)
            self.journal.note(task, "begin", operation)
            self.begun[task] = Begun(state, operation, number + 1)
            outcome = await self._outcome(task, operation)
            self.journal.note(task, outcome)
            after, expected = outcome_of(state, operation)
            assert outcome == expected, (task, operation, outcome, expected)
            self.begun[task] = Begun(after, None, number + 1)

    async def _outcome(self, task: str, operation: Operation) -> str:
        try:
            return await self._execute(task, operation)
        except NotFoundError:
            return "missing"
        except UniqueViolationError:
            return "taken"

    async def _execute(self, task: str, operation: Operation) -> str:
        db = self.db
        match operation:
            case ["insert", str(name), dict(fields)]:
                await db.insert_into(ROWS, {"id": name, **fields})
            case ["insert_many", dict(documents)]:
                every = [{"id": name, **fields} for name, fields in documents.items()]
                await db.insert_many(ROWS, every)
            case ["increment", str(name), int(by)]:
                await db.update_document(ROWS, name, {"n": Increment(by)})
            case ["upsert", str(name), dict(fields)]:
                await db.upsert(ROWS, name, fields)
            case ["replace", str(name), dict(fields)]:
                await db.replace_document(ROWS, name, fields)
            case ["delete", str(name)]:
                await db.delete_document(ROWS, name)
            case ["where", int(least), int(by)]:
                mine = (field("task") == task) & (field("n") >= least)
                await db.query(ROWS).filter(mine).update({"n": Increment(by)})
            case ["move", str(one), str(other), int(by), str(note)]:
                await db.run_transaction(
                    lambda tx: _move(tx, one, other, by, note), retries=20
                )
        return "done"

    # -------------------------------------------------------------- comparing
    async def compare(self) -> None:
        """What the database holds is what the journal says, whichever way one asks."""
        stored = {
            name: {each.id: each.data for each in await self.db.query(name).collect()}
            for name in (ROWS, MOVES)
        }
        for task, begun in self.begun.items():
            self._settle(task, begun, _part(stored, task))
        total = 0
        for task, begun in self.begun.items():
            rows = begun.certain[ROWS]
            total += len(rows)
            mine = self.db.query(ROWS).filter(field("task") == task)
            assert await mine.count() == len(rows), task
            for name, fields in rows.items():
                if fields["u"] is not None:
                    query = self.db.query(ROWS).filter(field("u") == fields["u"])
                    found = await query.first_one()
                    assert found is not None, (name, fields)
                    assert found.id == name
        assert await self.db.query(ROWS).count() == total == len(stored[ROWS])
        middle = self.db.query(ROWS).filter(field("n") >= 50)
        expected = sum(each["n"] >= 50 for each in stored[ROWS].values())
        assert await middle.count() == expected

    def _settle(self, task: str, begun: Begun, found: State) -> None:
        """Find out what has become of the operation that was under way, if any."""
        certain, operation, number = begun
        if found != certain:
            assert operation is not None, _difference(task, certain, found)
            after, outcome = outcome_of(certain, operation)
            assert found == after, (operation, _difference(task, certain, found))
            self.journal.note(task, outcome)
            self.begun[task] = Begun(after, None, number)
        elif operation is not None:
            # Nothing is on its way any more: who could have sent it is dead.
            self.journal.note(task, "undone")
            self.begun[task] = Begun(certain, None, number)


async def _move(tx: Transaction, one: str, other: str, by: int, note: str) -> None:
    for name, change in ((one, -by), (other, by)):
        found = await tx.get_document(ROWS, name)
        if found is None:
            raise NotFoundError(name)
        await tx.update_document(ROWS, name, {"n": found["n"] + change})
    await tx.insert_into(MOVES, {"id": note, "n": by})


def _part(stored: dict[str, Documents], task: str) -> State:
    return {
        name: {key: value for key, value in documents.items() if _of(key) == task}
        for name, documents in stored.items()
    }


def _of(document_id: str) -> str:
    return document_id.split("-", 1)[0]


def _difference(task: str, expected: State, found: State) -> str:
    lines = []
    for name in (ROWS, MOVES):
        for key in sorted({*expected[name], *found[name]}):
            one, other = expected[name].get(key), found[name].get(key)
            if one != other:
                lines.append(f"{task} {name} {key}: {one} expected, {other} found")
    return "\n".join(lines)


async def main(config: AuroraConfig, journal: Path, seed: str) -> None:
    """Compare, then do as told."""
    async with Aurora.with_config(config) as db:
        await db.new_collection(ROWS, FIELDS)
        await db.new_collection(MOVES, {"n": FieldDefinition(FieldType.INT)})
        writer = Writer(db, journal, seed)
        await writer.compare()
        await _tell(db)
        while line := await trio.to_thread.run_sync(
            sys.stdin.readline, abandon_on_cancel=True
        ):
            await writer.run(int(line.split()[1]))
            await _tell(db)
        writer.journal.close()


async def _tell(db: Aurora) -> None:
    status = await db.status()
    pids = {actor.name: actor.pid for actor in status.actors}
    line = json.dumps({"supervisor": status.supervisor_pid, **pids})
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    path, journal, seed, settings = sys.argv[1:]
    own = {"db_path": path, "query_executors": 1, "max_restarts": 100_000}
    config = msgspec.convert({**own, **json.loads(settings)}, AuroraConfig)
    try:
        trio.run(main, config, Path(journal), seed)
    except BaseExceptionGroup as group:
        if group.split(TreeDownError)[1] is not None:
            raise
        sys.exit(TREE_IS_GONE)
    except TreeDownError:
        sys.exit(TREE_IS_GONE)
