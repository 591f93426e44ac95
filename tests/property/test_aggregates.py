"""Aggregates are what a plain model says, however the documents are found."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from functools import cmp_to_key
from pathlib import Path
from random import Random
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from support import first_seed
from unit.query.library import Library, compare, meets, ordered, read, spec

from aurora_actors.errors import LimitExceededError
from aurora_actors.indexing.builder import IndexBuilder
from aurora_actors.indexing.reader import IndexReader
from aurora_actors.indexing.store import Limits, Settings
from aurora_actors.indexing.tables import SegmentTables
from aurora_actors.messages.query import (
    AggregateFunction,
    AggregateSpec,
    GroupKey,
    GroupSpec,
    OrderKey,
)
from aurora_actors.messages.shares import (
    AggregateSegments,
    SegmentsAggregated,
    decode_share_message,
)
from aurora_actors.messages.storage import DropCollection
from aurora_actors.query import (
    aggregate_reduce as reducing,
    aggregate_segments as sharing,
    aggregate_ways as gathering,
    choose as choosing,
    segment_match as matching,
)
from aurora_actors.query.aggregate import Aggregation, run_aggregate
from aurora_actors.query.aggregate_segments import aggregate_segments
from aurora_actors.query.choose import Aids
from aurora_actors.query.group_codec import GroupRow, decode_group
from aurora_actors.query.predicate import And, Compare, Not, Or, encode_predicate
from aurora_actors.schema.record import unpack_record
from aurora_actors.schema.types import CollectionDefinition, FieldDefinition, FieldType
from examples import examples

F = FieldDefinition
FIELDS = {
    "i": F(FieldType.INT, indexed=True),
    "f": F(FieldType.FLOAT),
    "s": F(FieldType.STRING),
    "c": F(FieldType.STRING, indexed=True),
    "b": F(FieldType.BOOL),
    "u": F(FieldType.UUID),
    "d": F(FieldType.DATETIME),
    "e": F(FieldType.DATE),
    "h": F(FieldType.TIME),
    "r": F(FieldType.BYTES),
    "o": F(FieldType.object({"p": F(FieldType.INT), "q": F(FieldType.FLOAT)})),
    "x": F(FieldType.ANY),
    "t": F(FieldType.array(FieldType.INT)),
}
MOMENT = datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC)
LARGE = [2**63 - 1, -(2**63), 2**62, 2**32 + 1]
HUGE = [1.7e308, -1.7e308, 1e300, 2.0**480, 1e155]
VALUES = {
    "i": [0, 1, 2, 3, -1, -7, 2**31],
    "f": [0, 1, 0.1, 0.2, 0.3, -0.0, -1e16, 1e16, 1.5, 2**53 + 1, 5e-324, -2.5],
    "s": ["", "a", "ab", "b", "é", "\U0001f600", "\uffff", "x" * 1100],
    "c": ["red", "green", "blue"],
    "b": [True, False],
    "u": [UUID(int=0), UUID(int=1), UUID("ab" * 16)],
    "d": [
        MOMENT,
        MOMENT - timedelta(hours=3),
        datetime(1969, 12, 31, 23, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
    ],
    "e": [date(2024, 1, 1), date(1969, 12, 31), date(1970, 1, 1), date(1, 1, 1)],
    "h": [time(1), time(23, 59, 59, 999999)],
    "r": [b"", b"a", b"b"],
    "o": [{}, {"p": 1, "q": 0.1}, {"p": 2, "q": 1}, {"p": None}],
    "x": [True, 1, 1.0, 0.5, "a", UUID(int=0), str(UUID(int=0)), [1], {"a": 1}, b"a"],
    "t": [[], [1], [1, 2]],
}
PATHS = [*VALUES, "o.p", "o.q"]
NUMBERS = ["i", "f", "x", "o.p", "o.q"]
UNORDERED = {"o", "t"}
INTERVALS = {"d": [1, 60, 7200, 86400, 604800, 90000], "e": [86400, 604800, 3 * 86400]}
A = AggregateFunction
LIMITS = Limits(
    changes=7,
    documents=5,
    waiting_rows=8,
    idle_rows=2,
    segment_rows=40,
    bitmaps=4,
    fan_in=3,
)


# ------------------------------------------------------------------ by chance
def some_documents(chance: Random, names: list[str]) -> dict[str, dict[str, object]]:
    values = {name: [*given_] for name, given_ in VALUES.items()}
    if chance.random() < 0.3:
        values["i"] += LARGE
    if chance.random() < 0.3:
        values["f"] += HUGE
    nulls = chance.choice([0.0, 0.1, 0.5])
    return {
        name: {
            field: None if chance.random() < nulls else chance.choice(values[field])
            for field in values
            if chance.random() < 0.8
        }
        for name in names
    }


def some_predicate(chance: Random, depth: int = 0):
    if depth < 2 and chance.random() < 0.4:
        parts = [some_predicate(chance, depth + 1) for _ in range(2)]
        return chance.choice([And(parts), Or(parts), Not(parts[0])])
    name = chance.choice(["i", "f", "c", "b", "d", "e", "o.p"])
    if chance.random() < 0.15:
        return Compare(chance.choice(["is_null", "is_not_null"]), name, None)
    value = chance.choice(VALUES["i" if name == "o.p" else name])
    operators = ["eq", "ne"] if name == "b" else ["eq", "ne", "gt", "lte", "gte"]
    return Compare(chance.choice(operators), name, value)


def some_aggregates(chance: Random) -> list[AggregateSpec]:
    found = [AggregateSpec("n", A.COUNT)]
    for number in range(chance.randrange(6)):
        function = chance.choice([*A])
        names = NUMBERS if function in {A.SUM, A.AVG, A.STDDEV} else PATHS
        if function in {A.MIN, A.MAX}:
            names = [name for name in PATHS if name not in UNORDERED]
        found.append(AggregateSpec(f"a{number}", function, chance.choice(names)))
    return found


def some_group(chance: Random) -> GroupSpec:
    keys = []
    for name in chance.sample([*VALUES], chance.choice([0, 1, 1, 2, 3])):
        interval = None
        if name in INTERVALS and chance.random() < 0.7:
            interval = chance.choice(INTERVALS[name])
        keys.append(GroupKey(name, interval))
    aggregates = some_aggregates(chance)
    having = b""
    if chance.random() < 0.3:
        having = encode_predicate(Compare("gt", "n", chance.randrange(4)))
    order = []
    if chance.random() < 0.4:
        names = [each.name for each in aggregates] + [key.field for key in keys]
        order = [
            OrderKey(name, chance.random() < 0.5)
            for name in chance.sample(names, min(len(names), chance.randrange(3)))
        ]
    return GroupSpec(
        keys=keys,
        aggregates=aggregates,
        having=having,
        order=order,
        limit=chance.choice([None, None, 0, 1, 5]),
        offset=chance.choice([0, 0, 1]),
        nodes=chance.choice([0, 0, 0, 2]),
    )


def some_query(chance: Random, name: str):
    predicate = some_predicate(chance) if chance.random() < 0.6 else None
    order = chance.choice([[], [], [], ["i"], ["-f", "c"], ["-id"]])
    limit = chance.choice([None, None, None, None, 0, 7])
    offset = chance.choice([0, 0, 0, 3])
    return predicate, order, limit, offset


# ------------------------------------------------------------------ the model
class TooLargeError(Exception):
    pass


def rounded(number: Fraction) -> float:
    try:
        return float(number)
    except OverflowError:
        raise TooLargeError from None


def bucket(value: object, seconds: int) -> object:
    if type(value) is date:
        moment = datetime(value.year, value.month, value.day, tzinfo=UTC)
    elif isinstance(value, datetime):
        moment = value
    else:
        return None
    origin = datetime(1970, 1, 1 if seconds % 604800 else 5, tzinfo=UTC)
    step = timedelta(seconds=seconds)
    try:
        begin = origin + (moment - origin) // step * step
    except OverflowError:
        begin = datetime.min.replace(tzinfo=UTC)
    return begin.date() if type(value) is date else begin


def kind_of(path: str) -> FieldType:
    if "." in path:
        return {"o.p": FieldType.INT, "o.q": FieldType.FLOAT}[path]
    return FIELDS[path].field_type


def model(documents, query, group: GroupSpec) -> list[tuple[list, list, list[str]]]:
    predicate, order, limit, offset = query
    found = {
        name: fields
        for name, fields in documents.items()
        if predicate is None or meets(predicate, fields, name)
    }
    stop = None if limit is None else offset + limit
    names = ordered(found, order)[offset:stop]
    groups: list[tuple[list, list[str]]] = [] if group.keys else [([], [])]
    for name in names:
        keys = []
        for key in group.keys:
            value = read(found[name], name, key.field)
            keys.append(bucket(value, key.interval_s) if key.interval_s else value)
        for other, members in groups:
            if compare(other, keys) == 0:
                members.append(name)
                break
        else:
            groups.append((keys, [name]))
    results = []
    for keys, members in groups:
        values = [
            computed(each, [found[name] for name in members], members)
            for each in group.aggregates
        ]
        results.append((keys, values, members[: group.nodes]))
    return arranged(results, group)


def computed(each: AggregateSpec, documents, names) -> object:
    if each.field is None:
        return len(documents)
    values = [read(d, n, each.field) for d, n in zip(documents, names, strict=True)]
    values = [value for value in values if value is not None]
    numbers = [value for value in values if type(value) in (int, float)]
    match each.function:
        case A.COUNT:
            return len(values)
        case A.SUM | A.AVG | A.STDDEV:
            is_float = kind_of(each.field) == FieldType.FLOAT
            return of_numbers(each.function, numbers, is_float=is_float)
        case A.COUNT_DISTINCT:
            different: list[object] = []
            for value in values:
                if all(compare(value, other) for other in different):
                    different.append(value)
            return len(different)
        case A.FIRST:
            return values[0] if values else None
        case A.LAST:
            return values[-1] if values else None
    values.sort(key=cmp_to_key(compare))
    if not values:
        return None
    return values[0] if each.function is A.MIN else values[-1]


def of_numbers(function: AggregateFunction, numbers: list, *, is_float: bool):
    count, total = len(numbers), sum(map(Fraction, numbers), Fraction(0))
    is_float = is_float or any(type(number) is float for number in numbers)
    if function is A.SUM:
        return rounded(total) if is_float else int(total)
    if function is A.AVG:
        return average(total, count, is_float=is_float)
    if count < 2:
        return None
    squares = sum((Fraction(number) ** 2 for number in numbers), Fraction(0))
    return math.sqrt(rounded((count * squares - total**2) / (count * (count - 1))))


def average(total: Fraction, count: int, *, is_float: bool) -> float | None:
    """Of the rounded sum, by which groups are ordered, too."""
    if count and is_float:
        try:
            return rounded(total) / count
        except TooLargeError:
            pass
    return rounded(total / count) if count else None


def arranged(results, group: GroupSpec):
    names = [each.name for each in group.aggregates]
    results.sort(key=cmp_to_key(lambda a, b: compare(a[0], b[0])))
    if group.having:
        least = int(group_having(group))
        results = [each for each in results if each[1][0] > least]
    for key in reversed(group.order):
        if key.field in names:
            part, at = 1, names.index(key.field)
        else:
            part, at = 0, [one.field for one in group.keys].index(key.field)
        sign = 1 if key.ascending else -1

        def by(a, b, part=part, at=at, sign=sign):
            return sign * compare(a[part][at], b[part][at])

        results.sort(key=cmp_to_key(by))
    stop = None if group.limit is None else group.offset + group.limit
    return results[group.offset : stop]


def group_having(group: GroupSpec) -> int:
    from aurora_actors.query.predicate import decode_predicate

    term = decode_predicate(group.having)
    assert isinstance(term, Compare)
    return term.value


def alike(mine: object, theirs: object) -> bool:
    """Equal; the model's floats may be rounded otherwise."""
    if type(mine) is float and type(theirs) is float:
        return math.isclose(mine, theirs, rel_tol=1e-9, abs_tol=1e-150)
    return type(mine) is not bool is not type(theirs) and compare(mine, theirs) == 0


