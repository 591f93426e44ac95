"""Damage anywhere is noticed: bits flipped and files cut, at random places.

Each try damages a copy of a small database that was stopped in mid-flight, and looks at
it in a process of its own, because LMDB may be killed by what it reads. ``check`` must
find the damage, or refuse the files, or die, which its caller reports as damage; or what
the database says must be what it said before.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import shutil
import sys
from base64 import b64decode, b64encode
from collections import Counter
from pathlib import Path

import pytest

from aurora_actors.config import AuroraConfig
from aurora_actors.errors import AuroraError
from aurora_actors.messages.storage import (
    DefineCollection,
    DeleteDocument,
    InsertDocuments,
    UpdateDocument,
)
from aurora_actors.schema.patch import encode_patch
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    encode_definition,
)
from aurora_actors.schema.values import encode_document
from aurora_actors.storage.engine import Engine, StorageCall
from aurora_actors.storage.reader import DataReader
from aurora_actors.storage.verify_files import check_database

pytestmark = pytest.mark.faults

USERS = CollectionDefinition(
    "users",
    {
        "name": FieldDefinition(FieldType.STRING),
        "email": FieldDefinition(FieldType.STRING, unique=True),
        "n": FieldDefinition(FieldType.INT),
    },
)


def opened(path: Path) -> Engine:
    def compile_nothing(_: bytes):
        raise AssertionError

    config = AuroraConfig(db_path=str(path))
    return Engine.open(config, compile_predicate=compile_nothing, tree_id="tree")


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A database that was killed behind a checkpoint: its log has frames."""
    path = tmp_path_factory.mktemp("damage") / "original.db"
    engine = opened(path)
    requests = [DefineCollection(definition=encode_definition(USERS))]
    requests += [
        InsertDocuments(
            collection="users",
            ids=[f"u{part}-{n}" for n in range(50)],
            documents=[
                encode_document({"name": "x" * n, "email": f"{part}-{n}", "n": n})
                for n in range(50)
            ],
        )
        for part in range(6)
    ]
    for n in range(40):
        patch = encode_patch({"n": -n})
        requests.append(UpdateDocument(collection="users", id=f"u1-{n}", patch=patch))
        requests.append(DeleteDocument(collection="users", id=f"u2-{n}"))
    for number, request in enumerate(requests, 1):
        engine.execute([StorageCall("client", number, 0, request)])
        if number == 40:
            engine.checkpoint()
    engine.abandon()
    (path / "data.mdb-lock").unlink()
    return path


def contents(path: Path) -> dict[int, bytes]:
    with DataReader.open(path) as reader, reader.snapshot() as snapshot:
        info = snapshot.collection("users")
        return {row: bytes(record) for row, record in snapshot.scan(info)}


def damage(path: Path, chance: random.Random) -> str:
    """Damage one of the files; returns its name."""
    files = [path / "data.mdb", path / "checkpoint", *(path / "wal").iterdir()]
    file = chance.choice(files)
    data = bytearray(file.read_bytes())
    if chance.random() < 0.2:
        del data[chance.randrange(len(data)) :]
    else:
        # Zeros behind the frames of the log are not of interest.
        end = data.rindex(b"AFR1") + 60 if file.suffix == ".log" else len(data)
        data[chance.randrange(end)] ^= 1 << chance.randrange(8)
    file.write_bytes(data)
    return "log" if file.suffix == ".log" else file.name


def verdict(path: Path, before: dict[int, bytes]) -> str:
    """What becomes of a damaged database."""
    try:
        report = check_database(path)
    except AuroraError:
        return "refused"
    if not report.ok:
        return "found"
    return compare(contents(path), before)


def compare(now: dict[int, bytes], before: dict[int, bytes]) -> str:
    return "harmless" if now == before else "SILENT"


def in_child(work) -> str:
    """Run ``work`` in a forked process; its answer, or the signal that killed it."""
    end, start = os.pipe()
    pid = os.fork()
    if not pid:
        faulthandler.disable()  # what kills it is the test's business
        try:
            os.close(end)
            os.write(start, work().encode())
        except BaseException as exc:
            os.write(start, f"RAISED {exc!r}".encode()[:500])
        os._exit(0)
    os.close(start)
    with os.fdopen(end) as pipe:
        answer = pipe.read()
    _, status = os.waitpid(pid, 0)
    return answer or f"killed by signal {os.WTERMSIG(status)}"


def open_verdict(path: Path, before: dict[int, bytes]) -> str:
    """What an opener gets: an error, or what was there."""
    try:
        engine = opened(path)
    except AuroraError:
        return "refused"
    try:
        return compare(contents(path), before)
    finally:
        engine.abandon()


def tries(original: Path, tmp_path: Path, seed: int, count: int) -> Counter[str]:
    rows = _read_rows(original)
    assert len(rows) == 260
    seen: Counter[str] = Counter()
    for number in range(count):
        chance = random.Random(seed + number)
        path = tmp_path / "damaged.db"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(original, path)
        name = damage(path, chance)
        what = in_child(lambda p=path: verdict(p, rows))
        seen[f"{name}: {what}"] += 1
        assert not what.startswith("RAISED"), (seed + number, what)
        assert what != "SILENT", (seed + number, name)
        if name != "data.mdb":
            assert what in {"found", "refused", "harmless"}, (seed + number, what)
            opens = in_child(lambda p=path: open_verdict(p, rows))
            assert opens in {"refused", "harmless"}, (seed + number, name, opens)
    return seen


def _read_rows(path: Path) -> dict[int, bytes]:
    """The rows; read in a child, so that this process has nothing open when it forks."""

    def work() -> str:
        return json.dumps(
            {row: b64encode(record).decode() for row, record in contents(path).items()}
        )

    answer = in_child(work)
    assert not answer.startswith(("RAISED", "killed")), answer
    return {int(row): b64decode(text) for row, text in json.loads(answer).items()}


def show(seen: Counter[str]) -> None:
    for what, count in sorted(seen.items()):
        sys.stdout.write(f"{count:5d}  {what}\n")


def test_damage_is_noticed(original, tmp_path):
    show(tries(original, tmp_path, seed=1, count=24))


@pytest.mark.slow
def test_damage_is_noticed_500_times(original, tmp_path):
    seed = int(os.environ.get("SEED", "1000"))
    sys.stdout.write(f"seed {seed}\n")
    show(tries(original, tmp_path, seed=seed, count=500))
