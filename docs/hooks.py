"""What the site has beyond its pages: all decisions in its navigation, and its links."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:  # noqa: ANN401 - mkdocs' own
    """Called by mkdocs when the configuration has been read."""
    root = Path(config["docs_dir"])
    there = sorted(str(page.relative_to(root)) for page in root.rglob("*.md"))
    known = set(_leaves(config["nav"]))
    decisions = [page for page in there if page.startswith("adr/")]
    rest = [page for page in there if page not in known and page not in decisions]
    for title, pages in _sections(config["nav"]):
        if title == "Decisions":
            pages[:] = decisions
        elif title == "Using it":
            # A page that nobody has put anywhere is still found.
            pages.extend(rest)
    return config


def _sections(nav: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    for entry in nav:
        if isinstance(entry, dict):
            for title, pages in entry.items():
                yield title, pages
                yield from _sections(pages)


def _leaves(nav: list[Any]) -> Iterator[str]:
    for entry in nav:
        if isinstance(entry, dict):
            for pages in entry.values():
                yield from _leaves(pages)
        else:
            yield entry


def on_page_markdown(markdown: str, **_: Any) -> str:  # noqa: ANN401 - mkdocs' own
    """The configuration file is a page of the site, made from it."""
    return markdown.replace("(../config/aurora.toml)", "(reference/configuration.md)")