# ------------------------------------------------------------------ the test
@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Library, IndexBuilder]]:
    path: Path = tmp_path_factory.mktemp("aggregated")
    library = Library(path / "db")
    with library.snapshot() as snapshot:
        options = Settings(map_size=4 << 30, limits=LIMITS)
        builder = IndexBuilder.open(path_of(library), snapshot, options)
    yield library, builder
    builder.abandon()
    library.close()


def path_of(library: Library) -> Path:
    return Path(library.engine._store.path)


def follow(library: Library, builder: IndexBuilder, steps: int, *, tidied: bool):
    with library.snapshot() as snapshot:
        for _ in range(steps):
            if not builder.step(snapshot):
                break
        while tidied and builder.tidy(snapshot):
            pass


@pytest.fixture(params=["indexes", "columns"])
def preference(request, monkeypatch):
    monkeypatch.setattr(choosing, "_FEW", 1)
    monkeypatch.setattr(gathering, "_FEW", 1)
    monkeypatch.setattr(gathering, "LEAST_SHARED", 1)
    monkeypatch.setattr(sharing, "LEAST_SHARED", 0)
    if request.param == "columns":
        monkeypatch.setattr(reducing, "_SORTED_ROWS", 0)
    else:
        monkeypatch.setattr(matching, "FEW_GONE", 1)
    share = 1 if request.param == "indexes" else 1 << 40
    monkeypatch.setattr(choosing, "_COLUMN_SHARE", share)


