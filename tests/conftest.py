"""Fixtures every test may use."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from processes import refuse_groups
from support import Figures

# Where this is set, each process that a test starts compiles the whole package.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

os.kill = refuse_groups(os.kill)

# How fast examples are made says more about the machine than about the product.
settings.register_profile(
    "suite", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")

_figures = pytest.StashKey[Figures]()


def pytest_configure(config: pytest.Config) -> None:
    """Make a place for what is to be printed at the end."""
    config.stash[_figures] = Figures()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print it."""
    lines = config.stash[_figures].lines
    if lines:
        terminalreporter.section("figures")
    for line in lines:
        terminalreporter.line(line)


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Takes lines that are printed at the end of the run."""
    return request.config.stash[_figures]


@pytest.fixture
def runtime_dir() -> Iterator[Path]:
    """A directory with a path short enough for Unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="aa-"))
    yield path
    shutil.rmtree(path)
