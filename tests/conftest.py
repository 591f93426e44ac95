"""Fixtures every test may use."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings
from processes import refuse_groups
from support import Figures

# Where this is set, each process that a test starts compiles the whole package.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

os.kill = refuse_groups(os.kill)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in a shell's background: what tests start could not be interrupted either.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How fast examples are made says more about the machine than about the product. The
# same ones are made each time, so that a change is judged by itself; the full-size
# forms look for new ones, and more: see ``examples``.
settings.register_profile(
    "suite",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
    max_examples=60,
)
settings.register_profile(
    "search", settings.get_profile("suite"), derandomize=False, max_examples=100
)
settings.load_profile("suite")

_figures = pytest.StashKey[Figures]()


def pytest_configure(config: pytest.Config) -> None:
    """Make a place for what is to be printed at the end; choose how to make examples."""
    config.stash[_figures] = Figures()
    if config.option.markexpr == "slow":
        settings.load_profile("search")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Where examples are looked for, every property is at its full size."""
    if config.option.markexpr == "slow":
        for item in items:
            if is_hypothesis_test(getattr(item, "obj", None)):
                item.add_marker("slow")


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