@settings(
    max_examples=examples(25), deadline=None, suppress_health_check=list(HealthCheck)
)
@given(st.integers(0, 1 << 32))
def test_aggregates_are_those_of_the_model(shared, preference, seed):
    library, builder = shared
    one_round(library, builder, Random(seed))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_aggregates_are_those_of_the_model(shared, preference):
    first = first_seed()
    library, builder = shared
    for seed in range(first, first + 1000):
        print(f"SEED={seed}")
        one_round(library, builder, Random(seed))


def one_round(library: Library, builder: IndexBuilder, chance: Random) -> None:
    """Documents, changes of which indexes know some, and questions."""
    name = f"c{library.engine.lsn}"
    library.define(CollectionDefinition(name, FIELDS))
    documents = some_documents(chance, [f"k{n}" for n in range(chance.randrange(120))])
    if documents:
        library.insert(name, documents)
    follow(library, builder, 1000, tidied=chance.random() < 0.7)
    for key in chance.sample([*documents], min(len(documents), chance.randrange(9))):
        if chance.random() < 0.4:
            library.delete(name, key)
            del documents[key]
        else:
            (documents[key],) = some_documents(chance, [key]).values()
            library.replace(name, key, documents[key])
    more = some_documents(chance, [f"m{n}" for n in range(chance.randrange(5))])
    if more:
        library.insert(name, more)
        documents |= more
    follow(library, builder, chance.randrange(9), tidied=False)
    tables = SegmentTables()
    with IndexReader.open(path_of(library)) as reader:
        for _ in range(6):
            check(library, reader, tables, name, documents, chance)
    library.run(DropCollection(collection=name))
    follow(library, builder, 1000, tidied=False)


