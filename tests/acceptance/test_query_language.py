"""The page about the query language: every sample runs, with the result it shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support import no_process_left

from aurora_actors import QuerySyntaxError, QueryValidationError, blocking
from aurora_actors.aql.words import is_subscription
from aurora_actors.cli.querying import result_lines

pytestmark = pytest.mark.processes

PAGE = Path(__file__).parents[2] / "docs" / "query-language.md"
SAMPLE = re.compile(
    r"^```graphql( refused)?\n(.*?)^```\n(?:\n```(?:json|text)\n(.*?)^```)?",
    re.MULTILINE | re.DOTALL,
)


def test_the_samples_of_the_page_give_what_stands_below_them(tmp_path):
    samples = SAMPLE.findall(PAGE.read_text("utf-8"))
    assert len(samples) > 12
    path = tmp_path / "db"
    with blocking.open(path) as db:
        for refused, text, shown in samples:
            if is_subscription(text):
                with db.stream(text):
                    continue
            if refused:
                with pytest.raises((QueryValidationError, QuerySyntaxError)) as error:
                    db.execute(text)
                assert error.value.message == shown.rstrip("\n")
                continue
            found = [json.loads(line) for line in result_lines(db.execute(text))]
            assert found == [json.loads(line) for line in shown.splitlines()], text
    no_process_left(path)
