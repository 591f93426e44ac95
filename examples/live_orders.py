"""A board of orders that keeps itself up to date.

One task plays the customers, one the kitchen; the board follows the five largest open
orders, and a listener counts what happens. Run it with ``python
examples/live_orders.py``; it works in a temporary directory and cleans up after itself.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import anyio

from aurora_actors import (
    Added,
    Aurora,
    ChangeType,
    Document,
    FieldDefinition,
    FieldType,
    InitialComplete,
    Listener,
    Modified,
    Removed,
    field,
)

ORDER = {
    "dish": FieldDefinition(FieldType.STRING, nullable=False),
    "total": FieldDefinition(FieldType.INT, nullable=False),
    "status": FieldDefinition(FieldType.STRING, nullable=False, indexed=True),
}
DISHES = ["ramen", "gyoza", "curry", "tempura", "udon"]
ORDERS = 40


async def customers(db: Aurora) -> None:
    for _ in range(ORDERS):
        order = {
            "dish": random.choice(DISHES),
            "total": random.randrange(8, 60),
            "status": "open",
        }
        await db.insert_into("orders", order)
        await anyio.sleep(random.uniform(0, 0.05))


async def kitchen(db: Aurora) -> None:
    """Serve every order, the dearest that is waiting first."""
    waiting = db.query("orders").filter(field("status") == "open")
    served = 0
    while served < ORDERS:
        order = await waiting.order_by("total", ascending=False).first_one()
        if order is not None:
            await db.update_document("orders", order.id, {"status": "served"})
            served += 1
        await anyio.sleep(0.04)


def line(order: Document) -> str:
    return f"{order['dish']:<8} {order['total']:>3}"


async def board(db: Aurora) -> None:
    """Print what happens to the five dearest open orders, until all are served."""
    dearest = (
        db.query("orders")
        .filter(field("status") == "open")
        .order_by("total", ascending=False)
        .limit(5)
    )
    served = db.query("orders").filter(field("status") == "served")
    async with dearest.watch() as updates:
        async for update in updates:
            match update:
                case InitialComplete():
                    print("the board is open")
                case Added(document=order, position=position):
                    print(f"+ {line(order)}  at {position}")
                case Modified(new=order, position=position):
                    print(f"~ {line(order)}  at {position}")
                case Removed(document=order):
                    print(f"- {line(order)}")
            if not updates.snapshot() and await served.count() == ORDERS:
                return


async def tally(events: Listener, counts: dict[ChangeType, int]) -> None:
    async for event in events:
        counts[event.change_type] = counts.get(event.change_type, 0) + 1
        if sum(counts.values()) == 2 * ORDERS:
            return


async def main() -> None:
    counts: dict[ChangeType, int] = {}
    with tempfile.TemporaryDirectory(prefix="live-orders-") as directory:
        async with Aurora.open(Path(directory) / "orders.db") as db:
            await db.new_collection("orders", ORDER)
            # Every change of the field, new orders included.
            async with (
                db.listen("orders", fields={"status"}) as events,
                anyio.create_task_group() as group,
            ):
                group.start_soon(tally, events, counts)
                group.start_soon(board, db)
                group.start_soon(customers, db)
                group.start_soon(kitchen, db)
    for kind, count in counts.items():
        print(f"{kind.name.lower()}: {count}")


if __name__ == "__main__":
    anyio.run(main)