def check(library, reader, tables, name, documents, chance) -> None:
    query, group = some_query(chance, name), some_group(chance)
    predicate, order, limit, offset = query
    asked = spec(name, predicate, order=order, limit=limit, offset=offset)
    try:
        expected = model(documents, query, group)
    except TooLargeError:
        expected = None
    index = reader.snapshot()
    assert index is not None
    found = []
    with index, library.snapshot() as snapshot:
        aids = Aids(index=index, tables=tables)
        for how in ("documents", "helped", "shared"):
            helped = None if how == "documents" else aids
            aggregation = run_aggregate(snapshot, asked, group, aids=helped)
            try:
                if how == "shared":
                    share(aggregation, tables, chance)
                rows = [decode_group(r) for step in aggregation.steps() for r in step]
            except LimitExceededError:
                assert expected is None
                rows = None
            else:
                assert expected is not None, rows
                agree(rows, expected, group)
                assert aggregation.count == len(rows)
            found.append((rows, aggregation.plan))
    for rows, plan in found[1:]:
        assert repr(found[0][0]) == repr(rows), plan


def share(aggregation: Aggregation, tables: SegmentTables, chance: Random) -> None:
    """Let others do a part of it, some of whom cannot."""
    replies = []
    for request in aggregation.shares(chance.choice([1, 2])):
        message = decode_share_message(msgspec.msgpack.encode(request))
        assert isinstance(message, AggregateSegments)
        steps = aggregate_segments(message, tables)
        reply = SegmentsAggregated(done=False)
        while chance.random() < 0.97:
            try:
                next(steps)
            except StopIteration as end:
                reply = end.value
                break
        steps.close()
        encoded = decode_share_message(msgspec.msgpack.encode(reply))
        assert isinstance(encoded, SegmentsAggregated)
        replies.append(encoded)
    for _ in aggregation.own_share():
        pass
    for number, answer in enumerate(replies):
        aggregation.take(number, answer)


def agree(rows: list[GroupRow], expected, group: GroupSpec) -> None:
    assert len(rows) == len(expected)
    for row, (keys, results, nodes) in zip(rows, expected, strict=True):
        assert compare([*row.keys], keys) == 0
        for each, mine, theirs in zip(
            group.aggregates, row.results, results, strict=True
        ):
            assert alike(mine, theirs) or compare(mine, theirs) == 0, (
                each,
                mine,
                theirs,
            )
        assert [unpack_record(node)[1] for node in row.nodes] == nodes
