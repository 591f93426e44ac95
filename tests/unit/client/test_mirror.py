"""The blocking facade has the methods of the asynchronous classes, as they are."""

from __future__ import annotations

import inspect
import re

import pytest

from aurora_actors import (
    Aurora,
    DocumentStream,
    GroupedQuery,
    Query,
    Savepoint,
    Transaction,
    blocking,
)

PAIRS = [
    (Aurora, blocking.Aurora),
    (Query, blocking.BlockingQuery),
    (GroupedQuery, blocking.BlockingGroupedQuery),
    (Transaction, blocking.BlockingTransaction),
    (Savepoint, blocking.BlockingSavepoint),
    (DocumentStream, blocking.BlockingStream),
]
RENAMED = {
    "aclose": "close",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__anext__": "__next__",
    "__aiter__": "__iter__",
}
# What the facades themselves use.
INNER = {"session", "was_refused"}


def methods(cls):
    return {
        RENAMED.get(name, name)
        for name in dir(cls)
        if not name.startswith("_") or name in {*RENAMED, *RENAMED.values()}
    } - INNER


def text(annotation: object) -> str:
    plain = str(annotation)
    for theirs, ours in (
        ("BlockingGroupedQuery", "GroupedQuery"),
        ("BlockingQuery", "Query"),
        ("BlockingStream", "DocumentStream"),
        ("BlockingAqlStream", "AqlStream"),
        ("BlockingTransaction", "Transaction"),
        ("BlockingSavepoint", "Savepoint"),
        ("BlockingWatcher", "Watcher"),
        ("BlockingListener", "Listener"),
        ("Awaitable[T]", "T"),
        (" | AsyncIterable[object]", ""),
    ):
        plain = plain.replace(theirs, ours)
    return plain


def shape(method):
    signature = inspect.signature(inspect.unwrap(method))
    return [
        (each.name, each.kind, each.default, text(each.annotation))
        for each in signature.parameters.values()
    ], text(signature.return_annotation)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_both_have_the_same_methods(ours, theirs):
    assert methods(ours) == methods(theirs)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS[:5])
def test_the_methods_have_the_same_signatures(ours, theirs):
    for name in sorted(methods(ours)):
        original = {new: old for old, new in RENAMED.items()}.get(name, name)
        mine = getattr(ours, original, None) or getattr(ours, name)
        other = getattr(theirs, name)
        if callable(mine):
            assert shape(mine) == shape(other), name
            assert not inspect.iscoroutinefunction(other), name


@pytest.mark.parametrize("cls", [Aurora, Query, GroupedQuery, blocking.Aurora])
def test_every_method_that_waits_takes_a_timeout(cls):
    free = {"open", "with_config", "close", "query", "config", "session"}
    free.add("last_write")
    builders = {"filter", "order_by", "limit", "offset", "select", "debounce"}
    builders |= {"after", "before"}
    builders |= {"group_by", "having", "nodes"}
    # They wait when they are entered, for as long as the configuration says.
    builders |= (
        {"listen", "listen_all", "stream", "watch"}
        if "Aurora" in cls.__name__
        else {"watch"}
    )
    for name in methods(cls) - free - builders:
        if re.match("__", name):
            continue
        parameters = inspect.signature(getattr(cls, name)).parameters
        assert parameters["timeout"].kind is inspect.Parameter.KEYWORD_ONLY, name
        assert parameters["timeout"].default is None, name
