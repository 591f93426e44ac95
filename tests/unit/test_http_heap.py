"""Connections that live long are out of the collector's sight, and come back to it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from aurora_actors.http.heap import Heap


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_many_connections_are_frozen_and_thawed_when_half_have_gone():
    gc.unfreeze()
    heap = Heap()
    heap.adjust(100)
    assert gc.get_freeze_count() == 0
    heap.adjust(1000)
    assert gc.get_freeze_count() > 0
    heap.adjust(600)
    assert gc.get_freeze_count() > 0
    heap.adjust(400)
    assert gc.get_freeze_count() == 0
    heap.adjust(450)
    assert gc.get_freeze_count() > 0
