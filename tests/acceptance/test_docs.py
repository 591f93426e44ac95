"""What the documents say is true: every code sample runs as printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import no_process_left

import aurora_actors
from aurora_actors.errors import all_codes

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def samples(page: Path) -> list[str]:
    return re.findall(
        r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
    )


@pytest.mark.processes
@pytest.mark.parametrize(
    "page", [p for p in PAGES if samples(p)], ids=lambda p: str(p.relative_to(ROOT))
)
def test_the_python_samples_of_a_page_run_in_order(page: Path, tmp_path: Path) -> None:
    for number, sample in enumerate(samples(page)):
        # A sample that begins with a file's name is a module that others import.
        if module := re.match(r"# (\w+\.py)\n", sample):
            (tmp_path / module[1]).write_text(sample)
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", sample],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"sample {number} of {page.name}:\n{done.stderr}"
        assert not done.stderr, done.stderr
    for database in tmp_path.glob("*.db"):
        no_process_left(database)


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
