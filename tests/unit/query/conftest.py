"""A database to query."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.query.library import THINGS, USERS, Library


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    made = Library(tmp_path / "db")
    made.define(USERS)
    made.define(THINGS)
    yield made
    made.close()
