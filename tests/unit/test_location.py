"""The database directory, its lock and who is published in it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from support import a_locked_directory

from aurora_actors.errors import ConfigError
from aurora_actors.location import (
    PublishedTree,
    prepare_directory,
    publish,
    read_published,
    try_lock,
    withdraw,
)

TREE = PublishedTree(
    pid=7, tree_id="t", attach="/tmp/a/attach.sock", version=1, started_at="now"
)


def test_a_new_database_directory_is_private(tmp_path: Path):
    path = tmp_path / "my.db"
    prepare_directory(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    prepare_directory(path)


def test_a_file_in_its_place_is_refused(tmp_path: Path):
    path = tmp_path / "my.db"
    path.write_text("SQLite format 3")
    with pytest.raises(ConfigError, match="is a file; a database is a directory"):
        prepare_directory(path)


def test_a_missing_parent_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"the directory .*/no does not exist"):
        prepare_directory(tmp_path / "no" / "my.db")


def test_a_place_where_nothing_can_be_made_is_refused():
    with pytest.raises(ConfigError, match=r"cannot be made|does not exist"):
        prepare_directory(Path("/proc/my.db"))


def test_a_directory_that_may_not_be_written_is_refused():
    with (
        a_locked_directory() as path,
        pytest.raises(ConfigError, match="may not be written"),
    ):
        prepare_directory(path)


def test_only_one_holder_has_the_lock(tmp_path: Path):
    first = try_lock(tmp_path)
    assert first is not None
    assert try_lock(tmp_path) is None
    os.close(first)
    second = try_lock(tmp_path)
    assert second is not None
    os.close(second)


def test_the_lock_is_not_inherited_and_private(tmp_path: Path):
    fd = try_lock(tmp_path)
    assert fd is not None
    assert not os.get_inheritable(fd)
    os.close(fd)
    assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600


def test_a_directory_that_cannot_be_locked_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be opened"):
        try_lock(tmp_path / "missing")


def test_what_is_published_is_read_back_and_withdrawn(tmp_path: Path):
    assert read_published(tmp_path) is None
    publish(tmp_path, TREE)
    publish(tmp_path, TREE)
    assert read_published(tmp_path) == TREE
    assert stat.S_IMODE((tmp_path / "supervisor.json").stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["supervisor.json"]
    withdraw(tmp_path)
    withdraw(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_publication_is_as_good_as_none(tmp_path: Path):
    (tmp_path / "supervisor.json").write_text('{"pid": "seven"}')
    assert read_published(tmp_path) is None
