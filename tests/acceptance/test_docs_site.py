"""The documentation is complete: commands, flags, settings, names, and every page."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import docs_pages
import msgspec
import pytest
from aurora_supervisor.arguments import parser as supervisor_parser
from aurora_supervisor.exits import ExitStatus

import aurora_actors
from aurora_actors.cli.main import _parser as aurora_parser
from aurora_actors.config import AuroraConfig

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SAMPLE = re.MULTILINE | re.DOTALL


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return docs_pages.pages()


@pytest.mark.parametrize(
    ("page", "parser"),
    [
        ("aurora.md", aurora_parser()),
        ("aurora-supervisor.md", supervisor_parser()),
    ],
    ids=["aurora", "aurora-supervisor"],
)
def test_every_command_and_flag_is_documented_with_an_example(
    pages: dict[str, str], page: str, parser: argparse.ArgumentParser
):
    sections = dict(
        re.findall(r"^## (.+)\n\n((?:(?!^## ).*\n?)*)", pages[page], re.MULTILINE)
    )
    commands = dict(docs_pages._flat(parser, parser.prog))
    assert commands
    for name, command in commands.items():
        text = sections[name]
        for action in command._actions:
            for flag in action.option_strings:
                assert flag in text or flag in {"-h", "--help"}, (name, flag)
            assert action.help, (name, action.dest)
        example = text.partition("```\n")[2]
        assert f"{parser.prog} {name.split()[1]}" in example, f"{name}: no example"


@pytest.mark.parametrize(
    "parser",
    [aurora_parser(), supervisor_parser()],
    ids=["aurora", "aurora-supervisor"],
)
def test_the_commands_in_the_pages_are_commands(parser: argparse.ArgumentParser):
    found = 0
    for page in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        for sample in re.findall(r"^```sh\n(.*?)^```", page.read_text(), SAMPLE):
            whole = sample.replace("\\\n", " ")
            for line in re.findall(rf"^{parser.prog} (.*)$", whole, re.MULTILINE):
                given = shlex.split(
                    re.split(r" (?:[|<>&;]|2>)", line)[0], comments=True
                )
                try:
                    parser.parse_args(given)
                except SystemExit as exc:
                    assert exc.code == 0, (page.name, line)  # noqa: PT017
                found += 1
    assert found > 1


def test_every_exit_status_is_documented():
    text = (DOCS / "operations.md").read_text()
    for status in ExitStatus:
        assert re.search(rf"^\| {status.value} \|", text, re.MULTILINE)


def test_every_setting_is_documented(pages: dict[str, str]):
    text = pages["configuration.md"]
    for field in msgspec.structs.fields(AuroraConfig):
        assert re.search(
            rf"^(### {field.name}|## \[{field.name}[.\]])", text, re.MULTILINE
        ), field


def test_every_public_name_is_documented(pages: dict[str, str]):
    heads = set(re.findall(r"^## (\w+)$", pages["api.md"], re.MULTILINE))
    assert set(aurora_actors.__all__) <= heads
    assert "### Aurora.connect" in pages["api.md"]


def test_every_page_of_the_navigation_is_there():
    site = (ROOT / "mkdocs.yml").read_text()
    known = set(re.findall(r"([\w/-]+\.md)", site))
    made = {f"reference/{name}" for name in docs_pages.pages()}
    there = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    assert made <= known
    assert known <= there | made


def test_anchors_lead_to_headings():
    for page in DOCS.rglob("*.md"):
        for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
            if target.startswith("../config"):
                continue
            other = page if not target else page.parent / target
            text = re.sub(
                r"^```.*?^```", "", other.read_text(), flags=re.MULTILINE | re.DOTALL
            )
            heads = {
                re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", head).strip().lower())
                for head in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            }
            assert anchor in heads, f"{page.name}: {target}#{anchor}"
