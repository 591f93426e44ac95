"""Load every airport of the world, query it, and kill the storage process meanwhile.

Run it with ``make demo``. It works in a temporary directory and cleans up after itself.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import TypeVar

import airportsdata
import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from aurora_actors import Aurora, Document, FieldDefinition, FieldType, field

T = TypeVar("T")
console = Console()

AIRPORT = {
    "icao": FieldDefinition(FieldType.STRING, unique=True, nullable=False),
    "iata": FieldDefinition(FieldType.STRING),
    "name": FieldDefinition(FieldType.STRING, nullable=False),
    "city": FieldDefinition(FieldType.STRING),
    "subd": FieldDefinition(FieldType.STRING),
    "country": FieldDefinition(FieldType.STRING, indexed=True),
    "elevation": FieldDefinition(FieldType.FLOAT, indexed=True),
    "lat": FieldDefinition(FieldType.FLOAT),
    "lon": FieldDefinition(FieldType.FLOAT),
    "tz": FieldDefinition(FieldType.STRING),
    "lid": FieldDefinition(FieldType.STRING),
}


def progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description:<34}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
    )


async def timed(title: str, work: Awaitable[T]) -> T:
    start = time.perf_counter()
    result = await work
    took_ms = (time.perf_counter() - start) * 1000
    console.print(f"\n[bold]{title}[/bold]  [dim]{took_ms:.1f} ms[/dim]")
    return result


def show(documents: list[Document], *columns: str) -> None:
    table = Table(*columns)
    for document in documents:
        table.add_row(*(str(document.get(column, "")) for column in columns))
    console.print(table)


async def load(db: Aurora, airports: list[dict[str, object]]) -> None:
    with progress_bar() as bar:
        task = bar.add_task("loading airports", total=len(airports))

        def ticking() -> Iterator[dict[str, object]]:
            for airport in airports:
                yield airport
                bar.advance(task)

        start = time.perf_counter()
        await db.insert_many("airports", ticking())
        rate = len(airports) / (time.perf_counter() - start)
    console.print(f"{len(airports):,} documents, {rate:,.0f} per second")


async def ask(db: Aurora) -> None:
    airports = db.query("airports")
    total = await timed("How many airports are there?", airports.count())
    console.print(f"{total:,}")
    jfk = await timed(
        "The one with ICAO code KJFK (unique field: read from the shared map)",
        airports.filter(lambda f: f.eq("icao", "KJFK")).first_one(),
    )
    show([jfk] if jfk else [], "icao", "iata", "name", "city")
    highest = await timed(
        "The five highest",
        airports.order_by("elevation", ascending=False).limit(5).collect(),
    )
    show(highest, "icao", "name", "country", "elevation")
    hawaii = await timed(
        "In Hawaii, with an IATA code, by name",
        airports.filter((field("subd") == "Hawaii") & (field("iata") != ""))
        .order_by("name")
        .limit(5)
        .collect(),
    )
    show(hawaii, "iata", "name", "city")
    below = await timed(
        "How many lie below sea level?",
        airports.filter(lambda f: f.lt("elevation", 0)).count(),
    )
    console.print(f"{below:,}")
    plan = await airports.filter(field("country") == "IS").explain()
    console.print(
        f"\n[bold]How is country = IS answered?[/bold]  access: {plan.access}, "
        f"rows read: {plan.rows_read:,}, found: {plan.actual_rows:,}"
    )


async def load_through_a_crash(db: Aurora, airports: list[dict[str, object]]) -> None:
    console.rule("the storage process is killed in the middle of a load")
    status = await db.status()
    victim = next(actor for actor in status.actors if actor.name == "storage")
    acknowledged: list[str] = []
    with progress_bar() as bar:
        task = bar.add_task("loading, 16 tasks at once", total=len(airports))
        send, receive = trio.open_memory_channel[list[dict[str, object]]](0)

        async def writer(
            jobs: trio.MemoryReceiveChannel[list[dict[str, object]]],
        ) -> None:
            async with jobs:
                async for batch in jobs:
                    acknowledged.extend(await db.insert_many("copies", batch))
                    bar.advance(task, len(batch))
                    maybe_kill(bar)

        killed = False

        def maybe_kill(bar: Progress) -> None:
            nonlocal killed
            if not killed and len(acknowledged) > len(airports) // 2:
                killed = True
                os.kill(victim.pid, signal.SIGKILL)
                bar.console.print(f"[red]kill -9 {victim.pid}[/red] (storage)")

        async with trio.open_nursery() as nursery:
            for _ in range(16):
                nursery.start_soon(writer, receive.clone())
            receive.close()
            async with send:
                async for batch in batches(airports, 200):
                    await send.send(batch)
    await verify(db, airports, acknowledged, victim.pid)


async def batches(
    airports: list[dict[str, object]], size: int
) -> AsyncIterator[list[dict[str, object]]]:
    for start in range(0, len(airports), size):
        await trio.lowlevel.checkpoint()
        yield airports[start : start + size]


async def verify(
    db: Aurora,
    airports: list[dict[str, object]],
    acknowledged: list[str],
    old_pid: int,
) -> None:
    status = await db.status()
    storage = next(actor for actor in status.actors if actor.name == "storage")
    console.print(
        f"storage is back: process {old_pid} → {storage.pid}, "
        f"restarts: {storage.restarts}"
    )
    stored = {
        str(document["icao"]): document.data
        async for document in db.query("copies").stream()
    }
    expected = {str(airport["icao"]): airport for airport in airports}
    missing = len(expected.keys() - stored.keys())
    same = sum(stored.get(icao) == airport for icao, airport in expected.items())
    console.print(
        f"acknowledged {len(acknowledged):,}, stored {len(stored):,}, "
        f"identical {same:,}, lost [bold]{missing}[/bold]"
    )
    if missing or same != len(expected) or len(acknowledged) != len(expected):
        raise SystemExit("documents were lost or changed")


async def main() -> None:
    airports = [dict(airport) for airport in airportsdata.load("ICAO").values()]
    with tempfile.TemporaryDirectory(prefix="aurora-demo-") as directory:
        path = Path(directory) / "airports.db"
        start = time.perf_counter()
        async with Aurora.open(path) as db:
            took_ms = (time.perf_counter() - start) * 1000
            status = await db.status()
            names = ", ".join(actor.name for actor in status.actors)
            console.print(f"opened in {took_ms:.0f} ms; processes: {names}")
            await db.new_collection("airports", AIRPORT)
            await db.new_collection("copies", AIRPORT)
            await load(db, airports)
            await ask(db)
            await load_through_a_crash(db, airports)
    console.print("\n[green]done; the processes have stopped[/green]")


if __name__ == "__main__":
    trio.run(main)
