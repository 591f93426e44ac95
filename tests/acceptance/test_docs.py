"""What the documents say is true: every code sample runs as printed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from support import no_process_left

import aurora_actors
from aurora_actors import blocking
from aurora_actors.errors import all_codes

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def samples(page: Path) -> list[str]:
    return re.findall(
        r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
    )


def shared_databases(page: Path) -> list[str]:
    """Databases that several samples of a page open, with no settings of their own."""
    text = "".join(samples(page))
    if re.search(r"^# \w+\.py$", text, re.MULTILINE):
        return []  # whoever starts the tree says where its workers import from
    plain = Counter(re.findall(r'\bopen\("(\w+\.db)"\)', text))
    every = Counter(re.findall(r'"(\w+\.db)"', text))
    return [name for name, count in plain.items() if count > 1 and count == every[name]]


@pytest.mark.processes
@pytest.mark.parametrize(
    "page", [p for p in PAGES if samples(p)], ids=lambda p: str(p.relative_to(ROOT))
)
def test_the_python_samples_of_a_page_run_in_order(page: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        for name in shared_databases(page):
            # The samples attach, which is quicker than a start for each of them.
            stack.enter_context(blocking.open(tmp_path / name))
        for number, sample in enumerate(samples(page)):
            run_sample(sample, f"sample {number} of {page.name}", tmp_path)
    for database in tmp_path.glob("*.db"):
        no_process_left(database)


def run_sample(sample: str, name: str, where: Path) -> None:
    # A sample that begins with a file's name is a module that others import.
    if module := re.match(r"# (\w+\.py)\n", sample):
        (where / module[1]).write_text(sample)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", sample],
        cwd=where,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{name}:\n{done.stderr}"
    assert not done.stderr, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_table_of_errors_lists_every_error() -> None:
    text = (ROOT / "docs" / "errors.md").read_text()
    rows = dict(
        re.findall(r"^\| `([a-z_.]+)` \| `(\w+)` \| (?:yes|no) \|", text, re.MULTILINE)
    )
    assert rows == {code: cls.__name__ for code, cls in all_codes().items()}
    retryable = set(
        re.findall(r"^\| `([a-z_.]+)` \| `\w+` \| yes \|", text, re.MULTILINE)
    )
    assert retryable == {code for code, cls in all_codes().items() if cls.retryable}


def test_every_error_is_public() -> None:
    assert {cls.__name__ for cls in all_codes().values()} <= set(aurora_actors.__all__)


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake (\w+)", (ROOT / "README.md").read_text()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
