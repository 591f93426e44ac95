"""What ``aurora_actors`` offers is what it says."""

from __future__ import annotations

import subprocess
import sys

import pytest

import aurora_actors
from aurora_actors import errors


def test_all_is_sorted_and_every_name_in_it_exists():
    assert aurora_actors.__all__ == sorted(aurora_actors.__all__)
    for name in aurora_actors.__all__:
        assert getattr(aurora_actors, name) is not None


def test_every_error_is_exported():
    classes = [name for name in errors.__all__ if name[0].isupper()]
    assert set(classes) <= set(aurora_actors.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Aurorra'"):
        aurora_actors.Aurorra  # noqa: B018


def test_importing_the_package_loads_neither_loops_nor_sockets():
    code = (
        "import sys, aurora_actors; aurora_actors.NotFoundError; "
        "bad = {'trio', 'asyncio', 'anyio', 'pynng', 'lmdb', 'msgspec'} "
        "& set(sys.modules); sys.exit(str(sorted(bad)) if bad else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_blocking_facade_does_not_load_trio():
    code = (
        "import sys; from aurora_actors import blocking; blocking.open; "
        "sys.exit('trio' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
