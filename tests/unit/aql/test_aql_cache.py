"""The cache of checked texts."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from aurora_actors.aql.cache import CacheStatistics, CheckedTexts
from aurora_actors.errors import QuerySyntaxError, QueryValidationError


def test_a_repeated_text_is_the_same_object(definitions):
    cache = CheckedTexts()
    first = cache.get("{ users }", 1, definitions)
    assert cache.get("{ users }", 1, lambda: pytest.fail("not needed")) is first
    assert cache.statistics() == CacheStatistics(1, 1, 1, 9)


def test_another_schema_version_is_checked_anew(definitions):
    cache = CheckedTexts()
    cache.get("{ users }", 1, definitions)
    with pytest.raises(QueryValidationError):
        cache.get("{ users }", 2, {})
    cache.get("{ users }", 3, lambda: definitions)
    assert cache.statistics() == CacheStatistics(0, 3, 1, 9)


def test_the_least_recently_used_texts_leave_first(definitions):
    cache = CheckedTexts(max_texts=2)
    for text in ("{ users }", "{ orders }", "{ users }", "{ events }"):
        cache.get(text, 1, definitions)
    assert cache.statistics() == CacheStatistics(1, 3, 2, 19)
    cache.get("{ users }", 1, definitions)
    assert cache.statistics().hits == 2


def test_the_characters_kept_are_bounded(definitions):
    cache = CheckedTexts(max_characters=25)
    for text in ("{ users }", "{ orders }", "{ events }", "{ users } # " + "x" * 50):
        cache.get(text, 1, definitions)
    assert cache.statistics() == CacheStatistics(0, 4, 2, 20)
    cache.clear()
    assert cache.statistics() == CacheStatistics(0, 4, 0, 0)


def test_texts_that_are_refused_are_not_kept(definitions):
    cache = CheckedTexts()
    for _ in range(2):
        with pytest.raises(QuerySyntaxError):
            cache.get("{", 1, definitions)
    assert cache.statistics() == CacheStatistics(0, 2, 0, 0)


def test_only_the_parser_and_who_must_parse_import_lark():
    users: dict[str, set[str]] = {"lark": set(), "aurora_actors.aql.parser": set()}
    for path in Path(str(files("aurora_actors"))).rglob("*.py"):
        for module, importers in users.items():
            if re.search(
                rf"^(from|import) {re.escape(module)}\b", path.read_text(), re.MULTILINE
            ):
                importers.add(path.stem)
    assert users["lark"] == {"parser", "builder", "expectations"}
    assert "cache" in users["aurora_actors.aql.parser"]
    assert not users["aurora_actors.aql.parser"] & {"binding", "scope", "tree"}
