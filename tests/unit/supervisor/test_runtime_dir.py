"""The runtime directory: private, short, and never somebody else's."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from aurora_supervisor.runtime_dir import (
    create_runtime_dir,
    is_runtime_dir,
    remove_runtime_dir,
)


def test_it_is_made_private_and_fresh_in_the_users_runtime_directory(runtime_dir: Path):
    environ = {"XDG_RUNTIME_DIR": str(runtime_dir), "TMPDIR": "/nowhere"}
    first, second = create_runtime_dir(environ), create_runtime_dir(environ)
    assert first != second
    assert Path(first).parent == runtime_dir
    assert stat.S_IMODE(Path(first).stat().st_mode) == 0o700
    assert is_runtime_dir(first)


def test_a_place_too_deep_for_unix_sockets_is_passed_over(runtime_dir: Path):
    deep = runtime_dir / ("d" * 60)
    deep.mkdir()
    environ = {"XDG_RUNTIME_DIR": str(deep), "TMPDIR": str(runtime_dir)}
    assert Path(create_runtime_dir(environ)).parent == runtime_dir


def test_a_place_that_does_not_exist_is_passed_over(runtime_dir: Path):
    environ = {"XDG_RUNTIME_DIR": "/nowhere/at/all", "TMPDIR": str(runtime_dir)}
    assert Path(create_runtime_dir(environ)).parent == runtime_dir


def test_without_any_place_the_reasons_and_the_remedy_are_given():
    deep = "/" + "d" * 60
    with pytest.raises(OSError, match="set XDG_RUNTIME_DIR or TMPDIR") as caught:
        create_runtime_dir({"TMPDIR": "/nowhere"}, last_resort=deep)
    assert "/nowhere: No such file" in str(caught.value)
    assert "socket paths would have 130 bytes, over the limit" in str(caught.value)


def test_a_relative_place_is_not_used(runtime_dir: Path):
    environ = {"XDG_RUNTIME_DIR": "here", "TMPDIR": str(runtime_dir)}
    assert Path(create_runtime_dir(environ)).parent == runtime_dir


def test_removing_takes_the_sockets_along(runtime_dir: Path):
    path = create_runtime_dir({"XDG_RUNTIME_DIR": str(runtime_dir)})
    Path(path, "storage.ipc").touch()
    remove_runtime_dir(path)
    assert not Path(path).exists()
    remove_runtime_dir(path)


@pytest.mark.parametrize("name", ["other", "aurora-1234567", "aurora-1234567g"])
def test_a_directory_with_another_name_is_never_removed(runtime_dir: Path, name: str):
    path = runtime_dir / name
    path.mkdir()
    remove_runtime_dir(str(path))
    assert path.exists()


def test_a_link_to_a_directory_is_never_followed(runtime_dir: Path):
    precious = runtime_dir / "precious"
    precious.mkdir()
    (precious / "data.mdb").touch()
    link = runtime_dir / "aurora-01234567"
    link.symlink_to(precious)
    remove_runtime_dir(str(link))
    assert (precious / "data.mdb").exists()


def test_what_is_not_a_socket_directory_of_ours_keeps_its_subdirectories(
    runtime_dir: Path,
):
    path = Path(create_runtime_dir({"XDG_RUNTIME_DIR": str(runtime_dir)}))
    (path / "kept").mkdir()
    remove_runtime_dir(str(path))
    assert (path / "kept").exists()
