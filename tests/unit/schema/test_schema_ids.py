from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from uuid import RFC_4122, UUID

import pytest

from aurora_actors.errors import ValidationError
from aurora_actors.schema.ids import IdSource, check_id, new_id, new_ids

NOON_MS = 1_790_000_000_000


class Clock:
    def __init__(self):
        self.millis = NOON_MS

    def __call__(self):
        return self.millis * 1_000_000


def test_an_id_is_the_text_of_a_version_7_uuid():
    clock = Clock()

    text = IdSource(clock).take(1)[0]

    uuid = UUID(text)
    assert str(uuid) == text
    assert (uuid.version, uuid.variant) == (7, RFC_4122)
    assert uuid.int >> 80 == NOON_MS


def test_ids_increase_within_and_across_batches():
    ids = [*new_ids(5000), new_id(), *new_ids(3), new_id()]

    assert len(set(ids)) == len(ids) == 5005
    assert ids == sorted(ids)


def test_ids_increase_although_the_clock_goes_back():
    clock = Clock()
    source = IdSource(clock)
    before = source.take(10)

    clock.millis -= 60_000

    after = source.take(10)
    assert before + after == sorted(before + after)


def test_ids_increase_although_the_counter_carries():
    source = IdSource(Clock())
    source.take(1)
    source._counter = (5 << 48) | ((1 << 48) - 3)

    ids = source.take(100)

    assert ids == sorted(set(ids))
    assert len(ids) == 100
    assert {UUID(text).version for text in ids} == {7}


def test_the_bits_after_the_time_differ_from_source_to_source():
    ids = {IdSource(Clock()).take(1)[0] for _ in range(1000)}

    assert len(ids) == 1000


def test_no_ids_are_no_trouble():
    source = IdSource(Clock())
    source.take(1)

    assert source.take(0) == []
    assert len(source.take(2)) == 2


def test_threads_never_get_the_same_id():
    with ThreadPoolExecutor(4) as pool:
        batches = list(pool.map(lambda _: new_ids(500), range(20)))

    assert len({text for batch in batches for text in batch}) == 10_000
    assert all(batch == sorted(batch) for batch in batches)


def test_a_forked_child_does_not_repeat_its_parent():
    new_id()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:  # nothing of the test run may happen twice
        os.write(writing, "".join(new_ids(20)).encode())
        os._exit(0)
    ours = new_ids(20)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read().decode()
    os.waitpid(pid, 0)

    theirs = {text[i : i + 36] for i in range(0, len(text), 36)}
    assert len(theirs) == 20
    assert theirs.isdisjoint(ours)


@pytest.mark.parametrize(
    "document_id", ["a", " ", "é", "x" * 255, "é" * 127, "a/b:c", "\u00a0", "用户"]
)
def test_a_proper_id_passes(document_id):
    assert check_id(document_id) == document_id


@pytest.mark.parametrize(
    ("document_id", "fault"),
    [
        ("", "empty"),
        ("x" * 256, "255 bytes"),
        ("é" * 128, "255 bytes"),
        ("a\x00b", "control"),
        ("a\n", "control"),
        ("\x7f", "control"),
        ("\x85", "control"),
        ("\ud800", "surrogate"),
        (5, "must be text, not int"),
        (None, "must be text"),
    ],
)
def test_another_id_is_refused(document_id, fault):
    with pytest.raises(ValidationError, match=fault) as caught:
        check_id(document_id)

    assert caught.value.path == "id"
